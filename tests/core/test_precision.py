"""`precision="int8"`: the same answers with integer products, whatever the text's company."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, maxsim
from colbert_qdrant.embedding import cache, embedder, precision
from colbert_qdrant.embedding.hardware import CUDA
from colbert_qdrant.embedding.processor import int8_pays
from colbert_qdrant.errors import InvalidInput, InvalidModel
from conftest import OFFLINE

TEXTS = [
    "The harbour master counts the ships that come in with the tide and writes them down.",
    "A list comprehension is a compact way to process all or part of the elements in a sequence.",
    "Quantum",
    "Bread needs flour, water, salt and time; of these, time is what most bakers lack. " * 6,
]

pytestmark = pytest.mark.skipif(not int8_pays(), reason="this processor is faster with float32")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def int8(kept: Path) -> ColbertEmbedder:
    return ColbertEmbedder(OFFLINE, precision="int8", cache_dir=kept, threads=2)


def test_vectors_are_near_those_of_float32(int8: ColbertEmbedder, offline: ColbertEmbedder) -> None:
    pairs = zip(int8.embed(TEXTS), offline.embed(TEXTS), strict=True)
    cosines = np.concatenate([np.einsum("ij,ij->i", ours, exact) for ours, exact in pairs])

    assert cosines.mean() > 0.997
    assert cosines.min() > 0.988


def test_a_text_has_exactly_the_same_vectors_alone_and_in_company(int8: ColbertEmbedder) -> None:
    together = list(int8.embed(TEXTS * 3))

    for text, vectors in zip(TEXTS * 3, together, strict=True):
        np.testing.assert_array_equal(next(int8.embed(text)), vectors)


def test_a_lone_query_has_the_vectors_of_one_among_many(int8: ColbertEmbedder) -> None:
    for text, vectors in zip(TEXTS, int8.query_embed(TEXTS), strict=True):
        np.testing.assert_array_equal(next(int8.query_embed(text)), vectors)


def test_the_second_start_rewrites_nothing(int8: ColbertEmbedder, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [vectors] = int8.embed("once")
    monkeypatch.setattr(precision, "_rewritten", pytest.fail)
    again = ColbertEmbedder(OFFLINE, precision="int8", cache_dir=kept)

    np.testing.assert_array_equal(next(again.embed("once")), vectors)
    assert [path.suffix for path in (kept / "colbert-qdrant").iterdir()] == [".onnx"]


def test_the_file_that_is_kept_holds_no_more_than_the_weights_in_bytes(kept: Path, int8: ColbertEmbedder) -> None:
    int8.dim  # noqa: B018  # loads the model
    next(int8.embed("loaded"))
    [file] = (kept / "colbert-qdrant").iterdir()

    assert file.stat().st_size < 60e6  # of 90 MB as float32: the embeddings stay whole


@pytest.mark.parametrize("normalize", [True, False])
def test_any_checkpoint_will_do(tiny: ColbertEmbedder, tmp_path: Path, normalize: bool) -> None:
    from tiny_models import build_colbert

    folder = build_colbert(tmp_path / "model", normalize=normalize)
    ours = ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path)

    for vectors, exact in zip(ours.embed(TEXTS), tiny.embed(TEXTS), strict=True):
        assert np.einsum("ij,ij->i", vectors, exact).min() > 0.99


def test_weights_may_lie_outside_of_the_graph(tiny: ColbertEmbedder, tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    model = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")

    ours = ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path)

    for vectors, exact in zip(ours.embed(TEXTS), tiny.embed(TEXTS), strict=True):
        assert np.einsum("ij,ij->i", vectors, exact).min() > 0.99


def test_a_relative_cache_stays_where_it_was(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    embedder = ColbertEmbedder(tiny_folder, precision="int8", cache_dir="kept")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    next(embedder.embed("harbour"))

    assert [*tmp_path.glob("*/colbert-qdrant")] == [tmp_path / "kept/colbert-qdrant"]


def test_a_graph_of_the_same_size_and_time_gets_a_form_of_its_own(tmp_path: Path) -> None:
    from tiny_models import build_colbert

    settings: dict[str, Any] = {"precision": "int8", "cache_dir": tmp_path, "threads": 1}
    folder, other = build_colbert(tmp_path / "model"), build_colbert(tmp_path / "other", seed=1)
    os.utime(folder / "model.onnx", (1, 1))
    [before] = ColbertEmbedder(folder, **settings).embed("harbour")
    (other / "model.onnx").replace(folder / "model.onnx")
    os.utime(folder / "model.onnx", (1, 1))

    [after] = ColbertEmbedder(folder, **settings).embed("harbour")

    assert not np.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("checkpoint", ["pylate-bert", "stanford-bert"])
def test_a_projection_beside_the_graph_is_put_into_it(checkpoint: str, tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "data/checkpoints" / checkpoint
    exact, ours = ColbertEmbedder(folder), ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path)

    for vectors, expected in zip(ours.embed(TEXTS), exact.embed(TEXTS), strict=True):
        assert np.einsum("ij,ij->i", vectors, expected).min() > 0.98
    assert ours._document_encoder._projection is None


def test_collections_tell_int8_vectors_from_float32_ones(int8: ColbertEmbedder, offline: ColbertEmbedder) -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    MultivectorCollection("c", offline, client=client).add(["a"], ids=["1"])
    collection = MultivectorCollection("c", int8, client=client)

    assert (int8.precision, int8.settings["precision"]) == ("int8", "int8")
    assert "precision" not in offline.settings
    assert [collection.add(["a"], ids=["1"]).encoded for _ in range(2)] == [1, 0]


def test_it_says_what_it_computes_in(int8: ColbertEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repr(int8) == f"ColbertEmbedder('{OFFLINE}', dim=384, precision='int8')"

    monkeypatch.setattr(embedder, "int8_pays", lambda: False)
    slow = ColbertEmbedder(OFFLINE, precision="int8")
    assert "precision='float32' (faster than int8 on this processor)" in repr(slow)
    assert "precision" not in slow.settings
    assert slow._graph == slow._files.onnx


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"precision": "int4"}, "precision='int4': use 'float32' or 'int8'"),
        ({"precision": "int8", "quantized": True}, "exclude each other"),
        ({"precision": "int8", "providers": [CUDA]}, "is for processors"),
    ],
)
def test_what_can_not_be_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        ColbertEmbedder(OFFLINE, **arguments)


def test_a_graph_that_is_int8_already_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    quantize_dynamic(tiny_folder / "model.onnx", folder / "model.onnx", weight_type=QuantType.QInt8)

    with pytest.raises(InvalidModel, match="no float32 product"):
        next(ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path).embed("a"))


def test_a_damaged_graph_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])

    with pytest.raises(InvalidModel, match="can't be loaded"):
        next(ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path).embed("a"))


def test_a_kept_file_that_is_damaged_is_made_again(tiny_folder: Path, tmp_path: Path) -> None:
    [vectors] = ColbertEmbedder(tiny_folder, precision="int8", cache_dir=tmp_path).embed("a")
    [file] = (tmp_path / "colbert-qdrant").iterdir()
    file.write_bytes(file.read_bytes()[:1000])

    np.testing.assert_array_equal(
        next(ColbertEmbedder(tiny_folder, precision="int8", cache_dir=tmp_path).embed("a")), vectors
    )


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows keeps a user's folders from others")
def test_a_file_that_another_process_was_faster_to_keep_stays(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded there by now, and would be another one to whoever loads it again."""
    rewritten = precision._rewritten

    def slowly(*arguments: Any) -> Any:
        with monkeypatch.context() as faster:
            faster.setattr(precision, "_rewritten", rewritten)
            kept.append(precision.int8_graph(tiny_folder / "model.onnx", dim=128, projection=None, cache_dir=tmp_path))
        kept.append(kept[0].stat().st_ino)
        return rewritten(*arguments)

    kept: list[Any] = []
    monkeypatch.setattr(precision, "_rewritten", slowly)

    ours = precision.int8_graph(tiny_folder / "model.onnx", dim=128, projection=None, cache_dir=tmp_path)

    assert [ours, ours.stat().st_ino] == kept
    assert [path.name for path in ours.parent.iterdir()] == [ours.name]


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "colbert-qdrant").mkdir()
    (tmp_path / "colbert-qdrant").chmod(0o777)

    assert cache.own_folder(tmp_path) != tmp_path / "colbert-qdrant"
    assert cache.own_folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "colbert-qdrant").symlink_to(tmp_path / "elsewhere")

    assert cache.own_folder(tmp_path) != tmp_path / "colbert-qdrant"


