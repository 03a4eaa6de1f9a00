from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

import tiny_models
from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.cache import own_folder
from colbert_qdrant.embedding.files import external_data, with_external_data
from colbert_qdrant.errors import InvalidModel, ModelFilesNotFound

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

    real = with_external_data(snapshot / "model.onnx", snapshot)

    assert external_data(snapshot / "model.onnx") == ["model.onnx_data"]
    assert not any(file.is_symlink() for file in real.parent.iterdir())
    [ours] = ColbertEmbedder(snapshot, document_length=512).embed("Hello World")
    [plain] = ColbertEmbedder(tiny_folder).embed("Hello World")
    np.testing.assert_allclose(ours, plain, atol=1e-6)


def naming(folder: Path, *locations: str) -> Path:
    """Write what a graph's bytes hold of the files its weights are in, and nothing else of it."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = (b"\x0a\x08location\x12" + bytes([len(name)]) + name.encode() for name in locations)
    (folder / "model.onnx").write_bytes(b"".join(entries))
    shutil.copyfile(tiny_models.CHECKPOINT / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "a/../../secret", "..", "C:\\secret", "\\\\host\\x", "a\0b"]
)
def test_a_graph_may_not_name_weights_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModel, match="not inside its folder"):
        ColbertEmbedder(naming(tmp_path / "model", name))


def test_a_folder_of_links_overwrites_nothing(tmp_path: Path) -> None:
    """The links lead nowhere but inside the folder, as in one that was unpacked from an archive."""
    home, model = tmp_path / "home", tmp_path / "home" / "model"
    naming(model / "a/b/c/d", "w.bin", "../../../.bashrc")
    (home / ".bashrc").write_text("mine")
    (model / "a/.bashrc").write_text("theirs")
    (model / "a/b/c/d/w.bin").symlink_to("../../../.bashrc")
    (model / "onnx").symlink_to("a/b/c/d")
    shutil.copyfile(tiny_models.CHECKPOINT / "tokenizer.json", model / "tokenizer.json")
    before = sorted(home.rglob("*"))

    with pytest.raises(InvalidModel, match="not inside its folder"):
        ColbertEmbedder(model)

    assert (home / ".bashrc").read_text() == "mine"
    assert sorted(home.rglob("*")) == before


def test_a_linked_file_that_is_no_part_of_the_model_is_not_taken_for_weights(tmp_path: Path) -> None:
    model = naming(tmp_path / "model", "w.bin")
    (tmp_path / "id_rsa").write_text("secret")
    (model / "w.bin").symlink_to("../id_rsa")

    with pytest.raises(InvalidModel, match="is not part of the model"):
        ColbertEmbedder(model)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["id_rsa", "model"]


def with_weights_in(folder: Path, tiny_folder: Path, location: str) -> Path:
    shutil.copytree(tiny_folder, folder)
    (folder / location).parent.mkdir(exist_ok=True)
    onnx.save_model(
        onnx.load(folder / "model.onnx"),
        folder / "model.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=4096,
    )
    return folder


def test_weights_in_a_subfolder_are_read_where_they_lie(tiny_folder: Path, tmp_path: Path) -> None:
    folder = with_weights_in(tmp_path / "apart", tiny_folder, "data/w.bin")
    before = sorted(tmp_path.rglob("*"))

    [vectors] = ColbertEmbedder(folder).embed("Hello World")

    assert vectors.shape == (5, 128)
    assert sorted(tmp_path.rglob("*")) == before


def test_linked_weights_in_a_subfolder_keep_their_place(tiny_folder: Path, tmp_path: Path) -> None:
    folder = with_weights_in(tmp_path / "apart", tiny_folder, "data/w.bin")
    (folder / "data").rename(folder / "stored")
    (folder / "data").symlink_to("stored")

    [vectors] = ColbertEmbedder(folder).embed("Hello World")

    assert vectors.shape == (5, 128)


@pytest.fixture
def linked(tiny_folder: Path, tmp_path: Path) -> Path:
    """A snapshot of the hub's cache whose graph keeps its weights in a file of their own."""
    apart = with_weights_in(tmp_path / "apart", tiny_folder, "model.onnx_data")
    return next(hub_cache(tmp_path / "cache", apart).glob("*/snapshots/*"))


