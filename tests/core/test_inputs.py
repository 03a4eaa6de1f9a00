"""Graphs as people export them: for one text, for so many tokens, with other integers or with positions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.embedding.tokens import encoder_limit
from colbert_qdrant.errors import InvalidInput, InvalidModel
from colbert_qdrant.export import export

CHECKPOINT = Path(__file__).parents[1] / "data" / "exports" / "stanford"
TEXTS = ["late interaction", "", "a rare name still counts where a single vector would have averaged it away", "one"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(CHECKPOINT, tmp_path_factory.mktemp("exported") / "dynamic")
    export(folder)
    return folder


def of_shape(*shape: int | str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=False):
                dimension.ClearField("dim_param")
                if isinstance(size, int):
                    dimension.dim_value = size
                else:
                    dimension.dim_param = size

    return change


def in_int32(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        value.type.tensor_type.elem_type = TensorProto.INT32
        for node in model.graph.node:
            node.input[:] = [f"{name}_64" if name == value.name else name for name in node.input]
        cast = helper.make_node("Cast", [value.name], [f"{value.name}_64"], to=TensorProto.INT64)
        model.graph.node.insert(0, cast)


def with_positions(model: onnx.ModelProto) -> None:
    [at] = [number for number, node in enumerate(model.graph.node) if node.input[0] == "embeddings.positions"]
    looked_up = helper.make_node("Gather", ["embeddings.positions", "position_ids"], model.graph.node[at].output)
    model.graph.node[at].CopyFrom(looked_up)
    model.graph.input.append(helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "tokens"]))


def changed(exported: Path, folder: Path, *changes: Callable[[onnx.ModelProto], None]) -> Path:
    shutil.copytree(exported, folder)
    model = onnx.load(folder / "model.onnx")
    for change in changes:
        change(model)
    onnx.save(model, folder / "model.onnx")
    return folder


TAKEN = {
    "one text": [of_shape(1, "tokens")],
    "32 tokens": [of_shape("batch", 32)],
    "one text of 32 tokens": [of_shape(1, 32)],
    "int32": [in_int32],
    "positions": [with_positions],
    "all of that": [with_positions, in_int32, of_shape(1, 32)],
}


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN)
def test_a_graph_gives_the_same_vectors_in_whatever_form_it_was_exported(
    exported: Path, tmp_path: Path, changes: list[Callable[[onnx.ModelProto], None]]
) -> None:
    theirs = ColbertEmbedder(exported)
    ours = ColbertEmbedder(changed(exported, tmp_path / "model", *changes))

    for vectors, expected in zip(ours.embed(TEXTS), theirs.embed(TEXTS), strict=True):
        np.testing.assert_allclose(vectors, expected, atol=2e-6)
    for vectors, expected in zip(ours.query_embed(TEXTS[:2]), theirs.query_embed(TEXTS[:2]), strict=True):
        np.testing.assert_allclose(vectors, expected, atol=2e-6)


@pytest.mark.parametrize("precision", ["int8"])
def test_they_take_integer_products_too(exported: Path, tmp_path: Path, precision: str) -> None:
    folder = changed(exported, tmp_path / "model", in_int32, of_shape(1, 32))

    [exact] = ColbertEmbedder(exported).embed(TEXTS[0])
    [rounded] = ColbertEmbedder(folder, precision=precision, cache_dir=tmp_path).embed(TEXTS[0])

    assert np.einsum("ij,ij->i", exact, rounded).min() > 0.97


REFUSED = {
    "eight texts": ([of_shape(8, 32)], r"exported for 8 texts at a time; .* dynamic .*colbert-qdrant export"),
    "floats": ([lambda model: floats(model)], r"takes input_ids as tensor\(float\)"),
}


def floats(model: onnx.ModelProto) -> None:
    in_int32(model)
    for value in model.graph.input:
        value.type.tensor_type.elem_type = TensorProto.FLOAT


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_fed_is_named_with_the_export_to_make(
    exported: Path, tmp_path: Path, changes: list[Callable[[onnx.ModelProto], None]], message: str
) -> None:
    folder = changed(exported, tmp_path / "model", *changes)

    with pytest.raises(InvalidModel, match=message):
        list(ColbertEmbedder(folder).embed("text"))


def size_of_an_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "spoilt"


def size_of_an_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "spoilt"


def another_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], ["spoilt"]))
    model.graph.output.append(helper.make_tensor_value_info("spoilt", TensorProto.FLOAT, ["batch", "tokens", 32]))


@pytest.mark.parametrize("names", [size_of_an_input, size_of_an_output, another_output])
def test_a_name_that_is_no_text_is_named_as_damage(
    exported: Path, tmp_path: Path, names: Callable[[onnx.ModelProto], None]
) -> None:
    folder = changed(exported, tmp_path / "model", names)
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content.replace(b"spoilt", b"sp\xfailt"))

    with pytest.raises(InvalidModel, match=r"model\.onnx is damaged: a name of its inputs or outputs is not UTF-8"):
        list(ColbertEmbedder(folder).embed("text"))


def test_a_text_longer_than_the_graph_is_refused_and_not_cut(exported: Path, tmp_path: Path) -> None:
    folder = changed(exported, tmp_path / "model", of_shape("batch", 16))

    with pytest.raises(InvalidInput, match=r"text 2 of 4 has \d\d tokens, .* exported for 16: give document_length=16"):
        list(ColbertEmbedder(folder).embed(TEXTS))
    with pytest.warns(UserWarning, match="longer than 16 tokens"):
        assert len(list(ColbertEmbedder(folder, document_length=16).embed(TEXTS))) == 4


@pytest.mark.parametrize("kind", ["xlm-roberta", "mpnet", "longformer", "data2vec-text", "roberta-prelayernorm"])
@pytest.mark.parametrize("stated", [{"pad_token_id": 1}, {}])
def test_robertas_positions_begin_behind_its_padding(
    exported: Path, tmp_path: Path, kind: str, stated: dict[str, int]
) -> None:
    def moved(model: onnx.ModelProto) -> None:
        """Two rows that no text is looked up in."""
        [table] = [weights for weights in model.graph.initializer if weights.name == "embeddings.positions"]
        rows = onnx.numpy_helper.to_array(table)
        table.CopyFrom(onnx.numpy_helper.from_array(np.concatenate([rows[:2] * 100, rows]), table.name))

    folder = changed(exported, tmp_path / "model", with_positions, moved)
    config = json.loads((folder / "config.json").read_text())
    config.pop("pad_token_id", None)
    config |= {"model_type": kind, "max_position_embeddings": 42, **stated}
    (folder / "config.json").write_text(json.dumps(config))

    [ours], [theirs] = ColbertEmbedder(folder).embed(TEXTS[0]), ColbertEmbedder(exported).embed(TEXTS[0])

    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert encoder_limit(folder) == 40


def test_the_offline_model_says_how_it_is_fed() -> None:
    inputs = ColbertEmbedder(OFFLINE_MODEL)._document_encoder._inputs

    assert (inputs.one_by_one, inputs.width) == (False, None)