def test_a_file_that_could_not_be_written_whole_is_not_there(tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b"half"
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        cache.write_whole(tmp_path / "file", pieces())
    assert list(tmp_path.iterdir()) == []


def test_a_full_cache_is_no_reason_to_fail(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(precision, "write_whole", full)
    with pytest.raises(InvalidModel, match="no space"):
        next(ColbertEmbedder(tiny_folder, precision="int8", cache_dir=tmp_path).embed("a"))


def test_the_small_offline_model_computes_in_integers_and_stores_a_sixth(kept: Path, offline: ColbertEmbedder) -> None:
    small = ColbertEmbedder(f"{OFFLINE}-128d", cache_dir=kept, dtype="float16")
    ours, whole = list(small.embed(TEXTS)), list(offline.embed(TEXTS))

    assert (small.precision, small.dim) == ("int8", 128)
    assert sum(vectors.nbytes for vectors in ours) * 6 == sum(vectors.nbytes for vectors in whole)
    assert small._document_encoder._projection is None  # it is inside of the graph


def test_the_small_offline_model_ranks_as_the_whole_one_does(kept: Path, offline: ColbertEmbedder) -> None:
    small = ColbertEmbedder(f"{OFFLINE}-128d", cache_dir=kept)
    for query, best in (("who keeps a record of boats?", 0), ("build a list in one line of Python", 1), ("baking", 3)):
        for model in (offline, small):
            [asked] = model.query_embed(query)
            assert int(np.argmax(maxsim(asked, list(model.embed(TEXTS))))) == best


def test_the_small_offline_model_can_compute_in_float32_too(kept: Path) -> None:
    exact = ColbertEmbedder(f"{OFFLINE}-128d", precision="float32")
    ours = ColbertEmbedder(f"{OFFLINE}-128d", cache_dir=kept)

    for vectors, expected in zip(ours.embed(TEXTS), exact.embed(TEXTS), strict=True):
        assert np.einsum("ij,ij->i", vectors, expected).min() > 0.98
