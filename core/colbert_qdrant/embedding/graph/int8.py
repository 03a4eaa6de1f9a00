"""Integer products: each token's activations with a scale of their own, each column of the weights too.

What one scale for a whole batch loses, and why a text's vectors then depend on its company, is told by
https://arxiv.org/abs/2206.01861 (ZeroQuant, section 4.2: token-wise quantisation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.graph.model import MICROSOFT, Graph, Node, node
from colbert_qdrant.embedding.graph.tensors import Array, Tensor, constant
from colbert_qdrant.embedding.graph.wire import MalformedMessage

_STEPS = 127
_LARGEST = 255
_ZERO = 128
"""What stands for 0 among activations of both signs: as many steps below as above."""

_ZERO_OF_GELUS = 32
"""What stands for 0 where activations are hardly negative: a Gelu's are -0.17 at least."""

_ONE_SIDED = ("Gelu", "FastGelu", "Relu")
_LEAST_SCALE = 1e-30
_LEAST_ROWS = 32
"""Products with fewer weights a column cost next to nothing, and lose more."""
_OLDEST_OPSET = 11


def by_row(graph: Graph) -> Graph:
    """Return the graph with integer products in place of those with constant weights.

    ``x @ W`` becomes ``(quantised(x) @ quantised(W)) * scales(x) * scales(W)``, a scale being the largest absolute
    value of a row of `x`, or of a column of `W` (see `quantised_by_column`), over 127. No scale is shared between
    tokens: a text's vectors don't depend on the texts beside it. What comes from a Gelu has most of its steps above 0,
    where its values are.

    Parameters
    ----------
    graph
        A graph after constant folding, so that weights are constants.

    Raises
    ------
    MalformedMessage
        Its operators are too old, or its weights can't be read.
    """
    if graph.opset < _OLDEST_OPSET:
        raise MalformedMessage(f"its operators are those of opset {graph.opset}, at least {_OLDEST_OPSET} is needed")
    rewriting = _Rewriting(graph)
    nodes = [new for part in graph.nodes for new in rewriting.replaced(part)]
    return graph.changed(nodes, rewriting.constants.values())


def products(graph: Graph) -> list[Node]:
    """Return the products that `by_row` replaces."""
    return [part for part in graph.nodes if _product(part, graph) is not None]


@dataclass(frozen=True, slots=True)
class _Product:
    activations: str
    weights: Tensor
    is_transposed: bool = False
    factor: float = 1.0
    bias: str = ""


