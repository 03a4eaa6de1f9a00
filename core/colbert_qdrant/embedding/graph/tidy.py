"""What a graph computes without need: guards of whole matrices of shares, and a Gelu in five operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from colbert_qdrant.embedding.graph.model import MICROSOFT, Graph, Node, node


def tidied(graph: Graph) -> Graph:
    """Return the graph with guards behind its attention, where they are cheap, and with whole Gelus.

    Torch's exporter guards each softmax against rows that attend to nothing (``Where(IsNaN(s), 0, s)``). There are such
    rows: where a layer sees a token's neighbours only, those of padding that has nothing but padding around it. Such a
    row of shares is NaN as a whole, and so is then what it attends to; that is a row of a few dozen numbers, where the
    shares are as many as tokens. A Gelu in one operator is one pass over the numbers in place of five.
    """
    if any(part.has_subgraph for part in graph.nodes):  # whose nodes may take any tensor
        return graph
    return _with_gelus(_with_late_guards(graph))


def _with_late_guards(graph: Graph) -> Graph:
    made_by = graph.producers()
    value = _scalars(graph)
    same: dict[str, str] = {}
    late: dict[str, tuple[Node, Node]] = {}
    for part in graph.nodes:
        if part.operator != "Where" or len(part.inputs) != 3 or part.outputs[0] in graph.outputs:
            continue
        test, guarded = made_by.get(part.inputs[0]), made_by.get(part.inputs[2])
        if (
            test is not None
            and test.operator == "IsNaN"
            and test.inputs[:1] == part.inputs[2:]
            and guarded is not None
            and guarded.operator == "Softmax"
            and value(part.inputs[1]) == 0
            and (last := _attended(part, graph)) is not None
        ):
            same[part.outputs[0]] = part.inputs[2]
            late[last.outputs[0]] = test, part
    nodes = []
    for part in graph.nodes:
        if part.outputs[0] in same:
            continue
        renamed = _renamed(part, same)
        output = part.outputs[0]
        if output not in late:
            nodes.append(renamed)
            continue
        test, guard = late[output]
        bare, is_nan = f"{output}/unguarded", f"{output}/is NaN"
        nodes += [
            Node(renamed.operator, renamed.inputs, (bare,), renamed.attributes, renamed.domain, renamed.name),
            Node(test.operator, (bare,), (is_nan,), test.attributes, test.domain),
            Node(guard.operator, (is_nan, guard.inputs[1], bare), (output,), guard.attributes, guard.domain),
        ]
    return _pruned(graph, nodes)


def _attended(shares: Node, graph: Graph) -> Node | None:
    """Return the node that gives what shares attend to: their product with the values, its heads brought together."""
    product = _consumer(graph, shares.outputs[0], "MatMul")
    if product is None or product.inputs[0] != shares.outputs[0]:
        return None
    return _consumer(graph, product.outputs[0], "Transpose") or product


def _with_gelus(graph: Graph) -> Graph:
    made_by = graph.producers()
    value = _scalars(graph)
    whole: dict[str, str] = {}
    for part in graph.nodes:
        if part.operator == "Erf" and (found := _gelu_around(part, graph, made_by, value)):
            whole[found[1]] = found[0]
    nodes = [
        node("Gelu", [whole[part.outputs[0]]], part.outputs[0], domain=MICROSOFT) if part.outputs[0] in whole else part
        for part in graph.nodes
    ]
    return _pruned(graph, nodes)


def _gelu_around(
    erf: Node, graph: Graph, made_by: Mapping[str, Node], value: Callable[[str], float | None]
) -> tuple[str, str] | None:
    """Return what goes into a Gelu and what comes out of it: ``x * 0.5 * (1 + erf(x / sqrt(2)))`` in any order."""
    source = _scaled(made_by.get(erf.inputs[0]), math.sqrt(0.5), value)
    plus_one = _consumer(graph, erf.outputs[0], "Add")
    if source is None or plus_one is None or _other(plus_one, erf.outputs[0], value) != 1:
        return None
    factors: list[str] = []
    inside = plus_one.outputs[0]
    product = _consumer(graph, inside, "Mul")
    while product is not None and len(factors) < 2:
        other = product.inputs[1] if product.inputs[0] == inside else product.inputs[0]
        factors.append(other)
        if _is_half_of(source, factors, made_by, value):
            return source, product.outputs[0]
        inside = product.outputs[0]
        product = _consumer(graph, inside, "Mul")
    return None


def _is_half_of(
    source: str, factors: list[str], made_by: Mapping[str, Node], value: Callable[[str], float | None]
) -> bool:
    if len(factors) == 1:
        return _scaled(made_by.get(factors[0]), 0.5, value) == source
    return source in factors and any(_close(value(factor), 0.5) for factor in factors)


def _scaled(part: Node | None, by: float, value: Callable[[str], float | None]) -> str | None:
    """Return what a node multiplies by `by`, or divides by its inverse."""
    if part is None or len(part.inputs) != 2:
        return None
    left, right = part.inputs
    if part.operator == "Div":
        return left if _close(value(right), 1 / by) else None
    if part.operator == "Mul":
        return left if _close(value(right), by) else right if _close(value(left), by) else None
    return None


def _other(part: Node, name: str, value: Callable[[str], float | None]) -> float | None:
    return value(part.inputs[1] if part.inputs[0] == name else part.inputs[0])


def _close(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-6)


def _consumer(graph: Graph, name: str, operator: str) -> Node | None:
    """Return the node that takes a tensor, where it is the only one and of that kind."""
    taking = graph.only_consumer(name)
    return taking if taking is not None and taking.operator == operator else None


def _scalars(graph: Graph) -> Callable[[str], float | None]:
    made_by = graph.producers()

    def value(name: str) -> float | None:
        tensor, made = graph.initializers.get(name), made_by.get(name)
        if tensor is None and made is not None and made.operator == "Constant":
            tensor = made.tensor("value")
        if tensor is None or tensor.dtype != 1 or math.prod(tensor.shape) != 1:
            return None
        return float(tensor.array().reshape(()))

    return value


def _renamed(part: Node, same: Mapping[str, str]) -> Node:
    inputs = tuple(same.get(name, name) for name in part.inputs)
    return Node(part.operator, inputs, part.outputs, part.attributes, part.domain, part.name)


def _pruned(graph: Graph, nodes: list[Node]) -> Graph:
    """Leave out the nodes that nothing takes any more."""
    if any(part.has_subgraph for part in nodes):
        return graph.changed(nodes)
    uses = Counter(name for part in nodes for name in part.inputs)
    uses.update(list(graph.outputs))
    kept = []
    for part in reversed(nodes):
        if any(uses[name] for name in part.outputs):
            kept.append(part)
        else:
            uses.subtract(part.inputs)
    return graph.changed(reversed(kept))
