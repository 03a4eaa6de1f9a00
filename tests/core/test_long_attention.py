"""Attention of long texts: the same vectors, in memory that does not grow with the square of a text's length."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.graph.attention import long_attention
from colbert_qdrant.embedding.graph.model import Graph, node, read_model, write_model
from colbert_qdrant.embedding.graph.tidy import tidied
from colbert_qdrant.embedding.hardware import CPU_TOKEN_BUDGET
from colbert_qdrant.export import export
from tiny_models import build_colbert, build_modern_colbert

BUILDERS: dict[str, Callable[..., Path]] = {"BERT": build_colbert, "ModernBERT": build_modern_colbert}
BEYOND = 12
RANDOM = np.random.RandomState(0)


@pytest.fixture(scope="module", params=BUILDERS)
def onnx(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return BUILDERS[request.param](folder, positions=8192) / "model.onnx"


def read(onnx: Path, beyond: int = BEYOND) -> tuple[Graph, Graph]:
    """Return the graph as it is, and for long texts."""
    graph = tidied(read_model(memoryview(onnx.read_bytes())))
    return graph, long_attention(graph, beyond)


def run(graph: Graph, tokens: int, *, texts: int = 1, attended: int | None = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(b"".join(write_model(graph)), options, providers=["CPUExecutionProvider"])
    mask = np.ones((texts, tokens), np.int64)
    mask[-1, attended:] = 0
    ids = np.random.RandomState(1).randint(0, 400, (texts, tokens))
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def test_every_layer_is_taken(onnx: Path) -> None:
    _, ours = read(onnx)

    assert [part.operator for part in ours.nodes].count("If") == 2
    assert "Softmax" not in [part.operator for part in ours.nodes]


@pytest.mark.parametrize("tokens", [BEYOND + 1, 600])
def test_a_long_text_has_the_same_vectors(onnx: Path, tokens: int) -> None:
    theirs, ours = read(onnx)

    np.testing.assert_allclose(run(ours, tokens), run(theirs, tokens), atol=1e-5)


@pytest.mark.parametrize(("texts", "attended"), [(1, None), (3, 5)])
def test_short_texts_go_the_way_of_the_graph(onnx: Path, texts: int, attended: int | None) -> None:
    theirs, ours = (run(graph, BEYOND, texts=texts, attended=attended) for graph in read(onnx))

    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("texts", "attended"), [(3, 5), (1, 39)])
def test_what_is_padded_stays_hidden(onnx: Path, texts: int, attended: int) -> None:
    theirs, ours = (run(graph, 40, texts=texts, attended=attended) for graph in read(onnx))

    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_texts_of_one_length_may_go_together(onnx: Path) -> None:
    theirs, ours = read(onnx)

    np.testing.assert_allclose(run(ours, 40, texts=3), run(theirs, 40, texts=3), atol=1e-5)


FAR = np.abs(np.subtract.outer(np.arange(64), np.arange(64))).astype(np.float32)
MASKS = {
    "hides nothing": np.zeros((1, 1, 64, 64), np.float32),
    "hides all but neighbours": np.where(FAR > 3, np.float32(-1e9), np.float32(0))[None, None],
    "hides them in two dimensions": np.where(FAR > 3, np.float32(-1e9), np.float32(0)),
    "weighs by distance, each head in its way": FAR * np.array([-0.1, -0.4], np.float32).reshape(1, 2, 1, 1),
}


def layer(mask: np.ndarray, *, guarded: bool = False) -> Graph:
    constants = {
        "hidden": mask,
        "table": RANDOM.standard_normal((64, 8)).astype(np.float32),
        "split": np.array([0, 0, 2, 4]),
        "join": np.array([0, 0, 8]),
        "half": np.array(0.5, np.float32),
        "zero": np.array(0, np.float32),
    }
    guards = ["IsNaN shares nan", "Where nan zero shares guarded"] if guarded else []
    lines = [
        "Gather table input_ids states",
        "Reshape states split heads",
        "Transpose heads q",
        "Transpose heads k",
        "MatMul q k scores",
        "Mul scores half scaled",
        "Add scaled hidden masked",
        "Softmax masked shares",
        *guards,
        f"MatMul {'guarded' if guarded else 'shares'} q attended",
        "Transpose attended rows",
        "Reshape rows join y",
    ]
    nodes = []
    for operator, *inputs, output in (line.split() for line in lines):
        perm = {"perm": [0, 2, 3, 1] if output == "k" else [0, 2, 1, 3]} if operator == "Transpose" else {}
        nodes.append(helper.make_node(operator, inputs, [output], **perm))
    proto = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", "t", 8])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return read_model(memoryview(model.SerializeToString()))


@pytest.mark.parametrize("mask", MASKS)
def test_what_a_layer_hides_from_a_long_text_stays_hidden(mask: str) -> None:
    """Two of three layers of ModernBERT: their mask hides tokens of a text that has no padding."""
    graph = layer(MASKS[mask])
    ours = long_attention(graph, BEYOND)
    got, expected = of_a_long_text(ours, graph)

    assert "If" in [part.operator for part in ours.nodes]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def of_a_long_text(*graphs: Graph) -> list[np.ndarray]:
    """Return what each graph makes of the same 64 tokens."""
    ids = RANDOM.randint(0, 64, (1, 64))
    asked = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    made = [b"".join(write_model(graph)) for graph in graphs]
    return [onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, asked)[0] for each in made]


def test_a_token_of_a_long_text_that_attends_to_nothing_has_no_nan() -> None:
    """Torch guards the shares of each; the guard stands behind them, where the heads go one by one too."""
    graph = layer(np.where((FAR > 3) | (np.arange(64) > 40), np.float32(-np.inf), np.float32(0)), guarded=True)
    ours = long_attention(tidied(graph), BEYOND)
    got, expected = of_a_long_text(ours, graph)

    assert "If" in [part.operator for part in ours.nodes]
    assert not expected[0, 50].any()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_modernbert_with_layers_of_both_kinds(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[1] / "data/exports/modernbert", tmp_path / "model")
    theirs, ours = read(export(folder))

    assert [part.operator for part in ours.nodes].count("If") == 3
    np.testing.assert_allclose(run(ours, 100), run(theirs, 100), atol=1e-5)


def test_what_is_no_such_attention_stays(tiny_folder: Path) -> None:
    graph = tidied(read_model(memoryview((tiny_folder / "model.onnx").read_bytes())))
    halves = {tensor for tensor, values in graph.initializers.items() if values.shape == ()}
    scales = [part for part in graph.nodes if part.operator == "Div" and halves.intersection(part.inputs)]
    assert scales

    without = graph.changed(part for part in graph.nodes if part.operator != "Softmax")
    assert long_attention(without, BEYOND).nodes == without.nodes
    assert long_attention(Graph(**{**fields(graph), "opset": 12}), BEYOND).nodes == graph.nodes


def test_a_graph_that_goes_in_circles_is_left_alone() -> None:
    """No file of a model is trusted: the runtime refuses it later."""
    graph = layer(MASKS["hides nothing"])
    circle = [node("Mul", ["scaled", "half"], "scaled") if part.operator == "Mul" else part for part in graph.nodes]

    assert "If" not in [part.operator for part in long_attention(graph.changed(circle), BEYOND).nodes]


def fields(graph: Graph) -> dict[str, object]:
    return {name: getattr(graph, name) for name in ("nodes", "initializers", "outputs", "opset", "rest", "model")}


def test_texts_that_are_long_run_alone(onnx: Path) -> None:
    """Or the same text would go one way alone and another one in company."""
    embedder = ColbertEmbedder(onnx.parent, document_length=2048, threads=1)
    long, short = "harbour master " * 400, "the harbour"

    [alone] = embedder.embed(long)
    for vectors in list(embedder.embed([long, short, long + "tide"]))[:1]:
        assert len(vectors) > CPU_TOKEN_BUDGET
        np.testing.assert_array_equal(vectors, alone)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_square_of_the_length(onnx: Path) -> None:
    measured = """
import sys
from pathlib import Path
from colbert_qdrant import ColbertEmbedder

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM")) / 1024

embedder = ColbertEmbedder(sys.argv[1], document_length=8192, threads=1)
list(embedder.embed("harbour"))
before = peak()
[vectors] = embedder.embed("harbour " * 4000)
print(len(vectors), peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", measured, str(onnx.parent)], capture_output=True, text=True, check=True
    )
    tokens, mebibytes = done.stdout.split()

    one_matrix_of_one_head = 4003**2 * 4 / 2**20
    assert int(tokens) == 4003
    assert float(mebibytes) < one_matrix_of_one_head
