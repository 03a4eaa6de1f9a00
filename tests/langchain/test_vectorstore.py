"""The store's table: names, keys, filters, offsets, thresholds, attaching, mismatches, MMR."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from qdrant_client import QdrantClient, models

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.errors import CollectionMismatch, CollectionNotFound, InvalidInput
from langchain_colbert_qdrant import ColbertQdrantVectorStore

QUERY = "the same day again"
LOOPS = {"edge-of-tomorrow", "groundhog-day"}
Open = Callable[..., ColbertQdrantVectorStore]


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


class TestAdding:
    def test_ids_come_back_in_the_order_of_the_texts(self, store: ColbertQdrantVectorStore) -> None:
        assert store.add_texts(["one", "two"], ids=["b", "a"]) == ["b", "a"]

    def test_a_missing_id_becomes_a_uuid(self, store: ColbertQdrantVectorStore) -> None:
        given, made = store.add_texts(["one", "two"], ids=["given", None])

        assert given == "given"
        assert str(uuid.UUID(made)) == made

    def test_a_generator_is_stored_whole(self, store: ColbertQdrantVectorStore) -> None:
        added = store.add_texts(f"text {number}" for number in range(3))

        assert [document.page_content for document in store.get_by_ids(added)] == ["text 0", "text 1", "text 2"]

    async def test_documents_of_a_generator_are_stored_too(self, open_store: Open) -> None:
        """LangChain's own methods go over it twice, and the second time nothing is there."""
        store = open_store()

        store.add_documents(Document(page_content=f"text {number}") for number in range(3))
        await store.aadd_documents(Document(id=f"id {number}", page_content=f"text {number}") for number in range(4))

        assert store.collection.count() == 7

    def test_a_string_is_not_a_list_of_letters(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(InvalidInput, match="an iterable of strings"):
            store.add_texts("one")

    def test_the_same_text_twice_is_two_documents(self, store: ColbertQdrantVectorStore) -> None:
        one, other = store.add_texts(["one", "one"])

        assert len(store.get_by_ids([one, other])) == 2

    def test_the_same_id_replaces(self, store: ColbertQdrantVectorStore) -> None:
        store.add_texts(["Ghosts in a hotel."], [{"year": 1980}], ids=["alien"])

        [document] = store.get_by_ids(["alien"])
        assert document == Document(id="alien", page_content="Ghosts in a hotel.", metadata={"year": 1980})

    @pytest.mark.parametrize("columns", [{"metadatas": [{}]}, {"ids": ["one"]}, {"metadatas": [{}] * 3}])
    def test_columns_of_another_length_write_nothing(
        self, store: ColbertQdrantVectorStore, columns: dict[str, Any]
    ) -> None:
        with pytest.raises(ValueError, match="one for each text"):
            store.add_texts(["one", "two"], **columns)

        assert store.collection.count() == 4

    def test_metadata_that_is_no_json_is_refused(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(InvalidInput, match=r"metadata 0\.when"):
            store.add_texts(["one"], [{"when": object()}])

    def test_documents_keep_ids_and_metadata(self, store: ColbertQdrantVectorStore, movies: list[Document]) -> None:
        found = store.similarity_search(QUERY, k=4)

        assert sorted(found, key=lambda document: str(document.id)) == sorted(movies, key=lambda movie: str(movie.id))

    def test_an_unknown_keyword_is_an_error(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(TypeError, match="fitler"):
            store.similarity_search(QUERY, fitler={"year": 2014})

    @pytest.mark.parametrize("given", [7, uuid.UUID(int=7)])
    def test_ids_of_any_kind_come_back_as_strings(self, store: ColbertQdrantVectorStore, given: Any) -> None:
        assert store.add_texts(["one"], [{}], [given]) == [str(given)]
        assert ids(store.get_by_ids([str(given)])) == [str(given)]

    def test_what_is_returned_is_what_is_stored(self, store: ColbertQdrantVectorStore) -> None:
        assert store.add_texts(["good", "bad \ud800"], ids=["g", "b"], on_error="skip") == ["g"]

    def test_waiting_is_the_only_way(self, store: ColbertQdrantVectorStore) -> None:
        store.add_texts(["one"], ids=["one"], wait=False)
        assert store.get_by_ids(["one"])

        store.delete(["one"], wait=False)
        assert not store.get_by_ids(["one"])


class TestDeleting:
    def test_by_ids(self, store: ColbertQdrantVectorStore) -> None:
        assert store.delete(["alien", "nobody"]) is True

        assert store.get_by_ids(["alien", "toy-story-3"])[0].id == "toy-story-3"

    def test_by_filter(self, store: ColbertQdrantVectorStore) -> None:
        store.delete(filter={"genres": "comedy"})

        assert {record.id for record in store.collection.scroll()} == {"edge-of-tomorrow", "alien"}

    def test_by_both(self, store: ColbertQdrantVectorStore) -> None:
        store.delete(["alien", "toy-story-3"], filter={"genres": "comedy"})

        assert not store.get_by_ids(["toy-story-3"])
        assert store.get_by_ids(["alien"])

    @pytest.mark.parametrize("nothing", [{}, {"filter": {}}])
    def test_by_nothing_deletes_nothing(self, store: ColbertQdrantVectorStore, nothing: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="ids or a filter"):
            store.delete(**nothing)

        assert store.collection.count() == 4


class TestSearching:
    def test_the_best_come_first(self, store: ColbertQdrantVectorStore) -> None:
        assert set(ids(store.similarity_search(QUERY, k=2))) == LOOPS

    def test_a_score_is_the_maxsim_a_query_vector(
        self, store: ColbertQdrantVectorStore, offline: ColbertEmbedder
    ) -> None:
        [vectors] = offline.query_embed(QUERY)

        [(document, score)] = store.similarity_search_with_score(QUERY, k=1)

        maxsim = store.collection.score(QUERY, [str(document.id)])[str(document.id)]
        assert score == pytest.approx(maxsim / len(vectors), abs=1e-4)

    def test_a_documents_own_text_has_relevance_near_one(
        self, store: ColbertQdrantVectorStore, movies: list[Document]
    ) -> None:
        text = movies[0].page_content

        [(document, relevance)] = store.similarity_search_with_relevance_scores(text, k=1)

        assert document.id == movies[0].id
        assert 0.9 < relevance <= 1

    def test_every_search_shows_the_same_score(self, store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
        [vectors] = offline.query_embed(QUERY)
        [(_, score)] = store.similarity_search_with_score(QUERY, k=1)

        [(_, relevance)] = store.similarity_search_with_relevance_scores(QUERY, k=1)
        [(_, by_vector)] = store.similarity_search_with_score_by_vector(vectors, k=1)
        [(_, diverse)] = store.max_marginal_relevance_search_with_score_by_vector(vectors, k=1)

        assert [relevance, by_vector, diverse] == pytest.approx([score] * 3, abs=1e-5)

    def test_a_query_can_be_a_multivector(self, store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
        [vectors] = offline.query_embed(QUERY)

        by_vector = store.similarity_search_by_vector(vectors.tolist(), k=4)

        assert ids(by_vector) == ids(store.similarity_search(QUERY, k=4))

    def test_a_single_vector_is_no_query(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(InvalidInput, match=r"shape \(384,\)"):
            store.similarity_search_by_vector([0.1] * 384)

    def test_offset_skips(self, store: ColbertQdrantVectorStore) -> None:
        everything = ids(store.similarity_search(QUERY, k=4))

        assert ids(store.similarity_search(QUERY, k=2, offset=1)) == everything[1:3]

    def test_score_threshold_is_a_relevance(self, store: ColbertQdrantVectorStore) -> None:
        second = store.similarity_search_with_score(QUERY, k=4)[1][1]

        found = store.similarity_search_with_score(QUERY, k=4, score_threshold=second - 0.001)

        assert len(found) == 2

    def test_a_score_threshold_that_is_a_maxsim_is_refused(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(InvalidInput, match="a relevance, from 0 to 1"):
            store.similarity_search(QUERY, score_threshold=3.5)

    @pytest.mark.parametrize("threshold", ["0.5", True, float("nan")])
    def test_a_score_threshold_that_is_no_number_is_refused(
        self, store: ColbertQdrantVectorStore, threshold: Any
    ) -> None:
        with pytest.raises(InvalidInput, match="score_threshold="):
            store.similarity_search(QUERY, score_threshold=threshold)

    @pytest.mark.parametrize("options", [{"lambda_mult": None}, {"lambda_mult": "1"}, {"fetch_k": None}, {"k": "2"}])
    def test_numbers_of_mmr_that_are_none_are_refused(
        self, store: ColbertQdrantVectorStore, options: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput, match=f"{next(iter(options))}="):
            store.max_marginal_relevance_search(QUERY, **options)

    def test_score_threshold_of_langchains_own_search(self, store: ColbertQdrantVectorStore) -> None:
        second = store.similarity_search_with_relevance_scores(QUERY, k=4)[1][1]

        found = store.similarity_search_with_relevance_scores(QUERY, k=4, score_threshold=second - 0.0001)

        assert len(found) == 2

    def test_relevance_search_takes_a_filter(self, store: ColbertQdrantVectorStore) -> None:
        found = store.similarity_search_with_relevance_scores(QUERY, k=4, score_threshold=0.1, filter={"year": 1979})

        assert [document.id for document, _ in found] == ["alien"]

    def test_search_params_reach_qdrant(self, store: ColbertQdrantVectorStore) -> None:
        exact = models.SearchParams(exact=True)

        assert ids(store.similarity_search(QUERY, search_params=exact)) == ids(store.similarity_search(QUERY))

    def test_k_below_one_is_refused(self, store: ColbertQdrantVectorStore) -> None:
        with pytest.raises(InvalidInput, match="limit=0"):
            store.similarity_search(QUERY, k=0)


FILTERS = {
    "string": ({"first name": "Ridley"}, {"alien"}),
    "number": ({"year": 2014}, {"edge-of-tomorrow"}),
    "int finds float": ({"rating": 8}, {"groundhog-day", "toy-story-3"}),
    "boolean": ({"seen": True}, {"groundhog-day"}),
    "null": ({"sequel": None}, {"groundhog-day"}),
    "element of a list": ({"genres": "sci-fi"}, {"edge-of-tomorrow", "alien"}),
    "any of": ({"year": [1979, 1993, 1800]}, {"groundhog-day", "alien"}),
    "any of nothing": ({"year": []}, set()),
    "nested": ({"studio": {"city": "Burbank"}}, {"edge-of-tomorrow"}),
    "all of": ({"genres": "comedy", "seen": False}, {"toy-story-3"}),
    "no filter": ({}, {"edge-of-tomorrow", "groundhog-day", "toy-story-3", "alien"}),
    "range": (
        models.Filter(must=[models.FieldCondition(key="metadata.year", range=models.Range(lt=2000))]),
        {"groundhog-day", "alien"},
    ),
    "must not": (
        models.Filter(
            must_not=[models.FieldCondition(key="metadata.genres", match=models.MatchAny(any=["comedy", "horror"]))]
        ),
        {"edge-of-tomorrow"},
    ),
    "text": (
        models.Filter(must=[models.FieldCondition(key="page_content", match=models.MatchText(text="spaceship"))]),
        {"alien"},
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_filter(store: ColbertQdrantVectorStore, case: str) -> None:
    asked, expected = FILTERS[case]

    assert set(ids(store.similarity_search(QUERY, k=4, filter=asked))) == expected


class TestPayload:
    @pytest.mark.parametrize("vector_name", ["", "tokens"])
    def test_vectors_are_named_as_asked(self, offline: ColbertEmbedder, vector_name: str) -> None:
        client = QdrantClient(":memory:")

        ColbertQdrantVectorStore("movies", offline, client=client, vector_name=vector_name)

        vectors = client.get_collection("movies").config.params.vectors
        assert isinstance(vectors, models.VectorParams) if vector_name == "" else list(vectors) == ["tokens"]

    @pytest.mark.parametrize("vector_name", ["", "tokens"])
    def test_search_uses_the_name(self, open_store: Open, movies: list[Document], vector_name: str) -> None:
        store = open_store(vector_name=vector_name)
        store.add_documents(movies)

        assert set(ids(store.similarity_search(QUERY, k=2))) == LOOPS

    def test_keys_are_as_asked(self, open_store: Open) -> None:
        store = open_store(content_payload_key="plot", metadata_payload_key="facts")

        store.add_texts(["Toys go to day-care."], [{"year": 2010}], ids=["toys"])

        [record] = store.collection.get(["toys"])
        assert (record.payload["plot"], record.payload["facts"]) == ("Toys go to day-care.", {"year": 2010})

    def test_a_dict_filter_follows_the_metadata_key(self, open_store: Open, movies: list[Document]) -> None:
        store = open_store(metadata_payload_key="facts")
        store.add_documents(movies)

        assert ids(store.similarity_search(QUERY, filter={"year": 1979})) == ["alien"]


class TestOpening:
    def test_from_texts_finds_what_it_was_given(self, offline: ColbertEmbedder) -> None:
        store = ColbertQdrantVectorStore.from_texts(["A cat.", "A dog."], offline, [{"n": 1}, {"n": 2}], ids=["c", "d"])

        [found] = store.similarity_search("A dog.", k=1)

        assert found == Document(id="d", page_content="A dog.", metadata={"n": 2})

    def test_from_documents_extends_a_collection(self, offline: ColbertEmbedder, movies: list[Document]) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore.from_documents(movies[:2], offline, collection_name="movies", client=client)

        store = ColbertQdrantVectorStore.from_documents(movies, offline, collection_name="movies", client=client)

        assert store.collection.count() == 4

    def test_of_shares_an_open_collection(self, offline: ColbertEmbedder) -> None:
        collection = MultivectorCollection("movies", offline)
        collection.add(["A cat."], ids=["cat"])

        assert ids(ColbertQdrantVectorStore.of(collection).similarity_search("A cat.")) == ["cat"]

    def test_an_existing_collection_is_attached_to(self, offline: ColbertEmbedder, movies: list[Document]) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore("movies", offline, client=client).add_documents(movies)

        store = ColbertQdrantVectorStore.from_existing_collection("movies", offline, client=client)

        assert set(ids(store.similarity_search(QUERY, k=2))) == LOOPS

    def test_an_embedded_collection_is_found_again(
        self, offline: ColbertEmbedder, movies: list[Document], tmp_path: Any
    ) -> None:
        pytest.importorskip("qdrant_edge")
        first = ColbertQdrantVectorStore("movies", offline, path=tmp_path)
        first.add_documents(movies)
        first.close()

        store = ColbertQdrantVectorStore.from_existing_collection("movies", offline, path=tmp_path)

        assert store.collection.count() == 4
        store.close()

    def test_a_missing_collection_is_not_created(self, offline: ColbertEmbedder) -> None:
        client = QdrantClient(":memory:")

        with pytest.raises(CollectionNotFound, match="movies"):
            ColbertQdrantVectorStore.from_existing_collection("movies", offline, client=client)

        assert not client.collection_exists("movies")

    def test_a_collection_made_by_hand_is_read(self, offline: ColbertEmbedder) -> None:
        client = QdrantClient(":memory:")
        client.create_collection("movies", multivector(offline.dim))
        [vectors] = offline.embed(["A dog barks."])
        client.upsert(
            "movies",
            [models.PointStruct(id=7, vector=vectors.tolist(), payload={"title": "Dog", "plot": "A dog barks."})],
        )

        store = ColbertQdrantVectorStore.from_existing_collection(
            "movies", offline, client=client, content_payload_key="plot"
        )

        assert store.similarity_search("dog") == [
            Document(id="7", page_content="A dog barks.", metadata={"title": "Dog"})
        ]

    def test_another_dimension_is_a_mismatch(self, offline: ColbertEmbedder, letters: Any) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore("movies", offline, client=client)

        with pytest.raises(CollectionMismatch, match="384 dimensions, the model's 26"):
            ColbertQdrantVectorStore("movies", letters, client=client)

    def test_another_vector_name_is_a_mismatch(self, offline: ColbertEmbedder) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore("movies", offline, client=client)

        with pytest.raises(CollectionMismatch, match="no vector 'tokens'"):
            ColbertQdrantVectorStore("movies", offline, client=client, vector_name="tokens")

    @pytest.mark.parametrize(
        ("params", "difference"),
        [
            (models.VectorParams(size=384, distance=models.Distance.COSINE), "not a multivector"),
            ("euclid", "distance is Euclid"),
        ],
        ids=["single vectors", "distance"],
    )
    def test_a_collection_of_another_kind_is_a_mismatch(
        self, offline: ColbertEmbedder, params: models.VectorParams | str, difference: str
    ) -> None:
        client = QdrantClient(":memory:")
        made = multivector(384, models.Distance.EUCLID) if params == "euclid" else params
        client.create_collection("movies", made)

        with pytest.raises(CollectionMismatch, match=difference):
            ColbertQdrantVectorStore("movies", offline, client=client)

    def test_embeddings_of_langchain_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="DeterministicFakeEmbedding"):
            ColbertQdrantVectorStore("movies", DeterministicFakeEmbedding(size=6))


class TestDiversity:
    @pytest.fixture
    def animals(self, open_store: Open) -> ColbertQdrantVectorStore:
        store = open_store()
        twins = ["A dog barks at the mailman.", "A dog barks at the postman."]
        store.add_texts([*twins, "The market closed higher on Tuesday."], ids=["mailman", "postman", "market"])
        return store

    def test_lambda_one_is_plain_relevance(self, animals: ColbertQdrantVectorStore) -> None:
        found = animals.max_marginal_relevance_search("a barking dog", k=3, lambda_mult=1.0)

        assert ids(found) == ids(animals.similarity_search("a barking dog", k=3))

    def test_lambda_zero_is_the_most_different(self, animals: ColbertQdrantVectorStore) -> None:
        found = animals.max_marginal_relevance_search("a barking dog", k=2, lambda_mult=0.0)

        assert found[1].id == "market"

    def test_fetch_k_bounds_the_candidates(self, animals: ColbertQdrantVectorStore) -> None:
        found = animals.max_marginal_relevance_search("a barking dog", k=2, fetch_k=2, lambda_mult=0.0)

        assert set(ids(found)) == {"mailman", "postman"}

    def test_numbers_may_be_numpys(self, animals: ColbertQdrantVectorStore) -> None:
        k, fetch_k = np.int64(2), np.int32(3)

        found = animals.max_marginal_relevance_search("a dog", k=k, fetch_k=fetch_k)  # type: ignore[arg-type]

        assert found == animals.max_marginal_relevance_search("a dog", k=2, fetch_k=3)

    def test_by_vector_does_the_same(self, animals: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
        [vectors] = offline.query_embed("a barking dog")

        found = animals.max_marginal_relevance_search_by_vector(vectors, k=2, lambda_mult=0.0)

        assert found == animals.max_marginal_relevance_search("a barking dog", k=2, lambda_mult=0.0)

    def test_filters_apply(self, animals: ColbertQdrantVectorStore) -> None:
        only = models.Filter(must_not=[models.FieldCondition(key="_id", match=models.MatchValue(value="market"))])

        found = animals.max_marginal_relevance_search("a barking dog", k=3, lambda_mult=0.0, filter=only)

        assert set(ids(found)) == {"mailman", "postman"}


class TestAsRetriever:
    def test_keywords_of_the_search_by_themselves(self, store: ColbertQdrantVectorStore) -> None:
        assert ids(store.as_retriever(k=1, filter={"genres": "horror"}).invoke(QUERY)) == ["alien"]

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"fitler": {"year": 1979}}, r"as_retriever\(fitler=...\): give .*filter"),
            ({"k": 1, "search_kwargs": {"k": 2}}, "k is given twice"),
            ({"filter": "year == 1979"}, "filter is a str"),
        ],
    )
    def test_what_langchain_would_drop_is_refused(
        self, store: ColbertQdrantVectorStore, fields: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(InvalidInput, match=named):
            store.as_retriever(**fields)

    @pytest.mark.parametrize(
        ("search_type", "search_kwargs"),
        [
            ("similarity", {"k": 2}),
            ("similarity_score_threshold", {"k": 2, "score_threshold": 0.1}),
            ("mmr", {"k": 2, "fetch_k": 4, "lambda_mult": 1.0}),
        ],
    )
    def test_every_search_type(
        self, store: ColbertQdrantVectorStore, search_type: str, search_kwargs: dict[str, Any]
    ) -> None:
        retriever = store.as_retriever(search_type=search_type, search_kwargs=search_kwargs)

        assert set(ids(retriever.invoke(QUERY))) == LOOPS

    def test_k_and_filter_at_invoke_time(self, store: ColbertQdrantVectorStore) -> None:
        found = store.as_retriever().invoke(QUERY, k=1, filter={"genres": "sci-fi"})

        assert ids(found) == ["edge-of-tomorrow"]


def multivector(size: int, distance: models.Distance = models.Distance.COSINE) -> models.VectorParams:
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.VectorParams(size=size, distance=distance, multivector_config=comparator)


@pytest.mark.parametrize(
    "columns", [{"texts": {"a": "red apple"}}, {"texts": ["red apple"], "ids": "a"}], ids=["texts", "ids"]
)
def test_a_single_value_or_a_mapping_is_no_column(
    open_store: Callable[..., ColbertQdrantVectorStore], offline: ColbertEmbedder, columns: dict[str, Any]
) -> None:
    store = open_store()

    with pytest.raises(InvalidInput, match=r"is a (single str|dict)"):
        store.add_texts(**columns)
    with pytest.raises(InvalidInput, match=r"is a (single str|dict)"):
        ColbertQdrantVectorStore.from_texts(embedding=offline, **columns)
    assert store.collection.count() == 0
