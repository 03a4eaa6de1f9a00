"""What a filter may ask of a payload value, as Qdrant's conditions: the parts that both adapters' filters are made of.

One meaning holds for all of them, whatever engine answers: 1 is equal to 1.0, a boolean is no number, and a stored
array passes when one of its elements does (`Qdrant, match
<https://qdrant.tech/documentation/search/filtering/#match>`_).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from qdrant_client import models

from colbert_qdrant.collection.ids import ID_KEY
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

Bound: TypeAlias = Literal["gt", "gte", "lt", "lte"]
Number: TypeAlias = int | float

_EXACT_IN_FLOAT64 = 2**53
_INT64 = 2**63
_FAN_OUT = 4
"""Branches of a node of `_branches`: between 3 and 4 a value meets the fewest ranges on its way down."""


def path(*keys: str) -> str:
    """Return the JSON path of nested keys, each one quoted where it needs to be.

    Raises
    ------
    UnsupportedByEngine
        A key holds a quote or a backslash, for which Qdrant's paths have no form.

    References
    ----------
    ``lib/segment/src/json_path/parse.rs`` in Qdrant's source

    Examples
    --------
    >>> path("metadata", "published on")
    'metadata."published on"'
    """
    return ".".join(map(_step, keys))


def equal(path: str, value: Any) -> models.Condition:
    """Ask for a string, a boolean or a number; ``None`` asks for a stored null.

    Numbers are compared by a range, because Qdrant's exact match tells 1 from 1.0 and takes no float.

    Raises
    ------
    InvalidInput
        The value is none of these, or a number that Qdrant does not take.
    """
    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=path))
    if isinstance(value, str | bool):
        return models.FieldCondition(key=path, match=models.MatchValue(value=value))
    number = _number(path, value)
    if _is_beyond_floats(number):
        return models.FieldCondition(key=path, match=models.MatchValue(value=int(number)))
    return _between(path, number, number)


def one_of(path: str, values: Iterable[Any]) -> models.Condition:
    """Ask for any of these values, as `equal` asks for each; of none of them, nothing is one.

    Strings are one condition, however many they are, and so are integers, but for what 1 being 1.0 takes: a stored
    float is unknown to that condition, so a number that it does not know is looked for among ranges, a few of them
    however many values there are (tests/benchmarks/filters.py).
    """
    values = list(values)
    if not values:  # `should` without conditions would let everything through
        return models.FieldCondition(key=path, match=models.MatchAny(any=[]))
    for value in values:
        if not isinstance(value, str | bool | int | float | None):
            raise InvalidInput(f"filter on {path}: {value!r:.60} among the values is none to be equal to")
    strings = list(dict.fromkeys(value for value in values if isinstance(value, str)))
    numbers = sorted({_number(path, value) for value in values if _is_number(value)})
    conditions: list[models.Condition] = []
    if strings:
        conditions.append(models.FieldCondition(key=path, match=models.MatchAny(any=strings)))
    if len(numbers) > _FAN_OUT:
        integers = [int(number) for number in numbers if number == int(number) and -_INT64 <= number < _INT64]
        conditions.append(models.FieldCondition(key=path, match=models.MatchAny(any=integers)))
        numbers = [number for number in numbers if not _is_beyond_floats(number)]
    conditions += _branches(path, numbers)
    conditions += [equal(path, value) for value in values if not (isinstance(value, str) or _is_number(value))]
    return conditions[0] if len(conditions) == 1 else models.Filter(should=conditions)


def ordered(path: str, **bounds: Any) -> models.FieldCondition:
    """Ask for numbers by size (as float64, like all of Qdrant's ranges), and for ISO 8601 dates by time.

    A date without a time zone is in UTC, asked or stored. A stored value of the other kind does not pass.

    Of stored strings Qdrant reads as dates ``2024-01-31`` and, behind ``T`` or a space, a time: with seconds
    (``12:00:00``, ``12:00:00.5``) and any zone or none, or with minutes (``12:00``) and no zone. What else ISO 8601
    has, such as ``2024-01-31T12:00Z``, ``2024-01-31T12`` or a comma before the fraction, may be asked for, but passes
    no range where it is stored. What ``isoformat()`` writes of a date is read.

    Parameters
    ----------
    path
        Of the value.
    bounds
        ``gt``, ``gte``, ``lt``, ``lte``; of a stored array, one element has to keep all of them.

    Raises
    ------
    InvalidInput
        A bound is neither.
    UnsupportedByEngine
        It is a string that is no date: Qdrant does not order those.

    References
    ----------
    ``DateTimePayloadType::from_str`` in ``lib/segment/src/types.rs`` in Qdrant's source
    """
    if any(isinstance(bound, str) for bound in bounds.values()):
        moments = {name: _moment(path, bound) for name, bound in bounds.items()}
        return models.FieldCondition(key=path, range=models.DatetimeRange(**moments))
    numbers = {name: _number(path, bound) for name, bound in bounds.items()}
    return models.FieldCondition(key=path, range=models.Range(**numbers))


def is_date(value: str) -> bool:
    """Return whether a string can be a bound of `ordered`: a date of ISO 8601, with hyphens."""
    try:
        # Python also reads 20240131 and 2024-W05, which Qdrant does not see as dates in a payload.
        return bool(re.match(r"\d{4}-\d\d-\d\d(?:[T ]|$)", value) and datetime.fromisoformat(value))
    except ValueError:
        return False


def substring(path: str, text: str) -> models.FieldCondition:
    """Ask for strings that this one occurs in, with its case. Qdrant 1.20 and later; no full-text index serves it."""
    return models.FieldCondition(key=path, match=models.MatchSubstring(substring=text))


def prefix(path: str, text: str) -> models.FieldCondition:
    """Ask for strings that begin with this one, with its case. Qdrant 1.19 and later."""
    return models.FieldCondition(key=path, match=models.MatchPrefix(prefix=text))


def words(path: str, text: str) -> models.FieldCondition:
    """Ask for strings that have every word of this one, in any order, without case.

    Words are what the field's full-text index makes of a text; without an index, its runs of letters and digits in
    lower case (`qdrant#10341 <https://github.com/qdrant/qdrant/pull/10341>`_; a server before 1.19.1 takes the
    substring, with case).
    """
    return models.FieldCondition(key=path, match=models.MatchText(text=text))


def empty(path: str) -> models.IsEmptyCondition:
    """Ask for records without a value: missing, null or an empty array."""
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=path))


def valued(path: str) -> models.Condition:
    """Ask for records with a value: there, not null, and no empty array."""
    return models.Filter(must_not=[empty(path)])


def in_metadata(layout: Layout, keys: Sequence[str], ask: Callable[[str], models.Condition]) -> models.Condition:
    """Ask a question of a value of the metadata, wherever `to_record` reads it.

    A record that was made by hand may have its metadata at the top of the payload; a filter that did not look there
    would pass over what the record shows. Whatever is negated has to be negated as a whole, around this.
    """
    return below_metadata(layout, path(*keys), ask)


def below_metadata(layout: Layout, below: str, ask: Callable[[str], models.Condition]) -> models.Condition:
    """Do as `in_metadata` does, for a path that is written out, such as ``"tags[]"``."""
    metadata = path(layout.metadata_key)
    asked = ask(f"{metadata}.{below}")
    text = path(layout.content_key)
    if not layout.made_by_hand or below == text or below.startswith((f"{text}.", f"{text}[")):
        return asked
    ours = [empty(metadata), empty(ID_KEY)]
    null = models.IsNullCondition(is_null=models.PayloadField(key=metadata))
    return models.Filter(should=[asked, models.Filter(must=[*ours, ask(below)], must_not=[null])])


def _branches(path: str, numbers: Sequence[Number]) -> list[models.Condition]:
    """Ask for any of these numbers, which are sorted, as a search tree: its ranges are compared on one way down only.

    The ranges of a node are behind its own bounds in a ``must``, which Qdrant leaves at the first "no"; a filter's
    ``should`` it would look at before its ``must``.
    """
    if len(numbers) <= _FAN_OUT:
        return [equal(path, number) for number in numbers]
    size = math.ceil(len(numbers) / _FAN_OUT)
    parts = [numbers[at : at + size] for at in range(0, len(numbers), size)]
    return [
        models.Filter(must=[_between(path, part[0], part[-1]), models.Filter(should=_branches(path, part))])
        for part in parts
    ]


def _between(path: str, lowest: Number, highest: Number) -> models.FieldCondition:
    return models.FieldCondition(key=path, range=models.Range(gte=lowest, lte=highest))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_beyond_floats(number: Number) -> bool:
    return isinstance(number, int) and abs(number) >= _EXACT_IN_FLOAT64


def _number(path: str, value: Any) -> Number:
    if not _is_number(value):
        raise InvalidInput(
            f"filter on {path}: {value!r:.60} is no value to compare with; give a string, a number, a boolean or None"
        )
    if not (-_INT64 <= value < _INT64 if isinstance(value, int) else math.isfinite(value)):
        raise InvalidInput(f"filter on {path}: {value!r:.60}: Qdrant takes finite floats and integers of 64 bits")
    return value  # type: ignore[no-any-return]  # int | float


def _moment(path: str, value: Any) -> datetime:
    if not (isinstance(value, str) and is_date(value)):
        raise UnsupportedByEngine(
            f"filter on {path}: {value!r:.60}: Qdrant orders numbers and dates, not strings; give a number or an ISO "
            "8601 date such as 2024-01-31 or 2024-01-31T12:00:00Z"
        )
    return datetime.fromisoformat(value)


def _step(key: str) -> str:
    if re.search(r'["\\]', key):
        raise UnsupportedByEngine(f"key {key!r}: Qdrant's paths can't hold a quote or a backslash")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
