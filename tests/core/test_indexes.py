"""Payload indexes by metadata keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection.engines.answers import translated
from colbert_qdrant.collection.indexes import key_of, payload_path
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, MissingIndex
from conftest import WordEmbedder
from servers import needs_server, server_place

Make = Callable[..., MultivectorCollection]

LAYOUT = Layout("docs", "colbert", "page_content", "metadata", 16)
INDEXES: dict[str, Any] = {
    "year": "integer",
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
}


@pytest.fixture
def has_indexes(place: dict[str, Any]) -> bool:
    return "client" not in place


@pytest.mark.parametrize(
    ("key", "path"),
    [("year", "metadata.year"), ("place.city", "metadata.place.city"), ("$._id", "_id"), ("$.title", "title")],
)
def test_a_key_is_one_of_the_metadata_unless_it_begins_at_the_root(key: str, path: str) -> None:
    assert payload_path(key, LAYOUT) == path
    assert key_of(path, LAYOUT) == key


def test_the_spelling_of_filters_is_understood() -> None:
    assert payload_path("metadata.year", LAYOUT) == payload_path("$.metadata.year", LAYOUT) == "metadata.year"


@pytest.mark.parametrize("name", ["meta.data", "metadata[0]"])
def test_the_name_of_the_metadata_is_quoted_where_it_needs_to_be(name: str) -> None:
    layout = replace(LAYOUT, metadata_key=name)

    assert payload_path("year", layout) == payload_path(f'"{name}".year', layout) == f'"{name}".year'
    assert key_of(f'"{name}".year', layout) == "year"


@pytest.mark.parametrize("key", ["", "$.", 3])
def test_a_key_has_a_name(key: Any) -> None:
    with pytest.raises(InvalidInput, match="metadata key"):
        payload_path(key, LAYOUT)


def test_a_collection_is_made_with_indexes(make_collection: Make, has_indexes: bool) -> None:
    collection = make_collection(indexes=INDEXES)

    assert collection.indexes() == ({"year": "integer", "tenant": "keyword"} if has_indexes else {})


def test_what_is_not_indexed_yet_is_when_it_is_opened(make_collection: Make, has_indexes: bool) -> None:
    collection = make_collection()
    collection.add(["red apple", "blue sky"], [{"year": 1990}, {"year": 2020}], ["a", "b"])

    if has_indexes:
        collection.close()
    opened = make_collection(name=collection.name, indexes={"year": "integer"})
    recent = models.Filter(must=[models.FieldCondition(key="metadata.year", range=models.Range(gte=2000))])

    assert [hit.id for hit in opened.search("apple", filter=recent)] == ["b"]
    assert opened.indexes() == ({"year": "integer"} if has_indexes else {})


def test_an_index_is_dropped(make_collection: Make) -> None:
    collection = make_collection(indexes=INDEXES)

    collection.drop_index("year")
    collection.drop_index("never_was")

    assert "year" not in collection.indexes()


@pytest.mark.parametrize("index", ["varchar", None, models.PayloadSchemaType, 3])
def test_what_is_no_index_is_refused(collection: MultivectorCollection, index: Any) -> None:
    with pytest.raises(InvalidInput, match=r"'year'.*keyword, integer"):
        collection.create_index("year", index)


def test_a_key_that_has_to_be_quoted_is_said_to(make_collection: Make, place: dict[str, Any]) -> None:
    if "path" not in place:
        pytest.skip("local mode has no indexes, and a server says it in its own words")
    collection = make_collection()
    filter = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="metadata.a key"))])

    for act in (lambda: collection.create_index("a key", "keyword"), lambda: collection.count(filter)):
        with pytest.raises(InvalidInput, match="put a key in quotes"):
            act()
    collection.create_index('"a key"', "keyword")
    assert collection.indexes() == {'"a key"': "keyword"}


def test_an_index_of_another_type_is_not_replaced_in_silence(make_collection: Make, has_indexes: bool) -> None:
    collection = make_collection(indexes=INDEXES)
    if not has_indexes:
        pytest.skip("local mode has no indexes")
    collection.close()

    with pytest.raises(InvalidInput, match=r"'year' as integer, not as keyword: drop_index"):
        make_collection(name=collection.name, indexes={"year": "keyword"})


def test_a_servers_refusal_names_the_index_that_is_missing() -> None:
    body = (
        b'{"status":{"error":"Bad request: Index required but not found for \\"metadata.color\\" of one of the '
        b'following types: [keyword]. Help: Create an index for this key or use a different filter."}}'
    )
    answered = UnexpectedResponse(400, "Bad Request", body, httpx.Headers())

    error, _ = translated(answered, "query_points", {"collection_name": "docs"})

    assert isinstance(error, MissingIndex)
    assert str(error).endswith("create_index('$.metadata.color', 'keyword') makes it")


@needs_server
def test_in_strict_mode_every_method_works_or_names_the_missing_index(words: WordEmbedder) -> None:
    with MultivectorCollection(
        f"strict-{uuid.uuid4().hex[:8]}", words, **server_place(), indexes={"year": "integer"}
    ) as collection:
        strict = models.StrictModeConfig(
            enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False, max_query_limit=300
        )
        collection.engine.client.update_collection(collection.name, strict_mode_config=strict)  # type: ignore[attr-defined]
        collection.add(["red apple", "blue sky"], [{"year": 1990, "color": "red"}, {"year": 2020}], ["a", "b"])
        recent = models.Filter(must=[models.FieldCondition(key="metadata.year", range=models.Range(gte=2000))])
        red = models.Filter(must=[models.FieldCondition(key="metadata.color", match=models.MatchValue(value="red"))])

        assert [hit.id for hit in collection.search("apple", filter=recent)] == ["b"]
        assert collection.count(recent) == 1
        assert [record.id for record in collection.scroll(recent)] == ["b"]
        assert set(collection.score("apple", ["a", "b"])) == {"a", "b"}
        assert collection.set_metadata(["a"], {"year": 1991}) == 1
        assert [record.id for record in collection.get(["a"])] == ["a"]
        collection.delete(filter=recent)
        for refused in (
            lambda: collection.search("apple", filter=red),
            lambda: collection.search_batch(["apple", "sky"], filter=red),
            lambda: collection.search("apple", group_by="color"),
            lambda: collection.count(red),
            lambda: list(collection.scroll(red)),
            lambda: collection.delete(filter=red),
        ):
            with pytest.raises(MissingIndex, match=r"create_index\('\$\.metadata\.color', 'keyword'\)"):
                refused()
        MultivectorCollection(collection.name, words, **server_place()).drop()
