"""The folder of an embedded collection is not trusted: names, links, rights, and files that are gone or damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qdrant_client import models

from colbert_qdrant import Bm25, MultivectorCollection, Muvera
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import CollectionNotFound, EngineError, InvalidInput
from conftest import WordEmbedder
from edge_samples import MAX_SIM, SPARSE

PAIR = models.VectorParams(size=2, distance=models.Distance.DOT)


def make(path: Path, name: str = "small", points: int = 0) -> None:
    with EdgeClient(path) as client:
        client.create_collection(name, vectors_config=PAIR)
        for number in range(points):
            client.upsert(name, [models.PointStruct(id=number, vector=[1.0, number])])


# --- paths and names


def a_file(path: Path) -> Path:
    (path / "file").write_text("")
    return path / "file"


def below_a_file(path: Path) -> Path:
    return a_file(path) / "data"


def a_dangling_link(path: Path) -> Path:
    (path / "link").symlink_to(path / "nowhere" / "else")
    return path / "link"


def a_loop(path: Path) -> Path:
    (path / "one").symlink_to(path / "two")
    (path / "two").symlink_to(path / "one")
    return path / "one"


BAD_PATHS: dict[str, Callable[[Path], object]] = {
    "a file": a_file,
    "below a file": below_a_file,
    "a loop of links": a_loop,
    "a name too long": lambda path: path / ("n" * 300),
    "too long altogether": lambda path: path.joinpath(*["n" * 200] * 30),
    "a lone surrogate": lambda path: f"{path}/\ud800",
    "a NUL": lambda path: f"{path}/a\0b",
    "bytes": lambda path: bytes(path),
    "a number": lambda path: 7,
}


@pytest.mark.parametrize("bad_path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_path_that_can_be_no_folder_is_named(tmp_path, bad_path):
    path = bad_path(tmp_path)

    with pytest.raises(InvalidInput), EdgeClient(path) as client:
        client.create_collection("small", vectors_config=PAIR)


@pytest.mark.parametrize("target", ["a link that leads nowhere", "a file"])
def test_what_stands_where_a_collections_folder_is_needed_is_named(tmp_path, target):
    if target == "a file":
        (tmp_path / "small").write_text("")
    else:
        (tmp_path / "small").symlink_to(tmp_path / "nowhere" / "else")

    with EdgeClient(tmp_path) as client, pytest.raises(InvalidInput, match=r"'small'.*no folder"):
        client.create_collection("small", vectors_config=PAIR)


@pytest.mark.parametrize("name", ["ü" * 128, "\ud800", "", "a/b", "..", "n" * 256])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path, name):
    with EdgeClient(tmp_path) as client:
        for call in (client.collection_exists, client.count, client.delete_collection):
            with pytest.raises(InvalidInput, match="name"):
                call(name)


def test_the_longest_name_is_taken(tmp_path):
    make(tmp_path, "ü" * 127)

    with EdgeClient(tmp_path) as client:
        assert client.count("ü" * 127).count == 0


def test_a_lock_that_is_a_folder_is_named(tmp_path):
    make(tmp_path)
    (tmp_path / "small" / "lock").unlink()
    (tmp_path / "small" / "lock").mkdir()

    with EdgeClient(tmp_path) as client, pytest.raises(EngineError, match=r"lock.*a folder stands where a file"):
        client.count("small")


def test_a_collection_may_be_called_as_a_file_of_local_mode(tmp_path):
    make(tmp_path, "meta.json", points=1)
    make(tmp_path, "other", points=2)

    with EdgeClient(tmp_path) as client:
        assert (client.count("meta.json").count, client.count("other").count) == (1, 2)


# --- rights

WITHOUT_RIGHTS = """
import os, sys
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import EngineError
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for call in ("count", "collection_exists", "delete_collection"):
    try:
        print(call, getattr(EdgeClient(sys.argv[1]), call)("small"))
    except EngineError as error:
        print("named", error)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users reach, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no such rights on Windows")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_the_rights_to_it_is_named(open_to_all, mode):
    make(open_to_all)
    (open_to_all / "small" / "lock").chmod(0o444)
    (open_to_all / "small").chmod(mode)
    try:
        printed = _run(WITHOUT_RIGHTS, open_to_all)
    finally:
        (open_to_all / "small").chmod(0o755)

    assert printed[0].startswith("named Collection 'small'")
    assert "this user may not write there" in printed[0]
    assert len(printed) == 3
    make(open_to_all, "still works")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may mount")
