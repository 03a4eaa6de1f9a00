"""ColbertQdrantTranslator: what a language model made of a question, as a filter of the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor


class ColbertQdrantTranslator(Visitor):
    """Lets LangChain's ``SelfQueryRetriever`` search in a `ColbertQdrantVectorStore`.

    Notes
    -----
    ``contain`` asks for a part of a string, with its case, and of what is no string for an element of a list. ``like``
    takes SQL's pattern, as ``$like`` does (see `to_qdrant_filter`), and one without ``%`` at an end as a part. A list
    may hold dates.

    Examples
    --------
    Two lines more than for a store that LangChain knows by itself::

        from langchain_colbert_qdrant import ColbertQdrantTranslator

        retriever = SelfQueryRetriever.from_llm(
            llm, store, "movies", fields, structured_query_translator=ColbertQdrantTranslator()
        )

    What it makes of a comparison:

    >>> comparison = Comparison(comparator=Comparator.GTE, attribute="year", value=1990)
    >>> ColbertQdrantTranslator().visit_comparison(comparison)
    {'year': {'$gte': 1990}}
    """

    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)
    allowed_comparators = (
        Comparator.EQ,
        Comparator.NE,
        Comparator.GT,
        Comparator.GTE,
        Comparator.LT,
        Comparator.LTE,
        Comparator.IN,
        Comparator.NIN,
        Comparator.LIKE,
        Comparator.CONTAIN,
    )

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return conditions put together."""
        return {f"${operation.operator.value}": [argument.accept(self) for argument in operation.arguments]}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return a condition on one key."""
        value = _value(comparison.value)
        match comparison.comparator:
            case Comparator.CONTAIN if isinstance(value, str):
                asked: Any = {"$like": f"%{_escaped(value)}%"}
            case Comparator.LIKE if isinstance(value, str):
                asked = {"$like": _anywhere(value)}
            case Comparator.CONTAIN | Comparator.LIKE:
                asked = value
            case comparator:
                asked = {f"${comparator.value}": value}
        return {comparison.attribute: asked}

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the question that is left, and the keywords of its search."""
        asked: dict[str, Any] = {}
        if structured_query.filter is not None:
            asked["filter"] = structured_query.filter.accept(self)
        if structured_query.limit is not None:
            asked["k"] = structured_query.limit
        return structured_query.query, asked


def _value(value: Any) -> Any:
    """Take the form in which LangChain's query language has dates, alone or in a list."""
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    if isinstance(value, Mapping) and value.get("type") == "date":
        return date.fromisoformat(value["date"])
    if isinstance(value, Mapping) and value.get("type") == "datetime":
        return datetime.fromisoformat(value["datetime"])
    return value


def _escaped(text: str) -> str:
    """Return SQL's pattern for this very string."""
    return re.sub(r"[\\%_]", r"\\\g<0>", text)


def _anywhere(pattern: str) -> str:
    """Return a pattern that is found in any part of a string, unless it says at an end where."""
    bare = re.sub(r"\\.", "", pattern)  # without what is escaped
    return pattern if bare.startswith("%") or bare.endswith("%") else f"%{pattern}%"
