"""An ONNX model as data: nodes, the constants they take, and what is handed on unread.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto gives the numbers of the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.tensors import Tensor, constant, read_tensor
from colbert_qdrant.embedding.graph.wire import Chunk, Field, MalformedMessage

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators: docs/ContribOperators.md of its repository."""

_MODEL_GRAPH, _MODEL_OPSET = 7, 8
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13


@dataclass(frozen=True, slots=True)
class Node:
    """An operator's use.

    Parameters
    ----------
    operator
        Its name.
    inputs, outputs
        Names of tensors; an empty name is an input left out.
    attributes
        Their messages, by name.
    domain
        Whose operator it is; empty: ONNX's own.
    name
        For profiles and messages.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Chunk] = field(default_factory=dict)
    domain: str = ""
    name: str = ""

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        for number, value in self._attribute(name):
            if number == 3:
                return wire.number(value)
        return default

    def integers(self, name: str) -> list[int]:
        """Return an attribute of several integers; none where it is not there."""
        return [each for number, value in self._attribute(name) if number == 8 for each in wire.integers(value)]

    def real(self, name: str, default: float) -> float:
        """Return a float attribute."""
        for number, value in self._attribute(name):
            if number == 2:
                return float(struct.unpack("<f", wire.nested(value))[0])
        return default

    def tensor(self, name: str) -> Tensor | None:
        """Return an attribute that is a tensor; ``None`` where it is none."""
        for number, value in self._attribute(name):
            if number == 5:
                return read_tensor(wire.nested(value), None)
        return None

    @property
    def has_subgraph(self) -> bool:
        """Whether it holds nodes of its own (If, Loop, Scan), which may use any tensor."""
        return any(number in (6, 11) for name in self.attributes for number, _ in self._attribute(name))

    def _attribute(self, name: str) -> Iterator[Field]:
        return wire.fields(memoryview(self.attributes.get(name, b"")))


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A node's own nodes, such as a branch of an If: they may take any tensor of the graph around them.

    Parameters
    ----------
    nodes
        In an order in which they can be run.
    output
        What they give: a float32 tensor.
    inputs
        What they are given besides: float32 tensors.
    dimensions
        How many each of these has.
    """

    nodes: tuple[Node, ...]
    output: str
    inputs: tuple[str, ...] = ()
    dimensions: int = 4


def node(
    operator: str,
    inputs: Iterable[str],
    output: str,
    *,
    domain: str = "",
    **attributes: int | float | Sequence[int] | Tensor | Subgraph,
) -> Node:
    """Return a node with one output, which it is named for."""
    messages = {name: _attribute_message(name, value) for name, value in attributes.items()}
    return Node(operator, tuple(inputs), (output,), messages, domain, name=output)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model.

    Parameters
    ----------
    nodes
        In an order in which they can be run.
    initializers
        The constants, by name.
    outputs
        What the graph gives, with their messages (name, type and shape).
    opset
        Version of ONNX's own operators.
    rest
        Fields of the graph that are handed on as they are: its inputs, its name.
    model
        Fields of the model around it.
    """

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Tensor]
    outputs: Mapping[str, Chunk]
    opset: int
    rest: tuple[Field, ...]
    model: tuple[Field, ...]

    def changed(self, nodes: Iterable[Node], constants: Iterable[Tensor] = ()) -> Graph:
        """Return a graph of those nodes with further constants, without the constants that no node takes."""
        nodes = tuple(nodes)
        tensors = {**self.initializers, **{tensor.name: tensor for tensor in constants}}
        if not any(node.has_subgraph for node in nodes):
            used = {name for node in nodes for name in node.inputs} | set(self.outputs) | set(self.inputs)
            tensors = {name: tensor for name, tensor in tensors.items() if name in used}
        return replace(self, nodes=nodes, initializers=tensors)

    def inlined(self) -> Graph:
        """Return a graph that needs no file of weights beside its own."""
        tensors = {
            name: constant(name, tensor.array()) if tensor.folder is not None and tensor.is_external else tensor
            for name, tensor in self.initializers.items()
        }
        return replace(self, initializers=tensors)

    @property
    def inputs(self) -> list[str]:
        """What the graph takes; older writers list its constants too."""
        return [
            next((wire.text(part) for key, part in wire.fields(wire.nested(value)) if key == 1), "")
            for number, value in self.rest
            if number == _INPUT
        ]

    def producers(self) -> dict[str, Node]:
        """Return the node that each tensor comes from."""
        return {output: node for node in self.nodes for output in node.outputs}

    def only_consumer(self, name: str) -> Node | None:
        """Return the node that takes a tensor, where it is the only one and the graph does not give the tensor."""
        taking = [part for part in self.nodes if name in part.inputs]
        return taking[0] if len(taking) == 1 and name not in self.outputs else None


def read_model(content: memoryview, folder: Path | None = None) -> Graph:
    """Read a model; `folder` holds its external weights.

    Raises
    ------
    MalformedMessage
        It is none.
    """
    graph, opset, around = None, 1, []
    for number, value in wire.fields(content):
        if number == _MODEL_GRAPH:
            graph = wire.nested(value)
            continue
        if number == _MODEL_OPSET:
            domain, version = _opset(wire.nested(value))
            opset = version if domain in ("", "ai.onnx") else opset
            if domain == MICROSOFT:
                continue
        around.append((number, value))
    if graph is None:
        raise MalformedMessage("there is no graph in it")
    nodes: list[Node] = []
    initializers: dict[str, Tensor] = {}
    outputs: dict[str, Chunk] = {}
    rest: list[Field] = []
    for number, value in wire.fields(graph):
        if number == _NODE:
            nodes.append(_read_node(wire.nested(value)))
        elif number == _INITIALIZER:
            tensor = read_tensor(wire.nested(value), folder)
            initializers[tensor.name] = tensor
        elif number == _OUTPUT:
            name = next((wire.text(part) for key, part in wire.fields(wire.nested(value)) if key == 1), "")
            outputs[name] = wire.nested(value)
        elif number != _VALUE_INFO:  # shapes of what lies between, which the runtime infers anew
            rest.append((number, value))
    return Graph(tuple(nodes), initializers, outputs, opset, tuple(rest), tuple(around))


def write_model(graph: Graph) -> list[Chunk]:
    """Return a model's file, in pieces."""
    body: list[Chunk] = []
    for part in graph.nodes:
        body += wire.write_nested(_NODE, _node_message(part))
    for tensor in graph.initializers.values():
        body += wire.write_nested(_INITIALIZER, tensor.message)
    for message in graph.outputs.values():
        body += wire.write_nested(_OUTPUT, [message])
    for other in graph.rest:
        body += wire.write_again(other)
    around = [chunk for other in graph.model for chunk in wire.write_again(other)]
    opset = wire.write_nested(_MODEL_OPSET, [wire.write_text(1, MICROSOFT), wire.write_integer(2, 1)])
    return [*around, *opset, *wire.write_nested(_MODEL_GRAPH, body)]


