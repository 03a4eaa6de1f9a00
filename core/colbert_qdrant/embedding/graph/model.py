"""An ONNX model as data: nodes, weights, and what is handed on unread.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto gives the numbers of the fields.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.wire import Chunk, Field, MalformedMessage

Array: TypeAlias = npt.NDArray[Any]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators: docs/ContribOperators.md of its repository."""

_MODEL_GRAPH, _MODEL_OPSET = 7, 8
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_EXTERNAL = 13
_TYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A weight or another constant.

    Parameters
    ----------
    name
        What nodes call it.
    dtype
        ONNX's number for the type of its values.
    shape
        Its dimensions.
    message
        Its bytes in the file.
    folder
        Holds the file of its values, where they lie outside of the model's.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    message: Sequence[Chunk]
    folder: Path | None = None

    @property
    def is_weight(self) -> bool:
        """Whether it is a float32 matrix."""
        return self.dtype == 1 and len(self.shape) == 2

    @property
    def is_external(self) -> bool:
        """Whether its values lie in a file of their own."""
        return any(number == _EXTERNAL for chunk in self.message for number, _ in wire.fields(memoryview(chunk)))

    @property
    def bytes(self) -> int:
        """How many bytes its values take; 0 where their type is not known."""
        kind = _TYPES.get(self.dtype)
        return 0 if kind is None else math.prod(self.shape) * np.dtype(kind).itemsize

    def lying_in(self, content: memoryview, file: str, least: int) -> Tensor:
        """Return a tensor that says where in a model's file its values lie, in place of holding them.

        Parameters
        ----------
        content
            The file, of whose bytes the tensor's message is a part.
        file
            Its name.
        least
            A tensor of fewer bytes stays as it is; so does one whose values lie elsewhere, or are written one by one.
            https://onnx.ai/onnx/repo-docs/ExternalData.html
        """
        if self.bytes < least or len(self.message) != 1:
            return self
        head: list[Chunk] = []
        raw: memoryview | None = None
        for number, value in wire.fields(memoryview(self.message[0])):
            if number == 9 or (number == 4 and self.dtype == 1 and isinstance(value, memoryview)):
                raw = wire.nested(value)
            elif number in (1, 2, 8):
                head += wire.write_again((number, value))
            else:
                return self
        if raw is None or len(raw) != self.bytes:
            return self
        offset = _address(raw) - _address(content)
        for key, text in (("location", file), ("offset", str(offset)), ("length", str(len(raw)))):
            head += wire.write_nested(_EXTERNAL, [wire.write_text(1, key), wire.write_text(2, text)])
        return replace(self, message=(b"".join([*head, wire.write_integer(14, 1)]),))

    def array(self) -> Array:
        """Return its values.

        Raises
        ------
        MalformedMessage
            They are of another number than its shape says, of a type that is not known, or can't be found.
        """
        if self.dtype not in _TYPES:
            raise MalformedMessage(f"{self.name} is of type {self.dtype}, which is not read")
        dtype = np.dtype(_TYPES[self.dtype]).newbyteorder("<")
        size = int(np.prod(self.shape, dtype=np.int64))
        raw: Chunk | None = None
        packed: list[int] = []
        external: dict[str, str] = {}
        message = self.message[0] if len(self.message) == 1 else b"".join(self.message)
        for number, value in wire.fields(memoryview(message)):
            if number == 9 or (number == 4 and self.dtype == 1):
                raw = wire.nested(value)
            elif number in (5, 7):
                packed += wire.integers(value)
            elif number == _EXTERNAL:
                entry = {key: wire.text(part) for key, part in wire.fields(wire.nested(value))}
                external[entry.get(1, "")] = entry.get(2, "")
        if external:
            raw = _read_external(self, external, size * dtype.itemsize)
        values = np.frombuffer(raw, dtype) if raw is not None else np.array(packed, dtype)
        if values.size != size:
            raise MalformedMessage(f"{self.name} has {values.size} values, its shape is {list(self.shape)}")
        return values.reshape(self.shape)


def constant(name: str, values: Array) -> Tensor:
    """Return a tensor of those values."""
    return Tensor(name, _NUMBERS[values.dtype], values.shape, _tensor_message(name, values))


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
                return _read_tensor(wire.nested(value), None)
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
            tensor = _read_tensor(wire.nested(value), folder)
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


def _address(content: memoryview) -> int:
    address: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    return address


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


def _read_tensor(message: memoryview, folder: Path | None) -> Tensor:
    shape: list[int] = []
    dtype, name = 0, ""
    for number, value in wire.fields(message):
        if number == 1:
            shape += wire.integers(value)
        elif number == 2:
            dtype = wire.number(value)
        elif number == 8:
            name = wire.text(value)
    if any(size < 0 for size in shape):
        raise MalformedMessage(f"{name} is of shape {shape}")
    return Tensor(name, dtype, tuple(shape), (message,), folder)


def _read_external(tensor: Tensor, entries: Mapping[str, str], size: int) -> bytes:
    name = entries.get("location", "")
    offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    if tensor.folder is None or Path(name).name != name or offset < 0 or length != size:
        raise MalformedMessage(f"{tensor.name} lies in {name!r}, from where it is not read")
    with (tensor.folder / name).open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _tensor_message(name: str, values: Array) -> list[Chunk]:
    head = b"".join(wire.write_integer(1, size) for size in values.shape)
    head += wire.write_integer(2, _NUMBERS[values.dtype]) + wire.write_text(8, name)
    contiguous = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return [head, *wire.write_nested(9, [contiguous.tobytes()])]


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
