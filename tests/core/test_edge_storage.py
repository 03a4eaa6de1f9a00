"""Collections of the embedded engine: what they remember, who may open them, and what a killed process leaves."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant.collection.engines import edge_folder, edge_translate
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import (
    CollectionNotFound,
    MissingExtra,
)
from edge_samples import (
    DENSE_DIM,
    MAX_SIM,
    NEAREST_COLBERT,
    POINTS,
    SPARSE,
    VECTORS,
    make_points,
    same_hits,
)


@pytest.fixture
def client(tmp_path):
    with EdgeClient(tmp_path) as client:
        yield client


@pytest.fixture
def small(client):
    """A client with one collection of one unnamed vector of two numbers."""
    client.create_collection("small", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    return client


def test_a_collection_gives_back_what_it_was_made_with(client):
    metadata = {"model": "colbert", "lengths": {"query": 32}, "made": dt.date(2024, 1, 1)}

    client.create_collection(
        "docs",
        vectors_config=VECTORS,
        sparse_vectors_config=SPARSE,
        hnsw_config=models.HnswConfigDiff(ef_construct=200),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        ),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5000),
        on_disk_payload=True,
        metadata=metadata,
    )

    config = client.get_collection("docs").config
    assert config.params.vectors == VECTORS
    assert config.params.sparse_vectors == SPARSE
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (16, 200)
    assert config.quantization_config.scalar.always_ram
    assert config.optimizer_config.indexing_threshold == 5000
    assert config.metadata == metadata | {"made": "2024-01-01"}


def test_an_unnamed_multivector_is_searched_without_a_name(client):
    client.create_collection(
        "docs",
        vectors_config=models.VectorParams(
            size=2, distance=models.Distance.DOT, multivector_config=MAX_SIM, datatype=models.Datatype.FLOAT16
        ),
    )
    client.upsert("docs", [models.PointStruct(id=1, vector=[[1.0, 0.0], [0.0, 3.0]], payload={})])

    hit = client.query_points("docs", query=[[2.0, 0.0], [0.0, 1.0]], with_vectors=True).points[0]

    assert hit.score == pytest.approx(5)
    assert hit.vector.tolist() == [[1.0, 0.0], [0.0, 3.0]]


def test_a_vectors_index_inherits_from_the_collections(client, tmp_path):
    client.create_collection("docs", vectors_config=VECTORS, hnsw_config=models.HnswConfigDiff(m=24, ef_construct=200))

    config = json.loads((tmp_path / "docs" / "shard" / "edge_config.json").read_text())
    assert config["hnsw_config"]["m"] == 24
    assert config["vectors"]["colbert"]["hnsw_config"]["m"] == 0
    assert config["vectors"]["colbert"]["hnsw_config"]["ef_construct"] == 200


def test_metadata_is_merged_key_by_key(small):
    small.update_collection("small", metadata={"model": "a", "dim": 8})
    small.update_collection("small", metadata={"model": "b", "dim": None, "new": [1]})

    assert small.get_collection("small").config.metadata == {"model": "b", "new": [1]}


def test_everything_is_there_when_opened_again(tmp_path):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=VECTORS, sparse_vectors_config=SPARSE, metadata={"a": 1})
        client.upsert("docs", make_points())
        client.create_payload_index("docs", "year", models.PayloadSchemaType.INTEGER)
        before = client.query_points("docs", **NEAREST_COLBERT)

    with EdgeClient(tmp_path) as again:
        info = again.get_collection("docs")
        same_hits(again.query_points("docs", **NEAREST_COLBERT), before)

    assert (info.points_count, info.config.metadata, info.config.params.vectors) == (POINTS, {"a": 1}, VECTORS)
    assert info.payload_schema["year"].data_type == models.PayloadSchemaType.INTEGER


def test_collections_are_listed_deleted_and_missed(small, tmp_path):
    small.create_collection("other", sparse_vectors_config=SPARSE)
    assert [each.name for each in small.get_collections().collections] == ["other", "small"]

    assert small.delete_collection("other") is True

    assert small.collection_exists("other") is False
    assert small.delete_collection("other") is False
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    with pytest.raises(CollectionNotFound, match="other"):
        small.count("other")


def test_a_deleted_collection_can_be_made_anew(small):
    small.upsert("small", [models.PointStruct(id=1, vector=[1.0, 2.0])])

    small.delete_collection("small")
    small.create_collection("small", vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))

    assert small.count("small").count == 0


def test_a_vector_added_later_is_searched_and_remembered(tmp_path):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config={"dense": VECTORS["dense"]})
        client.upsert("docs", [models.PointStruct(id=1, vector={"dense": [1.0] * DENSE_DIM})])
        config = models.DenseVectorConfig(size=2, distance=models.Distance.DOT, multivector_config=MAX_SIM)
        client.create_vector_name("docs", "colbert", models.DenseVectorNameConfig(dense=config))
        sparse = models.SparseVectorConfig(modifier=models.Modifier.IDF)
        client.create_vector_name("docs", "bm25", models.SparseVectorNameConfig(sparse=sparse))
        client.update_vectors("docs", [models.PointVectors(id=1, vector={"colbert": [[1.0, 2.0]]})])

    with EdgeClient(tmp_path) as again:
        assert again.query_points("docs", query=[[1.0, 1.0]], using="colbert").points[0].score == pytest.approx(3)
        params = again.get_collection("docs").config.params
        assert params.vectors["colbert"].multivector_config == MAX_SIM
        assert params.sparse_vectors["bm25"].modifier == models.Modifier.IDF


def test_nothing_is_indexed_before_optimize(client):
    client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=64, distance=models.Distance.DOT)},
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10),
    )
    rows = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
    points = [models.PointStruct.model_construct(id=i, vector={"dense": row}) for i, row in enumerate(rows)]
    client.upsert("docs", points)
    assert client.get_collection("docs").indexed_vectors_count == 0

    assert client.optimize("docs") is True

    assert client.get_collection("docs").indexed_vectors_count == 1000
    assert client.query_points("docs", query=rows[5] * 3, using="dense", limit=1).points[0].id == 5
    assert client.optimize("docs") is False


@pytest.fixture
def fresh_engine():
    edge_translate.engine.cache_clear()
    yield
    edge_translate.engine.cache_clear()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch, fresh_engine):
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)

    with pytest.raises(MissingExtra, match=r'pip install "colbert-qdrant\[edge\]"'):
        EdgeClient(tmp_path)


def test_another_version_of_the_package_is_named(tmp_path, monkeypatch, fresh_engine):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.8.3")

    with pytest.raises(MissingExtra, match=r"0\.8\.3"):
        EdgeClient(tmp_path)


def test_the_package_is_not_imported_before_it_is_used():
    script = "import sys, colbert_qdrant.collection.engines.edge; print('qdrant_edge' in sys.modules)"

    assert run(script) == "False"


def run(script: str, *arguments: object) -> str:
    """Return what a script prints in a process of its own."""
    with start(script, *arguments) as process:
        return process.communicate(timeout=60)[0].strip()


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


OPEN_IN_ANOTHER_PROCESS = """
    import sys
    from colbert_qdrant.collection.engines.edge import EdgeClient
    from colbert_qdrant.errors import CollectionLocked
    try:
        print(EdgeClient(sys.argv[1]).count("small").count)
    except CollectionLocked as error:
        print("locked:", error)
