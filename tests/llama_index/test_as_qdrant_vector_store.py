"""What programs ask of LlamaIndex's own stores, asked of this one, on every engine.

The cases are of the kinds that LlamaIndex tests its stores for Qdrant, Chroma, PostgreSQL and LanceDB by, and its store
in memory, whose answers are the reference. What this store answers otherwise is in `REFUSED`, with what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from qdrant_client import models

import servers
from colbert_qdrant.errors import ColbertQdrantError
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

Op, Mode = FilterOperator, VectorStoreQueryMode
Store = ColbertQdrantVectorStore


def node(node_id: str, text: str, *, of: str | None = None, **metadata: Any) -> TextNode:
    source = {} if of is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)}
    keys = list(metadata)
    return TextNode(id_=node_id, text=text, metadata=metadata, excluded_embed_metadata_keys=keys, relationships=source)


NODES = [
    node("jonah", "A whale eats a man.", of="bible", name="John Doe", age=30, rank="a", weight=1.5, quality=["high"]),
    node("ahab", "A captain hunts a white whale.", of="melville", name="Jane Doe", age=25, rank="b", weight=2.0),
    node("ishmael", "A sailor alone survives.", of="melville", name="Ray", age=60, rank="c", quality=["low", "high"]),
    node("toys", "Toys come alive at night.", of="pixar", name="Woody", age=5, author={"name": "Ann"}, ok=True),
    node("plain", "A letter without an address.", of="post"),
    node("robot", "A robot cleans the earth.", of="pixar", name="Wall", age=700, made="2008-06-27", rank="A b"),
]
ALL = {each.node_id for each in NODES}


@pytest.fixture
def full(store: Store) -> Store:
    store.add(NODES)
    return store


def filters(*each: tuple[str, Op, Any] | MetadataFilters, condition: Any = FilterCondition.AND) -> MetadataFilters:
    members = [
        one if isinstance(one, MetadataFilters) else MetadataFilter(key=one[0], operator=one[1], value=one[2])
        for one in each
    ]
    return MetadataFilters(filters=members, condition=condition)


def asked(
    store: Store, text: str = "a whale", top_k: int = 10, options: dict[str, Any] | None = None, **more: Any
) -> list[str]:
    query = VectorStoreQuery(query_str=text, similarity_top_k=top_k, **more)
    return store.query(query, **(options or {})).ids or []


def names(store: Store, **arguments: Any) -> set[str]:
    return {each.node_id for each in store.get_nodes(**arguments)}


# --- filters, each in a query, in get_nodes and in delete_nodes

FILTERS: dict[str, tuple[MetadataFilters, set[str]]] = {
    "equal": (filters(("name", Op.EQ, "John Doe")), {"jonah"}),
    "equal number": (filters(("age", Op.EQ, 25)), {"ahab"}),
    "equal float": (filters(("weight", Op.EQ, 1.5)), {"jonah"}),
    "1 is 1.0": (filters(("weight", Op.EQ, 2)), {"ahab"}),
    "not equal": (filters(("name", Op.NE, "John Doe")), ALL - {"jonah"}),
    "greater": (filters(("age", Op.GT, 30)), {"ishmael", "robot"}),
    "at least": (filters(("age", Op.GTE, 30)), {"jonah", "ishmael", "robot"}),
    "less": (filters(("age", Op.LT, 25)), {"toys"}),
    "at most": (filters(("age", Op.LTE, 25)), {"toys", "ahab"}),
    "between": (filters(("age", Op.GTE, 25), ("age", Op.LTE, 30)), {"jonah", "ahab"}),
    "date": (filters(("made", Op.GTE, "2008-01-01")), {"robot"}),
    "in strings": (filters(("rank", Op.IN, ["a", "c"])), {"jonah", "ishmael"}),
    "in numbers": (filters(("age", Op.IN, [5, 25])), {"toys", "ahab"}),
    "in floats": (filters(("weight", Op.IN, [1.5, 2.0])), {"jonah", "ahab"}),
    "in many": (filters(("age", Op.IN, list(range(0, 100, 5)))), {"jonah", "ahab", "ishmael", "toys"}),
    "in nothing": (filters(("age", Op.IN, [])), set()),
    "in a string of commas": (filters(("rank", Op.IN, "a,c")), {"jonah", "ishmael"}),
    "not in": (filters(("rank", Op.NIN, ["a", "c"])), ALL - {"jonah", "ishmael"}),
    "contains": (filters(("quality", Op.CONTAINS, "high")), {"jonah", "ishmael"}),
    "any": (filters(("quality", Op.ANY, ["low", "medium"])), {"ishmael"}),
    "all": (filters(("quality", Op.ALL, ["low", "high"])), {"ishmael"}),
    "text match": (filters(("name", Op.TEXT_MATCH, "Doe")), {"jonah", "ahab"}),
    "text match without case": (filters(("name", Op.TEXT_MATCH_INSENSITIVE, "doe")), {"jonah", "ahab"}),
    "is empty": (filters(("name", Op.IS_EMPTY, None)), {"plain"}),
    "not empty": (filters(filters(("name", Op.IS_EMPTY, None)), condition=FilterCondition.NOT), ALL - {"plain"}),
    "path": (filters(("author.name", Op.EQ, "Ann")), {"toys"}),
    "elements": (filters(("quality[]", Op.EQ, "low")), {"ishmael"}),
    "doc_id": (filters(("doc_id", Op.EQ, "pixar")), {"toys", "robot"}),
    "ref_doc_id": (filters(("ref_doc_id", Op.IN, ["bible", "post"])), {"jonah", "plain"}),
    "document_id": (filters(("document_id", Op.NE, "pixar")), ALL - {"toys", "robot"}),
    "number as a string": (filters(("age", Op.GT, "30")), {"ishmael", "robot"}),
    "and": (filters(("age", Op.GT, 20), ("rank", Op.EQ, "b")), {"ahab"}),
    "or": (filters(("age", Op.EQ, 5), ("rank", Op.EQ, "b"), condition=FilterCondition.OR), {"toys", "ahab"}),
    "not": (filters(("age", Op.EQ, 5), ("rank", Op.EQ, "b"), condition=FilterCondition.NOT), ALL - {"toys", "ahab"}),
    "no condition": (filters(("age", Op.GT, 20), ("rank", Op.EQ, "b"), condition=None), {"ahab"}),
    "nested": (
        filters(filters(("age", Op.EQ, 5), ("age", Op.EQ, 25), condition=FilterCondition.OR), ("rank", Op.EQ, "b")),
        {"ahab"},
    ),
    "nested not": (
        filters(filters(("rank", Op.EQ, "a"), condition=FilterCondition.NOT), ("quality", Op.CONTAINS, "high")),
        {"ishmael"},
    ),
    "unknown key": (filters(("unknown", Op.EQ, "x")), set()),
    "no filters": (filters(), ALL),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _words_are_words(request: pytest.FixtureRequest) -> None:
    """A server before 1.19.1 minds case where there is no full-text index, and a warning says so."""
    if "server-text match without case" in request.node.name and servers.before(1, 19, 1):
        pytest.skip("this server is before 1.19.1: MatchText minds case without a full-text index")


@pytest.mark.parametrize(("given", "wanted"), FILTERS.values(), ids=FILTERS)
def test_query_passes_the_filter(full: Store, given: MetadataFilters, wanted: set[str]) -> None:
    assert set(asked(full, filters=given)) == wanted


@pytest.mark.parametrize(("given", "wanted"), FILTERS.values(), ids=FILTERS)
def test_get_and_delete_pass_the_filter(full: Store, given: MetadataFilters, wanted: set[str]) -> None:
    assert names(full, filters=given) == wanted
    if given.filters:
        full.delete_nodes(filters=given)
        assert names(full) == ALL - wanted


# --- selections by ids and documents

SELECTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "node ids": ({"node_ids": ["jonah", "robot", "gone"]}, {"jonah", "robot"}),
    "node ids, none of them": ({"node_ids": []}, ALL),
    "documents": ({"doc_ids": ["melville"]}, {"ahab", "ishmael"}),
    "documents, unknown": ({"doc_ids": ["gone"]}, set()),
    "documents, none of them": ({"doc_ids": []}, set()),
    "ids and filters": ({"node_ids": ["jonah", "ahab"], "filters": filters(("age", Op.GT, 26))}, {"jonah"}),
    "ids and documents": ({"node_ids": ["jonah", "ahab"], "doc_ids": ["melville"]}, {"ahab"}),
    "documents and filters": ({"doc_ids": ["pixar"], "filters": filters(("age", Op.LT, 26))}, {"toys"}),
}


@pytest.mark.parametrize("mode", [Mode.DEFAULT, Mode.MMR])
@pytest.mark.parametrize(("selected", "wanted"), SELECTIONS.values(), ids=SELECTIONS)
def test_query_is_among_the_selected(full: Store, mode: Mode, selected: dict[str, Any], wanted: set[str]) -> None:
    assert set(asked(full, mode=mode, **selected)) == wanted


# --- adding, getting, deleting


def test_add_returns_the_ids(store: Store) -> None:
    assert store.add(NODES) == [each.node_id for each in NODES]


def test_adding_nothing_is_nothing(store: Store) -> None:
    assert store.add([]) == []


def test_adding_twice_stores_once(full: Store) -> None:
    full.add(NODES)

    assert len(full.get_nodes()) == len(NODES)


def test_nodes_come_back_as_they_were(full: Store) -> None:
    assert {each.node_id: each for each in full.get_nodes()} == {each.node_id: each for each in NODES}


def test_index_nodes_come_back(store: Store) -> None:
    index_node = IndexNode(id_="i", text="About whales.", index_id="whales")
    store.add([index_node])

    assert store.get_nodes() == [index_node]


def test_nodes_by_limit(full: Store) -> None:
    assert len(full.get_nodes(limit=2)) == 2


def test_nodes_by_ids_and_filters(full: Store) -> None:
    assert names(full, node_ids=["jonah", "ahab"], filters=filters(("age", Op.LT, 30))) == {"ahab"}


def test_nodes_of_unknown_ids(full: Store) -> None:
    assert full.get_nodes(["gone"]) == []


def test_document_is_deleted(full: Store) -> None:
    full.delete("melville")

    assert names(full) == ALL - {"ahab", "ishmael"}


def test_unknown_document_is_no_error(full: Store) -> None:
    full.delete("gone")

    assert names(full) == ALL


def test_nodes_are_deleted_by_ids(full: Store) -> None:
    full.delete_nodes(["jonah", "gone"])

    assert names(full) == ALL - {"jonah"}


def test_nodes_are_deleted_by_ids_and_filters(full: Store) -> None:
    full.delete_nodes(["jonah", "ahab"], filters=filters(("age", Op.LT, 30)))

    assert names(full) == ALL - {"ahab"}


def test_store_is_cleared_and_filled_again(full: Store) -> None:
    full.clear()
    assert full.get_nodes() == []

    full.add(NODES[:1])
    assert names(full) == {"jonah"}


async def test_all_of_it_asynchronously(store: Store) -> None:
    await store.async_add(NODES)
    await store.adelete("bible")
    await store.adelete_nodes(["ahab"])
    query = VectorStoreQuery(query_str="toys", similarity_top_k=1, filters=filters(("age", Op.LT, 100)))

    assert (await store.aquery(query)).ids == ["toys"]
    assert {each.node_id for each in await store.aget_nodes()} == ALL - {"jonah", "ahab"}
    assert len(await store.aget_nodes(limit=2)) == 2
    await store.aclear()
    assert await store.aget_nodes() == []


# --- queries


def test_best_comes_first_with_scores_from_0_to_1(full: Store) -> None:
    result = full.query(VectorStoreQuery(query_str="Toys come alive at night.", similarity_top_k=3))

    assert result.ids is not None
    assert result.ids[0] == "toys"
    assert result.similarities == sorted(result.similarities or [], reverse=True)
    assert all(0 <= score <= 1 for score in result.similarities or [])
    assert (result.similarities or [0])[0] > 0.9


def test_query_finds_no_more_than_top_k(full: Store) -> None:
    assert len(asked(full, top_k=2)) == 2


def test_query_of_an_empty_store(store: Store) -> None:
    assert asked(store) == []


OPTIONS: dict[str, dict[str, Any]] = {
    "search_params as a dict": {"search_params": {"exact": True}},
    "search_params": {"search_params": models.SearchParams(exact=True)},
    "qdrant_filters": {
        "qdrant_filters": models.Filter(must=[models.FieldCondition(key="metadata.age", range=models.Range(lt=26))])
    },
    "filter": {"filter": models.Filter(must=[models.FieldCondition(key="metadata.age", range=models.Range(lt=26))])},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_option_of_a_query(full: Store, options: dict[str, Any]) -> None:
    found = asked(full, options=options)

    assert found[0] == ("ahab" if "age" in str(options) else asked(full)[0])
    assert set(found) == ({"ahab", "toys"} if "age" in str(options) else ALL)


@pytest.mark.parametrize("options", [{"mmr_threshold": 0.3}, {"mmr_prefetch_factor": 2}, {"mmr_prefetch_k": 6}])
def test_option_of_a_diverse_query(full: Store, options: dict[str, Any]) -> None:
    assert len(asked(full, top_k=3, mode=Mode.MMR, options=options)) == 3


HYBRID: dict[str, dict[str, Any]] = {
    "hybrid": {"mode": Mode.HYBRID},
    "with weights": {"mode": Mode.HYBRID, "alpha": 0.5},
    "with candidates": {"mode": Mode.HYBRID, "sparse_top_k": 12},
    "with top k": {"mode": Mode.HYBRID, "hybrid_top_k": 3},
    "with filters": {"mode": Mode.HYBRID, "filters": filters(("name", Op.TEXT_MATCH, "Doe"))},
    "semantic": {"mode": Mode.SEMANTIC_HYBRID},
    "sparse": {"mode": Mode.SPARSE},
    "text search": {"mode": Mode.TEXT_SEARCH},
    "default": {"mode": Mode.DEFAULT},
}


@pytest.mark.parametrize("query", HYBRID.values(), ids=HYBRID)
def test_hybrid_store(make_store: Callable[..., Store], query: dict[str, Any]) -> None:
    store = make_store(enable_hybrid=True)
    store.add(NODES)

    assert asked(store, "the captain who hunts a whale", top_k=1, **query)[0] == "ahab"


# --- opening

ARGUMENTS: dict[str, dict[str, Any]] = {
    "batch_size": {"batch_size": 64},
    "parallel": {"parallel": 2},
    "max_retries": {"max_retries": 5},
    "all that is without effect": {"aclient": None, "client_kwargs": None, "text_key": None},
    "index_doc_id": {"index_doc_id": False},
    "payload_indexes": {"payload_indexes": [{"field_name": "age", "field_schema": models.PayloadSchemaType.INTEGER}]},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_argument_is_taken(make_store: Callable[..., Store], arguments: dict[str, Any]) -> None:
    store = make_store(**arguments)
    store.add(NODES)

    assert asked(store, filters=filters(("age", Op.EQ, 25))) == ["ahab"]


def test_store_on_a_collection_that_exists(
    full: Store, make_store: Callable[..., Store], place: dict[str, Any]
) -> None:
    again = make_store(collection_name=full.collection_name)

    assert names(again) == ALL


# --- what is refused, and with which words

REFUSED: dict[str, tuple[Callable[[Store], Any], str]] = {
    "a query by filters alone": (
        lambda store: store.query(VectorStoreQuery(filters=filters(("age", Op.EQ, 5)))),
        r"get_nodes\(filters=\)",
    ),
    "a query by a vector alone": (lambda store: store.query(VectorStoreQuery(query_embedding=[0.1])), "no query_str"),
    "deleting without a choice": (lambda store: store.delete_nodes(), r"clear\(\)"),
    "top_k of 0": (lambda store: asked(store, top_k=0), "limit=0"),
    "equality with a list": (lambda store: names(store, filters=filters(("quality", Op.EQ, ["high"]))), "ANY or ALL"),
    "order of strings": (lambda store: names(store, filters=filters(("name", Op.GT, "J"))), "not strings"),
    "modes of learners": (lambda store: asked(store, mode=Mode.SVM), "'default' or 'mmr'"),
    "words without a stage": (lambda store: asked(store, mode=Mode.SPARSE), "enable_hybrid=True"),
    "qdrant_filters at the top": (
        lambda store: asked(
            store,
            options={"qdrant_filters": models.Filter(must=[models.IsNullCondition(is_null={"key": "age"})])},
        ),
        "'metadata.age'",
    ),
    "limit among the options": (lambda store: asked(store, options={"limit": 1}), "similarity_top_k"),
    "shard_identifier": (lambda store: store.get_nodes(shard_identifier="a"), "shard_key="),
    "an unknown argument of add": (lambda store: store.add(NODES, index_id="x"), "index_id= is no argument of add"),
    "shard_number": (lambda store: Store("x", shard_number=2), "Storage"),
    "sparse_doc_fn": (lambda store: Store("x", sparse_doc_fn=len), r"Sparse\(encoder\)"),
    "hybrid_fusion_fn": (lambda store: Store("x", hybrid_fusion_fn=len), "alpha="),
    "fastembed_sparse_model": (lambda store: Store("x", fastembed_sparse_model="splade"), "SparseTextEmbedding"),
    "enable_native_bm25": (lambda store: Store("x", enable_native_bm25=True), "enable_hybrid=True"),
    "bm25_config": (lambda store: Store("x", bm25_config={"language": "english"}), "Bm25\\(language="),
    "text_key": (lambda store: Store("x", text_key="content"), "content_key="),
}


@pytest.mark.parametrize(("does", "says"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_by_name(full: Store, does: Callable[[Store], Any], says: str) -> None:
    with pytest.raises(ColbertQdrantError, match=says):
        does(full)
    assert names(full) == ALL