def _product(part: Node, graph: Graph) -> _Product | None:
    if part.domain not in ("", "ai.onnx") or part.operator not in ("MatMul", "Gemm") or len(part.inputs) < 2:
        return None
    tensor = graph.initializers.get(part.inputs[1])
    if tensor is None or not tensor.is_weight or part.inputs[0] in graph.initializers:
        return None
    if part.operator == "MatMul":
        product = _Product(part.inputs[0], tensor)
    else:
        bias = part.inputs[2] if len(part.inputs) > 2 else ""
        if part.integer("transA", 0) or (bias and part.real("beta", 1.0) != 1):
            return None
        transposed = bool(part.integer("transB", 0))
        product = _Product(part.inputs[0], tensor, transposed, part.real("alpha", 1.0), bias)
    return product if min(tensor.shape) >= _LEAST_ROWS else None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Activations, quantised by row: names of tensors."""

    quantised: str
    scales: str
    zero: str
    leading_shape: str


class _Rewriting:
    """Collects the nodes and constants that take the place of a graph's products."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made_by = graph.producers()
        self._taken = {name for part in graph.nodes for name in (*part.inputs, *part.outputs)} | {*graph.initializers}
        self._rows: dict[str, _Rows] = {}
        self.constants: dict[str, Tensor] = {}

    def replaced(self, part: Node) -> Iterator[Node]:
        """Yield what stands for a node: itself, where it is no product with constant weights."""
        product = _product(part, self._graph)
        if product is None:
            yield part
            return
        if product.activations not in self._rows:
            yield from self._quantise(product.activations)
        rows = self._rows[product.activations]
        weights, scales = self._quantised_weights(product)
        name = part.outputs[0]
        summed, scaled, shape = (self._name(f"{name}/{step}") for step in ("sum", "scaled", "shape"))
        one = self._scalar("one", np.float32(1))
        inputs = [rows.quantised, weights, one, scales, rows.zero]
        yield node("MatMulIntegerToFloat", inputs, summed, domain=MICROSOFT)
        yield node("Mul", [summed, rows.scales], scaled)
        columns = self._shape(product.weights.shape[0 if product.is_transposed else 1])
        yield node("Concat", [rows.leading_shape, columns], shape, axis=0)
        unbiased = self._name(f"{name}/unbiased") if product.bias else name
        yield node("Reshape", [scaled, shape], unbiased)
        if product.bias:
            yield node("Add", [unbiased, product.bias], name)

    def _quantise(self, name: str) -> Iterator[Node]:
        def step(what: str) -> str:
            return self._name(f"{name}/{what}")

        flat, scales, count, zeros, quantised = map(step, ("rows", "scales", "count", "zeros", "int8"))
        column, shape, leading = map(step, ("column", "whole shape", "leading shape"))
        made = self._made_by.get(name)
        zero = _ZERO_OF_GELUS if made is not None and made.operator in _ONE_SIDED else _ZERO
        yield node("Flatten", [name], flat, axis=-1)
        yield from self._scales(name, flat, scales, zero)
        yield node("Shape", [scales], count)
        yield node("ConstantOfShape", [count], zeros, value=constant("", np.array([zero], np.uint8)))
        yield node("QuantizeLinear", [flat, scales, zeros], quantised, domain=MICROSOFT, axis=0)
        yield (
            node("Unsqueeze", [scales, self._shape(1)], column)
            if self._graph.opset >= 13
            else node("Unsqueeze", [scales], column, axes=[1])
        )
        yield node("Shape", [name], shape)
        yield node("Slice", [shape, self._shape(0), self._shape(-1)], leading)
        self._rows[name] = _Rows(quantised, column, self._scalar(f"zero {zero}", np.uint8(zero)), leading)

    def _scales(self, name: str, flat: str, scales: str, zero: int) -> Iterator[Node]:
        """Yield what finds the length of a row's step: the least with which its every value has one."""
        at_least = self._scalar("least scale", np.float32(_LEAST_SCALE))
        if zero == _ZERO:
            size, largest, scale = (self._name(f"{name}/{what}") for what in ("absolute", "largest", "scale"))
            yield node("Abs", [flat], size)
            yield self._reduced("ReduceMax", size, largest)
            yield node("Mul", [largest, self._scalar("step", np.float32(1 / _STEPS))], scale)
            yield node("Max", [scale, at_least], scales)
            return
        largest, least, above, below = (self._name(f"{name}/{what}") for what in ("largest", "least", "above", "below"))
        yield self._reduced("ReduceMax", flat, largest)
        yield self._reduced("ReduceMin", flat, least)
        yield node("Mul", [largest, self._scalar("step above", np.float32(1 / (_LARGEST - zero)))], above)
        yield node("Mul", [least, self._scalar("step below", np.float32(-1 / zero))], below)
        yield node("Max", [above, below, at_least], scales)

    def _reduced(self, operator: str, rows: str, output: str) -> Node:
        if self._graph.opset >= 18:  # from there on the axes are an input
            return node(operator, [rows, self._shape(1)], output, keepdims=0)
        return node(operator, [rows], output, axes=[1], keepdims=0)

    def _quantised_weights(self, product: _Product) -> tuple[str, str]:
        name = f"{product.weights.name}/{'transposed/' if product.is_transposed else ''}{product.factor}"
        names = f"{name}/int8", f"{name}/scales"
        if names[0] not in self.constants:
            weights = product.weights.array()
            quantised, scales = quantised_by_column(weights.T if product.is_transposed else weights)
            self._add(names[0], quantised)
            self._add(names[1], scales * np.float32(product.factor))
        return names

    def _shape(self, size: int) -> str:
        return self._add(f"int8/shape {size}", np.array([size], np.int64))

    def _scalar(self, name: str, value: np.generic) -> str:
        return self._add(f"int8/{name}", np.asarray(value))

    def _add(self, name: str, values: Array) -> str:
        if name not in self.constants:
            self.constants[name] = constant(name, values)
        return name

    def _name(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted += "'"
        self._taken.add(wanted)
        return wanted


def quantised_by_column(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return weights in whole steps from -127 to 127, and the length of a column's step.

    Two weights that stand one above the other, from an even row on, are no more than 128 steps together where they have
    one sign. Processors without instructions for four products at once (VNNI on x86) add up two in 16 bits, which then
    hold 255 times that: no sum saturates, and every processor finds the same integers.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8

    Parameters
    ----------
    weights
        ``(rows, columns)``, float32.

    Returns
    -------
    steps : numpy.ndarray
        ``(rows, columns)``, int8.
    scales : numpy.ndarray
        ``(columns,)``, float32.
    """
    even = len(weights) // 2 * 2
    above, below = np.maximum(weights[:even], 0), np.minimum(weights[:even], 0)
    largest = np.maximum((above[::2] + above[1::2]).max(axis=0), -(below[::2] + below[1::2]).min(axis=0))
    largest = np.maximum(largest, np.abs(weights[even:]).max(axis=0, initial=0))
    scales = np.maximum(largest / np.float32(_STEPS), np.float32(_LEAST_SCALE))
    return np.rint(weights / scales).astype(np.int8), scales
