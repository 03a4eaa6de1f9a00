"""The best hit of each group, for an engine that has no groups of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from qdrant_client import models

from colbert_qdrant.checks import QUOTED
from colbert_qdrant.errors import InvalidInput

Value: TypeAlias = str | int
Group: TypeAlias = tuple[Value, models.ScoredPoint]
"""A value, and the best point that has it."""

_KEY = r'(?:[\w-]+|"[^"\\]+")'
_PATH = rf"{_KEY}(?:\[\])*(?:\.{_KEY}(?:\[\])*)*"


def check_path(path: str) -> str:
    """Return a path that points can be grouped by.

    Refused, too, is a position in a list: a server finds no groups by one, and qdrant-client's local mode some.

    Raises
    ------
    InvalidInput
        It is none.

    References
    ----------
    ``lib/segment/src/json_path/parse.rs`` in Qdrant's source
    """
    if not re.fullmatch(_PATH, path):
        raise InvalidInput(
            f"group_by: {path!r} is no path of a group's key: {QUOTED}, dots between keys, and [] behind one whose "
            "value is a list ('parts[].name')"
        )
    return path


def best_of_each(found: Iterable[models.ScoredPoint], path: str) -> list[Group]:
    """Return the first point with each value, in their order, as Qdrant groups.

    A point is in the group of each of its values; one without a value is in none.

    Parameters
    ----------
    found
        The best first.
    path
        Of the value in the payload.
    """
    best: dict[tuple[type, Value], models.ScoredPoint] = {}
    for point in found:
        for value in values_at(point.payload or {}, path):
            best.setdefault((type(value), value), point)
    return [(value, point) for (_, value), point in best.items()]


def values_at(payload: Mapping[str, Any], path: str) -> list[Value]:
    """Return what a point is grouped by under a path of Qdrant's; where one value is no string or integer, nothing."""
    reached: list[Any] = [payload]
    for step in re.findall(rf"{_KEY}|\[\]", path):
        if step == "[]":
            reached = [each for value in reached if isinstance(value, list) for each in value]
        else:
            key = step.strip('"')
            reached = [value[key] for value in reached if isinstance(value, Mapping) and key in value]
    values = [each for value in reached for each in (value if isinstance(value, list) else [value])]
    return values if all(isinstance(value, str | int) and not isinstance(value, bool) for value in values) else []
