"""Room on the disk: a full one is an error before the write, and what was deleted is given back."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant.collection.engines import edge_folder, edge_space
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import EngineError
from disks import KINDS, disk, fill_with
from edge_samples import MAX_SIM

DIM, TOKENS, BATCH = 96, 64, 32
PARAMS = models.VectorParams(size=DIM, distance=models.Distance.COSINE, multivector_config=MAX_SIM)
RNG = np.random.default_rng(0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[EdgeClient]:
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=PARAMS)
        yield client


def batch(first: int) -> list[models.PointStruct]:
    vectors = RNG.standard_normal((BATCH, TOKENS, DIM)).astype(np.float32)
    return [
        models.PointStruct.model_construct(
            id=first + i, vector=vector, payload={"number": first + i, "text": "x" * 400}
        )
        for i, vector in enumerate(vectors)
    ]


def fill(client: EdgeClient) -> int:
    """Add until the engine refuses; return how many points were acknowledged."""
    stored = client.count("docs").count
    with pytest.raises(EngineError, match=r"free, and this write needs about"):  # noqa: PT012
        for first in range(stored, 10**6, BATCH):
            client.upsert("docs", batch(first))
            stored = first + BATCH
    return stored


# --- a full disk


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_named_before_the_write_and_nothing_is_lost(tmp_path, kind):
    with disk(kind, KINDS[kind], tmp_path / "disk") as path:
        with EdgeClient(path) as client:
            client.create_collection("docs", vectors_config=PARAMS)

            stored = fill(client)

            assert stored > 0
            assert client.count("docs").count == stored
            assert len(client.query_points("docs", query=batch(0)[0].vector).points) == 10
        with EdgeClient(path) as again:
            assert again.count("docs").count == stored


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_somebody_else_filled_is_named_by_every_call_that_writes(tmp_path, kind):
    with disk(kind, KINDS[kind], tmp_path / "disk") as path:
        client = EdgeClient(path)
        client.create_collection("docs", vectors_config=PARAMS)
        client.upsert("docs", batch(0))
        ballast = path / "ballast"
        fill_with(ballast)

        for call in (lambda: client.upsert("docs", batch(BATCH)), lambda: client.delete("docs", [1]), client.close):
            with pytest.raises(EngineError):
                call()
        with pytest.raises(EngineError, match="opening it needs"):
            EdgeClient(path).count("docs")

        ballast.unlink()
        with EdgeClient(path) as again:
            assert again.count("docs").count == BATCH


@pytest.fixture
def nearly_full(monkeypatch):
    """Have 10 MB free, whatever the machine has."""
    real = os.statvfs

    def statvfs(path: object) -> object:
        found = real(path)
        return SimpleNamespace(f_bavail=10 * 2**20 // found.f_frsize, f_frsize=found.f_frsize)

    monkeypatch.setattr(os, "statvfs", statvfs)


def test_the_error_says_where_how_much_is_free_and_what_is_needed(client, tmp_path, nearly_full):
    client.upsert("docs", batch(0)[:1])

    with pytest.raises(EngineError, match=r"/docs has 10\.0 MB .* free, and this write needs about 25\.\d MB"):
        client.upsert("docs", [point for first in range(0, 10 * BATCH, BATCH) for point in batch(first)])

    assert client.count("docs").count == 1


def test_a_large_payload_counts(client, nearly_full):
    [point] = batch(0)[:1]
    point.payload["text"] = "x" * 10**6

    with pytest.raises(EngineError, match="needs about"):
        client.upsert("docs", [point])
    client.upsert("docs", batch(0)[:3])
    with pytest.raises(EngineError, match="needs about"):
        client.set_payload("docs", {"text": "x" * 300_000}, models.Filter())
    client.set_payload("docs", {"text": "x" * 300_000}, [0])


def test_deleting_is_possible_where_adding_is_not(client, nearly_full):
    client.upsert("docs", batch(0))

    client.delete("docs", models.Filter())

    assert client.count("docs").count == 0


# --- what was deleted


@pytest.fixture
def swelling(monkeypatch):
    """Flush after every write, and look at what deleted points keep from 4 MB on."""
    monkeypatch.setattr(edge_folder, "FLUSH_INTERVAL", 0)
    monkeypatch.setattr(edge_space, "SWOLLEN", 4 * 2**20)


def used(path: Path) -> int:
    return edge_space.allocated(path / "docs" / "shard" / "segments")


def replace_often(client: EdgeClient, path: Path, times: int) -> int:
    """Write the same points over and over; return the most bytes that they took meanwhile."""
    most = 0
    for _ in range(times):
        client.upsert("docs", batch(0))
        client.upsert("docs", batch(BATCH))
        client.delete("docs", list(range(BATCH, 2 * BATCH)))
        most = max(most, used(path))
    return most


def test_what_was_deleted_is_given_back_without_being_told(client, tmp_path, swelling):
    one_round = replace_often(client, tmp_path, 1)

    most = replace_often(client, tmp_path, 20)

    assert most < 6 * one_round
    assert sorted(record.id for record in client.scroll("docs", limit=100)[0]) == list(range(BATCH))
    assert client.query_points("docs", query=batch(0)[0].vector, limit=3).points


def test_a_large_collection_says_how_to_give_it_back(client, tmp_path, swelling, monkeypatch):
    monkeypatch.setattr(edge_space, "SMALL", 0)

    with pytest.warns(UserWarning, match=r"'docs' in .* takes \d+ MB .* documents need about \d+ MB.*optimize\(\)"):
        replace_often(client, tmp_path, 12)

    before = used(tmp_path)
    assert client.optimize("docs") is True
    assert used(tmp_path) < before / 4
    assert client.optimize("docs") is False


def test_an_emptied_collection_is_given_back_by_optimize(client, tmp_path):
    for first in range(0, 40 * BATCH, BATCH):
        client.upsert("docs", batch(first))
    client.delete("docs", models.Filter())

    assert client.optimize("docs") is True

    assert used(tmp_path) < 2**20


def test_a_healthy_collection_is_left_alone(client, tmp_path, swelling):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first in range(0, 10 * BATCH, BATCH):
            client.upsert("docs", batch(first))

    segments = {folder.name for folder in (tmp_path / "docs" / "shard" / "segments").iterdir()}
    client.upsert("docs", batch(0))
    assert {folder.name for folder in (tmp_path / "docs" / "shard" / "segments").iterdir()} == segments


def test_a_folder_that_is_gone_takes_nothing(tmp_path):
    shutil.rmtree(tmp_path)

    assert edge_space.allocated(tmp_path) == 0
    assert edge_space.unmapped_need(tmp_path) == 0


@pytest.mark.skipif(not hasattr(os, "major"), reason="Windows numbers no devices")
def test_a_disk_in_memory_is_known_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    mount = f"1 1 {os.major(device)}:{os.minor(device)} / /mnt/a\u2028b rw - tmpfs tmpfs rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mount)

    assert edge_space._is_in_memory(tmp_path)
