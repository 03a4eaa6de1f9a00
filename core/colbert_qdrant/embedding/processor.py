"""What this processor makes of 8-bit products: whether they are exact, and faster than float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.int8 import by_row
from colbert_qdrant.embedding.graph.model import Graph, node, value_message, write_model
from colbert_qdrant.embedding.graph.tensors import Array, constant

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ROWS, _SIZE, _ROUNDS = 128, 768, 6

_CLEARLY = 1.2
"""Integers must take so many times as long to be given up: what a model computes in shall not hang on a busy moment."""


@cache
def int8_pays() -> bool:
    """Tell whether integer products are exact here, and faster than float32: tried, not looked up."""
    return _is_exact() and _is_worth_it()


def _is_exact() -> bool:
    """Tell whether the largest weights that `quantised_by_column` gives are added up without error."""
    weights = np.ones((_SIZE, _SIZE), np.int8)
    weights[::2] = 127
    constants = [
        constant("w", weights),
        constant("x zero", np.array(0, np.uint8)),
        constant("w zero", np.array(0, np.int8)),
    ]
    session = _session(_graph(2, [node("MatMulInteger", ["x", "w", "x zero", "w zero"], "y")], constants, output=6))
    (sums,) = session.run(None, {"x": np.full((_ROWS, _SIZE), 255, np.uint8)})
    found: list[int] = sums.ravel().tolist()
    return set(found) == {255 * 128 * _SIZE // 2}


def _is_worth_it() -> bool:
    random = np.random.default_rng(0)
    float32 = _graph(
        1, [node("MatMul", ["x", "w"], "y")], [constant("w", random.standard_normal((_SIZE, _SIZE), np.float32))]
    )
    feeds = {"x": random.standard_normal((_ROWS, _SIZE), np.float32)}
    runs = [_run(graph, feeds) for graph in (float32, by_row(float32))]
    rounds = [[_seconds(run) for run in runs] for _ in range(_ROUNDS)]
    float32_seconds, int8_seconds = (min(column) for column in zip(*rounds, strict=True))
    return bool(int8_seconds < _CLEARLY * float32_seconds)


def _run(graph: Graph, feeds: Mapping[str, Array]) -> Callable[[], Any]:
    session = _session(graph)
    return lambda: session.run(None, feeds)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def _graph(input_type: int, nodes: list[Any], constants: list[Any], output: int = 1) -> Graph:
    """Return a graph from ``x`` to ``y``, matrices of any size."""
    x = value_message("x", ["rows", "columns"], input_type)
    y = value_message("y", ["rows", "columns"], output)
    header = ((1, 8), (8, memoryview(wire.write_integer(2, 17))))
    initializers = {tensor.name: tensor for tensor in constants}
    return Graph(tuple(nodes), initializers, {"y": y}, 17, ((2, memoryview(b"probe")), (11, memoryview(x))), header)


def _session(graph: Graph) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(b"".join(write_model(graph)), options, providers=["CPUExecutionProvider"])