def test_a_read_only_disk_is_named(tmp_path):
    make(tmp_path, points=1)
    if subprocess.run(["mount", "--bind", tmp_path, tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        with EdgeClient(tmp_path) as client, pytest.raises(EngineError, match="copy the folder to where it can"):
            client.count("small")
    finally:
        subprocess.run(["umount", tmp_path], check=True)

    with EdgeClient(tmp_path) as client:
        assert client.count("small").count == 1


def _run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# --- what is gone


def test_documents_survive_the_loss_of_their_description(tmp_path: Path, words: WordEmbedder) -> None:
    stages = [Bm25(), Muvera(words.dim, k_sim=3, dim_proj=8, r_reps=4)]
    texts = [f"text {number}" for number in range(20)]
    with MultivectorCollection("docs", words, path=tmp_path, stages=stages) as docs:
        docs.add(texts)
        hits = docs.search("text 7", 1)
    (tmp_path / "docs" / "collection.json").unlink()

    with pytest.warns(UserWarning, match=r"collection\.json was gone\. The 20 documents are there"):
        docs = MultivectorCollection("docs", words, path=tmp_path, stages=stages)

    assert docs.search("text 7", 1) == hits
    assert docs.add(texts).unchanged == 20
    docs.close()


def test_an_unnamed_vector_is_recovered_as_one(tmp_path):
    params = models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=MAX_SIM)
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=params)
    (tmp_path / "docs" / "collection.json").unlink()

    with pytest.warns(UserWarning, match="was gone"), EdgeClient(tmp_path) as client:
        assert client.get_collection("docs").config.params.vectors.size == 2


def test_a_shard_without_any_description_is_left_alone(tmp_path):
    make(tmp_path, points=3)
    (tmp_path / "small" / "collection.json").unlink()
    (tmp_path / "small" / "shard" / "edge_config.json").rename(tmp_path / "elsewhere.json")

    with EdgeClient(tmp_path) as client:
        with pytest.raises(CollectionNotFound):
            client.count("small")
        with pytest.raises(EngineError, match=r"small has a shard.*documents.*move"):
            client.create_collection("small", vectors_config=PAIR)

    (tmp_path / "elsewhere.json").rename(tmp_path / "small" / "shard" / "edge_config.json")
    with pytest.warns(UserWarning, match="3 documents"), EdgeClient(tmp_path) as client:
        assert client.count("small").count == 3


def test_what_a_killed_creation_left_is_replaced(tmp_path):
    make(tmp_path, "docs")
    (tmp_path / "docs" / "collection.json").rename(tmp_path / "docs" / "unfinished")

    with EdgeClient(tmp_path) as client:
        assert not client.collection_exists("docs")
        client.create_collection("docs", sparse_vectors_config=SPARSE)
        assert client.get_collection("docs").config.params.sparse_vectors == SPARSE
        assert not (tmp_path / "docs" / "unfinished").exists()


def test_what_a_killed_deletion_left_is_no_collection(tmp_path, monkeypatch):
    make(tmp_path, "docs", points=3)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with EdgeClient(tmp_path) as client:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                client.delete_collection("docs")

        assert not client.collection_exists("docs")
        client.create_collection("docs", vectors_config=PAIR)
        assert client.count("docs").count == 0


# --- what is damaged


def damage(folder: Path) -> None:
    """Cut the file that says which points there are: the engine opens what is left without a word."""
    for mappings in folder.rglob("mutable_id_tracker.mappings"):
        content = mappings.read_bytes()
        mappings.write_bytes(content[: len(content) // 2])


def test_points_that_are_lost_to_damaged_files_are_counted(tmp_path):
    make(tmp_path, points=100)
    damage(tmp_path / "small")

    with pytest.warns(UserWarning, match=r"'small' in .* held 100 documents when it was closed and holds \d+ now"):
        EdgeClient(tmp_path).count("small")


def test_the_count_is_right_after_every_kind_of_session(tmp_path):
    make(tmp_path, points=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for session in ("only reads", "writes", "writes and is not closed", "reads once more"):
            client = EdgeClient(tmp_path)
            client.count("small")
            if "writes" in session:
                client.upsert("small", [models.PointStruct(id=1000 + len(session), vector=[1.0, 2.0])])
            if "not closed" not in session:
                client.close()
            del client

    assert json.loads((tmp_path / "small" / "points").read_text()) == 12


def test_a_count_that_is_no_number_says_nothing(tmp_path):
    make(tmp_path, points=1)
    (tmp_path / "small" / "points").write_text("[")

    with EdgeClient(tmp_path) as client:
        assert client.count("small").count == 1
