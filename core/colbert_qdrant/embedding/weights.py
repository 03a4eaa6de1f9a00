"""Weight files read by numpy alone: safetensors and what ``torch.save`` writes. No code of theirs is ever run."""

from __future__ import annotations

import json
import math
import pickletools
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.reader import reason_of
from colbert_qdrant.errors import InvalidModel

Weights = npt.NDArray[np.float32]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TORCH_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",  # position_ids, which older versions of transformers save: named, and never read
}

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Where a checkpoint and each of its modules keep their weights, the better first."""

_LONGEST_HEADER = 16 * 2**20  # of a model of 200,000 tensors
_LONGEST_PICKLE = 2**20
LARGEST_PROJECTION = 256 * 2**20
"""Bytes of a tensor, and of a file of ``torch.save``; one of 4,096 to 4,096 takes 64 MiB."""
LARGEST_ENCODER = 2**31
"""The same of a whole encoder: an ONNX file holds no more."""
_MOST_OPCODES = 100_000


def read_weights(path: Path, names: Collection[str], *, most: int = LARGEST_PROJECTION) -> dict[str, Weights]:
    """Read tensors of a weight file.

    Parameters
    ----------
    path
        ``*.safetensors``, else a file of ``torch.save``.
    names
        The tensors wanted. No other is read, so that a large file costs no more than a small one.
    most
        The bytes that one of them can have, and a file of ``torch.save`` as a whole.

    Returns
    -------
    dict
        The tensors as float32, by name; those that the file lacks are left out.

    Raises
    ------
    InvalidModel
        Not such a file, a damaged one, one that would run code on being loaded, or one whose numbers are not finite.

    References
    ----------
    https://huggingface.co/docs/safetensors (format);
    https://docs.pytorch.org/docs/stable/notes/serialization.html (zip file with a pickle in it).
    """
    read: Callable[..., dict[str, Weights]] = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    try:
        tensors = read(path, names, most)
    except Exception as error:  # what a damaged file raises has no other base class
        raise InvalidModel(f"{path} can't be read as weights ({reason_of(error)}); fetch the file again") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InvalidModel(f"{path}: {name} holds NaN or infinity; fetch the file again")
    return tensors


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where the numbers of a tensor lie, in whichever file: every field is checked here."""

    dtype: str
    shape: tuple[int, ...]
    most: int
    """The bytes that it can have."""
    offset: int = 0
    """In numbers, from the beginning of its storage."""

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise ValueError(f"numbers of type {self.dtype!r:.40} are no weights")
        if not all(type(size) is int and 0 <= size <= self.most for size in (*self.shape, self.offset)):
            raise ValueError("a shape or an offset is no row of whole numbers that could be")
        if len(self.shape) > 4 or self.size > self.most:
            raise ValueError(f"a tensor of shape {list(self.shape)[:8]} is larger than can be")

    @property
    def width(self) -> int:
        """Bytes of one number."""
        return np.dtype(_TYPES[self.dtype]).itemsize

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.width

    def as_float32(self, raw: bytes) -> Weights:
        if len(raw) != self.size:
            raise ValueError(f"{len(raw)} bytes are not of shape {list(self.shape)}")
        numbers = np.frombuffer(raw, dtype=_TYPES[self.dtype])
        if self.dtype == "BF16":  # the upper half of a float32
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinity, which is refused
            return numbers.astype(np.float32).reshape(self.shape)


def _read_safetensors(path: Path, names: Collection[str], most: int) -> dict[str, Weights]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size - 8 - length
        if length > _LONGEST_HEADER or size < 0:
            raise ValueError(f"a header of {length} bytes is longer than can be")
        header = json.loads(file.read(length))
        tensors = {}
        for name in header.keys() & set(names):
            start, end = header[name]["data_offsets"]
            if not (type(start) is type(end) is int and 0 <= start <= end <= size):
                raise ValueError(f"{name} does not lie inside the file's {size} bytes")
            stored = _Stored(header[name]["dtype"], tuple(header[name]["shape"]), most)
            if end - start != stored.size:
                raise ValueError(f"{name} of {end - start} bytes is not of shape {list(stored.shape)}")
            file.seek(8 + length + start)
            tensors[name] = stored.as_float32(file.read(stored.size))
    return tensors


