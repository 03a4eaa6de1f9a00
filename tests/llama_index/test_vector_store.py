"""The store does what LlamaIndex asks of one, on every engine."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from qdrant_client import QdrantClient, models

from colbert_qdrant import Blend, Bm25, Centroids, MultivectorCollection, Muvera, maxsim
from colbert_qdrant.errors import CollectionMismatch, InvalidInput, UnsupportedByEngine
from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

Mode = VectorStoreQueryMode


def movie(node_id: str, text: str, year: int, *, of: str | None = None) -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)} if of is not None else {}
    return TextNode(
        id_=node_id,
        text=text,
        metadata={"year": year},
        excluded_embed_metadata_keys=["year"],
        relationships=source,
    )


MOVIES = [
    movie("edge", "A soldier relives the same day of war against aliens.", 2014, of="sci-fi"),
    movie("matrix", "A hacker learns that his world is a simulation run by machines.", 1999, of="sci-fi"),
    movie("toys", "Toys are left at a day-care center by mistake.", 2010, of="animation"),
    movie("kubo", "A boy needs a magical suit of armour to defeat a vengeful spirit.", 2016, of="animation"),
    movie("None", "A journalist finds out what a dying tycoon's last word meant.", 1941),
    movie("orphan", "A weatherman lives through the same winter day again and again.", 1993),
]
IDS = {node.node_id for node in MOVIES}


@pytest.fixture
def movies(store: ColbertQdrantVectorStore) -> ColbertQdrantVectorStore:
    store.add(MOVIES)
    return store


def ids(store: ColbertQdrantVectorStore, **arguments: Any) -> set[str]:
    return {node.node_id for node in store.get_nodes(**arguments)}


def found(store: ColbertQdrantVectorStore, *, options: dict[str, Any] | None = None, **query: Any) -> list[str]:
    query = {"query_str": "the same day again", "similarity_top_k": 10, **query}
    return store.query(VectorStoreQuery(**query), **(options or {})).ids or []


def since(year: int) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="year", value=year, operator=FilterOperator.GTE)])


NO_FILTERS = MetadataFilters(filters=[])
IN_1999_OR_SINCE_2014 = MetadataFilters(
    filters=[MetadataFilter(key="year", value=1999), since(2014)], condition=FilterCondition.OR
)


def test_it_is_a_vector_store_to_llama_index() -> None:
    assert issubclass(ColbertQdrantVectorStore, BasePydanticVectorStore)
    assert ColbertQdrantVectorStore.class_name() == "ColbertQdrantVectorStore"


def test_it_takes_texts_and_stores_them(store: ColbertQdrantVectorStore) -> None:
    assert (store.stores_text, store.is_embedding_query) == (True, False)


# --- query


def test_query_finds_nodes_in_the_order_of_their_maxsim(movies: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    result = movies.query(VectorStoreQuery(query_str="the same day again", similarity_top_k=6))

    [query] = embedder.query_embed(["the same day again"])
    scores = maxsim(query, embedder.embed([node.text for node in MOVIES]))
    best = sorted(zip(scores.tolist(), MOVIES, strict=True), key=lambda pair: -pair[0])
    assert result.nodes == [node for _, node in best]
    assert result.ids == [node.node_id for _, node in best]
    assert result.similarities == pytest.approx([score / len(query) for score, _ in best], abs=1e-3)


def test_query_returns_top_k(movies: ColbertQdrantVectorStore) -> None:
    assert found(movies, similarity_top_k=2) == found(movies)[:2]


def test_query_of_an_empty_store_finds_nothing(store: ColbertQdrantVectorStore) -> None:
    assert found(store) == []


SELECTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "filters": ({"filters": since(2014)}, {"edge", "kubo"}),
    "no filters": ({"filters": NO_FILTERS}, IDS),
    "node ids": ({"node_ids": ["edge", "None", "unknown"]}, {"edge", "None"}),
    "all node ids, as VectorStoreIndex says it": ({"node_ids": []}, IDS),
    "documents": ({"doc_ids": ["sci-fi"]}, {"edge", "matrix"}),
    "several documents": ({"doc_ids": ["sci-fi", "animation"]}, {"edge", "matrix", "toys", "kubo"}),
    "a node without a document is its own": ({"doc_ids": ["None", "orphan"]}, {"None", "orphan"}),
    "a node of a document is not": ({"doc_ids": ["edge"]}, set()),
    "no documents": ({"doc_ids": []}, set()),
    "all at once": ({"doc_ids": ["sci-fi"], "node_ids": ["edge", "toys"], "filters": since(2000)}, {"edge"}),
}


@pytest.mark.parametrize(("query", "expected"), SELECTIONS.values(), ids=SELECTIONS)
def test_query_is_among_the_selected(
    movies: ColbertQdrantVectorStore, query: dict[str, Any], expected: set[str]
) -> None:
    assert set(found(movies, **query)) == expected


def test_raw_qdrant_filter_is_passed_as_well(movies: ColbertQdrantVectorStore) -> None:
    before_2016 = models.FieldCondition(key="metadata.year", range=models.Range(lt=2016))

    names = found(movies, filters=since(2014), options={"qdrant_filters": models.Filter(must=[before_2016])})

    assert names == ["edge"]


def test_raw_qdrant_filter_may_quote_the_key_of_the_metadata(embedder: Embedder) -> None:
    def of_years(key: str) -> dict[str, Any]:
        condition = models.FieldCondition(key=key, range=models.Range(lt=2016))
        return {"qdrant_filters": models.Filter(must=[condition])}

    with ColbertQdrantVectorStore("movies", embedder, metadata_key="meta.data") as store:
        store.add(MOVIES)

        assert "edge" in found(store, options=of_years('"meta.data".year'))
        with pytest.raises(InvalidInput, match=re.escape("so write '\"meta.data\".year'")):
            found(store, options=of_years("year"))


def test_further_options_reach_the_search(movies: ColbertQdrantVectorStore) -> None:
    assert found(movies, options={"offset": 2}) == found(movies)[2:]


def test_unknown_option_is_an_error(movies: ColbertQdrantVectorStore) -> None:
    with pytest.raises(InvalidInput, match="hnsw_magic= is no option of a query"):
        found(movies, options={"hnsw_magic": True})


def test_query_without_text_is_an_error(movies: ColbertQdrantVectorStore) -> None:
    with pytest.raises(InvalidInput, match="no query_str"):
        movies.query(VectorStoreQuery(query_embedding=[0.1, 0.2]))


def test_embedding_of_a_query_is_not_looked_at(movies: ColbertQdrantVectorStore) -> None:
    assert found(movies, query_embedding=[0.1, 0.2]) == found(movies)


def test_embedding_of_a_node_is_not_looked_at(store: ColbertQdrantVectorStore) -> None:
    store.add([MOVIES[0].model_copy(update={"embedding": [0.1, 0.2]})])

    assert store.get_nodes() == [MOVIES[0]]


@pytest.mark.parametrize("mode", [*sorted(set(Mode) - {Mode.DEFAULT, Mode.MMR}), "hybrid", "svm", "nearest"])
def test_mode_it_does_not_have_is_an_error(movies: ColbertQdrantVectorStore, mode: Mode | str) -> None:
    with pytest.raises(UnsupportedByEngine, match=getattr(mode, "value", mode)):
        found(movies, mode=mode)


def test_mmr_with_threshold_1_is_the_order_of_relevance(movies: ColbertQdrantVectorStore) -> None:
    assert found(movies, mode=Mode.MMR, options={"mmr_threshold": 1.0}) == found(movies)


def test_mmr_with_threshold_0_avoids_what_repeats(store: ColbertQdrantVectorStore) -> None:
    twin = MOVIES[0].model_copy(update={"id_": "twin"})
    store.add([*MOVIES, twin])

    names = found(store, mode=Mode.MMR, mmr_threshold=0.0, similarity_top_k=6)

    assert len({"edge", "twin"} & set(names)) == 1


def test_mmr_keeps_to_the_subject(store: ColbertQdrantVectorStore) -> None:
    twin, off_topic = MOVIES[0].model_copy(update={"id_": "twin"}), TextNode(id_="short", text="Hm.")
    store.add([*MOVIES, twin, off_topic])

    names = found(store, mode=Mode.MMR, similarity_top_k=2, query_str="a soldier at war against aliens")

    assert names[0] in ("edge", "twin")
    assert names[1] not in ("edge", "twin", "short")


def test_mmr_chooses_from_as_many_as_it_is_told(movies: ColbertQdrantVectorStore) -> None:
    names = found(movies, mode=Mode.MMR, similarity_top_k=3, options={"mmr_threshold": 0.0, "mmr_prefetch_k": 3})

    assert set(names) == set(found(movies)[:3])


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_mmr_threshold_out_of_range_is_an_error(movies: ColbertQdrantVectorStore, threshold: float) -> None:
    with pytest.raises(InvalidInput, match=f"mmr_threshold={threshold}"):
        found(movies, mode=Mode.MMR, mmr_threshold=threshold)


# --- hybrid search


@pytest.fixture
def hybrid(make_store: Callable[..., ColbertQdrantVectorStore]) -> ColbertQdrantVectorStore:
    pytest.importorskip("qdrant_edge")
    store = make_store(stages=[Muvera(384), Bm25()])
    store.add(MOVIES)
    return store


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.SEMANTIC_HYBRID])
def test_hybrid_search_finds_by_words_and_meaning(hybrid: ColbertQdrantVectorStore, mode: Mode) -> None:
    assert found(hybrid, mode=mode)[0] == "orphan"


def test_hybrid_search_returns_hybrid_top_k(hybrid: ColbertQdrantVectorStore) -> None:
    assert len(found(hybrid, mode=Mode.HYBRID, similarity_top_k=1, hybrid_top_k=2)) == 2


@pytest.mark.parametrize("further", [{"alpha": 0.5}, {"sparse_top_k": 5}, {"mode": Mode.SPARSE}])
def test_hybrid_search_takes_what_others_take(hybrid: ColbertQdrantVectorStore, further: dict[str, Any]) -> None:
    assert found(hybrid, **{"mode": Mode.HYBRID, **further})[0] == "orphan"


SAME_WORDS = {"query_str": "journalist machines", "similarity_top_k": 6}
"""In two of the movies."""


@pytest.mark.parametrize("mode", [{"mode": Mode.HYBRID, "alpha": 0}, {"mode": Mode.SPARSE}, {"mode": Mode.TEXT_SEARCH}])
def test_words_alone_find_what_has_them(hybrid: ColbertQdrantVectorStore, mode: dict[str, Any]) -> None:
    assert set(found(hybrid, **SAME_WORDS, **mode)) == {"None", "matrix"}


@pytest.mark.parametrize("mode", [Mode.SPARSE, Mode.HYBRID, Mode.TEXT_SEARCH])
def test_centroids_are_no_words(make_store: Any, mode: Mode) -> None:
    """Their vectors are sparse too, and tell of meaning."""
    store = make_store(stages=[Centroids(np.eye(384))])

    with pytest.raises(UnsupportedByEngine, match="Bm25"):
        store.query(VectorStoreQuery(query_str="machines", mode=mode))


@pytest.mark.parametrize("mode", [{"alpha": 1}, {"alpha": None}])
def test_meaning_alone_has_the_order_of_maxsim(hybrid: ColbertQdrantVectorStore, mode: dict[str, Any]) -> None:
    assert found(hybrid, **SAME_WORDS, mode=Mode.HYBRID, **mode) == found(hybrid, **SAME_WORDS)


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.SEMANTIC_HYBRID])
def test_alpha_weighs_words_and_meaning(hybrid: ColbertQdrantVectorStore, mode: Mode) -> None:
    def scores(alpha: float) -> dict[str, float]:
        result = hybrid.query(VectorStoreQuery(**SAME_WORDS, mode=mode, alpha=alpha))
        return dict(zip(result.ids or [], result.similarities or [], strict=True))

    words, meaning = scores(0), scores(1)

    for node_id, score in scores(0.25).items():
        assert score == pytest.approx(0.75 * words.get(node_id, 0) + 0.25 * meaning[node_id], abs=1e-3)


async def test_alpha_weighs_them_asynchronously(hybrid: ColbertQdrantVectorStore) -> None:
    query = VectorStoreQuery(**SAME_WORDS, mode=Mode.HYBRID, alpha=0.25)

    assert (await hybrid.aquery(query)).similarities == pytest.approx(hybrid.query(query).similarities or [])


def test_alpha_reaches_the_store_from_a_retriever(hybrid: ColbertQdrantVectorStore) -> None:
    retriever = hybrid.as_index().as_retriever(vector_store_query_mode="hybrid", alpha=0.0, similarity_top_k=6)

    assert {each.node_id for each in retriever.retrieve("journalist machines")} == {"None", "matrix"}


@pytest.mark.parametrize("mode", [{"mode": Mode.HYBRID, "alpha": 0.5}, {"mode": Mode.SPARSE}, {"mode": "sparse"}])
def test_two_orders_are_refused(hybrid: ColbertQdrantVectorStore, mode: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="and final="):
        found(hybrid, options={"final": Blend({"maxsim": 1})}, **mode)


def test_an_order_of_its_own_is_taken(hybrid: ColbertQdrantVectorStore) -> None:
    order = {"final": Blend({"bm25": 1})}

    assert set(found(hybrid, options=order, **SAME_WORDS, mode=Mode.HYBRID)) == {"None", "matrix"}


def test_alpha_is_a_share(hybrid: ColbertQdrantVectorStore) -> None:
    with pytest.raises(InvalidInput, match="alpha=2"):
        found(hybrid, mode=Mode.HYBRID, alpha=2)


def test_hybrid_search_without_a_stage_for_words_is_an_error(
    make_store: Callable[..., ColbertQdrantVectorStore],
) -> None:
    store = make_store(stages=[Muvera(384)])

    with pytest.raises(UnsupportedByEngine, match="Bm25"):
        found(store, mode=Mode.HYBRID)


# --- get


GETS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "all": ({}, IDS),
    "ids": ({"node_ids": ["edge", "unknown"]}, {"edge"}),
    "no ids": ({"node_ids": []}, set()),
    "filters": ({"filters": since(2014)}, {"edge", "kubo"}),
    "ids that pass": ({"node_ids": ["edge", "toys"], "filters": since(2014)}, {"edge"}),
    "no ids that pass": ({"node_ids": [], "filters": since(2014)}, set()),
}


@pytest.mark.parametrize(("arguments", "expected"), GETS.values(), ids=GETS)
def test_get_nodes(movies: ColbertQdrantVectorStore, arguments: dict[str, Any], expected: set[str]) -> None:
    assert ids(movies, **arguments) == expected


def test_nodes_come_in_the_order_of_their_ids(movies: ColbertQdrantVectorStore) -> None:
    names = ["kubo", "edge", "None"]

    assert [node.node_id for node in movies.get_nodes(names)] == names


def test_get_nodes_goes_through_all_pages(store: ColbertQdrantVectorStore) -> None:
    names = {f"node {number}" for number in range(600)}
    store.add([TextNode(id_=name, text="A soldier.") for name in names])

    assert ids(store) == names


def test_nodes_come_without_vectors(movies: ColbertQdrantVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    call = movies.collection.engine.call

    def watched(method: str, arguments: dict[str, Any]) -> Any:
        asked.append(arguments.get("with_vectors"))
        return call(method, arguments)

    monkeypatch.setattr(movies.collection.engine, "call", watched)

    movies.get_nodes()
    movies.get_nodes(["edge"])

    assert asked == [False, False]


# --- delete


def test_delete_removes_the_nodes_of_a_document(movies: ColbertQdrantVectorStore) -> None:
    movies.delete("sci-fi")

    assert ids(movies) == IDS - {"edge", "matrix"}


@pytest.mark.parametrize("ref_doc_id", ["unknown", "edge"])
def test_delete_of_what_is_no_document_removes_nothing(movies: ColbertQdrantVectorStore, ref_doc_id: str) -> None:
    movies.delete(ref_doc_id)

    assert ids(movies) == IDS


def test_delete_of_a_node_without_a_document_removes_that_node(movies: ColbertQdrantVectorStore) -> None:
    movies.delete("None")

    assert ids(movies) == IDS - {"None"}


def test_delete_of_a_record_that_langchain_wrote_removes_it(movies: ColbertQdrantVectorStore) -> None:
    movies.collection.add(["A soldier."], ids=["its id"])

    movies.delete("its id")

    assert ids(movies) == IDS


@pytest.mark.parametrize("ref_doc_id", [None, ""])
def test_delete_of_nothing_is_an_error(movies: ColbertQdrantVectorStore, ref_doc_id: Any) -> None:
    with pytest.raises(InvalidInput):
        movies.delete(ref_doc_id)

    assert ids(movies) == IDS


DELETIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "ids": ({"node_ids": ["edge", "unknown"]}, {"edge"}),
    "no ids": ({"node_ids": []}, set()),
    "filters": ({"filters": since(2014)}, {"edge", "kubo"}),
    "ids that pass": ({"node_ids": ["edge", "toys"], "filters": since(2014)}, {"edge"}),
    "no ids that pass": ({"node_ids": [], "filters": since(2014)}, set()),
    "ids, and filters that say nothing": ({"node_ids": ["edge"], "filters": NO_FILTERS}, {"edge"}),
    "ids that pass one of two filters": ({"node_ids": ["edge", "toys"], "filters": IN_1999_OR_SINCE_2014}, {"edge"}),
}


@pytest.mark.parametrize(("arguments", "gone"), DELETIONS.values(), ids=DELETIONS)
def test_delete_nodes(movies: ColbertQdrantVectorStore, arguments: dict[str, Any], gone: set[str]) -> None:
    movies.delete_nodes(**arguments)

    assert ids(movies) == IDS - gone


@pytest.mark.parametrize(
    "filters",
    [
        MetadataFilters(filters=[NO_FILTERS]),
        MetadataFilters(filters=[*since(2014).filters, NO_FILTERS], condition=FilterCondition.OR),
        MetadataFilters(filters=[NO_FILTERS], condition=FilterCondition.NOT),
        MetadataFilters(filters=[MetadataFilter(key="year", value=[], operator=FilterOperator.NIN)]),
        MetadataFilters(filters=[MetadataFilter(key="a.b", value="", operator=FilterOperator.NIN)]),
    ],
)
def test_delete_nodes_by_a_group_that_says_nothing_is_an_error(
    movies: ColbertQdrantVectorStore, filters: MetadataFilters
) -> None:
    with pytest.raises(InvalidInput, match="group without filters"):
        movies.delete_nodes(filters=filters)

    assert ids(movies) == IDS


@pytest.mark.parametrize("arguments", [{}, {"filters": NO_FILTERS}])
def test_delete_nodes_without_a_choice_is_an_error(movies: ColbertQdrantVectorStore, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="clear"):
        movies.delete_nodes(**arguments)

    assert ids(movies) == IDS


@pytest.mark.parametrize("node_ids", [None, sorted(IDS)])
@pytest.mark.parametrize("limit", [-1, "1", 1.0, True, np.True_])
async def test_a_limit_that_is_none_is_refused(
    movies: ColbertQdrantVectorStore, node_ids: list[str] | None, limit: Any
) -> None:
    with pytest.raises(InvalidInput, match="limit="):
        movies.get_nodes(node_ids, limit=limit)
    with pytest.raises(InvalidInput, match="limit="):
        await movies.aget_nodes(node_ids, limit=limit)


def test_a_limit_may_be_numpys(movies: ColbertQdrantVectorStore) -> None:
    assert len(movies.get_nodes(limit=np.int64(2))) == 2  # type: ignore[arg-type]
    assert len(movies.get_nodes(sorted(IDS), limit=np.int64(2))) == 2  # type: ignore[arg-type]


def test_clear_leaves_an_empty_store(movies: ColbertQdrantVectorStore) -> None:
    movies.clear()
    assert ids(movies) == set()

    movies.add(MOVIES[:1])
    assert ids(movies) == {"edge"}


# --- opening and closing


def test_store_finds_its_nodes_again(
    movies: ColbertQdrantVectorStore, make_store: Callable[..., ColbertQdrantVectorStore]
) -> None:
    movies.close()

    again = make_store(collection_name=movies.collection_name)

    assert found(again, similarity_top_k=1) == ["orphan"]


def test_store_of_another_model_is_refused(
    movies: ColbertQdrantVectorStore, make_store: Callable[..., ColbertQdrantVectorStore], words: Embedder
) -> None:
    movies.close()

    with pytest.raises(CollectionMismatch, match="words"):
        make_store(collection_name=movies.collection_name, embedder=words)


def test_store_over_a_collection_leaves_it_open(movies: ColbertQdrantVectorStore) -> None:
    shared = ColbertQdrantVectorStore.of(movies.collection)
    assert ids(shared) == IDS

    shared.close()

    assert ids(movies) == IDS


def test_client_is_the_one_given(embedder: Embedder) -> None:
    client = QdrantClient(":memory:")

    assert ColbertQdrantVectorStore("movies", embedder, client=client).client is client


def test_model_may_be_a_name() -> None:
    store = ColbertQdrantVectorStore("movies", "all-MiniLM-L6-v2-int8")

    assert store.collection.embedder.model_name == "all-MiniLM-L6-v2-int8"


def test_pickling_is_refused(embedder: Embedder) -> None:
    store = ColbertQdrantVectorStore.of(MultivectorCollection("movies", embedder))

    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(store)


def test_store_closes_at_the_end_of_a_with(make_store: Callable[..., ColbertQdrantVectorStore]) -> None:
    with make_store() as store:
        store.add(MOVIES)
        assert ids(copy.deepcopy(store)) == IDS


def test_store_can_not_be_made_of_a_dict(store: ColbertQdrantVectorStore) -> None:
    with pytest.raises(InvalidInput, match="neither its place nor its model"):
        ColbertQdrantVectorStore.from_dict(store.to_dict())


def test_a_node_without_a_word_is_never_first(store: ColbertQdrantVectorStore) -> None:
    store.add([TextNode(id_="empty", text=""), TextNode(id_="other", text="The parliament voted on the budget.")])

    assert found(store, query_str="cats")[0] == "other"


def test_tenants_do_not_see_each_other(make_store: Callable[..., ColbertQdrantVectorStore]) -> None:
    ours = make_store(collection_name="shared", tenant="we")
    theirs = make_store(collection_name="shared", tenant="they")
    ours.add(MOVIES)
    theirs.add(MOVIES[:1])

    theirs.delete("sci-fi")

    assert ids(ours) == IDS
    assert found(ours, node_ids=["edge"]) == ["edge"]
    assert found(ours, doc_ids=["orphan"]) == ["orphan"]
    assert ids(theirs) == set()
