"""Weight files read by numpy alone: safetensors and what ``torch.save`` writes. No code of theirs is ever run."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidModel

Weights = npt.NDArray[np.float32]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TORCH_STORAGES = {"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
_LONGEST_INDEX = 100 * 2**20  # as in the reference implementation of safetensors


def read_weights(path: Path, names: Collection[str]) -> dict[str, Weights]:
    """Read tensors of a weight file.

    Parameters
    ----------
    path
        ``*.safetensors``, else a file of ``torch.save``.
    names
        The tensors wanted. No other is read, so that a large file costs no more than a small one.

    Returns
    -------
    dict
        The tensors as float32, by name; those that the file lacks are left out.

    Raises
    ------
    InvalidModel
        Not such a file, a damaged one, or one that would run code on being loaded.

    References
    ----------
    https://huggingface.co/docs/safetensors (format);
    https://docs.pytorch.org/docs/stable/notes/serialization.html (zip file with a pickle in it).
    """
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    try:
        return read(path, names)
    except Exception as error:  # what a damaged file raises has no other base class
        raise InvalidModel(f"{path} can't be read as weights ({error}); fetch the file again") from error


def _read_safetensors(path: Path, names: Collection[str]) -> dict[str, Weights]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size - 8 - length
        if length > _LONGEST_INDEX or size < 0:
            raise ValueError(f"a header of {length} bytes is longer than can be")
        header = json.loads(file.read(length))
        tensors = {}
        for name in header.keys() & set(names):
            start, end = header[name]["data_offsets"]
            if not 0 <= start <= end <= size:
                raise ValueError(f"{name} lies at bytes {start} to {end} of {size}")
            file.seek(8 + length + start)
            tensors[name] = _as_float32(file.read(end - start), header[name]["dtype"], header[name]["shape"])
    return tensors


def _read_torch(path: Path, names: Collection[str]) -> dict[str, Weights]:
    with zipfile.ZipFile(path) as archive:
        [index] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if archive.getinfo(index).file_size > _LONGEST_INDEX:
            raise ValueError("its index is longer than can be")
        state = _StateDictUnpickler(io.BytesIO(archive.read(index))).load()
        tensors = {}
        for name in state.keys() & set(names):
            (dtype, key), offset, shape, strides = state[name]
            if tuple(strides) != tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
                raise ValueError(f"{name} is not stored row by row")
            width = np.dtype(_TYPES[dtype]).itemsize
            with archive.open(f"{index.removesuffix('data.pkl')}data/{key}") as file:
                file.seek(offset * width)
                tensors[name] = _as_float32(file.read(math.prod(shape) * width), dtype, shape)
    return tensors


class _StateDictUnpickler(pickle.Unpickler):
    """Loads the index of a state dict, and nothing that could run code: each class it may name is listed here.

    A tensor becomes ``((type, file), offset, shape, strides)``.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class of torch."""
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                # A function of its own for each load: a pickle can set attributes of what it is given.
                return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
            case "torch", storage if storage in _TORCH_STORAGES:
                return _TORCH_STORAGES[storage]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which weights have no use for")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Return the type of a storage and the file in the zip that holds it."""
        _, dtype, key, *_ = pid
        return dtype, key


def _as_float32(raw: bytes, dtype: str, shape: Sequence[int]) -> Weights:
    if dtype not in _TYPES:
        raise ValueError(f"numbers of type {dtype} are no weights")
    numbers = np.frombuffer(raw, dtype=_TYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    if len(numbers) != math.prod(shape):
        raise ValueError(f"{len(numbers)} numbers are not of shape {list(shape)}")
    return numbers.astype(np.float32).reshape(shape)
