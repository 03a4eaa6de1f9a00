"""A text's vectors do not depend on the texts beside it, whatever the graph does with its batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.encoder import is_dynamically_quantized

TEXTS = ["Hello World", "a much longer text of rather many words, " * 3, "apple"]


def dynamic(source: Path, target: Path) -> None:
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)


def optimised(source: Path, target: Path) -> None:
    """Save it as ONNX Runtime fuses it when it loads."""
    dynamic(source, target.with_name("plain.onnx"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(target.with_name("plain.onnx"), options, providers=["CPUExecutionProvider"])
    target.with_name("plain.onnx").unlink()


@pytest.mark.parametrize("made", [dynamic, optimised])
def test_a_graph_that_measures_its_batch_gets_one_text_a_run(
    tiny_folder: Path, tmp_path: Path, made: Callable[[Path, Path], None]
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "int8")
    made(tiny_folder / "model.onnx", folder / "model.onnx")
    embedder = ColbertEmbedder(folder, threads=1)

    together = list(embedder.embed(TEXTS))

    assert is_dynamically_quantized(folder / "model.onnx")
    for text, vectors in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(vectors, next(embedder.embed(text)))


@pytest.mark.parametrize(
    ("operator", "attributes", "measures"),
    [
        ("DynamicQuantizeLinear", {}, True),
        ("DynamicQuantizeMatMul", {}, True),  # all that ONNX Runtime's optimiser leaves of the former
        ("MatMulNBits", {"accuracy_level": 4}, True),
        ("MatMulNBits", {"accuracy_level": 0}, False),
        ("MatMul", {}, False),
    ],
)
def test_operators_that_measure_are_known(
    tmp_path: Path, operator: str, attributes: dict[str, int], measures: bool
) -> None:
    node = onnx.helper.make_node(operator, ["a"], ["b"], **attributes)
    graph = onnx.helper.make_graph([node], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")

    assert is_dynamically_quantized(tmp_path / "model.onnx") is measures


def test_a_float_graph_is_run_in_batches(tiny_folder: Path) -> None:
    assert not is_dynamically_quantized(tiny_folder / "model.onnx")
