"""What a LlamaIndex metadata filter means to Qdrant.

LlamaIndex defines its operators by a reference implementation over dictionaries
(`llama_index.core.vector_stores.utils.build_metadata_filter_fn`). The conditions made here select the same
points. Where Qdrant's rules are others, the function that maps the operator says so; what Qdrant can't
answer at all is refused. Four rules hold for every operator:

- A stored array matches when any of its elements does (`Qdrant, match
  <https://qdrant.tech/documentation/search/filtering/#match>`_); the reference compares the array as a whole.
- A value of another type than the filter's does not match; the reference may raise ``TypeError``.
- A boolean is not a number: ``1`` does not select ``True``, as it does in Python.
- Where a payload index answers, it knows the values of its own type alone: an integer index no floats.
"""

import math
import re
from datetime import datetime

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import models

from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

Scalar = str | int | float

_BOUNDS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}
_EXACT_IN_FLOAT64 = 2**53
_INT64 = 2**63


def to_qdrant_filter(filters: MetadataFilters | None, *, metadata_key: str = "metadata") -> models.Filter | None:
    """Translate LlamaIndex's filters.

    Parameters
    ----------
    filters : MetadataFilters or None
        Groups may nest. A group's ``condition`` is AND when it is None; NOT selects what none of its filters
        matches. An empty group matches everything.
    metadata_key : str
        The payload key under which the user's metadata is stored.

    Returns
    -------
    qdrant_client.models.Filter or None
        None when there is nothing to filter by.

    Raises
    ------
    InvalidInput
        The operator can't take this value; the message names the filter.
    UnsupportedByEngine
        Qdrant can't answer the question: the order of strings that are not dates, equality with a whole list,
        a key that holds a quote or a backslash.

    Notes
    -----
    A key is one literal name, as in the reference: ``"a.b"`` is the entry named ``a.b``, not the entry ``b``
    of a dictionary ``a``.
    """
    if filters is None or not filters.filters:
        return None
    return _group(filters, _quoted(metadata_key))


def _group(group: MetadataFilters, root: str) -> models.Filter:
    conditions: list[models.Condition] = [
        _group(member, root) if isinstance(member, MetadataFilters) else _condition(member, root)
        for member in group.filters
    ]
    if group.condition == FilterCondition.OR:
        return models.Filter(should=conditions)
    if group.condition == FilterCondition.NOT:
        return models.Filter(must_not=conditions)
    return models.Filter(must=conditions)


def _condition(asked: MetadataFilter, root: str) -> models.Condition:
    path = f"{root}.{_quoted(asked.key)}"
    match asked.operator:
        case FilterOperator.EQ:
            return _equal(path, asked)
        case FilterOperator.NE:
            return models.Filter(must_not=[_equal(path, asked)])
        case FilterOperator.IN | FilterOperator.ANY:
            return _one_of(path, asked)
        case FilterOperator.NIN:
            return models.Filter(must_not=[_one_of(path, asked)])
        case FilterOperator.ALL:
            return _all_of(path, asked)
        case FilterOperator.CONTAINS:
            return _holds(path, _scalar(asked), asked)
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            return _ordered(path, asked)
        case FilterOperator.TEXT_MATCH:
            return _substring(path, asked)
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return _words(path, asked)
        case FilterOperator.IS_EMPTY:
            return _empty(path)


def _equal(path: str, asked: MetadataFilter) -> models.Condition:
    """EQ, and NE as its negation, so that NE selects points that lack the key, as in the reference.

    None selects an explicit null. The reference lets ``EQ None`` select nothing and ``NE None`` everything.
    """
    if asked.value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=path))
    if isinstance(asked.value, list):
        raise UnsupportedByEngine(
            f"filter {_name(asked)}: Qdrant can't compare a whole list; use ANY or ALL for its elements"
        )
    return _holds(path, asked.value, asked)


def _one_of(path: str, asked: MetadataFilter) -> models.Condition:
    """IN, ANY, and NIN as the negation of IN: to Qdrant a scalar is an array of one.

    ANY does not search a stored string for the listed ones, as the reference does: that is TEXT_MATCH.
    """
    values = _list(asked)
    strings = [value for value in values if isinstance(value, str)]
    if len(strings) == len(values):
        return models.FieldCondition(key=path, match=models.MatchAny(any=strings))
    return models.Filter(should=[_holds(path, value, asked) for value in values])


def _all_of(path: str, asked: MetadataFilter) -> models.Condition:
    """ALL. Like CONTAINS, it takes a stored scalar for an array of one and does not search in a string.

    An empty list is contained in every stored value, but for the empty array: Qdrant sees no value there.
    """
    values = _list(asked)
    if not values:
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=path))])
    return models.Filter(must=[_holds(path, value, asked) for value in values])


