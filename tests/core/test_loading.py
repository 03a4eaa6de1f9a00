"""What a processor's sessions are made of: the file's graph, tidied, and weights that are held once."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding import embedder, loading
from colbert_qdrant.embedding.graph.wire import MalformedMessage
from colbert_qdrant.embedding.hardware import CPU, open_session
from colbert_qdrant.embedding.loading import runnable_graph
from colbert_qdrant.errors import InvalidModel
from tiny_models import build_colbert

TEXTS = ["The harbour master counts the ships.", "Bread needs time. " * 20]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_colbert(tmp_path / "model", hidden=256)


def embedded(folder: Path) -> list[np.ndarray]:
    return list(ColbertEmbedder(folder, threads=1).embed(TEXTS))


def as_the_file_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    def refused(_: Path) -> None:
        raise MalformedMessage("not today")

    with monkeypatch.context() as patched:
        patched.setattr(loading, "_read", refused)
        return embedded(folder)


def test_vectors_are_those_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ours, theirs in zip(embedded(folder), as_the_file_has_it(folder, monkeypatch), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_stay_in_their_file_and_tables_are_held_once(folder: Path) -> None:
    graph = runnable_graph(folder / "model.onnx")

    assert graph is not None
    assert graph is runnable_graph(folder / "model.onnx")
    assert len(graph.content) < 100_000
    assert sorted(graph.tables) == ["embeddings.position", "embeddings.word"]


def test_a_session_keeps_the_tables_that_it_reads(folder: Path) -> None:
    onnx = folder / "model.onnx"
    session = open_session(onnx, [CPU], 1, runnable_graph(onnx))
    gc.collect()
    others = [np.full((512, 256), number, dtype=np.float32) for number in range(64)]  # where the tables would have lain
    ids = np.arange(1, 41, dtype=np.int64)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    [ours], [theirs] = session.run(None, feeds), open_session(onnx, [CPU], 1).run(None, feeds)

    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    del others


def put_weights_outside(folder: Path) -> Path:
    model = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    return folder / "model.onnx_data"


def test_weights_beside_the_graph_do_too(folder: Path) -> None:
    expected = embedded(folder)
    put_weights_outside(folder)
    graph = runnable_graph(folder / "model.onnx")

    assert graph is not None
    assert sorted(graph.tables) == ["embeddings.position", "embeddings.word"]
    for ours, theirs in zip(embedded(folder), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_beside_the_graph_that_were_replaced_are_loaded_anew(folder: Path) -> None:
    """Though its own file is the same, and an embedder of before lives on."""
    weights = put_weights_outside(folder)
    before = ColbertEmbedder(folder, threads=1)
    [old] = before.embed("harbour")
    weights.write_bytes((np.fromfile(weights, np.float32) / 2).tobytes())
    fresh = ColbertEmbedder(folder, threads=1)

    [new] = fresh.embed("harbour")
    assert not np.allclose(new, old, atol=1e-3)
    np.testing.assert_array_equal(
        next(fresh.query_embed("harbour")), next(ColbertEmbedder(folder, threads=2).query_embed("harbour"))
    )
    with pytest.raises(InvalidModel, match="make the embedder anew"):
        before.settings  # noqa: B018  # which a collection would remember, of vectors that are another model's


def test_documents_and_queries_are_encoded_by_one_model(folder: Path, tmp_path: Path) -> None:
    """Each loads the file when it is first asked for."""
    model = ColbertEmbedder(folder, threads=2)
    list(model.embed(TEXTS))
    (build_colbert(tmp_path / "other", hidden=256, seed=1) / "model.onnx").replace(folder / "model.onnx")

    with pytest.raises(InvalidModel, match="make the embedder anew"):
        list(model.query_embed("harbour"))
    list(model.embed(TEXTS))


CHANGES: dict[str, Callable[[Path], object]] = {
    "model.onnx": lambda folder: (build_colbert(folder / "new", seed=1) / "model.onnx").replace(folder / "model.onnx"),
    "tokenizer.json": lambda folder: rewrite(folder / "tokenizer.json", lambda text: text.replace("##s", "##S")),
    "artifact.metadata": lambda folder: rewrite(folder / "artifact.metadata", lambda text: text.replace("180", "90")),
    "config.json": lambda folder: rewrite(folder / "config.json", lambda text: text.replace("512", "256")),
}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("name", CHANGES)
def test_settings_graph_and_tokenizer_are_of_one_model(folder: Path, name: str) -> None:
    """The settings are read when an embedder is made, and the rest when it is first used."""
    model = ColbertEmbedder(folder, threads=1)
    CHANGES[name](folder)

    with pytest.raises(InvalidModel, match=f"{name} was changed since this embedder was made"):
        next(model.embed("harbour"))


@pytest.mark.parametrize("name", CHANGES)
def test_an_embedder_that_is_sent_is_still_of_one_model(folder: Path, name: str) -> None:
    model = ColbertEmbedder(folder, threads=1)
    next(model.embed("harbour"))
    pickled = pickle.dumps(model)
    CHANGES[name](folder)

    with pytest.raises(InvalidModel, match=f"{name} was changed since this embedder was made"):
        next(pickle.loads(pickled).embed("harbour"))


def test_an_embedder_that_is_sent_finds_the_same_files_with_other_times(folder: Path, tmp_path: Path) -> None:
    """As another machine has them."""
    model = ColbertEmbedder(folder, threads=1)
    [vectors], pickled = model.embed("harbour"), pickle.dumps(model)
    shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    (tmp_path / "copied").rename(folder)

    np.testing.assert_array_equal(next(pickle.loads(pickled).embed("harbour")), vectors)


@pytest.mark.skipif(not hasattr(os, "link"), reason="this system has no hard links")
def test_another_name_of_a_file_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """As a backup gives it, or an installer's cache."""
    model, named = ColbertEmbedder(folder, threads=1), tmp_path / "named"
    for change in (lambda: os.link(folder / "model.onnx", named), named.unlink):
        change()
        assert model.settings["graph"]
    next(model.embed("harbour"))


