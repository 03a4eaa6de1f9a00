"""What a LlamaIndex metadata filter means to Qdrant.

LlamaIndex defines its operators by a reference implementation over dictionaries
(`llama_index.core.vector_stores.utils.build_metadata_filter_fn`). The conditions made here select the same
points. Where Qdrant's rules are others, the function that maps the operator says so; what Qdrant can't
answer at all is refused. Four rules hold for every operator:

- A stored array matches when any of its elements does (`Qdrant, match
  <https://qdrant.tech/documentation/search/filtering/#match>`_); the reference compares the array as a whole.
- A value of another type than the filter's does not match; the reference may raise ``TypeError``.
- A boolean is not a number: ``1`` does not select ``True``, as it does in Python; ``1`` is ``1.0``.
- Where a payload index answers, it knows the values of its own type alone: an integer index no floats.

Language models write filters too (`VectorIndexAutoRetriever`), and write strings where lists or numbers are meant. One
rule reads them: **where an operator needs a list, a string is the list of its parts between commas, each as the text
and, where it spells one, as the number that it is; where it needs a number, a string that spells one is that number.**
"""

import math
from collections.abc import Callable
from functools import partial

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import models

from colbert_qdrant.collection import conditions
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine
from llama_index_colbert_qdrant.nodes import REF_DOC_KEY

Scalar = str | int | float
Ask = Callable[[str], models.Condition]

_BOUNDS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}
_INT64 = 2**63
"""What has more digits is no integer of Qdrant's; it may be the digits of a string, or a bound."""

DOCUMENT_KEYS = {"doc_id", "document_id", "ref_doc_id"}
"""What LlamaIndex's own stores write into metadata for the document of a node."""


def to_qdrant_filter(filters: MetadataFilters | None, layout: Layout) -> models.Filter | None:
    """Translate LlamaIndex's filters.

    Parameters
    ----------
    filters : MetadataFilters or None
        Groups may nest. A group's ``condition`` is AND when it is None; NOT selects what none of its filters
        matches. An empty group matches everything.
    layout
        Of the collection: where it keeps the metadata.

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
    A key is the name of an entry, as in the reference. Where it has dots or brackets it is also a path, as in Qdrant:
    ``"author.name"`` is the entry of that name and the entry ``name`` of a dictionary ``author``; ``"tags[]"`` are the
    elements of ``tags``. ``"doc_id"``, ``"document_id"`` and ``"ref_doc_id"`` are entries of these names and the
    document that a node was made from.
    """
    if filters is None or not filters.filters:
        return None
    return _group(filters, layout)


def _group(group: MetadataFilters, layout: Layout) -> models.Filter:
    members: list[models.Condition] = [
        _group(member, layout) if isinstance(member, MetadataFilters) else _condition(member, layout)
        for member in group.filters
    ]
    if group.condition == FilterCondition.OR:
        return models.Filter(should=members)
    if group.condition == FilterCondition.NOT:
        return models.Filter(must_not=members)
    return models.Filter(must=members)


def _condition(asked: MetadataFilter, layout: Layout) -> models.Condition:
    on = partial(_on, asked.key, layout)
    match asked.operator:
        case FilterOperator.EQ:
            return on(_equal(asked))
        case FilterOperator.NE:
            return _none_of(on(_equal(asked)))
        case FilterOperator.IN | FilterOperator.ANY:
            return on(partial(conditions.one_of, values=_list(asked)))
        case FilterOperator.NIN:
            values = _list(asked)  # of none of them nothing is said, as by a group without filters
            return _none_of(on(partial(conditions.one_of, values=values))) if values else models.Filter()
        case FilterOperator.ALL:
            return on(_all_of(asked))
        case FilterOperator.CONTAINS:
            return on(partial(conditions.equal, value=_scalar(asked)))
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            bound = {_BOUNDS[asked.operator]: _ordered(asked)}
            return on(lambda path: conditions.ordered(path, **bound))
        case FilterOperator.TEXT_MATCH:
            return on(partial(conditions.substring, text=_text(asked)))
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return on(_words(asked))
        case FilterOperator.IS_EMPTY:
            return _none_of(on(_holds_something))