"""


def test_a_second_process_is_refused_and_the_first_is_unharmed(small, tmp_path):
    small.create_payload_index("small", "year", models.PayloadSchemaType.INTEGER)

    assert run(OPEN_IN_ANOTHER_PROCESS, tmp_path).startswith("locked: Collection 'small'")

    small.upsert("small", [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"year": 1})])
    small.flush("small")
    small.close()
    assert run(OPEN_IN_ANOTHER_PROCESS, tmp_path) == "1"


def test_two_clients_share_a_path_with_a_collection_each(small, tmp_path):
    with EdgeClient(tmp_path) as other:
        other.create_collection("other", sparse_vectors_config=SPARSE)

        assert (small.count("small").count, other.count("other").count) == (0, 0)


def test_a_missing_collection_leaves_no_folder(client, tmp_path):
    with pytest.raises(CollectionNotFound, match="nowhere"):
        client.count("nowhere")

    assert list(tmp_path.iterdir()) == []


WRITE_UNTIL_KILLED = """
    import sys
    import numpy as np
    from colbert_qdrant.collection.engines import edge_folder
    from colbert_qdrant.collection.engines.edge import EdgeClient
    from qdrant_client import models

    edge_folder.FLUSH_INTERVAL = float(sys.argv[3])
    client, start = EdgeClient(sys.argv[1]), int(sys.argv[2])
    vectors = np.random.default_rng(0).standard_normal((20, 16, 32)).astype(np.float32)
    for number in range(start, start + 100_000, 20):
        points = [
            models.PointStruct.model_construct(id=number + i, vector=vectors[i], payload={"number": number + i})
            for i in range(20)
        ]
        client.upsert("docs", points)
        print(number + 20, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("flush_interval", [0, 0.02, 5])
def test_no_acknowledged_point_is_lost_when_the_process_is_killed(tmp_path, flush_interval):
    params = models.VectorParams(size=32, distance=models.Distance.DOT, multivector_config=MAX_SIM)
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=params)
        client.create_payload_index("docs", "number", models.PayloadSchemaType.INTEGER)

    acknowledged = 0
    for batches in (3, 12):
        acknowledged = write_and_kill(tmp_path, acknowledged, flush_interval, batches)

        with EdgeClient(tmp_path) as client:
            written = models.Filter(must=[models.FieldCondition(key="number", range=models.Range(lt=acknowledged))])
            assert client.count("docs", written).count == acknowledged
            assert len(client.retrieve("docs", range(acknowledged), with_vectors=True)) == acknowledged


def write_and_kill(path: Path, first: int, flush_interval: float, batches: int) -> int:
    """Write batches in another process, kill it, and return the number of points it had reported as written."""
    with start(WRITE_UNTIL_KILLED, path, first, flush_interval) as writer:
        reports = [writer.stdout.readline() for _ in range(batches)]
        writer.send_signal(signal.SIGKILL)
        return int([*reports, *writer.stdout.read().split()][-1])


def test_writes_are_flushed_every_few_seconds_and_on_request(small, tmp_path, monkeypatch):
    def flushed() -> int:
        return json.loads((tmp_path / "small" / "shard" / "wal" / "first-index").read_text())["ack_index"]

    def write_three() -> None:
        for i in range(3):
            small.upsert("small", [models.PointStruct(id=i, vector=[1.0, 2.0])])

    at_first = flushed()
    write_three()
    assert flushed() == at_first

    small.flush("small")
    on_request = flushed()
    monkeypatch.setattr(edge_folder, "FLUSH_INTERVAL", 0)
    write_three()

    assert at_first < on_request < flushed()


def test_threads_share_a_client(client):
    client.create_collection("docs", vectors_config=VECTORS, sparse_vectors_config=SPARSE)
    points = make_points()
    errors = []

    def work(mine: list[models.PointStruct]) -> None:
        try:
            for point in mine:
                client.upsert("docs", [point])
                assert client.query_points("docs", **NEAREST_COLBERT).points
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(points[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert client.count("docs").count == POINTS
