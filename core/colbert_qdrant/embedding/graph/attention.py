"""Attention of long texts without a matrix of all pairs of their tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from colbert_qdrant.embedding.graph.model import MICROSOFT, Graph, Node, Subgraph, node
from colbert_qdrant.embedding.graph.tensors import constant

_IDS = "input_ids"
_OLDEST_OPSET = 13
_MOST_SCALES = 3


def long_attention(graph: Graph, beyond: int) -> Graph:
    """Return the graph with ONNX Runtime's MultiHeadAttention for texts longer than so many tokens.

    It goes over the keys block by block, and holds no more than a block of each head's products at once: memory grows
    with a text's length, not with its square. It takes no mask, so each layer is asked in every run: where the mask
    hides nothing (a text that runs alone, in a layer that looks at all of it) it is used. Where it hides something (a
    layer that looks at a token's neighbours only) the graph's own operators go over the heads one by one, which takes
    the memory of one. Shorter texts go the way of the graph. `beyond` is to be so long that such texts never run in
    company, or a text's vectors would depend, in their last digits, on the texts beside it.
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention

    Layers in which nothing of the kind is found stay as they are.
    """
    if graph.opset < _OLDEST_OPSET or _IDS not in graph.inputs or any(part.has_subgraph for part in graph.nodes):
        return graph
    made_by = graph.producers()
    found = [layer for part in graph.nodes if (layer := _layer(part, graph, made_by)) is not None]
    if not found:
        return graph
    moved = {id(part) for layer in found for part in layer.nodes}
    last = {id(layer.nodes[-1]): layer for layer in found}
    rewriting = _Rewriting(beyond)
    nodes = []
    for part in graph.nodes:
        if id(part) in last:
            nodes += rewriting.either(last[id(part)])
        elif id(part) not in moved:
            nodes.append(part)
    return graph.changed([*rewriting.first, *nodes], rewriting.constants)


@dataclass(frozen=True, slots=True)
class _Layer:
    """``softmax(query @ key * scale + mask) @ value`` of a graph, by the names of tensors.

    Parameters
    ----------
    query, key, value
        ``(batch, heads, tokens, numbers)``, the key transposed to ``(batch, heads, numbers, tokens)``.
    scale
        Nodes that scale the products, one after the other, each by a number.
    mask
        What is added to them; empty: nothing.
    nodes
        All of them in their order; the last gives ``(batch, heads, tokens, numbers)``.
    """

    query: str
    key: str
    value: str
    scale: tuple[Node, ...]
    mask: str
    nodes: tuple[Node, ...]


def _layer(softmax: Node, graph: Graph, made_by: Mapping[str, Node]) -> _Layer | None:
    if softmax.operator != "Softmax" or softmax.domain or softmax.integer("axis", -1) not in (-1, 3):
        return None
    product = graph.only_consumer(softmax.outputs[0])
    if product is None or product.operator != "MatMul" or product.inputs[0] != softmax.outputs[0]:
        return None
    joining = graph.only_consumer(product.outputs[0])
    if joining is None or joining.integers("perm") != [0, 2, 1, 3]:  # which tells that there are four dimensions
        return None
    mask, before = "", made_by.get(softmax.inputs[0])
    between: list[Node] = []
    if before is not None and before.operator == "Add":
        between.append(before)
        scores = next((name for name in before.inputs if _product(made_by.get(name), graph, made_by)), None)
        if scores is None:
            return None
        mask = before.inputs[1] if before.inputs[0] == scores else before.inputs[0]
        before = made_by[scores]
    scores_nodes = _product(before, graph, made_by)
    if scores_nodes is None:
        return None
    before, *scale = scores_nodes
    nodes = (before, *scale, *between, softmax, product)
    if any(graph.only_consumer(part.outputs[0]) is not after for part, after in pairwise(nodes)):
        return None
    query, key = before.inputs
    return _Layer(query, key, product.inputs[1], tuple(scale), mask, nodes)


def _product(part: Node | None, graph: Graph, made_by: Mapping[str, Node]) -> list[Node] | None:
    """Return the product of two tensors that a node gives, and the nodes that scale it by numbers, itself the last."""
    scale: list[Node] = []
    while part is not None and part.operator in ("Mul", "Div") and len(scale) < _MOST_SCALES:
        scale.insert(0, part)
        scaled = _scaled(part, graph)
        part = None if scaled is None else made_by.get(scaled)
    return [part, *scale] if part is not None and part.operator == "MatMul" and not part.domain else None


def _scaled(part: Node, graph: Graph) -> str | None:
    """Return what a node multiplies, or divides, by a number."""
    for place in (1, 0) if part.operator == "Mul" else (1,):
        tensor = graph.initializers.get(part.inputs[place])
        if tensor is not None and math.prod(tensor.shape) == 1:
            return part.inputs[1 - place]
    return None


class _Rewriting:
    """Collects the nodes and constants that ask, once a run, whether a text is long and what its masks hide."""

    def __init__(self, beyond: int) -> None:
        self.first = [
            node("Shape", [_IDS], "long/shape"),
            node("Gather", ["long/shape", "long/one"], "long/tokens", axis=0),
            node("Greater", ["long/tokens", "long/beyond"], "long/is"),
        ]
        self.constants = [
            constant("long/zero", np.array(0, np.int64)),
            constant("long/one", np.array(1, np.int64)),
            constant("long/beyond", np.array(beyond, np.int64)),
            constant("long/nothing", np.array(0, np.float32)),
            *(constant(f"long/{number}", np.array([number], np.int64)) for number in (-3, -2, -1, 1, 2, 4)),
        ]
        self._asked: set[str] = set()

    def either(self, layer: _Layer) -> list[Node]:
        """Return what stands for a layer's nodes."""
        output, mask = layer.nodes[-1].outputs[0], f"long/{layer.mask}"
        asking = [] if not layer.mask or mask in self._asked else self._asks(layer.mask, mask)
        self._asked.add(mask)
        otherwise = _with_output(layer.nodes, f"{output}/short")
        if layer.mask:
            by_head = Subgraph((_by_head(layer, f"{output}/by head"),), f"{output}/by head")
            otherwise = (_if(f"{mask}/is of no head", by_head, otherwise, f"{output}/masked"),)
        attended = Subgraph(_multi_head_attention(layer, f"{output}/long"), f"{output}/long")
        return [*asking, _if(f"{mask}/hides nothing" if layer.mask else "long/is", attended, otherwise, output)]

    def _asks(self, mask: str, name: str) -> list[Node]:
        """Return the nodes that find whether a long text's mask is 0, and whether it is the same for all heads."""
        return [
            node("ReduceMin", [mask], f"{name}/least", keepdims=0),
            node("ReduceMax", [mask], f"{name}/largest", keepdims=0),
            node("Equal", [f"{name}/least", "long/nothing"], f"{name}/least is 0"),
            node("Equal", [f"{name}/largest", "long/nothing"], f"{name}/largest is 0"),
            node("And", [f"{name}/least is 0", f"{name}/largest is 0"], f"{name}/is 0"),
            node("And", [f"{name}/is 0", "long/is"], f"{name}/hides nothing"),
            node("Shape", [mask], f"{name}/shape"),
            node("Concat", ["long/1", "long/1", f"{name}/shape"], f"{name}/whole shape", axis=0),
            node("Slice", [f"{name}/whole shape", "long/-3", "long/-2"], f"{name}/heads"),
            node("Equal", [f"{name}/heads", "long/1"], f"{name}/is one"),
            node("Squeeze", [f"{name}/is one"], f"{name}/is for all heads"),
            node("And", [f"{name}/is for all heads", "long/is"], f"{name}/is of no head"),
        ]


def _if(condition: str, then: Subgraph, otherwise: tuple[Node, ...], output: str) -> Node:
    return node("If", [condition], output, then_branch=then, else_branch=Subgraph(otherwise, otherwise[-1].outputs[0]))


def _multi_head_attention(layer: _Layer, output: str) -> tuple[Node, ...]:
    """Return the nodes of a layer for texts whose mask hides nothing.

    Each head goes as a text of its own with one head, ``(batch * heads, tokens, numbers)``: how many there are needs
    not be known. A scale of the products is one of the query.
    """
    query, nodes = layer.query, []
    for number, part in enumerate(layer.scale):
        scaled = f"{output}/scaled {number}"
        inputs = [query if name == layer.nodes[number].outputs[0] else name for name in part.inputs]
        nodes.append(Node(part.operator, tuple(inputs), (scaled,), part.attributes))
        query = scaled
    shape, sizes, flat = f"{output}/shape", f"{output}/sizes", f"{output}/flat shape"
    heads = [f"{output}/{name}" for name in ("query", "key", "value", "attended")]
    return (
        *nodes,
        node("Transpose", [layer.key], f"{output}/upright key", perm=[0, 1, 3, 2]),
        node("Shape", [query], shape),
        node("Slice", [shape, "long/2", "long/4"], sizes),
        node("Concat", ["long/-1", sizes], flat, axis=0),
        node("Reshape", [query, flat], heads[0]),
        node("Reshape", [f"{output}/upright key", flat], heads[1]),
        node("Reshape", [layer.value, flat], heads[2]),
        node("MultiHeadAttention", heads[:3], heads[3], domain=MICROSOFT, num_heads=1, scale=1.0),
        node("Reshape", [heads[3], shape], output),
    )


def _by_head(layer: _Layer, output: str) -> Node:
    """Return a node that takes the heads through a layer's own nodes one after the other."""
    given = {name: f"{output}/{number}" for number, name in enumerate((layer.query, layer.key, layer.value))}
    names = {name: f"{each}/of one" for name, each in given.items()}
    names |= {part.outputs[0]: f"{output}/own/{part.outputs[0]}" for part in layer.nodes}
    attended, squeezed = names[layer.nodes[-1].outputs[0]], f"{output}/attended"
    body = (
        *(node("Unsqueeze", [each, "long/1"], names[name]) for name, each in given.items()),
        *(
            Node(
                part.operator,
                tuple(names.get(name, name) for name in part.inputs),
                (names[part.outputs[0]],),
                part.attributes,
            )
            for part in layer.nodes
        ),
        node(
            "Gather", [attended, "long/zero"], squeezed, axis=1
        ),  # Squeeze is refused where heads have masks of their own
    )
    return node(
        "Scan",
        given,
        output,
        body=Subgraph(body, squeezed, inputs=tuple(given.values()), dimensions=3),
        num_scan_inputs=len(given),
        scan_input_axes=[1] * len(given),
        scan_output_axes=[1],
    )


def _with_output(nodes: tuple[Node, ...], output: str) -> tuple[Node, ...]:
    last = nodes[-1]
    return (*nodes[:-1], Node(last.operator, last.inputs, (output,), last.attributes, last.domain, last.name))
