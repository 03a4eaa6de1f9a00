"""Dictionaries of equalities; what they select is in test_vectorstore.py."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant.errors import ColbertQdrantError, InvalidInput, UnsupportedByEngine
from langchain_colbert_qdrant.filters import to_qdrant_filter


def test_a_filter_of_qdrant_is_taken_as_it_is() -> None:
    asked = models.Filter(must=[])

    assert to_qdrant_filter(asked) is asked


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_is_no_filter(nothing: Any) -> None:
    assert to_qdrant_filter(nothing) is None


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"year": 1}, "metadata.year"),
        ({"first name": 1}, 'metadata."first name"'),
        ({"a.b": 1}, 'metadata."a.b"'),
        ({"a": {"b": 1}}, "metadata.a.b"),
    ],
)
def test_a_key_is_one_literal_name(asked: dict[str, Any], path: str) -> None:
    translated = to_qdrant_filter(asked)

    assert translated is not None
    assert [condition.key for condition in translated.must] == [path]


def test_an_int_beyond_float_is_compared_exactly() -> None:
    translated = to_qdrant_filter({"id": 2**53 + 1})

    assert translated is not None
    assert [condition.match for condition in translated.must] == [models.MatchValue(value=2**53 + 1)]


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ("year = 2014", InvalidInput, "filter is a str"),
        ({"when": object()}, InvalidInput, r"filter\.when"),
        ({"year": [{"gte": 1}]}, InvalidInput, r"metadata\.year"),
        ({"year": {}}, InvalidInput, r"metadata\.year"),
        ({"rating": float("nan")}, InvalidInput, r"filter\.rating"),
        ({"id": 2**63}, InvalidInput, r"filter\.id"),
        ({'"': 1}, UnsupportedByEngine, "quote"),
        ({1: 1}, InvalidInput, "string keys"),
    ],
)
def test_what_is_no_equality_is_refused(asked: Any, error: type[ColbertQdrantError], named: str) -> None:
    with pytest.raises(error, match=named):
        to_qdrant_filter(asked)
