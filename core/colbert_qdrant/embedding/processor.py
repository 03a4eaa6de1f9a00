"""What this processor makes of 8-bit products: which kind is exact, and whether it is faster than float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.int8 import WEIGHT_TYPES, WeightType, by_row
from colbert_qdrant.embedding.graph.model import Array, Graph, constant, node, value_message, write_model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ROWS, _SIZE, _ROUNDS = 128, 768, 6

_CLEARLY = 1.2
"""Integers must take so many times as long to be given up: what a model computes in shall not hang on a busy moment."""


@cache
def int8_weights() -> WeightType | None:
    """Return the type of 8-bit weights to use, ``None`` where float32 is faster.

    Unsigned activations by signed weights is the fastest product where the processor adds four of them at once (VNNI on
    x86, dot products on ARM). Before that, x86 adds two in 16 bits, which overflow; unsigned weights are added in 32
    bits then. Both give the same sums, and so the same vectors. What is true here is tried, not looked up.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
    """
    for weights in WEIGHT_TYPES:
        if _is_exact(weights):
            return weights if _is_worth_it(weights) else None
    return None


def _is_exact(weights: WeightType) -> bool:
    kind, zero = (np.int8, 0) if weights == "signed" else (np.uint8, 128)
    largest = constant("w", np.full((_SIZE, _SIZE), 127 + zero, kind))
    points = [constant("x zero", np.array(0, np.uint8)), constant("w zero", np.array(zero, kind))]
    session = _session(
        _graph(2, [node("MatMulInteger", ["x", "w", "x zero", "w zero"], "y")], [largest, *points], output=6)
    )
    (sums,) = session.run(None, {"x": np.full((_ROWS, _SIZE), 255, np.uint8)})
    found: list[int] = sums.ravel().tolist()
    return set(found) == {255 * 127 * _SIZE}


def _is_worth_it(weights: WeightType) -> bool:
    random = np.random.default_rng(0)
    float32 = _graph(
        1, [node("MatMul", ["x", "w"], "y")], [constant("w", random.standard_normal((_SIZE, _SIZE), np.float32))]
    )
    feeds = {"x": random.standard_normal((_ROWS, _SIZE), np.float32)}
    runs = [_run(graph, feeds) for graph in (float32, by_row(float32, weights))]
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