def _read_torch(path: Path, names: Collection[str], most: int) -> dict[str, Weights]:
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than can be, {most // 2**20:,} MiB")
    with zipfile.ZipFile(path) as archive:
        [index] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        tensors = {}
        state = _state_dict(_member(archive, index, _LONGEST_PICKLE))
        for name in state.keys() & set(names):
            tensor = state[name]
            if not isinstance(tensor, _Tensor):
                raise ValueError(f"{name} in it is no tensor")
            stored = _Stored(tensor.dtype, tensor.shape, most, tensor.offset)
            rows = tuple(math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
            if tensor.strides != rows:
                raise ValueError(f"{name} is not stored row by row")
            raw = _member(archive, f"{index.removesuffix('data.pkl')}data/{tensor.key}", most)
            begin = stored.offset * stored.width
            tensors[name] = stored.as_float32(raw[begin : begin + stored.size])
    return tensors


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    info = archive.getinfo(name)
    # torch.save stores its members as they are: one that is deflated can be a thousand times what it seems.
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name[:60]!r} in it is deflated, or larger than can be")
    return archive.read(info)


# The index of a state dict. A pickle is a program for a machine that can call anything; this is a machine that can
# build dictionaries of tensors, and has no other instruction.


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What ``_rebuild_tensor_v2`` is called with."""

    dtype: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Global:
    """A name that a pickle may ask for."""

    name: str


_MARK = object()
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _state_dict(raw: bytes) -> dict[str, Any]:
    """Return what a pickle of ``torch.save`` describes: a `_Tensor` a name.

    https://github.com/python/cpython/blob/main/Lib/pickletools.py (the instructions)
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if number > _MOST_OPCODES:
            raise ValueError("its index is longer than can be")
        match opcode.name:
            case "PROTO" | "FRAME" | "BUILD" | "STOP" as name:
                if name == "BUILD":  # attributes of the dictionary, such as the versions of its modules: nothing to us
                    stack.pop()
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _LITERALS:
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case name if name in _TUPLES:
                stack.append(_last(stack, _TUPLES[name]))
            case "TUPLE":
                stack.append(_since_mark(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_global(str(argument)))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                function, arguments = _last(stack, 2)
                stack.append(_called(function, arguments))
            case "SETITEM":
                items = _last(stack, 2)
                _set_items(stack[-1], items)
            case "SETITEMS":
                items = _since_mark(stack)
                _set_items(stack[-1], items)
            case unknown:
                raise ValueError(f"its index has the instruction {unknown}, which weights have no use for")
    [state] = stack
    if not isinstance(state, dict):
        raise ValueError("it holds no dictionary of tensors")
    return state


def _last(stack: list[Any], count: int) -> tuple[Any, ...]:
    if len(stack) < count:
        raise ValueError("its index takes more from the stack than is there")
    return tuple(stack.pop() for _ in range(count))[::-1]


def _since_mark(stack: list[Any]) -> tuple[Any, ...]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return tuple(items[::-1])


def _global(name: str) -> _Global:
    module, _, attribute = name.partition(" ")
    is_storage = module == "torch" and attribute in _TORCH_STORAGES
    if not is_storage and name not in ("collections OrderedDict", "torch._utils _rebuild_tensor_v2"):
        raise ValueError(f"it asks for {name[:80]!r}, which weights have no use for")
    return _Global(attribute)


def _storage(described: Any) -> tuple[str, str]:
    match described:
        case ("storage", _Global(name), str(key), *_) if name in _TORCH_STORAGES and key.isalnum():
            return _TORCH_STORAGES[name], key
    raise ValueError("it refers to something else than a storage of numbers")


def _called(function: Any, arguments: Any) -> Any:
    match function, arguments:
        case _Global("OrderedDict"), ():
            return {}
        case _Global("_rebuild_tensor_v2"), ((str(dtype), str(key)), int(offset), tuple(shape), tuple(strides), *_):
            return _Tensor(dtype, key, offset, shape, strides)
    raise ValueError("it calls what it names in a way that torch.save does not")


def _set_items(target: Any, items: tuple[Any, ...]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("its index puts items into something else than a dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str):
            raise ValueError("its index has a key that is no text")
        target[key] = value
