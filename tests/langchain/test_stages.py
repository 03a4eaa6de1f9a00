"""One store, dense vectors to ColBERT in one request."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from qdrant_client import QdrantClient

from colbert_qdrant import Bm25, ColbertEmbedder, Muvera
from colbert_qdrant.errors import CollectionMismatch
from conftest import WordEmbedder, engines
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore
from servers import server_place

TEXTS = ["A soldier relives the same day.", "Toys are left at a day-care center.", "A rock band goes on tour."]


class Letters(Embeddings):
    """An embedding of how often each letter occurs: cheap, and alike for texts of the same words."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [text.lower().count(chr(letter)) + 0.01 for letter in range(97, 123)]


@pytest.mark.parametrize("kind", ["dense", "muvera", "bm25 and dense"])
def test_a_store_with_first_stages_finds_by_maxsim(offline: ColbertEmbedder, kind: str) -> None:
    options: dict[str, Any] = {
        "dense": {"dense": Letters()},
        "muvera": {"stages": [Muvera.from_embedder(offline)]},
        "bm25 and dense": {"stages": [Bm25()], "dense": Letters()},
    }[kind]
    store, plain = ColbertQdrantVectorStore("staged", offline, **options), ColbertQdrantVectorStore("plain", offline)
    store.add_texts(TEXTS)
    plain.add_texts(TEXTS)

    [(document, score)] = store.similarity_search_with_score("a soldier and his day", k=1)

    assert document.page_content == TEXTS[0]
    assert score == pytest.approx(plain.similarity_search_with_score("a soldier and his day", k=1)[0][1], abs=1e-3)


STAGES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "none": lambda _: {},
    "dense": lambda _: {"dense": Letters()},
    "muvera": lambda embedder: {"stages": [Muvera(embedder.dim)]},
    "bm25": lambda _: {"stages": [Bm25()]},
    "muvera, bm25 and dense": lambda embedder: {"stages": [Muvera(embedder.dim), Bm25()], "dense": Letters()},
}

SEARCHES: dict[str, Callable[[ColbertQdrantVectorStore, str], Any]] = {
    "search": lambda store, query: store.similarity_search(query, 1),
    "with score": lambda store, query: store.similarity_search_with_score(query, 1),
    "relevance": lambda store, query: store.similarity_search_with_relevance_scores(query, 1, score_threshold=0.1),
    "mmr": lambda store, query: store.max_marginal_relevance_search(query, 1),
    "mmr with score": lambda store, query: store.max_marginal_relevance_search_with_score(query, 1),
    "retriever, similarity": lambda store, query: store.as_retriever(k=1).invoke(query),
    "retriever, mmr": lambda store, query: store.as_retriever(search_type="mmr", k=1).invoke(query),
    "retriever, threshold": lambda store, query: store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"k": 1, "score_threshold": 0.1}
    ).invoke(query),
    "our retriever": lambda store, query: ColbertQdrantRetriever(vectorstore=store, k=1).invoke(query),
    "asearch": lambda store, query: store.asimilarity_search(query, 1),
    "awith score": lambda store, query: store.asimilarity_search_with_score(query, 1),
    "arelevance": lambda store, query: store.asimilarity_search_with_relevance_scores(query, 1, score_threshold=0.1),
    "ammr": lambda store, query: store.amax_marginal_relevance_search(query, 1),
    "aretriever, threshold": lambda store, query: store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"k": 1, "score_threshold": 0.1}
    ).ainvoke(query),
    "our retriever, asynchronous": lambda store, query: ColbertQdrantRetriever(
        vectorstore=store, k=1, search_type="mmr"
    ).ainvoke(query),
}


@pytest.fixture(params=engines(), scope="module")
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Open a store with the stages of a name, once an engine."""
    words, stores = WordEmbedder(), {}

    def opened(kind: str) -> ColbertQdrantVectorStore:
        if kind not in stores:
            place: dict[str, Any] = {
                "memory": lambda: {},
                "edge": lambda: {"path": tmp_path_factory.mktemp("staged")},
                "server": server_place,
            }[request.param]()
            stores[kind] = ColbertQdrantVectorStore(
                f"test-{uuid.uuid4().hex[:12]}", words, **STAGES[kind](words), **place
            )
            stores[kind].add_texts(TEXTS)
        return stores[kind]

    yield opened
    for store in stores.values():
        store.collection.engine.call("delete_collection", {"collection_name": store.collection.name})
        store.close()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("kind", STAGES)
async def test_every_search_goes_through_every_stage(staged: Any, kind: str, search: str) -> None:
    found = SEARCHES[search](staged(kind), "rock band")
    [best] = await found if inspect.isawaitable(found) else found

    document, relevance = best if isinstance(best, tuple) else (best, 1)
    assert document.page_content == TEXTS[2]
    assert relevance == pytest.approx(1, abs=1e-3)


def test_another_embedding_for_the_stage_is_refused(offline: ColbertEmbedder) -> None:
    client = QdrantClient(":memory:")
    ColbertQdrantVectorStore("staged", offline, client=client, dense=Letters())

    with pytest.raises(CollectionMismatch, match="'dense' has 26 dimensions, not 8"):
        ColbertQdrantVectorStore("staged", offline, client=client, dense=DeterministicFakeEmbedding(size=8))
