"""The best hit of each group, for an engine that has no groups of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qdrant_client import models


def best_of_each(found: Iterable[models.ScoredPoint], path: str) -> list[models.ScoredPoint]:
    """Return the first point with each value, in their order, as Qdrant groups.

    A point is in the group of each of its values, strings and integers; one without a value is in none.

    Parameters
    ----------
    found
        The best first.
    path
        Of the value in the payload.
    """
    seen: set[tuple[type, Any]] = set()
    best = []
    for point in found:
        values = {(type(value), value) for value in values_at(point.payload or {}, path)}
        fresh = values - seen
        seen |= values
        best += [point] * len(fresh)
    return best


def values_at(payload: Mapping[str, Any], path: str) -> Iterator[str | int]:
    """Yield what a point can be grouped by under a path of Qdrant's."""
    reached: list[Any] = [payload]
    for key in re.findall(r'"[^"]*"|[^."\[\]]+', path):
        reached = [value[key.strip('"')] for value in reached if isinstance(value, Mapping) and key.strip('"') in value]
        reached = [each for value in reached for each in (value if isinstance(value, list) else [value])]
    return (value for value in reached if isinstance(value, str | int) and not isinstance(value, bool))
