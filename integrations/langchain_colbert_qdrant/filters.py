"""What may stand where a filter is asked for: Qdrant's own, or a dictionary as LangChain's stores take it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection.conditions import equal, in_metadata, one_of, ordered, prefix, substring, valued
from colbert_qdrant.collection.json_values import check_metadata
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

FilterLike: TypeAlias = models.Filter | Mapping[str, Any]

_Keys: TypeAlias = tuple[str, ...]

_BOUNDS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_LOGIC = ("$and", "$or", "$not")


def to_qdrant_filter(filter: FilterLike | None, layout: Layout) -> models.Filter | None:
    """Translate a dictionary of conditions on the metadata.

    Parameters
    ----------
    filter
        A Qdrant filter, which is taken as it is, or a mapping all of whose entries must hold. ``{}`` is no filter.

        ``{"lang": "en"}``
            A string, boolean, number or date to be equal to; ``None``: a stored null.
        ``{"lang": ["en", "de"]}``
            Any of these; an empty list selects nothing. A tuple, a set or a NumPy array does as well.
        ``{"studio": {"city": "Paris"}}``, ``{"studio.city": "Paris"}``
            A key below another. Where a key itself holds the dot, that one is found as well.
        ``{"year": {"$gte": 1990, "$lt": 2000}}``
            ``$eq $ne $gt $gte $lt $lte $in $nin $between $exists $like $not``, all that are given.
        ``{"$or": [{...}, {...}]}``, ``{"$and": [...]}``, ``{"$not": {...}}``
            Conditions put together; ``$not`` of a list: none of them.
    layout
        Of the collection: under which key it stores metadata.

    Returns
    -------
    qdrant_client.models.Filter or None
        ``None`` when there is nothing to filter by.

    Raises
    ------
    InvalidInput
        An operator is unknown, or can't take its value.
    UnsupportedByEngine
        Qdrant can't answer: the order of strings that are not dates, a pattern that ``$like`` has no form for
        (``"x"``, ``"x%"`` and ``"%x%"`` have one), ``$ilike`` of letters, equality with a whole list.

    Notes
    -----
    - A stored list passes when one of its elements does.
    - ``$ne``, ``$nin`` and ``$not`` let records through that lack the key.
    - ``$exists``: whether there is a value. Missing, null and an empty list are none.
    - A `datetime.date` or an ISO 8601 string is ordered as a moment, without a time zone in UTC; `ordered` says which
      stored strings are.
    - A key that begins with the metadata's own and a dot (``"metadata.year"``), as Qdrant's paths do, means the same as
      without. An entry that is itself called so is found by a Qdrant filter alone.

    Examples
    --------
    >>> from langchain_colbert_qdrant import ColbertQdrantVectorStore
    >>> layout = ColbertQdrantVectorStore("movies", "all-MiniLM-L6-v2-int8").collection.layout
    >>> to_qdrant_filter({"year": {"$gte": 1990}}, layout).must[0].range.gte
    1990.0
    """
    if filter is None or isinstance(filter, models.Filter):
        return filter
    if not isinstance(filter, Mapping):
        raise InvalidInput(
            f"filter is a {type(filter).__name__}; give a qdrant_client.models.Filter or a dict of conditions, "
            'such as {"lang": "en"}'
        )
    conditions = list(_Translation(layout).all_of(filter, ()))
    return models.Filter(must=conditions) if conditions else None


def all_of(filters: Iterable[models.Filter | None]) -> models.Filter | None:
    """Return the filter that only those pass that pass all of these."""
    asked = [filter for filter in filters if filter is not None]
    return models.Filter(must=list(asked)) if len(asked) > 1 else next(iter(asked), None)


class _Translation:
    """A dictionary on its way to conditions."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def all_of(self, asked: Mapping[str, Any], above: _Keys) -> Iterator[models.Condition]:
        for key, value in asked.items():
            if not isinstance(key, str):
                raise InvalidInput(f"filter key {key!r}: metadata has string keys")
            if key.startswith("$") and not above:
                yield self._logic(key, value)
            else:
                yield from self._on_key((*above, key), value)

    def _on_key(self, keys: _Keys, value: Any) -> Iterator[models.Condition]:
        if not isinstance(value, Mapping):
            yield self._ask(keys, *(("$in", value) if _is_list(value) else ("$eq", value)))
            return
        operators = [key for key in value if isinstance(key, str) and key.startswith("$")]
        if not value or 0 < len(operators) < len(value):
            raise InvalidInput(
                f"filter on {_name(keys)}: {dict(value)!r:.80} is neither operators, such as {{'$gt': 1}}, nor keys"
            )
        yield from self._operators(keys, value) if operators else self.all_of(value, keys)

    def _logic(self, operator: str, value: Any) -> models.Condition:
        if operator not in _LOGIC:
            raise _unknown(operator, "the filter")
        members = [value] if operator == "$not" and isinstance(value, Mapping) else value
        if (
            not isinstance(members, list | tuple)
            or not members
            or not all(isinstance(m, Mapping) and m for m in members)
        ):
            raise InvalidInput(f"filter {operator}: {value!r:.80} is no list of conditions, such as [{{'year': 1999}}]")
        conditions: list[models.Condition] = [models.Filter(must=list(self.all_of(member, ()))) for member in members]
        match operator:
            case "$and":
                return models.Filter(must=conditions)
            case "$or":
                return models.Filter(should=conditions)
            case _:
                return models.Filter(must_not=conditions)

    def _operators(self, keys: _Keys, asked: Mapping[str, Any]) -> Iterator[models.Condition]:
        """Translate each; but bounds together, so that one element of a stored list lies between them."""
        bounds = {_BOUNDS[operator]: value for operator, value in asked.items() if operator in _BOUNDS}
        if bounds:
            yield self._ask(keys, "", bounds)
        for operator, value in asked.items():
            if operator not in _BOUNDS:
                yield self._ask(keys, operator, value)

    def _ask(self, keys: _Keys, operator: str, value: Any) -> models.Condition:
        """Ask one question of a key; a negation is of all that its opposite finds."""
        name = _name(keys)
        if operator in _NEGATED:
            return _none_of(self._ask(keys, _NEGATED[operator], value))
        match operator:
            case "$not":
                if not isinstance(value, Mapping) or not value:
                    raise InvalidInput(f"filter on {name}: $not takes operators, such as {{'$gt': 1}}; $ne a value")
                return _none_of(models.Filter(must=list(self._on_key(keys, value))))
            case "$exists":
                if not isinstance(value, bool):
                    raise InvalidInput(f"filter on {name}: $exists is True or False, not {value!r:.60}")
                return self._on(keys, valued) if value else _none_of(self._on(keys, valued))
            case "$eq" if _is_list(value):
                raise UnsupportedByEngine(f"filter on {name}: Qdrant can't compare a whole list; $in asks for elements")
            case "$eq" if isinstance(value, Mapping):
                return models.Filter(must=list(self._on_key(keys, value)))
            case "$eq":
                return self._on(keys, partial(_equal, value=_plain(value, name)))
            case "$in":
                return self._on(keys, partial(_one_of, values=_listed(value, name)))
            case "$between":
                lowest, highest = _pair(value, name)
                return self._ask(keys, "", {"gte": lowest, "lte": highest})
            case "":
                moments = {bound: _iso(_plain(each, name)) for bound, each in value.items()}
                return self._on(keys, lambda path: ordered(path, **moments))
            case "$like":
                return self._on(keys, partial(_like, pattern=_text(value, name)))
            case "$ilike":
                return self._on(keys, partial(_like, pattern=_caseless(value, name)))
            case _:
                raise _unknown(operator, name)

    def _on(self, keys: _Keys, ask: Callable[[str], models.Condition]) -> models.Condition:
        """Ask a question of each place that the keys may stand for."""
        asked = [in_metadata(self.layout, reading, ask) for reading in self._readings(keys)]
        return asked[0] if len(asked) == 1 else models.Filter(should=asked)

    def _readings(self, keys: _Keys) -> list[_Keys]:
        first = keys[0].removeprefix(f"{self.layout.metadata_key}.") or keys[0]
        literal = (first, *keys[1:])
        steps = tuple(step for key in literal for step in key.split("."))
        return [literal] if steps == literal or "" in steps else [literal, steps]


