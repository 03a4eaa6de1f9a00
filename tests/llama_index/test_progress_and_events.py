"""What is seen of the encoding while it goes on: a bar where it was asked for, and LlamaIndex's events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import Document, TextNode

from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore, ColbertTextEmbedding

DOCUMENTS = [
    Document(id_="edge", text="A soldier relives the same day of war against aliens."),
    Document(id_="toys", text="Toys are left at a day-care center by mistake."),
]
TEXTS = [document.text for document in DOCUMENTS]
Fill = Callable[[ColbertQdrantVectorStore, bool], Any]


def from_documents(store: ColbertQdrantVectorStore, show_progress: bool) -> None:
    VectorStoreIndex.from_documents(
        DOCUMENTS,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=ColbertTextEmbedding(),
        show_progress=show_progress,
    )


def as_index(store: ColbertQdrantVectorStore, show_progress: bool) -> None:
    store.as_index(DOCUMENTS, show_progress=show_progress)


def insertion(store: ColbertQdrantVectorStore, show_progress: bool) -> None:
    index = store.as_index(show_progress=show_progress)
    for document in DOCUMENTS:
        index.insert(document)


def pipeline(store: ColbertQdrantVectorStore, show_progress: bool) -> None:
    store.as_pipeline().run(documents=DOCUMENTS, show_progress=show_progress)


fills = pytest.mark.parametrize("fill", [from_documents, as_index, insertion, pipeline])


# --- progress


class Slow:
    """Takes long enough for a bar to be drawn."""

    def __init__(self, embedder: Embedder) -> None:
        self.model_name, self.dim, self.settings = embedder.model_name, embedder.dim, embedder.settings  # type: ignore[attr-defined]
        self._embedder = embedder

    def embed(self, documents: Iterable[str]) -> Iterable[np.ndarray]:
        time.sleep(0.05)
        return self._embedder.embed(documents)

    def query_embed(self, query: str | Iterable[str]) -> Iterable[np.ndarray]:
        return self._embedder.query_embed(query)


@pytest.fixture
def slow(
    make_store: Callable[..., ColbertQdrantVectorStore], embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> ColbertQdrantVectorStore:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0.01)
    return make_store(embedder=Slow(embedder))


@fills
def test_the_bar_is_that_of_the_encoding(
    slow: ColbertQdrantVectorStore, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(slow, True)

    drawn = capsys.readouterr().err
    assert "add:" in drawn
    assert "embeddings" not in drawn  # LlamaIndex's own, of the placeholders


@fills
def test_where_none_is_wanted_no_bar_is_drawn(
    slow: ColbertQdrantVectorStore, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(slow, False)

    assert capsys.readouterr().err == ""


async def test_the_bar_is_drawn_asynchronously(
    slow: ColbertQdrantVectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    await slow.as_pipeline().arun(documents=DOCUMENTS, show_progress=True)

    drawn = capsys.readouterr().err
    assert "add:" in drawn
    assert "embeddings" not in drawn


# --- events


@pytest.fixture
def debug() -> Iterator[LlamaDebugHandler]:
    before = Settings.callback_manager
    debug = LlamaDebugHandler(print_trace_on_end=False)
    Settings.callback_manager = CallbackManager([debug])
    yield debug
    Settings.callback_manager = before


@pytest.mark.parametrize("fill", [from_documents, as_index, pipeline])
def test_instrumentation_is_told_of_the_encoding(
    store: ColbertQdrantVectorStore, embedder: Embedder, listener: Any, fill: Fill
) -> None:
    fill(store, False)

    start, end = listener.events
    assert isinstance(start, EmbeddingStartEvent)
    assert isinstance(end, EmbeddingEndEvent)
    assert start.model_dict == {"model_name": embedder.model_name}
    assert end.chunks == TEXTS


async def test_instrumentation_is_told_asynchronously(store: ColbertQdrantVectorStore, listener: Any) -> None:
    await store.async_add([TextNode(text=text) for text in TEXTS])

    assert [type(event) for event in listener.events] == [EmbeddingStartEvent, EmbeddingEndEvent]


@pytest.mark.parametrize("fill", [from_documents, as_index, pipeline])
def test_callbacks_are_told_of_the_encoding(
    store: ColbertQdrantVectorStore, embedder: Embedder, debug: LlamaDebugHandler, fill: Fill
) -> None:
    fill(store, False)

    [(start, end)] = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert start.payload == {EventPayload.SERIALIZED: {"model_name": embedder.model_name}}
    assert end.payload == {EventPayload.CHUNKS: TEXTS, EventPayload.EMBEDDINGS: []}
