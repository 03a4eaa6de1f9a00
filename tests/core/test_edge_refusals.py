"""What the embedded engine lacks is refused by name, and what it would choke on before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from qdrant_client import QdrantClient, models

from colbert_qdrant.collection.engines import edge_translate
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import (
    EngineError,
    InvalidInput,
    UnsupportedByEngine,
)
from edge_samples import (
    DENSE_DIM,
    DIM,
    POINTS,
    PUBLIC,
    SPARSE,
    SPARSE_QUERY,
    VECTORS,
    Pair,
)


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.close()


@pytest.fixture
def client(tmp_path):
    with EdgeClient(tmp_path) as client:
        yield client


@pytest.fixture
def small(client):
    """A client with one collection of one unnamed vector of two numbers."""
    client.create_collection("small", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    return client


UNSUPPORTED = {
    "shard_number": lambda c: c.create_collection("x", vectors_config=VECTORS, shard_number=2),
    "replication_factor": lambda c: c.create_collection("x", vectors_config=VECTORS, replication_factor=2),
    "write_consistency_factor": lambda c: c.create_collection("x", write_consistency_factor=1),
    "OptimizersConfigDiff.flush_interval_sec": lambda c: c.create_collection(
        "x", vectors_config=VECTORS, optimizers_config=models.OptimizersConfigDiff(flush_interval_sec=1)
    ),
    "hnsw_config": lambda c: c.update_collection("small", hnsw_config=models.HnswConfigDiff(m=0)),
    "update_filter": lambda c: c.upsert("small", [], update_filter=PUBLIC),
    "ordering": lambda c: c.delete("small", [1], ordering=models.WriteOrdering.STRONG),
    "PointIdsList: shard_key": lambda c: c.delete("small", models.PointIdsList(points=[1], shard_key="a")),
    "FilterSelector: shard_key": lambda c: c.delete("small", models.FilterSelector(filter=PUBLIC, shard_key="a")),
    "consistency": lambda c: c.query_points("small", query=[1.0, 2.0], consistency=1),
    "shard_key_selector": lambda c: c.scroll("small", shard_key_selector="a"),
    "timeout": lambda c: c.count("small", timeout=3),
    "QueryRequest.shard_key": lambda c: c.query_batch_points("small", [models.QueryRequest(shard_key="a")]),
    "Prefetch.lookup_from": lambda c: c.query_points(
        "small",
        query=[1.0, 2.0],
        prefetch=models.Prefetch(query=[1.0, 2.0], lookup_from=models.LookupLocation(collection="y")),
    ),
    "RecommendQuery": lambda c: c.query_points(
        "small", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[1]))
    ),
    "Document": lambda c: c.query_points("small", query=models.Document(text="a", model="b")),
    "Image": lambda c: c.upsert(
        "small", [models.PointStruct(id=1, vector=models.Image(image="https://example.org/a.png", model="b"))]
    ),
    "IdfScope 'global'": lambda c: c.query_points(
        "small", query=[1.0, 2.0], search_params=models.SearchParams(idf=models.IdfScope.GLOBAL)
    ),
}


@pytest.mark.parametrize("call", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_the_engine_lacks_is_refused_by_name(small, call, request):
    with pytest.raises(UnsupportedByEngine) as refusal:
        call(small)

    assert request.node.callspec.id in str(refusal.value)
    assert not small.collection_exists("x")


def test_arguments_of_other_clients_may_be_passed_unset(small):
    assert small.count("small", timeout=None, shard_key_selector=None).count == 0


def test_a_field_that_the_engine_does_not_know_yet_is_refused():
    class Range(models.Range):
        around: float | None = None

    with pytest.raises(UnsupportedByEngine, match=r"Range\.around"):
        edge_translate.translate(Range(gte=1, around=2))


BAD_POINTS = {
    "another dimension": ({"colbert": [[1.0, 2.0]]}, r"Point 1: vector 'colbert' must have shape \(tokens, 8\), has"),
    "no rows": ({"colbert": np.zeros((0, DIM))}, r"must have shape \(tokens, 8\), has \(0, 8\)"),
    "rows of different lengths": ({"colbert": [[1.0] * DIM, [1.0]]}, "rows of one length"),
    "a single row for a multivector": ({"colbert": [1.0] * DIM}, r"has \(8,\)"),
    "a matrix for a vector": ({"dense": [[1.0] * DENSE_DIM]}, r"must have shape \(6,\), has \(1, 6\)"),
    "text": ({"dense": ["a"] * DENSE_DIM}, "not a vector"),
    "an unknown vector": ({"other": [1.0]}, r"no vector 'other', only \['bm25', 'colbert', 'dense'\]"),
    "no name": ([1.0] * DENSE_DIM, "no vector ''"),
    "dense for sparse": ({"bm25": [1.0]}, "vector 'bm25' is sparse, list was given"),
    "sparse for dense": ({"dense": SPARSE_QUERY}, "vector 'dense' is dense, SparseVector was given"),
    "fewer values than indices": (
        {"bm25": models.SparseVector(indices=[1, 2], values=[1.0])},
        "1 values for 2 indices, 2 of them different",
    ),
    "an index twice": ({"bm25": models.SparseVector(indices=[1, 1], values=[1.0, 2.0])}, "1 of them different"),
}


@pytest.mark.parametrize(("vector", "message"), BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_of_a_batch_with_a_malformed_vector_nothing_is_written(pair, vector, message):
    good = models.PointStruct(id=1000, vector={"dense": [1.0] * DENSE_DIM})
    bad = models.PointStruct.model_construct(id=1, vector=vector, payload={})

    with pytest.raises(InvalidInput, match=message):
        pair.edge.upsert("docs", [good, bad])

    assert pair.edge.retrieve("docs", [1000]) == []
    assert pair.edge.count("docs").count == POINTS


BAD_CALLS = {
    "id": (lambda c: c.upsert("small", [models.PointStruct(id="abc", vector=[1.0, 2.0])]), "abc"),
    "payload": (
        lambda c: c.upsert("small", [models.PointStruct(id=7, vector=[1.0, 2.0], payload={"a": float("nan")})]),
        "Point 7.*NaN",
    ),
    "payload object": (lambda c: c.set_payload("small", {"a": object()}, [1]), "object"),
    "query dimension": (lambda c: c.query_points("small", query=[1.0]), "expected dim: 2, got 1"),
    "query shape": (lambda c: c.query_points("small", query=np.zeros((1, 1, 2))), "small"),
    "query vector name": (lambda c: c.query_points("small", query=[1.0], using="x"), "x"),
    "query point": (lambda c: c.query_points("small", query=404), "404"),
    "fusion of nothing": (
        lambda c: c.query_points("small", query=models.FusionQuery(fusion=models.Fusion.RRF)),
        "prefetch",
    ),
    "path": (
        lambda c: c.count("small", models.Filter(must=[models.IsEmptyCondition(is_empty={"key": "a["})])),
        r"a\[",
    ),
    "missing point": (lambda c: c.set_payload("small", {"a": 1}, [404]), "404"),
    "index": (lambda c: c.create_payload_index("small", "a", "tree"), "tree"),
    "vector of the same name": (
        lambda c: c.create_vector_name(
            "small",
            "",
            models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=1, distance=models.Distance.DOT)),
        ),
        "exists already",
    ),
    "collection without vectors": (lambda c: c.create_collection("x"), "vectors"),
    "collection name": (lambda c: c.create_collection("a/b", vectors_config=VECTORS), "'a/b'"),
    "parent folder": (lambda c: c.create_collection("..", vectors_config=VECTORS), r"'\.\.'"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_input_is_named(small, call, message):
    with pytest.raises(InvalidInput, match=message):
        call(small)


def test_a_collection_is_not_made_twice(small):
    with pytest.raises(EngineError, match="'small' already exists"):
        small.create_collection("small", vectors_config=VECTORS)


def test_a_panic_of_the_engine_is_an_error_of_ours(tmp_path):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", sparse_vectors_config=SPARSE)
    make_unreadable(tmp_path / "docs" / "shard")

    with pytest.raises(EngineError, match=r"'docs' in .* can't be opened: index out of bounds"):
        EdgeClient(tmp_path).count("docs")


def make_unreadable(shard_folder: Path) -> None:
    """Write the sparse vector of unequal lengths which the client refuses: the engine panics, then and ever after."""
    shard = qdrant_edge.EdgeShard.load(str(shard_folder))
    malformed = qdrant_edge.Point(1, {"bm25": qdrant_edge.SparseVector(indices=[1, 2], values=[1.0])})
    with pytest.raises(BaseException, match="index out of bounds"):
        shard.update(qdrant_edge.UpdateOperation.upsert_points([malformed]))
    shard.close()


def test_an_unreadable_description_is_named(tmp_path):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", sparse_vectors_config=SPARSE)
    (tmp_path / "docs" / "collection.json").write_text("{")

    with pytest.raises(EngineError, match=r"collection\.json"):
        EdgeClient(tmp_path).count("docs")


@pytest.mark.parametrize("path", [":memory:", Path(__file__)])
def test_a_path_that_is_no_folder_is_refused(path):
    with pytest.raises(InvalidInput, match="engine"):
        EdgeClient(path)


def test_a_folder_of_local_mode_is_refused(tmp_path):
    QdrantClient(path=str(tmp_path)).close()

    with pytest.raises(InvalidInput, match=r"QdrantClient\(path="):
        EdgeClient(tmp_path)


def test_a_closed_client_says_so(small):
    small.close()
    small.close()

    with pytest.raises(EngineError, match="closed"):
        small.count("small")
    with pytest.raises(EngineError, match="closed"):
        small.create_collection("other", sparse_vectors_config=SPARSE)
    with pytest.raises(EngineError, match="closed"):
        small.delete_collection("small")
    with pytest.raises(EngineError, match="closed"):
        small.collection_exists("small")
    with pytest.raises(EngineError, match="closed"):
        small.get_collections()
    with EdgeClient(small.path) as again:
        assert again.collection_exists("small")


# --- nesting


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"k": value}
    return value


def nested_filter(levels: int) -> models.Filter:
    inner = PUBLIC
    for _ in range(levels):
        inner = models.Filter(must=[inner])
    return inner


def itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["k"] = value
    return value


TOO_DEEP = {
    "payload": lambda c: c.upsert("small", [models.PointStruct(id=7, vector=[1.0, 2.0], payload=nested(122))]),
    "payload in itself": lambda c: c.upsert(
        "small", [models.PointStruct.model_construct(id=7, vector=[1.0, 2.0], payload=itself())]
    ),
    "set_payload": lambda c: c.set_payload("small", nested(900), [1]),
    "set_payload by filter": lambda c: c.set_payload("small", nested(122), PUBLIC),
    "overwrite_payload": lambda c: c.overwrite_payload("small", nested(122), [1]),
    "delete": lambda c: c.delete("small", nested_filter(80)),
    "set_payload of a filter": lambda c: c.set_payload(
        "small", {"a": 1}, models.FilterSelector(filter=nested_filter(80))
    ),
    "delete_vectors": lambda c: c.delete_vectors("small", [""], nested_filter(300)),
}


@pytest.mark.parametrize("call", TOO_DEEP.values(), ids=TOO_DEEP.keys())
def test_what_the_engine_could_not_read_again_is_not_written(small, tmp_path, call):
    small.upsert("small", [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"public": True})])

    with pytest.raises(InvalidInput, match="64 levels deep"):
        call(small)

    small.close()
    with EdgeClient(tmp_path) as again:
        assert again.count("small").count == 1


def test_what_is_nested_as_deep_as_may_be_is_read_again(small, tmp_path):
    deepest = nested_filter(30)  # with 64 levels: a filter, its list, a condition and its match are one each
    small.upsert("small", [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"a": nested(64), "public": True})])
    small.set_payload("small", {"b": nested(64)}, deepest)
    assert small.retrieve("small", [1])[0].payload["b"] == nested(64)
    small.delete("small", deepest)
    small.close()

    with EdgeClient(tmp_path) as again:
        assert again.count("small").count == 0
