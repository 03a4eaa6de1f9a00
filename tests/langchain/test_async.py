"""The asynchronous twins: the same answers, by code of their own, on any event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from qdrant_client import QdrantClient

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import CollectionNotFound
from faulty_server import FaultyServer, Request
from langchain_colbert_qdrant import ColbertQdrantVectorStore

QUERY = "the same day again"

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "similarity_search": ((QUERY,), {"k": 2, "filter": {"year": [2014, 1993, 1979]}, "offset": 1}),
    "similarity_search_with_score": ((QUERY,), {"k": 3, "score_threshold": 0.3}),
    "similarity_search_with_relevance_scores": ((QUERY,), {"k": 3, "score_threshold": 0.2}),
    "max_marginal_relevance_search": ((QUERY,), {"k": 3, "fetch_k": 4, "lambda_mult": 0.3}),
    "max_marginal_relevance_search_with_score": ((QUERY, 2, 3, 0.3, {"year": {"$gt": 1990}}), {}),
    "get_by_ids": ((["alien", "nobody", "toy-story-3"],), {}),
}


def rounded(answer: list[Any]) -> list[Any]:
    """Return documents, and scores to six places: arithmetic in another order is not the same to the last bit."""
    return [(each[0], round(each[1], 6)) if isinstance(each, tuple) else each for each in answer]


@pytest.mark.parametrize("name", CALLS)
async def test_twin_answers_the_same(store: ColbertQdrantVectorStore, name: str) -> None:
    positional, keywords = CALLS[name]

    answer = await getattr(store, f"a{name}")(*positional, **keywords)

    assert rounded(answer) == rounded(getattr(store, name)(*positional, **keywords))


@pytest.mark.parametrize(
    "name",
    [
        "similarity_search_by_vector",
        "similarity_search_with_score_by_vector",
        "max_marginal_relevance_search_by_vector",
        "max_marginal_relevance_search_with_score_by_vector",
    ],
)
async def test_twin_answers_a_multivector(store: ColbertQdrantVectorStore, offline: ColbertEmbedder, name: str) -> None:
    [vectors] = offline.query_embed(QUERY)

    answer = await getattr(store, f"a{name}")(vectors, k=3)

    assert rounded(answer) == rounded(getattr(store, name)(vectors, k=3))


async def test_adding_and_deleting(store: ColbertQdrantVectorStore) -> None:
    given, made = await store.aadd_texts((text for text in ("one", "two")), [{"n": 1}, {"n": 2}], ids=["given", None])
    await store.adelete([made])

    assert await store.aget_by_ids([given, made]) == [Document(id="given", page_content="one", metadata={"n": 1})]


async def test_deleting_by_filter(store: ColbertQdrantVectorStore) -> None:
    await store.adelete(filter={"genres": "comedy"})

    assert store.collection.count() == 2


async def test_afrom_documents(offline: ColbertEmbedder, movies: list[Document]) -> None:
    store = await ColbertQdrantVectorStore.afrom_documents(movies, offline)

    assert await store.aget_by_ids(["alien"]) == movies[3:]
    await store.aclose()


async def test_afrom_existing_collection_does_not_create(offline: ColbertEmbedder) -> None:
    with pytest.raises(CollectionNotFound):
        await ColbertQdrantVectorStore.afrom_existing_collection("movies", offline, client=QdrantClient(":memory:"))


async def test_as_retriever(store: ColbertQdrantVectorStore) -> None:
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 1.0})

    assert await retriever.ainvoke(QUERY) == retriever.invoke(QUERY)


async def test_many_at_once(store: ColbertQdrantVectorStore) -> None:
    queries = [QUERY, "toys", "a spaceship", "a weatherman"] * 4

    answers = await asyncio.gather(*(store.asimilarity_search(query, k=1) for query in queries))

    assert answers == [store.similarity_search(query, k=1) for query in queries]


def test_a_store_outlives_an_event_loop(store: ColbertQdrantVectorStore) -> None:
    first = asyncio.run(store.asimilarity_search(QUERY))

    assert asyncio.run(store.asimilarity_search(QUERY)) == first


def test_every_asynchronous_method_is_native() -> None:
    hops = {
        name
        for name, method in inspect.getmembers(VectorStore, inspect.iscoroutinefunction)
        if "run_in_executor" in inspect.getsource(method)
    }

    assert "asimilarity_search" in hops
    assert {name for name in hops if getattr(ColbertQdrantVectorStore, name) is getattr(VectorStore, name)} == set()


class WatchfulServer(FaultyServer):
    """Lets the event loop it watches run before each answer: one that waits for the answer itself can't."""

    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[str] = []
        self.blocked: list[str] = []

    def answer(self, request: Request, body: bytes) -> Any:
        if self.loop is not None:
            is_free = threading.Event()
            self.loop.call_soon_threadsafe(is_free.set)
            (self.answered if is_free.wait(timeout=3) else self.blocked).append(request.path)
        return super().answer(request, body)


@pytest.fixture
def server() -> Iterator[WatchfulServer]:
    server = WatchfulServer()
    with server.listening():
        yield server


async def test_over_a_network_nothing_blocks(
    server: WatchfulServer, offline: ColbertEmbedder, movies: list[Document]
) -> None:
    server.loop = asyncio.get_running_loop()

    store = await ColbertQdrantVectorStore.afrom_documents(movies, offline, collection_name="movies", url=server.url)
    again = await ColbertQdrantVectorStore.afrom_existing_collection("movies", offline, url=server.url)
    await store.aadd_texts(["one"], ids=["one"])
    await store.aget_by_ids(["one"])
    await store.asimilarity_search(QUERY, filter={"year": 1979})
    await store.asimilarity_search_with_relevance_scores(QUERY)
    await store.amax_marginal_relevance_search(QUERY)
    await store.adelete(["one"])
    await store.aclose()
    await again.aclose()

    assert server.blocked == []
    assert len(server.answered) >= 10


async def test_the_watch_notices_a_blocked_loop(server: WatchfulServer, offline: ColbertEmbedder) -> None:
    store = await asyncio.to_thread(ColbertQdrantVectorStore, "movies", offline, url=server.url)
    server.loop = asyncio.get_running_loop()

    store.get_by_ids(["one"])

    assert server.blocked == ["/collections/movies/points"]
    store.close()


def test_over_a_network_a_store_outlives_an_event_loop(
    server: WatchfulServer, offline: ColbertEmbedder, movies: list[Document]
) -> None:
    store = ColbertQdrantVectorStore.from_documents(movies, offline, collection_name="movies", url=server.url)

    answers = [asyncio.run(store.asimilarity_search(QUERY, k=2)) for _ in range(3)]

    assert answers == [store.similarity_search(QUERY, k=2)] * 3
    store.close()
