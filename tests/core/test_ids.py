from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.collection.points import check_record, to_record
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput

LAYOUT = Layout("docs", "colbert", "text", "metadata", 8)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-555555555555"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"),  # uuid4().hex is one like it
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
        "AAAAAAAA222233334444555555555555",
        "urn:uuid:11111111222233334444555555555555",
        "1111111122223333444455555555555",
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


@pytest.mark.parametrize(
    ("text", "vectors", "derived"),
    [("t", None, "ec99fda9-4388-5ca4-a7c5-ddbee7341d6d"), ("", np.eye(4)[:1], "2715f7b3-4f1a-57f0-86ec-ddea16670b4b")],
)
def test_an_id_that_collections_have_by_now_is_derived_as_before(text: str, vectors: Any, derived: str) -> None:
    assert check_record(0, text, {"a": 1}, None, {}, text, vectors, 4).id == derived


@pytest.mark.parametrize(
    ("held", "number", "shown"),
    [("9", 9, "9"), (9, 9, "9"), ("9", 7, "7"), ("x", 7, "7"), ("", 7, "7"), (None, 7, "7"), ([1], 7, "7")],
)
def test_a_record_has_the_id_that_leads_back_to_it(held: Any, number: int, shown: str) -> None:
    found = models.Record(id=number, payload={"_id": held, "text": "a text", "metadata": {}})

    assert to_record(found, LAYOUT).id == shown