def _none_of(condition: models.Condition) -> models.Filter:
    return models.Filter(must_not=[condition])


def _equal(path: str, value: Any) -> models.Condition:
    """Compare a date as a moment, which strings of other forms stand for as well."""
    return ordered(path, gte=_iso(value), lte=_iso(value)) if isinstance(value, date) else equal(path, value)


def _one_of(path: str, values: list[Any]) -> models.Condition:
    dates = [_equal(path, value) for value in values if isinstance(value, date)]
    others = [value for value in values if not isinstance(value, date)]
    if not dates:
        return one_of(path, others)
    return models.Filter(should=[*dates, *([one_of(path, others)] if others else [])])


def _like(path: str, pattern: str) -> models.Condition:
    """Take SQL's pattern for the question of Qdrant's that it is, if it is one."""
    match _parts(pattern):
        case [text]:
            return equal(path, text)
        case [text, ""] if text:
            return prefix(path, text)
        case ["", text, ""] if text:
            return substring(path, text)
        case _:
            raise UnsupportedByEngine(
                f"filter on {path}: $like {pattern!r:.60}: Qdrant finds 'text', 'text%' and '%text%' (and \\% and \\_ "
                "as themselves), no other pattern"
            )


def _parts(pattern: str) -> list[str]:
    """Cut a pattern at its ``%``; none where it has a ``_``."""
    parts = [""]
    for found in re.finditer(r"\\(.)|%+|.", pattern, re.DOTALL):
        if found[0] == "_":
            return []
        if found[0].startswith("%"):
            parts.append("")
        else:
            parts[-1] += found[1] or found[0]
    return parts


