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
"""

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import models

from colbert_qdrant.collection import conditions
from colbert_qdrant.collection.conditions import Bound
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

Scalar = str | int | float

_BOUNDS: dict[FilterOperator, Bound] = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}


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
    return _group(filters, metadata_key)


def _group(group: MetadataFilters, metadata_key: str) -> models.Filter:
    members: list[models.Condition] = [
        _group(member, metadata_key) if isinstance(member, MetadataFilters) else _condition(member, metadata_key)
        for member in group.filters
    ]
    if group.condition == FilterCondition.OR:
        return models.Filter(should=members)
    if group.condition == FilterCondition.NOT:
        return models.Filter(must_not=members)
    return models.Filter(must=members)


def _condition(asked: MetadataFilter, metadata_key: str) -> models.Condition:
    path = conditions.path(metadata_key, asked.key)
    match asked.operator:
        case FilterOperator.EQ:
            return _equal(path, asked)
        case FilterOperator.NE:
            return models.Filter(must_not=[_equal(path, asked)])
        case FilterOperator.IN | FilterOperator.ANY:
            return conditions.one_of(path, _list(path, asked))
        case FilterOperator.NIN:
            return models.Filter(must_not=[conditions.one_of(path, _list(path, asked))])
        case FilterOperator.ALL:
            return _all_of(path, asked)
        case FilterOperator.CONTAINS:
            return conditions.equal(path, _scalar(path, asked))
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            return conditions.ordered(path, **{_BOUNDS[asked.operator]: _scalar(path, asked)})
        case FilterOperator.TEXT_MATCH:
            return conditions.substring(path, _text(path, asked))
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return _words(path, asked)
        case FilterOperator.IS_EMPTY:
            return _empty(path)


def _equal(path: str, asked: MetadataFilter) -> models.Condition:
    """EQ, and NE as its negation, so that NE selects points that lack the key, as in the reference.

    None selects an explicit null. The reference lets ``EQ None`` select nothing and ``NE None`` everything.
    """
    if isinstance(asked.value, list):
        raise UnsupportedByEngine(
            f"{_name(path, asked)}: Qdrant can't compare a whole list; use ANY or ALL for its elements"
        )
    return conditions.equal(path, asked.value)


def _all_of(path: str, asked: MetadataFilter) -> models.Condition:
    """ALL. Like CONTAINS, it takes a stored scalar for an array of one and does not search in a string.

    An empty list is contained in every stored value, but for the empty array: Qdrant sees no value there.
    """
    values = _list(path, asked)
    if not values:
        return models.Filter(must_not=[conditions.empty(path)])
    return models.Filter(must=[conditions.equal(path, value) for value in values])


def _words(path: str, asked: MetadataFilter) -> models.FieldCondition:
    """TEXT_MATCH_INSENSITIVE: every word of the text is among the stored words, in any order.

    The reference looks for a substring. Qdrant finds those only with their case (TEXT_MATCH), which serves
    for a text that has none, such as a number.
    """
    text = _text(path, asked)
    has_case = text.lower() != text.upper()
    return conditions.words(path, text) if has_case else conditions.substring(path, text)


def _empty(path: str) -> models.Filter:
    """IS_EMPTY: missing, null or an empty array, which is Qdrant's notion, or an empty string as well."""
    return models.Filter(should=[conditions.empty(path), conditions.equal(path, "")])


def _scalar(path: str, asked: MetadataFilter) -> Scalar:
    if asked.value is None or isinstance(asked.value, list):
        raise InvalidInput(f"{_name(path, asked)}: this operator needs one string or number")
    return asked.value


def _list(path: str, asked: MetadataFilter) -> list[Scalar]:
    if not isinstance(asked.value, list):
        raise InvalidInput(f"{_name(path, asked)}: this operator needs a list of strings or numbers")
    return list(asked.value)


def _text(path: str, asked: MetadataFilter) -> str:
    if not isinstance(asked.value, str):
        raise InvalidInput(f"{_name(path, asked)}: this operator needs a string")
    return asked.value


def _name(path: str, asked: MetadataFilter) -> str:
    return f"filter on {path}: {asked.operator.value} {asked.value!r:.60}"
