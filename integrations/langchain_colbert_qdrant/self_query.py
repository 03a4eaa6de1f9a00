"""ColbertQdrantTranslator: what a language model made of a question, as a filter of the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor

_PATTERNS = {Comparator.LIKE, Comparator.CONTAIN}


class ColbertQdrantTranslator(Visitor):
    """Lets LangChain's ``SelfQueryRetriever`` search in a `ColbertQdrantVectorStore`.

    Notes
    -----
    ``like`` and ``contain`` ask for a part of a string, with its case; ``contain`` of a number for an element of a
    list.

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
        if comparison.comparator in _PATTERNS:
            return {comparison.attribute: {"$like": _anywhere(value)} if isinstance(value, str) else value}
        return {comparison.attribute: {f"${comparison.comparator.value}": value}}

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the question that is left, and the keywords of its search."""
        asked: dict[str, Any] = {}
        if structured_query.filter is not None:
            asked["filter"] = structured_query.filter.accept(self)
        if structured_query.limit is not None:
            asked["k"] = structured_query.limit
        return structured_query.query, asked


def _value(value: Any) -> Any:
    """Take the form in which LangChain's query language has dates."""
    if isinstance(value, Mapping) and value.get("type") == "date":
        return date.fromisoformat(value["date"])
    if isinstance(value, Mapping) and value.get("type") == "datetime":
        return datetime.fromisoformat(value["datetime"])
    return value


def _anywhere(text: str) -> str:
    """Return SQL's pattern for a string that holds this one; a pattern stays what it is."""
    if text.startswith("%") or text.endswith("%"):
        return text
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