def _on(key: str, layout: Layout, ask: Ask) -> models.Condition:
    """Ask a question of each place that a key may stand for."""
    steps = key.split(".")
    asked = [conditions.in_metadata(layout, [key], ask)]
    if key in DOCUMENT_KEYS:
        asked.append(ask(REF_DOC_KEY))
    if "[]" in key and all(step.removesuffix("[]") for step in steps):
        names = [conditions.path(step.removesuffix("[]")) + "[]" * step.endswith("[]") for step in steps]
        asked.append(conditions.below_metadata(layout, ".".join(names), ask))
    elif len(steps) > 1 and all(steps):
        asked.append(conditions.in_metadata(layout, steps, ask))
    return asked[0] if len(asked) == 1 else models.Filter(should=asked)


def _none_of(condition: models.Condition) -> models.Filter:
    """Negate, so that NE and NIN select points that lack the key, as in the reference."""
    return models.Filter(must_not=[condition])


def _equal(asked: MetadataFilter) -> Ask:
    """EQ, and NE as its negation.

    None selects an explicit null. The reference lets ``EQ None`` select nothing and ``NE None`` everything.
    """
    if isinstance(asked.value, list):
        raise UnsupportedByEngine(f"{_name(asked)}: Qdrant can't compare a whole list; use ANY or ALL for its elements")
    return partial(conditions.equal, value=asked.value)


def _all_of(asked: MetadataFilter) -> Ask:
    """ALL. Like CONTAINS, it takes a stored scalar for an array of one and does not search in a string.

    An empty list is contained in every stored value, but for the empty array: Qdrant sees no value there.
    """
    if isinstance(asked.value, str):
        parts = [_readings(part) for part in _parts(asked.value)]
    else:
        parts = [[value] for value in _list(asked)]
    if not parts:
        return conditions.valued
    return lambda path: models.Filter(must=[conditions.one_of(path, readings) for readings in parts])


def _words(asked: MetadataFilter) -> Ask:
    """TEXT_MATCH_INSENSITIVE: every word of the text is among the stored words, in any order.

    The reference looks for a substring. Qdrant finds those only with their case (TEXT_MATCH), which serves
    for a text that has none, such as a number.
    """
    text = _text(asked)
    has_case = text.lower() != text.upper()
    return partial(conditions.words if has_case else conditions.substring, text=text)


def _holds_something(path: str) -> models.Filter:
    """IS_EMPTY, negated: empty is missing, null or an empty array, which is Qdrant's notion, or an empty string."""
    return models.Filter(must_not=[conditions.empty(path), conditions.equal(path, "")])


def _list(asked: MetadataFilter) -> list[Scalar]:
    """Return the list that IN and its kin need: a string by its parts, and whole, as one name may hold a comma."""
    if isinstance(asked.value, str):
        parts = [reading for part in _parts(asked.value) for reading in _readings(part)]
        return [asked.value, *parts] if parts else []
    if not isinstance(asked.value, list):
        raise InvalidInput(f"{_name(asked)}: this operator needs a list of strings or numbers")
    return list(asked.value)


def _parts(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _readings(text: str) -> list[Scalar]:
    number = _spelled(text)
    return [text] if number is None else [text, number]


def _ordered(asked: MetadataFilter) -> Scalar:
    """GT, GTE, LT, LTE take a number, a string that spells one, or a date (`conditions.ordered`)."""
    value = _scalar(asked)
    number = _spelled(value) if isinstance(value, str) else None
    return value if number is None else number


def _spelled(text: str) -> int | float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    is_integer = text.strip().lstrip("+-").isdecimal() and -_INT64 <= int(text) < _INT64
    return int(text) if is_integer else number


def _scalar(asked: MetadataFilter) -> Scalar:
    if asked.value is None or isinstance(asked.value, list):
        raise InvalidInput(f"{_name(asked)}: this operator needs one string or number")
    return asked.value


def _text(asked: MetadataFilter) -> str:
    if not isinstance(asked.value, str):
        raise InvalidInput(f"{_name(asked)}: this operator needs a string")
    return asked.value


def _name(asked: MetadataFilter) -> str:
    return f"filter on {asked.key!r}: {asked.operator.value} {asked.value!r:.60}"