def test_a_used_embedder_takes_no_other_tokenizer(folder: Path) -> None:
    model = ColbertEmbedder(folder, threads=1)
    next(model.embed("harbour"))
    CHANGES["tokenizer.json"](folder)

    with pytest.raises(InvalidModel, match=r"tokenizer\.json was changed"):
        model.settings  # noqa: B018  # of vectors that the tokenizer of before made
    with pytest.raises(InvalidModel, match=r"tokenizer\.json was changed"):
        next(model.windowed().embed("harbour"))


def test_a_relative_folder_stays_the_one_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        build_colbert(tmp_path / f"{seed}" / "model", seed=seed)
    monkeypatch.chdir(tmp_path / "0")
    model = ColbertEmbedder("model", threads=1)
    monkeypatch.chdir(tmp_path / "1")

    np.testing.assert_array_equal(
        next(model.embed("harbour")), next(ColbertEmbedder(tmp_path / "0/model", threads=1).embed("harbour"))
    )


def test_a_file_behind_a_link_is_loaded_so_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the hub's cache."""
    (folder.parent / "blobs").mkdir()
    (folder / "model.onnx").rename(folder.parent / "blobs/abc")
    (folder / "model.onnx").symlink_to("../blobs/abc")
    loaded, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda content, *a, **k: loaded.append(content) or session(content, *a, **k)
    )

    assert len(embedded(folder)) == len(TEXTS)
    assert [type(content) for content in loaded] == [bytes]


def test_weights_that_older_writers_list_as_inputs_are_none(folder: Path) -> None:
    expected = embedded(folder)
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, folder / "model.onnx")

    for ours, theirs in zip(embedded(folder), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_that_are_written_one_by_one(folder: Path) -> None:
    expected = embedded(folder)
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size > 2**18:  # the table of words, which would take seconds
            continue
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, values.ravel().tolist()))
    onnx.save(model, folder / "model.onnx")

    for ours, theirs in zip(embedded(folder), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_file_that_is_emptied_under_a_loaded_model_changes_nothing(folder: Path) -> None:
    model = ColbertEmbedder(folder, threads=2)
    before = [*model.embed(TEXTS), *model.query_embed(TEXTS)]
    (folder / "model.onnx").write_bytes(b"")

    for now, then in zip([*model.embed(TEXTS), *model.query_embed(TEXTS)], before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_tables_live_as_long_as_a_session(folder: Path) -> None:
    file = folder / "model.onnx"
    session = open_session(file, [CPU], 1, runnable_graph(file))
    gc.collect()
    tables = weakref.ref(session.graph)
    feeds = {"input_ids": np.full((1, 4), 2000), "attention_mask": np.ones((1, 4), np.int64)}

    assert np.isfinite(session.run(None, feeds)[0]).all()
    assert tables() is runnable_graph(file)
    del session
    gc.collect()
    assert tables() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_second_session_has_no_embeddings_of_its_own(folder: Path) -> None:
    measured = """
import sys
from pathlib import Path
from colbert_qdrant import ColbertEmbedder

def anonymous():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("RssAnon")) / 1024

embedder = ColbertEmbedder(sys.argv[1], threads=2)
list(embedder.embed("harbour"))
before = anonymous()
list(embedder.query_embed("harbour"))
print(anonymous() - before)
"""
    done = subprocess.run([sys.executable, "-c", measured, str(folder)], capture_output=True, text=True, check=True)

    embeddings = 30_522 * 256 * 4 / 2**20
    assert float(done.stdout) < embeddings / 2


@pytest.mark.parametrize("first", ["documents", "queries"])
def test_a_large_model_is_loaded_once(folder: Path, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = ColbertEmbedder(folder, threads=2)
    expected = [*apart.embed(TEXTS), *apart.query_embed(TEXTS)]
    assert apart._query_encoder is not apart._document_encoder

    monkeypatch.setattr(embedder, "ONE_SESSION_BEYOND", 2**20)
    ours = ColbertEmbedder(folder, threads=2)
    list(ours.embed("harbour") if first == "documents" else ours.query_embed("harbour"))

    for vectors, exact in zip([*ours.embed(TEXTS), *ours.query_embed(TEXTS)], expected, strict=True):
        np.testing.assert_allclose(vectors, exact, atol=1e-6)
    assert ours._query_encoder is ours._document_encoder
