from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant.collection.points import (
    Wire,
    check_multivector,
    check_record,
    cut_by_bytes,
    point_bytes,
    point_id,
    to_record,
)
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, PointTooLarge


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-555555555555"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("0", 0),
        (42, 42),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_what_qdrant_can_take_stays(given: Any, stored: Any) -> None:
    assert point_id(given) == stored


@pytest.mark.parametrize(
    "given",
    [
        "00",  # not canonical: "0" is another id
        "18446744073709551616",
        "-1",
        "1.0",
        "²",
        "AAAAAAAA-2222-3333-4444-555555555555",  # the lower-case UUID is another id
        "11111111222233334444555555555555",
        "a" * 10_000,
        " ",
    ],
)
def test_any_other_string_becomes_a_uuid_of_its_own(given: str) -> None:
    stored = point_id(given)

    assert isinstance(stored, str)
    assert uuid.UUID(stored).version == 5
    assert stored == point_id(given) != point_id(given + "x")


@pytest.mark.parametrize("given", ["", None, True, -1, 2**64, 1.5, b"x", "\ud800"])
def test_what_is_no_id_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="id"):
        point_id(given)


def test_a_point_may_hold_fewer_than_a_mebi_of_numbers() -> None:
    check_multivector(np.ones((8191, 128), np.float32), 128, "x")

    with pytest.raises(PointTooLarge, match="at most 8191 tokens"):
        check_multivector(np.ones((8192, 128), np.float32), 128, "x")


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (np.ones((3, 4)), r"shape \(3, 4\)"),
        (np.ones(8), r"shape \(8,\)"),
        (np.ones((0, 8)), r"shape \(0, 8\)"),
        ([[1.0] * 8, [1.0] * 7], "array of numbers"),
        ([["a"] * 8], "array of numbers"),
        (np.array([[0.0] * 8, [np.nan] * 8]), "vector 1 has a value that is NaN"),
        (np.array([[np.inf] * 8]), "infinite"),
    ],
)
def test_vectors_that_are_none_are_refused(vectors: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_multivector(vectors, 8, "record 'x'")


@pytest.mark.parametrize(
    ("text", "vectors", "derived"),
    [("t", None, "ec99fda9-4388-5ca4-a7c5-ddbee7341d6d"), ("", np.eye(4)[:1], "2715f7b3-4f1a-57f0-86ec-ddea16670b4b")],
)
def test_an_id_that_collections_have_by_now_is_derived_as_before(text: str, vectors: Any, derived: str) -> None:
    assert check_record(0, text, {"a": 1}, None, {}, text, vectors, 4).id == derived


LAYOUT = Layout("docs", "colbert", "text", "metadata", 8)


@pytest.mark.parametrize(
    ("held", "number", "shown"),
    [("9", 9, "9"), (9, 9, "9"), ("9", 7, "7"), ("x", 7, "7"), ("", 7, "7"), (None, 7, "7"), ([1], 7, "7")],
)
def test_a_record_has_the_id_that_leads_back_to_it(held: Any, number: int, shown: str) -> None:
    found = models.Record(id=number, payload={"_id": held, "text": "a text", "metadata": {}})

    assert to_record(found, LAYOUT).id == shown


def point(tokens: int) -> models.PointStruct:
    vectors = np.ones((tokens, 128), np.float32)
    return models.PointStruct.model_construct(id=1, vector={"colbert": vectors}, payload={"page_content": "x" * 100})


def test_requests_are_cut_by_bytes_and_hold_at_least_one_point() -> None:
    points = [point(n) for n in (10, 10, 2000, 10)]

    requests = list(cut_by_bytes(points, Wire(bytes_per_float=21, request_bytes=100_000)))

    assert [len(request) for request in requests] == [2, 1, 1]


def test_24_long_documents_of_128_numbers_a_token_need_more_than_one_rest_request() -> None:
    limit = 32 * 2**20
    wire = Wire(bytes_per_float=21, request_bytes=24 * 2**20)

    requests = list(cut_by_bytes([point(512)] * 24, wire))

    assert max(sum(point_bytes(p, 21) for p in request) for request in requests) < limit
    assert len(requests) == 2
