"""A model is told from another one of its name by its files; reading them for that is done once."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

import tiny_models
from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.embedding import cache
from colbert_qdrant.embedding.sentence import SentenceEmbedder
from colbert_qdrant.errors import CollectionMismatch

TRUNCATION = {"strategy": "LongestFirst", "stride": 0, "direction": "Right"}
TEXTS = ["an apple", "a pear", "the sky at night"]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "v1" / "model")


@pytest.fixture
def client(folder: Path) -> QdrantClient:
    """A collection made by the model in `folder`."""
    client = QdrantClient(":memory:")
    MultivectorCollection("fruit", ColbertEmbedder(folder), client=client).add(TEXTS)
    return client


def reworded(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_another_word(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["apple"], vocabulary["pear"] = vocabulary["pear"], vocabulary["apple"]
    reworded(folder / "tokenizer.json", model=tokenizer["model"])


CHANGES: dict[str, Callable[[Path], Any]] = {
    "ONNX file": lambda folder: tiny_models.build_colbert(folder, seed=1),
    "tokenizer.json": with_another_word,
    "other markers": lambda folder: reworded(folder / "artifact.metadata", doc_token_id="[unused5]"),
    "skip-listed tokens": lambda folder: reworded(folder / "artifact.metadata", mask_punctuation=False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_model_in_a_folder_of_the_same_name_is_refused(folder: Path, client: QdrantClient, what: str) -> None:
    other = shutil.copytree(folder, folder.parents[1] / "v2" / "model")
    CHANGES[what](other)

    with pytest.raises(CollectionMismatch, match=f"{what}.*of 'model'"):
        MultivectorCollection("fruit", ColbertEmbedder(other), client=client)


@pytest.mark.parametrize("change", [{"num_protected_tokens": 4}, {"normalize_embeddings": False}])
def test_a_checkpoint_that_pools_in_a_way_of_its_own_is_told_by_it(tmp_path: Path, change: dict[str, Any]) -> None:
    usual, own = pooling_folder(tmp_path / "usual"), pooling_folder(tmp_path / "own")
    reworded(own / "4_HierarchicalTokenPooling/config.json", **change)

    theirs, ours = ColbertEmbedder(usual).settings, ColbertEmbedder(own).settings

    assert {name for name in ours if ours[name] != theirs[name]} == {"model", "text"}
    assert theirs["text"] == ColbertEmbedder(usual, pool_factor=3).settings["text"]


def pooling_folder(folder: Path) -> Path:
    modules = Path(__file__).parents[1] / "data/checkpoints/st-modules"
    shutil.copytree(modules / "pooled", folder)
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copyfile(modules / name, folder / name)
    return folder


def test_the_same_files_elsewhere_are_the_same_model(folder: Path, client: QdrantClient) -> None:
    other = shutil.copytree(folder, folder.parents[1] / "v2" / "model")
    reworded(
        other / "tokenizer.json",
        truncation={**TRUNCATION, "max_length": 31},
    )
    reworded(other / "artifact.metadata", query_maxlen=24)

    collection = MultivectorCollection("fruit", ColbertEmbedder(other), client=client)

    assert collection.add(TEXTS).unchanged == 3


def test_stored_vectors_of_another_graph_do_not_stand_in(folder: Path, client: QdrantClient) -> None:
    collection = MultivectorCollection("fruit", ColbertEmbedder(folder), client=client)
    [one, *_] = collection.add(TEXTS, ids=["1", "2", "3"]).ids
    assert list(collection.score("a fruit", [one], texts=[TEXTS[0]])) == [one]

    collection.settings = collection.settings | {"graph": "another"}

    assert collection.score("a fruit", [one], texts=[TEXTS[0]]) == {}
    with pytest.raises(CollectionMismatch, match="another ONNX file"):
        collection.add(TEXTS, ids=["1", "2", "3"])


def test_a_collection_of_before_is_opened_and_says_what_can_not_be_checked(folder: Path) -> None:
    client, embedder = QdrantClient(":memory:"), ColbertEmbedder(folder)
    old = MultivectorCollection("fruit", embedder, client=client, create=True)
    files = ("graph", "tokenizer", "text")
    remembered = {name: value for name, value in old.settings.items() if name not in files}
    client.update_collection("fruit", metadata={"colbert_qdrant": remembered})

    with pytest.warns(UserWarning, match="whether the files are those it was made with can't be checked") as said:
        MultivectorCollection("fruit", embedder, client=client)

    assert len(said) == 1


def test_a_collection_of_now_says_nothing(folder: Path, client: QdrantClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultivectorCollection("fruit", ColbertEmbedder(folder), client=client)


def test_a_sentence_model_is_known_by_its_graph_too(offline: ColbertEmbedder) -> None:
    assert SentenceEmbedder().graph == offline.settings["graph"]


# What it costs


def test_the_hub_names_a_large_file_by_its_digest(tmp_path: Path) -> None:
    blobs = tmp_path / "models--me--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("ab" * 32)).write_bytes(b"weights")

    assert cache.digest_of(blobs / ("ab" * 32)) == "ab" * 32


def test_a_name_elsewhere_says_nothing(tmp_path: Path) -> None:
    (tmp_path / ("ab" * 32)).write_bytes(b"weights")

    assert cache.digest_of(tmp_path / ("ab" * 32)) == hashlib.sha256(b"weights").hexdigest()


OPEN = """
import resource, sys, time
from pathlib import Path
from colbert_qdrant.embedding.cache import digest_of
before = time.process_time()
print(digest_of(Path(sys.argv[1])), time.process_time() - before)
"""


def test_440_megabytes_are_read_once_and_not_at_each_start(tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    with weights.open("wb") as file:
        file.truncate(440 * 2**20)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def opened() -> tuple[str, float]:
        run = subprocess.run([sys.executable, "-c", OPEN, weights], env=environment, capture_output=True, check=True)
        digest, seconds = run.stdout.decode().split()
        return digest, float(seconds)

    (first, computing), (second, remembering) = opened(), opened()

    assert first == second
    assert remembering < computing / 10


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    before = cache.digest_of(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))

    assert cache.digest_of(path) != before


@pytest.mark.parametrize("way", ["written", "replaced"])
def test_a_file_of_the_same_size_and_time_is_another_one(tmp_path: Path, way: str) -> None:
    """As Nix, Bazel and archives with fixed dates have them."""
    path, new = tmp_path / "model.onnx", tmp_path / "new"
    for place, content in ((path, b"one"), (new, b"two")):
        place.write_bytes(content)
        os.utime(place, ns=(1, 1))
    before = cache.digest_of(path)
    time.sleep(0.02)  # no file system tells times apart that are nearer
    new.replace(path) if way == "replaced" else path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))

    assert cache.digest_of(path) == hashlib.sha256(b"two").hexdigest() != before


def test_a_name_that_a_shared_file_is_given_changes_nothing(tmp_path: Path) -> None:
    """As uv and conda give out a package's files to one environment more."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    os.link(path, tmp_path / "of the first environment")
    before = cache.file_version(path)
    time.sleep(0.02)
    os.link(path, tmp_path / "of the second")

    assert cache.file_version(path) == before


