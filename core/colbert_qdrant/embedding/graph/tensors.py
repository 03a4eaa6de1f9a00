"""The weights and other constants of an ONNX model: their values, in the model's file or in one beside it.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto gives the numbers of the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.wire import Chunk, MalformedMessage

Array: TypeAlias = npt.NDArray[Any]

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


def read_tensor(message: memoryview, folder: Path | None) -> Tensor:
    """Read a tensor's message; `folder` holds the file of its values, where they lie outside of the model's.

    Raises
    ------
    MalformedMessage
        A dimension is negative.
    """
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


def _address(content: memoryview) -> int:
    address: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    return address