def _caseless(value: Any, name: str) -> str:
    pattern = _text(value, name)
    if pattern.lower() != pattern.upper():
        raise UnsupportedByEngine(
            f"filter on {name}: Qdrant finds no part of a string without regard to case: use $like with the case as "
            "stored, store the value in lower case beside it, or ask for whole words by "
            "models.FieldCondition(key=..., match=models.MatchText(text=...))"
        )
    return pattern


def _plain(value: Any, name: str) -> Any:
    """Return a value as it is stored; a date as it is."""
    return value if isinstance(value, date) else check_metadata({name: value}, "filter")[name]


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _is_list(value: Any) -> bool:
    """Return whether metadata would store a value as a list (see `check_metadata`)."""
    return isinstance(value, list | tuple | set | frozenset) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _listed(value: Any, name: str) -> list[Any]:
    if not _is_list(value):
        raise InvalidInput(f"filter on {name}: {value!r:.60} is no list of values")
    return [_plain(each, name) for each in value]


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidInput(f"filter on {name}: $between takes the lowest and the highest value, not {value!r:.60}")
    return value[0], value[1]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"filter on {name}: {value!r:.60} is no pattern; give a string")
    return value


def _unknown(operator: str, name: str) -> InvalidInput:
    known = [*_LOGIC, "$eq", *_NEGATED, *_BOUNDS, "$in", "$between", "$exists", "$like", "$ilike"]
    close = get_close_matches(operator.lower(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {' '.join(known)}"
    return InvalidInput(f"{name} has no operator {operator!r}: {hint}")


def _name(keys: _Keys) -> str:
    return ".".join(keys)
