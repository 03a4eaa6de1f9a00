from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from langchain_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

QUERY = "the same day again"


@pytest.fixture
def reranker(offline: ColbertEmbedder) -> ColbertRerank:
    return ColbertRerank(embedder=offline, top_n=2)


@pytest.fixture
def collection(counting: Any, movies: list[Document]) -> MultivectorCollection:
    """Two of the four movies."""
    collection = MultivectorCollection("movies", counting)
    stored = movies[:2]
    collection.add([movie.page_content for movie in stored], ids=[movie.id for movie in stored])
    counting.encoded = counting.calls = 0
    return collection


def ids(documents: Any) -> list[str | None]:
    return [document.id for document in documents]


def scores(documents: Any) -> list[float]:
    return [document.metadata["relevance_score"] for document in documents]


def test_the_best_come_first(reranker: ColbertRerank, movies: list[Document]) -> None:
    best = reranker.compress_documents(movies[::-1], QUERY)

    assert set(ids(best)) == {"edge-of-tomorrow", "groundhog-day"}
    assert scores(best) == sorted(scores(best), reverse=True)


def test_the_scores_are_maxsim_a_query_vector(offline: ColbertEmbedder, movies: list[Document]) -> None:
    [query] = offline.query_embed(QUERY)
    [vectors] = offline.embed([movies[0].page_content])

    [document] = ColbertRerank(embedder=offline).compress_documents(movies[:1], QUERY)

    assert document.metadata["relevance_score"] == pytest.approx(
        float((query @ vectors.T).max(axis=1).mean()), abs=1e-3
    )


def test_documents_go_out_as_copies(reranker: ColbertRerank, movies: list[Document]) -> None:
    before = [movie.model_copy(deep=True) for movie in movies]

    reranker.compress_documents(movies, QUERY)

    assert movies == before


def test_id_and_metadata_stay(reranker: ColbertRerank, movies: list[Document]) -> None:
    [best, _] = reranker.compress_documents(movies, movies[3].page_content)

    assert best.id == "alien"
    assert {**movies[3].metadata, "relevance_score": scores([best])[0]} == best.metadata


async def test_asynchronous(reranker: ColbertRerank, movies: list[Document]) -> None:
    assert await reranker.acompress_documents(movies, QUERY) == reranker.compress_documents(movies, QUERY)


def test_top_n_none_keeps_all(offline: ColbertEmbedder, movies: list[Document]) -> None:
    assert len(ColbertRerank(embedder=offline, top_n=None).compress_documents(movies, QUERY)) == 4


def test_score_threshold(offline: ColbertEmbedder, movies: list[Document]) -> None:
    everything = ColbertRerank(embedder=offline, top_n=None).compress_documents(movies, QUERY)
    between = (scores(everything)[1] + scores(everything)[2]) / 2

    kept = ColbertRerank(embedder=offline, top_n=None, score_threshold=between).compress_documents(movies, QUERY)

    assert kept == everything[:2]


def test_no_documents(reranker: ColbertRerank) -> None:
    assert reranker.compress_documents([], QUERY) == []


def test_all_candidates_are_encoded_in_one_go(counting: Any, movies: list[Document]) -> None:
    ColbertRerank(embedder=counting).compress_documents(movies, QUERY)

    assert (counting.calls, counting.encoded) == (1, 4)


@pytest.mark.parametrize(("options", "encoded"), [({}, 4), ({"cache_bytes": 0}, 8)])
def test_documents_seen_lately_are_not_encoded_again(
    counting: Any, movies: list[Document], options: dict[str, Any], encoded: int
) -> None:
    reranker = ColbertRerank(embedder=counting, **options)

    first, second = (reranker.compress_documents(movies, QUERY) for _ in range(2))

    assert second == first
    assert counting.encoded == encoded


def test_a_cache_below_0_is_refused(offline: ColbertEmbedder) -> None:
    with pytest.raises(ValidationError, match="cache_bytes"):
        ColbertRerank(embedder=offline, cache_bytes=-1)


