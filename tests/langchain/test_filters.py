"""Filters as dictionaries: what each selects, on every engine, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from qdrant_client import QdrantClient, models

from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput, UnsupportedByEngine
from conftest import WordEmbedder, engines, shown
from langchain_colbert_qdrant import ColbertQdrantVectorStore
from langchain_colbert_qdrant.filters import to_qdrant_filter
from servers import server_place

LAYOUT = Layout("instruments", "colbert", "page_content", "metadata", 16)

INSTRUMENTS: dict[str, dict[str, Any]] = {
    "lute": {
        "name": "Renaissance Lute",
        "strings": 15,
        "price": 2450.5,
        "in_stock": True,
        "made": "2021-03-09",
        "tags": ["plucked", "early"],
        "rooms": [11, 12],
        "body": {"wood": "maple", "ribs": 13},
    },
    "cello": {
        "name": "Student Cello",
        "strings": 4,
        "price": 900.0,
        "in_stock": True,
        "made": "2019-11-30",
        "tags": ["bowed", "orchestra"],
        "rooms": [21],
        "a.b": 1,
    },
    "flute": {
        "name": "Concert Flute",
        "strings": 0,
        "price": 1200,
        "in_stock": False,
        "made": "2023-01-15T08:30:00Z",
        "tags": ["woodwind", "orchestra"],
        "a": {"b": 1},
    },
    "viol": {
        "name": "Bass Viol",
        "strings": 6,
        "price": 3100.25,
        "in_stock": True,
        "made": "2022-06-01",
        "tags": ["bowed", "early"],
        "rooms": [41],
        "owner": None,
        "100%": "yes",
    },
}

ALL = set(INSTRUMENTS)

SELECTED: list[tuple[dict[str, Any], set[str]]] = [
    # equality
    ({}, ALL),
    ({"name": "Bass Viol"}, {"viol"}),
    ({"in_stock": True}, {"lute", "cello", "viol"}),
    ({"in_stock": 1}, set()),
    ({"name": "Student Cello", "in_stock": True}, {"cello"}),
    ({"price": 1200.0}, {"flute"}),
    ({"owner": None}, {"viol"}),
    ({"tags": "early"}, {"lute", "viol"}),
    ({"tags": ["plucked", "woodwind"]}, {"lute", "flute"}),
    ({"strings": []}, set()),
    ({"strings": (4, 6)}, {"cello", "viol"}),
    ({"strings": frozenset({4, 6})}, {"cello", "viol"}),
    ({"strings": np.array([4, 6])}, {"cello", "viol"}),
    ({"strings": np.array(4)}, {"cello"}),
    ({"strings": {"$nin": np.array([4, 6])}}, {"lute", "flute"}),
    ({"strings": {"$eq": 4}}, {"cello"}),
    ({"in_stock": {"$eq": True}}, {"lute", "cello", "viol"}),
    ({"name": {"$eq": "Concert Flute"}}, {"flute"}),
    ({"strings": {"$ne": 0}}, {"lute", "cello", "viol"}),
    ({"name": {"$ne": "Concert Flute"}}, {"lute", "cello", "viol"}),
    ({"in_stock": {"$ne": True}}, {"flute"}),
    ({"rooms": {"$ne": 11}}, {"cello", "flute", "viol"}),
    # below a key
    ({"body": {"wood": "maple"}}, {"lute"}),
    ({"body": {"wood": "maple", "ribs": {"$gt": 20}}}, set()),
    ({"body.wood": "maple"}, {"lute"}),
    ({"body.ribs": {"$gte": 13}}, {"lute"}),
    ({"metadata.strings": 4}, {"cello"}),
    ({"metadata.body.wood": "maple"}, {"lute"}),
    ({"a.b": 1}, {"cello", "flute"}),
    ({"a": {"b": 1}}, {"flute"}),
    ({"a.b": {"$ne": 1}}, {"lute", "viol"}),
    ({"100%": "yes"}, {"viol"}),
    # order
    ({"strings": {"$gt": 6}}, {"lute"}),
    ({"strings": {"$gte": 6}}, {"lute", "viol"}),
    ({"strings": {"$lt": 4}}, {"flute"}),
    ({"strings": {"$lte": 4}}, {"cello", "flute"}),
    ({"price": {"$gt": 2450.5}}, {"viol"}),
    ({"price": {"$gte": 2450.5}}, {"lute", "viol"}),
    ({"price": {"$lt": 1200}}, {"cello"}),
    ({"price": {"$lte": 1200}}, {"cello", "flute"}),
    ({"price": {"$gt": 900, "$lt": 3000}}, {"lute", "flute"}),
    ({"rooms": {"$gt": 11, "$lt": 12}}, set()),
    ({"strings": {"$between": (4, 6)}}, {"cello", "viol"}),
    ({"rooms": {"$between": [12, 21]}}, {"lute", "cello"}),
    ({"made": {"$gte": "2022-06-01"}}, {"flute", "viol"}),
    ({"made": {"$lt": date(2021, 3, 9)}}, {"cello"}),
    ({"made": {"$gt": datetime(2023, 1, 15, 8, 0, tzinfo=UTC)}}, {"flute"}),
    ({"made": {"$between": [date(2021, 1, 1), "2022-12-31"]}}, {"lute", "viol"}),
    ({"made": date(2022, 6, 1)}, {"viol"}),
    ({"made": datetime(2023, 1, 15, 8, 30, tzinfo=UTC)}, {"flute"}),
    ({"made": {"$in": [date(2022, 6, 1), "2019-11-30"]}}, {"viol", "cello"}),
    # lists of values
    ({"name": {"$in": ["Bass Viol", "Student Cello"]}}, {"viol", "cello"}),
    ({"strings": {"$in": [0, 4]}}, {"flute", "cello"}),
    ({"price": {"$in": [900, 1200]}}, {"cello", "flute"}),
    ({"in_stock": {"$in": [False]}}, {"flute"}),
    ({"name": {"$nin": ["Bass Viol", "Student Cello"]}}, {"lute", "flute"}),
    ({"strings": {"$nin": [15, 0, 4]}}, {"viol"}),
    ({"strings": {"$in": []}}, set()),
    ({"strings": {"$nin": []}}, ALL),
    # patterns
    ({"name": {"$like": "Bass%"}}, {"viol"}),
    ({"name": {"$like": "%lute%"}}, {"flute"}),
    ({"name": {"$like": "%Viol%"}}, {"viol"}),
    ({"name": {"$like": "Student Cello"}}, {"cello"}),
    ({"$or": [{"name": {"$like": "Ren%"}}, {"name": {"$like": "Con%"}}]}, {"lute", "flute"}),
    ({"made": {"$ilike": "2022-%"}}, {"viol"}),
    # whether there is a value
    ({"tags": {"$exists": False}}, set()),
    ({"rooms": {"$exists": False}}, {"flute"}),
    ({"rooms": {"$exists": True}}, {"lute", "cello", "viol"}),
    ({"owner": {"$exists": True}}, set()),
    # logic
    ({"$or": [{"name": "Bass Viol"}, {"name": "Student Cello"}]}, {"viol", "cello"}),
    ({"$or": [{"name": "Bass Viol"}, {"strings": 4}]}, {"viol", "cello"}),
    ({"$and": [{"name": "Bass Viol"}, {"name": "Student Cello"}]}, set()),
    ({"$and": [{"tags": "bowed"}, {"$or": [{"strings": {"$lt": 5}}, {"price": {"$gt": 5000}}]}]}, {"cello"}),
    ({"$not": {"name": "Concert Flute"}}, {"lute", "cello", "viol"}),
    ({"$not": [{"name": "Concert Flute"}]}, {"lute", "cello", "viol"}),
    ({"$not": [{"name": "Concert Flute"}, {"strings": 4}]}, {"lute", "viol"}),
    ({"$not": {"strings": 0}}, {"lute", "cello", "viol"}),
    ({"$not": [{"in_stock": True}]}, {"flute"}),
    ({"$not": {"price": {"$gt": 1000.0}}}, {"cello"}),
    ({"price": {"$not": {"$gt": 1000.0}}}, {"cello"}),
    ({"in_stock": True, "$or": [{"strings": 4}, {"strings": 6}]}, {"cello", "viol"}),
]


@pytest.fixture(params=engines(), scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place: dict[str, Any] = {
        "memory": lambda: {},
        "edge": lambda: {"path": tmp_path_factory.mktemp("filters")},
        "server": server_place,
    }[request.param]()
    store = ColbertQdrantVectorStore(f"test-{uuid.uuid4().hex[:12]}", WordEmbedder(), **place)
    store.add_texts(list(INSTRUMENTS), list(INSTRUMENTS.values()), ids=list(INSTRUMENTS))
    yield store
    store.collection.engine.call("delete_collection", {"collection_name": store.collection.name})
    store.close()


def ids(documents: list[Document]) -> set[str | None]:
    return {document.id for document in documents}


@pytest.mark.parametrize(("asked", "expected"), SELECTED, ids=[str(asked) for asked, _ in SELECTED])
def test_selects(store: ColbertQdrantVectorStore, asked: dict[str, Any], expected: set[str]) -> None:
    assert ids(store.similarity_search("lute", k=10, filter=asked)) == expected


def test_deletes_what_it_selects(store: ColbertQdrantVectorStore) -> None:
    store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}], ids=["one", "two"])

    store.delete(filter={"n": {"$gt": 1}})

    assert ids(store.get_by_ids(["one", "two"])) == {"one"}
    store.delete(["one"])


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ("year = 2014", InvalidInput, "filter is a str"),
        ({1: 1}, InvalidInput, "string keys"),
        ({"when": object()}, InvalidInput, r"filter\.when"),
        ({"rating": float("nan")}, InvalidInput, r"filter\.rating"),
        ({"id": 2**63}, InvalidInput, r"filter\.id"),
        ({'"': 1}, UnsupportedByEngine, "quote"),
        # what is neither a value, nor operators, nor keys
        ({"year": {}}, InvalidInput, "filter on year"),
        ({"year": [{"gte": 1}]}, InvalidInput, "year"),
        ({"year": {"$gt": 1, "lt": 2}}, InvalidInput, "neither operators"),
        # operators that are not there
        ({"$nor": [{"year": 1}]}, InvalidInput, r"no operator '\$nor'"),
        ({"$AND": [{"year": 1}]}, InvalidInput, r"did you mean \$and"),
        ({"year": {"$gte ": 1}}, InvalidInput, r"did you mean \$gte"),
        ({"year": {"$and": True}}, InvalidInput, r"no operator '\$and'"),
        ({"$gt": 1}, InvalidInput, r"no operator '\$gt'"),
        ({"tags": {"$regex": "x"}}, InvalidInput, r"no operator '\$regex'"),
        # values that an operator can't take
        ({"$and": {"year": 1}}, InvalidInput, "no list of conditions"),
        ({"$and": {}}, InvalidInput, "no list of conditions"),
        ({"$and": []}, InvalidInput, "no list of conditions"),
        ({"$or": [{}]}, InvalidInput, "no list of conditions"),
        ({"$not": True}, InvalidInput, "no list of conditions"),
        ({"$not": {}}, InvalidInput, "no list of conditions"),
        ({"year": {"$not": 3}}, InvalidInput, r"\$ne a value"),
        ({"year": {"$exists": 1}}, InvalidInput, "True or False"),
        ({"year": {"$in": "1999"}}, InvalidInput, "no list of values"),
        ({"year": {"$between": [1]}}, InvalidInput, "the lowest and the highest"),
        ({"year": {"$gt": True}}, InvalidInput, "no value to compare"),
        ({"year": {"$gt": None}}, InvalidInput, "no value to compare"),
        ({"name": {"$like": 3}}, InvalidInput, "no pattern"),
        # what Qdrant has no answer to
        ({"name": {"$gt": "Bass Viol"}}, UnsupportedByEngine, "not strings"),
        ({"tags": {"$eq": ["bowed"]}}, UnsupportedByEngine, r"\$in asks"),
        ({"tags": {"$eq": frozenset(["bowed"])}}, UnsupportedByEngine, r"\$in asks"),
        ({"tags": {"$eq": np.array(["bowed"])}}, UnsupportedByEngine, r"\$in asks"),
        ({"name": {"$like": "%Viol"}}, UnsupportedByEngine, "no other pattern"),
        ({"name": {"$like": "B_ss"}}, UnsupportedByEngine, "no other pattern"),
        ({"name": {"$like": "%"}}, UnsupportedByEngine, "no other pattern"),
        ({"name": {"$ilike": "%viol%"}}, UnsupportedByEngine, r"use \$like"),
    ],
    ids=shown,
)
def test_is_refused(asked: Any, error: type[ColbertQdrantError], named: str) -> None:
    with pytest.raises(error, match=named):
        to_qdrant_filter(asked, LAYOUT)


def test_a_filter_of_qdrant_is_taken_as_it_is() -> None:
    asked = models.Filter(must=[])

    assert to_qdrant_filter(asked, LAYOUT) is asked


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_is_no_filter(nothing: Any) -> None:
    assert to_qdrant_filter(nothing, LAYOUT) is None


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        (r"100\%", models.MatchValue(value="100%")),
        (r"a\_b%", models.MatchPrefix(prefix="a_b")),
        ("%%x%%", models.MatchSubstring(substring="x")),
    ],
)
def test_like_takes_escaped_signs_as_themselves(pattern: str, match: Any) -> None:
    translated: Any = to_qdrant_filter({"name": {"$like": pattern}}, LAYOUT)

    assert translated.must[0].match == match


def test_an_int_beyond_float_is_compared_exactly() -> None:
    translated: Any = to_qdrant_filter({"id": 2**53 + 1}, LAYOUT)

    assert translated.must[0].match == models.MatchValue(value=2**53 + 1)


class TestMadeByHand:
    """A payload without our keys, whose metadata is all of it but the text."""

    @pytest.fixture
    def store(self, words: WordEmbedder) -> ColbertQdrantVectorStore:
        client = QdrantClient(":memory:")
        config = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        params = models.VectorParams(size=16, distance=models.Distance.COSINE, multivector_config=config)
        client.create_collection("hand", params)
        flat = [{"content": "a lute", "name": "A", "n": 1}, {"content": "a viol", "name": "B", "n": 2}]
        points = [
            models.PointStruct(id=number, vector=next(words.embed(payload["content"])).tolist(), payload=payload)
            for number, payload in enumerate(flat)
        ]
        client.upsert("hand", points)
        store = ColbertQdrantVectorStore("hand", words, client=client, content_payload_key="content")
        store.add_texts(["a flute"], [{"name": "A", "n": 3}], ids=["ours"])
        return store

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"name": "A"}, {"0", "ours"}),
            ({"name": {"$ne": "A"}}, {"1"}),
            ({"n": {"$gt": 1}}, {"1", "ours"}),
            ({"name": {"$exists": False}}, set()),
            ({"content": "a lute"}, set()),
            ({"_id": "ours"}, set()),
        ],
        ids=shown,
    )
    def test_what_a_document_shows_is_what_a_filter_sees(
        self, store: ColbertQdrantVectorStore, asked: dict[str, Any], expected: set[str]
    ) -> None:
        assert ids(store.similarity_search("lute", k=10, filter=asked)) == expected

    def test_what_is_deleted_is_gone(self, store: ColbertQdrantVectorStore) -> None:
        store.delete(filter={"name": "A"})

        assert [record.id for record in store.collection.scroll()] == ["1"]
