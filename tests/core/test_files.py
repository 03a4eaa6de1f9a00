from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.files import external_data, with_external_data
from colbert_qdrant.errors import ModelFilesNotFound

REPO = "colbert-ir/colbertv2.0"
COMMIT = "0" * 40


def hub_cache(cache: Path, model: Path, repo: str = REPO, onnx_name: str = "model.onnx") -> Path:
    """Lay a model out as the hub's cache does: blobs, and a snapshot of links to them."""
    root = cache / f"models--{repo.replace('/', '--')}"
    blobs, snapshot = root / "blobs", root / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    for file in model.iterdir():
        blob = blobs / f"{hash(file.name) % 2**64:016x}"
        shutil.copyfile(file, blob)
        name = onnx_name if file.suffix == ".onnx" else file.name
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return cache


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_a_cached_model_is_loaded_without_the_network(tiny_folder: Path, tmp_path: Path) -> None:
    cache = hub_cache(tmp_path, tiny_folder)

    embedder = ColbertEmbedder(REPO, cache_dir=cache)

    assert embedder.model_name == REPO
    assert len(next(embedder.embed("Hello World"))) == 5


@pytest.mark.usefixtures("no_network")
def test_any_repository_works_when_its_file_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    cache = hub_cache(tmp_path, tiny_folder, repo="me/my-colbert", onnx_name="my.onnx")

    embedder = ColbertEmbedder("me/my-colbert", cache_dir=cache, model_file="my.onnx")

    assert (embedder.model_name, embedder.dim) == ("me/my-colbert", 128)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_and_not_cached_names_the_files_and_three_ways_out(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", how == "environment")

    with pytest.raises(ModelFilesNotFound) as caught:
        ColbertEmbedder(REPO, cache_dir=tmp_path, local_files_only=how == "argument")

    message = str(caught.value)
    assert "model.onnx" in message
    assert all(way in message for way in (REPO, str(tmp_path), "hf download", "folder", "colbert-qdrant[offline]"))


@pytest.mark.usefixtures("no_network")
def test_a_cache_that_lacks_a_file_is_not_enough(tiny_folder: Path, tmp_path: Path) -> None:
    cache = hub_cache(tmp_path, tiny_folder)
    (next(cache.glob("*/snapshots/*")) / "tokenizer.json").unlink()

    with pytest.raises(ModelFilesNotFound, match=r"tokenizer\.json"):
        ColbertEmbedder(REPO, cache_dir=cache, local_files_only=True)


def test_a_revision_that_is_not_cached_is_not_replaced_by_another(tiny_folder: Path, tmp_path: Path) -> None:
    cache = hub_cache(tmp_path, tiny_folder)

    with pytest.raises(ModelFilesNotFound, match="at revision v2"):
        ColbertEmbedder(REPO, cache_dir=cache, revision="v2", local_files_only=True)


def test_weights_outside_the_graph_are_found_behind_the_caches_links(tiny_folder: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    shutil.copytree(tiny_folder, apart)
    graph = onnx.load(apart / "model.onnx")
    onnx.save_model(
        graph, apart / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=4096
    )
    cache = hub_cache(tmp_path / "cache", apart)
    snapshot = next(cache.glob("*/snapshots/*"))

    real = with_external_data(snapshot / "model.onnx")

    assert external_data(snapshot / "model.onnx") == ["model.onnx_data"]
    assert not any(file.is_symlink() for file in real.parent.iterdir())
    [ours] = ColbertEmbedder(snapshot, document_length=512).embed("Hello World")
    [plain] = ColbertEmbedder(tiny_folder).embed("Hello World")
    np.testing.assert_allclose(ours, plain, atol=1e-6)


def test_a_graph_with_its_weights_inside_is_left_where_it_is(tiny_folder: Path) -> None:
    assert with_external_data(tiny_folder / "model.onnx") == tiny_folder / "model.onnx"


def test_a_folder_with_several_graphs_asks_which(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "two")
    (tmp_path / "two" / "model.onnx").rename(tmp_path / "two" / "a.onnx")
    shutil.copyfile(tmp_path / "two" / "a.onnx", tmp_path / "two" / "b.onnx")

    with pytest.raises(ModelFilesNotFound, match=r"a\.onnx, b\.onnx: name one with model_file="):
        ColbertEmbedder(tmp_path / "two")

    assert ColbertEmbedder(tmp_path / "two", model_file="b.onnx").dim == 128
