"""Points as gRPC messages: byte for byte what qdrant-client makes of the same numbers in lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from colbert_qdrant.collection.engines.grpc_points import as_message, as_request, as_vector

PAYLOAD = {"text": "blue sky", "metadata": {"year": 1990, "rating": 4.5, "tags": ["a", None, True]}}
BESIDE: dict[str, Any] = {
    "words": models.SparseVector(indices=[3, 7], values=[0.5, 1.5]),
    "bm25": models.Document(text="blue sky", model="Qdrant/bm25"),
}


def as_lists(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {name: as_lists(value) for name, value in vector.items()}
    return vector.tolist() if isinstance(vector, np.ndarray) else vector


@pytest.mark.parametrize("rows", [1, 64, 300])
@pytest.mark.parametrize("dim", [1, 31, 32, 128, 384])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_a_point_is_the_clients_message(rows: int, dim: int, dtype: Any) -> None:
    dice = np.random.default_rng(0)
    vectors = {
        "colbert": dice.standard_normal((rows, dim)).astype(dtype),
        "muvera": dice.standard_normal(2560),
        **BESIDE,
    }
    point = models.PointStruct.model_construct(id=7, vector=vectors, payload=PAYLOAD)

    expected = RestToGrpc.convert_point_struct(point.model_copy(update={"vector": as_lists(vectors)}))

    assert as_message(point) == expected
    assert as_message(point).SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize("vector", [np.eye(3), np.arange(3.0), [0.5, 1.0], [[0.5], [1.0]]], ids=str)
@pytest.mark.parametrize("qdrant_id", [7, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
def test_and_so_is_one_whose_vector_has_no_name(vector: Any, qdrant_id: Any) -> None:
    point = models.PointStruct.model_construct(id=qdrant_id, vector=vector, payload=None)
    listed = point.model_copy(update={"vector": as_lists(vector)})

    assert as_message(point) == RestToGrpc.convert_point_struct(listed)


def test_rows_that_do_not_lie_side_by_side() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    assert [list(row.data) for row in as_vector(array).multi_dense.vectors] == array.tolist()


def test_an_upsert_says_no_more_than_is_known_here() -> None:
    point = models.PointStruct.model_construct(id=7, vector=np.eye(2), payload=None)
    known = {"collection_name": "docs", "points": [point], "wait": True, "shard_key_selector": "asia"}

    request = as_request(known)

    assert request is not None
    assert (request.collection_name, request.wait, len(request.points)) == ("docs", True, 1)
    assert [key.keyword for key in request.shard_key_selector.shard_keys] == ["asia"]
    assert as_request({**known, "ordering": models.WriteOrdering.STRONG}) is None  # and the client is asked