class TestStoredVectors:
    def test_what_is_stored_is_not_encoded(
        self, collection: MultivectorCollection, counting: Any, movies: list[Document]
    ) -> None:
        ColbertRerank(embedder=counting, collection=collection).compress_documents(movies[:2], QUERY)

        assert counting.encoded == 0

    async def test_nor_asynchronously(
        self, collection: MultivectorCollection, counting: Any, movies: list[Document]
    ) -> None:
        await ColbertRerank(embedder=counting, collection=collection).acompress_documents(movies[:2], QUERY)

        assert counting.encoded == 0

    def test_the_others_are(self, collection: MultivectorCollection, counting: Any, movies: list[Document]) -> None:
        unknown = [Document("No id at all."), movies[3]]

        ColbertRerank(embedder=counting, collection=collection).compress_documents([*movies[:2], *unknown], QUERY)

        assert counting.encoded == 2

    def test_the_scores_are_the_same(
        self, collection: MultivectorCollection, counting: Any, movies: list[Document]
    ) -> None:
        stored = ColbertRerank(embedder=counting, collection=collection).compress_documents(movies[:2], QUERY)

        encoded = ColbertRerank(embedder=counting).compress_documents(movies[:2], QUERY)

        assert ids(stored) == ids(encoded)
        assert scores(stored) == pytest.approx(scores(encoded), abs=1e-3)

    def test_a_store_stands_for_its_collection(
        self, collection: MultivectorCollection, counting: Any, movies: list[Document]
    ) -> None:
        reranker = ColbertRerank(collection=ColbertQdrantVectorStore.of(collection))

        reranker.compress_documents(movies[:2], QUERY)

        assert counting.encoded == 0

    def test_another_text_under_a_known_id_is_encoded(self, collection: MultivectorCollection, counting: Any) -> None:
        changed = Document("Completely other words.", id="edge-of-tomorrow")
        reranker = ColbertRerank(collection=collection)

        [reranked] = reranker.compress_documents([changed], QUERY)

        assert scores([reranked]) == scores(ColbertRerank(embedder=counting).compress_documents([changed], QUERY))

    @pytest.mark.parametrize("collection", ["movies", 3])
    def test_what_is_no_collection_is_refused(self, offline: ColbertEmbedder, collection: Any) -> None:
        with pytest.raises(ValidationError, match="give a MultivectorCollection"):
            ColbertRerank(embedder=offline, collection=collection)

    def test_another_model_is_refused(self, collection: MultivectorCollection, letters: Any) -> None:
        with pytest.raises(ValidationError, match="made by 'all-MiniLM-L6-v2-int8', the reranker's model is 'letters'"):
            ColbertRerank(embedder=letters, collection=collection)

    def test_the_collection_brings_its_embedder(
        self, collection: MultivectorCollection, counting: Any, movies: list[Document]
    ) -> None:
        ColbertRerank(collection=collection).compress_documents(movies[3:], QUERY)

        assert counting.encoded == 1


@pytest.mark.parametrize("fields", [{"top_n": 0}, {"topn": 3}, {"model": "all-MiniLM-L6-v2-int8"}])
def test_fields_that_make_no_reranker(offline: ColbertEmbedder, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ColbertRerank(embedder=offline, **fields)


class TestRunnable:
    def test_in_a_chain(self, reranker: ColbertRerank, movies: list[Document]) -> None:
        find = {"documents": RunnableLambda(lambda _: movies), "query": RunnablePassthrough()}

        assert (find | reranker.as_runnable()).invoke(QUERY) == reranker.compress_documents(movies, QUERY)

    async def test_asynchronous(self, reranker: ColbertRerank, movies: list[Document]) -> None:
        asked = {"documents": movies, "query": QUERY}

        assert await reranker.as_runnable().ainvoke(asked) == reranker.compress_documents(movies, QUERY)

    def test_batch(self, reranker: ColbertRerank, movies: list[Document]) -> None:
        answers = reranker.as_runnable().batch([{"documents": movies, "query": query} for query in (QUERY, "toys")])

        assert answers == [reranker.compress_documents(movies, query) for query in (QUERY, "toys")]

    def test_the_run_is_named_after_the_class(self, reranker: ColbertRerank, movies: list[Document]) -> None:
        names: list[str] = []

        class Runs(BaseCallbackHandler):
            def on_chain_start(self, *_: Any, **run: Any) -> None:
                names.append(run["name"])

        reranker.as_runnable().invoke({"documents": movies, "query": QUERY}, {"callbacks": [Runs()]})

        assert names == ["ColbertRerank"]


def test_in_a_contextual_compression_retriever(reranker: ColbertRerank, movies: list[Document]) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")
    base = RunnableLambda(lambda _: movies)

    retriever = classic.ContextualCompressionRetriever(base_compressor=reranker, base_retriever=base)

    assert retriever.invoke(QUERY) == reranker.compress_documents(movies, QUERY)
