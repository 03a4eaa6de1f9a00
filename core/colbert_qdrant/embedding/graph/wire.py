"""Protocol Buffers' wire format: the little of it that an ONNX file is made of.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

Chunk: TypeAlias = bytes | memoryview
Field: TypeAlias = "tuple[int, int | memoryview]"
"""A field's number, and its value: an integer, or the bytes of whatever else it is."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class MalformedMessage(ValueError):
    """Bytes that are no message."""


def fields(message: memoryview) -> Iterator[Field]:
    """Yield a message's fields in their order; nothing is copied.

    Raises
    ------
    MalformedMessage
        A field that is cut off, or of a kind that there is not.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _DELIMITED:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise MalformedMessage(f"field {number} is of kind {kind}, which there is not")
        if number == 0 or size > end - at:
            raise MalformedMessage(f"field {number} has {size} bytes of which {end - at} are there")
        yield number, message[at : at + size]
        at += size


def integers(value: int | memoryview) -> list[int]:
    """Return the numbers of a repeated integer field: one by one, or packed into one value."""
    if isinstance(value, int):
        return [signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _read_varint(value, at)
        found.append(signed(number))
    return found


def signed(value: int) -> int:
    """Return what an int32 or int64 field means: negative numbers are written as their two's complement."""
    return value - (1 << 64) if value >> 63 else value


def text(value: int | memoryview) -> str:
    """Return a string field.

    Raises
    ------
    MalformedMessage
        It is none.
    """
    if isinstance(value, int):
        raise MalformedMessage(f"{value} stands where a text should")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"a name is not UTF-8: {error}") from None


def nested(value: int | memoryview) -> memoryview:
    """Return a field's bytes.

    Raises
    ------
    MalformedMessage
        It is a number.
    """
    if isinstance(value, int):
        raise MalformedMessage(f"{value} stands where a message should")
    return value


def number(value: int | memoryview) -> int:
    """Return an integer field.

    Raises
    ------
    MalformedMessage
        It is none.
    """
    if isinstance(value, memoryview):
        raise MalformedMessage("bytes stand where a number should")
    return signed(value)


def write_integer(field: int, value: int) -> bytes:
    """Write an integer field."""
    return _varint(field << 3 | _VARINT) + _varint(value & (1 << 64) - 1)


def write_fixed32(field: int, value: bytes) -> bytes:
    """Write a field of four bytes, such as a float32."""
    return _varint(field << 3 | _FIXED32) + value


def write_text(field: int, value: str) -> bytes:
    """Write a string field."""
    return b"".join(write_nested(field, [value.encode()]))


def write_nested(field: int, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Write a field of bytes, a message among others, given in pieces that are not copied."""
    pieces = list(chunks)
    return [_varint(field << 3 | _DELIMITED) + _varint(sum(map(len, pieces))), *pieces]


def write_again(field: Field) -> list[Chunk]:
    """Write a field as it was read; only for fields that are an integer or of variable length."""
    key, value = field
    return [write_integer(key, value)] if isinstance(value, int) else write_nested(key, [value])


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[at : at + _LONGEST_VARINT]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7
    raise MalformedMessage("a number has no end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