def test_links_to_weights_are_made_once_and_not_at_each_start(linked: Path) -> None:
    first = with_external_data(linked / "model.onnx", linked)
    made = {path: path.stat().st_ino for path in first.parent.iterdir()}

    again = with_external_data(linked / "model.onnx", linked)

    assert again == first
    assert {path: path.stat().st_ino for path in first.parent.iterdir()} == made
    assert [path.name for path in (linked.parents[1] / "colbert-qdrant").iterdir()] == [first.parent.name]


@pytest.mark.parametrize("way", ["linked", "copied"])
def test_weights_of_the_same_size_and_time_are_not_taken_for_those_of_before(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError("another file system")

    folder = with_weights_in(tmp_path / "model", tiny_folder, "data/w.bin")
    (folder / "data").rename(folder / "stored")
    (folder / "data").symlink_to("stored")
    if way == "copied":
        monkeypatch.setattr(os, "link", refused)
    weights, new = folder / "stored/w.bin", tmp_path / "new"
    os.utime(weights, (1, 1))
    with_external_data(folder / "model.onnx", folder)
    new.write_bytes(bytes(weights.stat().st_size))
    time.sleep(0.02)  # no file system tells times apart that are nearer
    new.replace(weights)
    os.utime(weights, (1, 1))

    real = with_external_data(folder / "model.onnx", folder)

    assert not any((real.parent / "data/w.bin").read_bytes())


def test_our_folder_beside_the_blobs_is_for_us_alone(linked: Path) -> None:
    real = with_external_data(linked / "model.onnx", linked)

    assert real.is_relative_to(linked.parents[1] / "colbert-qdrant")
    assert stat.S_IMODE((linked.parents[1] / "colbert-qdrant").stat().st_mode) == 0o700
    assert with_external_data(linked / "model.onnx", linked) == real


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the owners of POSIX")
@pytest.mark.parametrize("foreign", ["writable by others", "a link"])
def test_a_folder_that_others_could_have_filled_is_not_ours(linked: Path, tmp_path: Path, foreign: str) -> None:
    folder = linked.parents[1] / "colbert-qdrant"
    if foreign == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)

    real = with_external_data(linked / "model.onnx", linked)

    assert not real.is_relative_to(folder.resolve())
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs a second user, so root")
def test_a_folder_of_another_user_is_not_ours(linked: Path) -> None:
    folder = linked.parents[1] / "colbert-qdrant"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)

    real = with_external_data(linked / "model.onnx", linked)

    assert not real.is_relative_to(folder)


def test_a_link_that_waits_for_our_file_is_replaced_and_not_followed(linked: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    real = with_external_data(linked / "model.onnx", linked)
    real.unlink()
    real.symlink_to(tmp_path / "mine")

    assert with_external_data(linked / "model.onnx", linked) == real

    assert (tmp_path / "mine").read_text() == "mine"
    assert not real.is_symlink()


def test_without_a_place_of_ours_a_new_one_is_made_and_nobody_can_guess_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "colbert-qdrant").mkdir()
    (tmp_path / "colbert-qdrant").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    folder = own_folder(None)

    assert not folder.is_relative_to(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_graph_with_its_weights_inside_is_left_where_it_is(tiny_folder: Path) -> None:
    assert with_external_data(tiny_folder / "model.onnx", tiny_folder) == tiny_folder / "model.onnx"


def test_a_folder_with_several_graphs_asks_which(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "two")
    (tmp_path / "two" / "model.onnx").rename(tmp_path / "two" / "a.onnx")
    shutil.copyfile(tmp_path / "two" / "a.onnx", tmp_path / "two" / "b.onnx")

    with pytest.raises(ModelFilesNotFound, match=r"a\.onnx, b\.onnx: name one with model_file="):
        ColbertEmbedder(tmp_path / "two")

    assert ColbertEmbedder(tmp_path / "two", model_file="b.onnx").dim == 128