def test_a_note_that_is_no_digest_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    digest = cache.digest_of(path)
    cache._remembered.cache_clear()
    for note in (cache.own_folder(None) / "digests").iterdir():
        note.write_bytes(b"3 1 ../../etc/passwd\xff")

    assert cache.digest_of(path) == digest


# One model a process


def test_embedders_of_equal_settings_share_the_model(folder: Path) -> None:
    one, other = ColbertEmbedder(folder, threads=1), ColbertEmbedder(folder, threads=1, pool_factor=2)
    list(one.embed(TEXTS))
    list(other.embed(TEXTS))

    assert one._document_encoder is other._document_encoder


def test_a_file_that_was_replaced_is_another_model(folder: Path) -> None:
    [before] = ColbertEmbedder(folder, threads=1).embed("an apple")
    kept = ColbertEmbedder(folder, threads=1)
    list(kept.embed("an apple"))
    tiny_models.build_colbert(folder, seed=1)

    [after] = ColbertEmbedder(folder, threads=1).embed("an apple")

    assert (before != after).any()


def test_a_model_of_the_same_size_and_time_is_another_model(folder: Path, tmp_path: Path) -> None:
    os.utime(folder / "model.onnx", (1, 1))
    kept = ColbertEmbedder(folder, threads=1)
    [before] = kept.embed("an apple")
    (tiny_models.build_colbert(tmp_path / "other", seed=1) / "model.onnx").replace(folder / "model.onnx")
    os.utime(folder / "model.onnx", (1, 1))

    [after] = ColbertEmbedder(folder, threads=1).embed("an apple")

    assert (before != after).any()


def test_the_last_one_frees_it(folder: Path) -> None:
    embedder = ColbertEmbedder(folder, threads=1)
    encoder = weakref.ref(embedder._document_encoder)
    del embedder
    gc.collect()

    assert encoder() is None
