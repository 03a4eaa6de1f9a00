from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant.collection.points import Wire, check_multivector, cut_by_bytes, point_bytes
from colbert_qdrant.errors import InvalidInput, PointTooLarge


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
