"""What metadata is once it is inside: JSON, within what every engine takes. No I/O."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from colbert_qdrant.checks import check_text
from colbert_qdrant.errors import InvalidInput

MAX_DEPTH = 30
"""Levels of dicts and lists, the metadata's own among them. A dict costs three levels of protobuf, of which a server
reads 100 over gRPC (https://docs.rs/prost, RECURSION_LIMIT), and as many qdrant-client; over REST it is two of 128
(https://docs.rs/serde_json, "recursion limit"), and so in the embedded engine's log."""

_MAX_INT = 2**63


def check_metadata(metadata: Mapping[Any, Any] | None, what: str = "metadata") -> dict[str, Any]:
    """Return a copy of metadata as the JSON that every engine gives back.

    ====================================  ================================================================
    given                                 stored
    ====================================  ================================================================
    ``datetime``, ``date``, ``time``      a string as ``isoformat()`` writes it
    `numpy.datetime64`                    the same
    ``UUID``, ``Decimal``, ``Path``       a string
    ``Enum``                              its value
    tuple, `numpy.ndarray`                a list
    ``set``, ``frozenset``                a list, numbers first, in ascending order
    numpy's scalars                       a number, a boolean or a string
    an integer as a key                   its digits; other keys as above, where that makes a string
    ====================================  ================================================================

    Raises
    ------
    InvalidInput
        Names the path of a value that JSON (or Qdrant's 64-bit integers) can't hold, of what is nested deeper than
        `MAX_DEPTH` levels, and of two keys that would become one.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"{what} is a {type(metadata).__name__}, not a mapping of names to JSON values")
    return _dict(metadata, what, 1)


def json_value(value: Any, what: str = "value") -> Any:
    """Return a single value as metadata stores it, so that a filter can ask for what is there.

    Raises
    ------
    InvalidInput
        As `check_metadata`.
    """
    return _value(value, what, 1)


def _value(value: Any, path: str, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return _value(value.value, path, depth)
    if isinstance(value, str):
        return check_text(value, path)
    if isinstance(value, int) and -_MAX_INT <= value < _MAX_INT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        return _dict(value, path, depth)
    if isinstance(value, list | tuple):
        return _list(value, path, depth)
    if isinstance(value, set | frozenset):
        return sorted(_list(value, path, depth), key=_order)
    if isinstance(value, np.generic | np.ndarray):
        return _value(_of_numpy(value, path), path, depth)
    for kind, as_json in _STRINGS.items():
        if isinstance(value, kind) and not _is_no_number(value):
            return check_text(as_json(value), path)
    raise InvalidInput(f"{path} is {_shown(value)}, {_advice(value)}")


def _dict(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    _check_depth(depth, path)
    copied: dict[str, Any] = {}
    for key, item in value.items():
        name = check_text(key, path) if isinstance(key, str) and not isinstance(key, Enum) else _key(key, path)
        if name in copied:
            raise InvalidInput(f"{path} has two keys that JSON writes as {name!r}: rename one of them")
        copied[name] = _value(item, f"{path}.{name}", depth + 1)
    return copied


def _list(values: Any, path: str, depth: int) -> list[Any]:
    _check_depth(depth, path)
    return [_value(item, f"{path}[{position}]", depth + 1) for position, item in enumerate(values)]


def _key(key: Any, path: str) -> str:
    if isinstance(key, (Enum, np.generic, int, *_STRINGS)):
        name = _value(key, f"a key of {path}", 1)
        if isinstance(name, str | int) and not isinstance(name, bool):
            return str(name)
    raise InvalidInput(f"{path} has the key {_shown(key)}: JSON's keys are strings; write it as one")


def _check_depth(depth: int, path: str) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput(
            f"{path:.80}... is nested deeper than {MAX_DEPTH} levels (or holds itself), which a server would refuse: "
            "flatten it, or store it as a JSON string"
        )


_UNITS: dict[str, Any] = {"Y": "D", "M": "D", "W": "D", "h": "s", "m": "s"}
"""Of NumPy's dates that would have no day, or hours alone: Qdrant reads none of these. See `conditions.ordered`."""


def _of_numpy(value: np.generic | np.ndarray[Any, Any], path: str) -> Any:
    """Return Python's own value or lists of such; times keep their unit, which ``tolist`` would drop below µs."""
    if value.dtype.kind == "M" and not np.isnat(value).any():
        return np.datetime_as_string(np.asarray(value), unit=_UNITS.get(np.datetime_data(str(value.dtype))[0])).tolist()
    if value.dtype.kind in "biufU":
        return value.astype(np.float64).tolist() if value.dtype.kind == "f" and value.itemsize > 8 else value.tolist()
    if value.dtype.kind == "O" and isinstance(value, np.ndarray):
        return value.tolist()
    raise InvalidInput(f"{path} is {_shown(value)}, {_advice(value)}")


_STRINGS: Mapping[type, Callable[[Any], str]] = {
    datetime.date: lambda date: date.isoformat(),  # a datetime's too, and pandas' to the nanosecond
    datetime.time: datetime.time.isoformat,
    UUID: str,
    Decimal: str,
    PurePath: str,
}


def _is_no_number(value: Any) -> bool:
    """Tell NaN, infinity and pandas' NaT, which calls itself a datetime."""
    return not value.is_finite() if isinstance(value, Decimal) else bool(value != value)


def _order(item: Any) -> tuple[int, float, str]:
    is_number = isinstance(item, int | float)
    return (0, item, "") if is_number else (1, 0, json.dumps(item, sort_keys=True, ensure_ascii=False))


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60} of type {type(value).__name__}"
    except Exception:
        return f"a {type(value).__name__}"


def _advice(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return "which JSON can't hold: decode it, or store it as base64 text"
    if isinstance(value, float | Decimal | datetime.date | np.datetime64 | np.floating):
        return "which JSON can't hold: leave the key out, or store None"
    return (
        "which JSON can't hold: store a string, a number of at most 64 bits, a boolean, None, or lists and dicts of "
        "these"
    )