def value_message(name: str, shape: Sequence[str | int], dtype: int = 1) -> bytes:
    """Describe an input or output of that shape and type; a text is a dimension that differs from run to run."""
    dimensions: list[Chunk] = []
    for size in shape:
        dimension = wire.write_text(2, size) if isinstance(size, str) else wire.write_integer(1, size)
        dimensions += wire.write_nested(1, [dimension])
    tensor = [wire.write_integer(1, dtype), *wire.write_nested(2, dimensions)]
    return b"".join([wire.write_text(1, name), *wire.write_nested(2, wire.write_nested(1, tensor))])


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 1
    for number, value in wire.fields(message):
        if number == 1:
            domain = wire.text(value)
        elif number == 2:
            version = wire.number(value)
    return domain, version


def _read_node(message: memoryview) -> Node:
    inputs, outputs, attributes = [], [], {}
    named = {3: "", 4: "", 7: ""}
    for number, value in wire.fields(message):
        if number == 1:
            inputs.append(wire.text(value))
        elif number == 2:
            outputs.append(wire.text(value))
        elif number == 5:
            attribute = wire.nested(value)
            name = next((wire.text(part) for key, part in wire.fields(attribute) if key == 1), "")
            attributes[name] = attribute
        elif number in named:
            named[number] = wire.text(value)
    return Node(named[4], tuple(inputs), tuple(outputs), attributes, named[7], named[3])


def _attribute_message(name: str, value: int | float | Sequence[int] | Tensor | Subgraph) -> bytes:
    head = wire.write_text(1, name)
    if isinstance(value, float):
        return head + wire.write_fixed32(2, struct.pack("<f", value)) + wire.write_integer(20, 1)
    if isinstance(value, Subgraph):
        return b"".join([head, *wire.write_nested(6, _subgraph_message(name, value)), wire.write_integer(20, 5)])
    if isinstance(value, int):
        return head + wire.write_integer(3, value) + wire.write_integer(20, 2)
    if isinstance(value, Tensor):
        return b"".join([head, *wire.write_nested(5, value.message), wire.write_integer(20, 4)])
    return head + b"".join(wire.write_integer(8, size) for size in value) + wire.write_integer(20, 7)


def _node_message(part: Node) -> list[Chunk]:
    chunks = [wire.write_text(1, name) for name in part.inputs]
    chunks += [wire.write_text(2, name) for name in part.outputs]
    chunks += [wire.write_text(3, part.name), wire.write_text(4, part.operator)]
    if part.domain:
        chunks.append(wire.write_text(7, part.domain))
    return [*chunks, *(chunk for message in part.attributes.values() for chunk in wire.write_nested(5, [message]))]


def _subgraph_message(name: str, subgraph: Subgraph) -> list[Chunk]:
    nodes = [chunk for part in subgraph.nodes for chunk in wire.write_nested(_NODE, _node_message(part))]
    given = [(_INPUT, each) for each in subgraph.inputs]
    for number, each in (*given, (_OUTPUT, subgraph.output)):
        shape = [f"{each}/{axis}" for axis in range(subgraph.dimensions)]
        nodes += wire.write_nested(number, [value_message(each, shape)])
    return [*nodes, wire.write_text(2, name)]