def _holds(path: str, value: Scalar, asked: MetadataFilter) -> models.FieldCondition:
    """Ask for this value, or for an array with this element (EQ, CONTAINS, each value of the lists).

    Numbers are compared by a range, because Qdrant's exact match tells 1 from 1.0 and takes no float.
    """
    if isinstance(value, str | bool):
        return models.FieldCondition(key=path, match=models.MatchValue(value=value))
    number = _number(value, asked)
    if isinstance(number, int) and abs(number) >= _EXACT_IN_FLOAT64:
        return models.FieldCondition(key=path, match=models.MatchValue(value=number))
    return models.FieldCondition(key=path, range=models.Range(gte=number, lte=number))


def _ordered(path: str, asked: MetadataFilter) -> models.FieldCondition:
    """GT, GTE, LT, LTE: numbers by size (as float64, like all of Qdrant's ranges), ISO 8601 dates by time.

    The reference compares strings letter by letter, which for dates of one format and time zone is the same.
    A date without a time zone is in UTC, asked or stored. A stored string that is not a date does not match.
    """
    bound, value = _BOUNDS[asked.operator], _scalar(asked)
    if isinstance(value, str):
        return models.FieldCondition(key=path, range=models.DatetimeRange(**{bound: _moment(value, asked)}))
    return models.FieldCondition(key=path, range=models.Range(**{bound: _number(value, asked)}))


def _substring(path: str, asked: MetadataFilter) -> models.FieldCondition:
    """TEXT_MATCH: the text occurs, with its case. Qdrant 1.20 and later; not served by a full-text index.

    `MatchText` is another question: whole words, in any order, without case.
    """
    return models.FieldCondition(key=path, match=models.MatchSubstring(substring=_text(asked)))


def _words(path: str, asked: MetadataFilter) -> models.FieldCondition:
    """TEXT_MATCH_INSENSITIVE: every word of the text is among the stored words, in any order.

    The reference looks for a substring. Qdrant finds those only with their case (TEXT_MATCH), which serves
    for a text that has none, such as a number. Words are what the field's full-text index makes of the text;
    without an index, its runs of letters and digits in lower case (`qdrant#10341
    <https://github.com/qdrant/qdrant/pull/10341>`_; a server before 1.19.1 takes the substring, with case).
    """
    text = _text(asked)
    if text.lower() == text.upper():
        return _substring(path, asked)
    return models.FieldCondition(key=path, match=models.MatchText(text=text))


def _empty(path: str) -> models.Filter:
    """IS_EMPTY: missing, null or an empty array, which is Qdrant's notion, or an empty string as well."""
    return models.Filter(
        should=[
            models.IsEmptyCondition(is_empty=models.PayloadField(key=path)),
            models.FieldCondition(key=path, match=models.MatchValue(value="")),
        ]
    )


def _scalar(asked: MetadataFilter) -> Scalar:
    if asked.value is None or isinstance(asked.value, list):
        raise InvalidInput(f"filter {_name(asked)}: this operator needs one string or number")
    return asked.value


def _list(asked: MetadataFilter) -> list[Scalar]:
    if not isinstance(asked.value, list):
        raise InvalidInput(f"filter {_name(asked)}: this operator needs a list of strings or numbers")
    return list(asked.value)


def _text(asked: MetadataFilter) -> str:
    if not isinstance(asked.value, str):
        raise InvalidInput(f"filter {_name(asked)}: this operator needs a string")
    return asked.value


def _number(value: int | float, asked: MetadataFilter) -> int | float:
    if not (-_INT64 <= value < _INT64 if isinstance(value, int) else math.isfinite(value)):
        raise InvalidInput(f"filter {_name(asked)}: Qdrant takes finite floats and integers of 64 bits")
    return value


def _moment(value: str, asked: MetadataFilter) -> datetime:
    try:
        # Python also reads 20240131 and 2024-W05, which Qdrant does not see as dates in a payload.
        if not re.match(r"\d{4}-\d\d-\d\d(?:[T ]|$)", value):
            raise ValueError(value)
        return datetime.fromisoformat(value)
    except ValueError:
        raise UnsupportedByEngine(
            f"filter {_name(asked)}: Qdrant orders numbers and dates, not strings; "
            "give a number or an ISO 8601 date such as 2024-01-31 or 2024-01-31T12:00:00Z"
        ) from None


def _quoted(key: str) -> str:
    """One step of Qdrant's JSON path, `lib/segment/src/json_path/parse.rs` in its source."""
    if re.search(r'["\\]', key):
        raise UnsupportedByEngine(f"metadata key {key!r}: Qdrant's paths can't hold a quote or a backslash")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def _name(asked: MetadataFilter) -> str:
    return f"{asked.key!r} {asked.operator.value} {asked.value!r}"
