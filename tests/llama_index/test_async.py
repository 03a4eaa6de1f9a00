"""Every asynchronous method does as the other does, and none blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery, VectorStoreQueryMode

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder
from faulty_server import FaultyServer, serving
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

NODES = [
    TextNode(
        id_=f"node {number}",
        text=text,
        metadata={"number": number},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"document {number % 2}")},
    )
    for number, text in enumerate(["A soldier.", "A hacker.", "A toy."])
]
SECOND = MetadataFilters(filters=[MetadataFilter(key="number", value=1)])
QUERY = VectorStoreQuery(query_str="A soldier.", similarity_top_k=2)
DIVERSE = VectorStoreQuery(query_str="A soldier.", similarity_top_k=2, mode=VectorStoreQueryMode.MMR)

Store = ColbertQdrantVectorStore
Operation = tuple[Callable[[Store], Any], Callable[[Store], Awaitable[Any]]]

OPERATIONS: dict[str, Operation] = {
    "add": (lambda store: store.add(NODES[:1]), lambda store: store.async_add(NODES[:1])),
    "query": (lambda store: store.query(QUERY), lambda store: store.aquery(QUERY)),
    "filtered query": (
        lambda store: store.query(QUERY, score_threshold=0.1),
        lambda store: store.aquery(QUERY, score_threshold=0.1),
    ),
    "diverse query": (lambda store: store.query(DIVERSE), lambda store: store.aquery(DIVERSE)),
    "get all": (lambda store: store.get_nodes(), lambda store: store.aget_nodes()),
    "get ids": (lambda store: store.get_nodes(["node 2"]), lambda store: store.aget_nodes(["node 2"])),
    "get filters": (lambda store: store.get_nodes(None, SECOND), lambda store: store.aget_nodes(None, SECOND)),
    "delete": (lambda store: store.delete("document 0"), lambda store: store.adelete("document 0")),
    "delete ids": (lambda store: store.delete_nodes(["node 2"]), lambda store: store.adelete_nodes(["node 2"])),
    "delete filters": (
        lambda store: store.delete_nodes(filters=SECOND),
        lambda store: store.adelete_nodes(filters=SECOND),
    ),
    "clear": (lambda store: store.clear(), lambda store: store.aclear()),
}


@pytest.mark.parametrize(("does", "adoes"), OPERATIONS.values(), ids=OPERATIONS)
async def test_asynchronous_method_does_as_the_other(
    make_store: Callable[..., Store],
    does: Callable[[Store], Any],
    adoes: Callable[[Store], Awaitable[Any]],
) -> None:
    one, other = make_store(), make_store()
    one.add(NODES)
    other.add(NODES)

    assert await adoes(other) == does(one)

    assert other.get_nodes() == one.get_nodes()


async def test_delete_nodes_without_a_choice_is_an_error(store: Store) -> None:
    with pytest.raises(InvalidInput, match="clear"):
        await store.adelete_nodes()


# --- nothing blocks


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    with serving() as running:
        yield running


def watched(loop: asyncio.AbstractEventLoop, free: list[bool]) -> Iterator[None]:
    """Before each answer of a server, see whether the loop runs something, or waits itself for the answer."""
    while True:
        runs = threading.Event()
        loop.call_soon_threadsafe(runs.set)
        free.append(runs.wait(3))
        yield None


@pytest.mark.parametrize("adoes", [adoes for _, adoes in OPERATIONS.values()], ids=OPERATIONS)
async def test_event_loop_is_free_while_a_server_answers(
    server: tuple[FaultyServer, str], words: Embedder, adoes: Callable[[Store], Awaitable[Any]]
) -> None:
    qdrant, url = server
    store = Store("movies", words, url=url, index_doc_id=False)
    store.add(NODES)
    free: list[bool] = []
    qdrant.faults = watched(asyncio.get_running_loop(), free)

    await adoes(store)

    qdrant.faults = iter(())
    await store.aclose()
    assert set(free) == {True}


async def test_a_loop_that_waits_itself_is_noticed(server: tuple[FaultyServer, str], words: Embedder) -> None:
    qdrant, url = server
    store = Store("movies", words, url=url, index_doc_id=False)
    free: list[bool] = []
    qdrant.faults = watched(asyncio.get_running_loop(), free)

    store.clear()

    qdrant.faults = iter(())
    store.close()
    assert free == [False]


class WatchingEmbedder:
    """Encodes when the event loop has shown that it is free."""

    model_name = "watching"
    dim = 16

    def __init__(self, embedder: Embedder, loop: asyncio.AbstractEventLoop) -> None:
        self._embedder, self._loop = embedder, loop

    def embed(self, documents: Iterable[str]) -> Iterable[np.ndarray]:
        is_free = threading.Event()
        self._loop.call_soon_threadsafe(is_free.set)
        assert is_free.wait(3), "the event loop is blocked"
        return self._embedder.embed(documents)

    query_embed = embed


async def test_event_loop_is_free_while_texts_are_encoded(words: Embedder) -> None:
    store = Store("movies", WatchingEmbedder(words, asyncio.get_running_loop()))  # type: ignore[arg-type]

    await store.async_add(NODES)
    result = await store.aquery(QUERY)

    assert result.ids[0] == "node 0"


# --- event loops


def test_store_serves_one_event_loop_after_another(server: tuple[FaultyServer, str], words: Embedder) -> None:
    _, url = server
    store = Store("movies", words, url=url, index_doc_id=False)
    asyncio.run(store.async_add(NODES))

    results = [asyncio.run(store.aquery(QUERY)) for _ in range(3)]

    store.close()
    assert [result.ids[0] for result in results] == ["node 0"] * 3


async def test_many_queries_at_once(store: Store) -> None:
    store.add(NODES)

    results = await asyncio.gather(*(store.aquery(QUERY) for _ in range(20)))

    assert {result.ids[0] for result in results} == {"node 0"}
