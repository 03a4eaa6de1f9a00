"""Floating-point numbers that Qdrant would give back changed, kept as they were given. No I/O.

Qdrant keeps payloads as JSON and reads it with serde_json's fast parser, which rounds more than once: 1/11 is stored,
0.09090909090909093 comes back, and so do one float in eight of any size and every second one around 1e-9. So what is
stored, and what a filter asks for, is the nearest number that survives (within a few units in the last place; order is
kept, equal numbers stay equal), and the number itself stands beside it as text, under a key of our own.
https://docs.rs/serde_json/latest/serde_json/#crate-features (``float_roundtrip``, which Qdrant does without)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from qdrant_client import models

EXACT_KEY = "_exact"
"""Payload key of the numbers as they were given: ``{path as JSON: number as text}``."""

Path: TypeAlias = tuple[str | int, ...]
Filter = TypeVar("Filter", bound=BaseModel)

_POWERS = [float(f"1e{exponent}") for exponent in range(309)]
_FARTHEST = 64


def survivor(number: float) -> float:
    """Return the nearest number that Qdrant gives back as it is; the smaller one where two are as near."""
    if math.isnan(number) or math.isinf(number) or reread(number) == number:
        return number
    below = above = number
    for _ in range(_FARTHEST):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        for near in (below, above):
            if math.isfinite(near) and reread(near) == near:
                return near
    return number  # never seen among millions of random numbers of every size


def reread(number: float) -> float:
    """Return a number as serde_json reads it: its digits as an integer, times or by a power of ten.

    References
    ----------
    https://github.com/serde-rs/json/blob/master/src/de.rs (``f64_from_parts``)
    """
    mantissa, _, exponent_text = repr(abs(number)).partition("e")
    whole, _, decimals = mantissa.partition(".")
    exponent = int(exponent_text or 0) - len(decimals)
    value = float(int(whole + decimals))
    while abs(exponent) >= len(_POWERS) and value:
        value /= 1e308
        exponent += 308
    value = value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]
    return math.copysign(value, number)


def surviving(payload: Mapping[str, Any], at: Path = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a payload that Qdrant gives back as it is, and the numbers that had to change for that.

    Parameters
    ----------
    payload
        JSON.
    at
        Where it will stand in the point's payload.

    Returns
    -------
    payload : dict
        With survivors in place of some numbers.
    exact : dict
        Those numbers as they were given, to be kept under `EXACT_KEY`.
    """
    exact: dict[str, str] = {}

    def survive(number: float, path: Path) -> float:
        near = survivor(number)
        if near != number:
            exact[json.dumps(path)] = repr(number)
        return near

    return {key: _each_float(value, (*at, key), survive) for key, value in payload.items()}, exact


def restored(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a point's payload with the numbers as they were given; one that was overwritten since stays as it is."""
    exact = payload.get(EXACT_KEY)
    if not isinstance(exact, Mapping):
        return payload

    def restore(number: float, path: Path) -> float:
        try:
            given = float(exact.get(json.dumps(path), number))
        except (TypeError, ValueError):  # written by somebody else
            return number
        return given if survivor(given) == number else number

    return {key: _each_float(value, (key,), restore) for key, value in payload.items()}


def below(exact: Any, paths: Sequence[Path]) -> list[str]:
    """Return the keys of those numbers that stand at a path or below one; all paths are of one length.

    Parameters
    ----------
    exact
        What a point has under `EXACT_KEY`.
    paths
        In its payload.
    """
    return [name for name in (exact if isinstance(exact, Mapping) else ()) if _path_of(name)[: len(paths[0])] in paths]


def _path_of(name: str) -> Path:
    try:
        return tuple(json.loads(name))
    except (TypeError, ValueError, RecursionError):  # written by somebody else
        return ()


def in_filter(condition: Filter) -> Filter:
    """Return a filter, or a part of one, whose ranges ask for the numbers as they are stored, by a bound a side."""
    changes: dict[str, Any] = {}
    if isinstance(condition, models.Range | models.DatetimeRange):
        changes |= dict.fromkeys(_implied(condition))
    for name in type(condition).model_fields.keys() - changes:
        value = getattr(condition, name, None)
        if isinstance(condition, models.Range):
            new = survivor(value) if isinstance(value, float) else value
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            new = [in_filter(item) for item in value]
        else:
            new = in_filter(value) if isinstance(value, BaseModel) else value
        if new != value:
            changes[name] = new
    return condition.model_copy(update=changes) if changes else condition


def _implied(asked: models.Range | models.DatetimeRange) -> Iterator[str]:
    """Yield which of a range's bounds the other one on their side says already: an index reads only one of them.

    It takes ``gt`` before ``gte``, and ``lt`` before ``lte``, whichever is stronger. ``as_index_key_bounds`` of
    ``RangeInterface`` in ``lib/segment/src/index/field_index/numeric_index`` of Qdrant's source
    """
    if asked.gt is not None and asked.gte is not None:
        yield "gte" if _ordered(asked.gt) >= _ordered(asked.gte) else "gt"
    if asked.lt is not None and asked.lte is not None:
        yield "lte" if _ordered(asked.lt) <= _ordered(asked.lte) else "lt"


def _ordered(bound: float | date) -> Any:
    """Return a bound that compares with the other kinds: a day begins at midnight, and no zone is UTC."""
    if isinstance(bound, date) and not isinstance(bound, datetime):
        bound = datetime.combine(bound, time())
    return bound.replace(tzinfo=bound.tzinfo or UTC) if isinstance(bound, datetime) else bound


def _each_float(value: Any, path: Path, change: Callable[[float, Path], float]) -> Any:
    if isinstance(value, float):
        return change(value, path)
    if isinstance(value, Mapping):
        return {key: _each_float(item, (*path, key), change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_float(item, (*path, position), change) for position, item in enumerate(value)]
    return value
