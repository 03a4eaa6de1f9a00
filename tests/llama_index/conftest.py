"""Stores on every engine there is, with the offline model; and a corpus that every Python brings."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import Document

import servers
from colbert_qdrant import ColbertEmbedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

MODULES = ("bisect", "heapq", "json", "shutil", "statistics", "textwrap")

MakeStore = Callable[..., ColbertQdrantVectorStore]


class RememberingEmbedder:
    """The offline model, which encodes no text twice: the same texts go to several engines."""

    def __init__(self, embedder: ColbertEmbedder) -> None:
        self.model_name, self.dim, self.settings = embedder.model_name, embedder.dim, embedder.settings
        self._embedder = embedder
        self._documents: dict[str, np.ndarray] = {}

    def embed(self, documents: Iterable[str]) -> list[np.ndarray]:
        texts = list(documents)
        fresh = [text for text in dict.fromkeys(texts) if text not in self._documents]
        self._documents.update(zip(fresh, self._embedder.embed(fresh), strict=True))
        return [self._documents[text] for text in texts]

    def query_embed(self, query: str | Iterable[str]) -> Iterator[np.ndarray]:
        return self._embedder.query_embed(query)


@pytest.fixture(scope="session")
def embedder(offline: ColbertEmbedder) -> RememberingEmbedder:
    return RememberingEmbedder(offline)


@pytest.fixture
def make_store(place: dict[str, Any], embedder: RememberingEmbedder) -> Iterator[MakeStore]:
    """Open a store of a name of its own at the place; another of the same name with ``collection_name=``."""
    opened: list[ColbertQdrantVectorStore] = []

    def make(**options: Any) -> ColbertQdrantVectorStore:
        options = {"collection_name": f"test-{uuid.uuid4().hex[:12]}", "embedder": embedder, **place, **options}
        opened.append(ColbertQdrantVectorStore(**options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
    if "url" in place:
        servers.drop({store.collection_name for store in opened})


@pytest.fixture
def store(make_store: MakeStore) -> ColbertQdrantVectorStore:
    return make_store()


@pytest.fixture(scope="session")
def stdlib() -> list[Document]:
    """The documentation strings of some functions of the standard library, by their names."""
    return [
        Document(id_=f"{module}.{name}", text=text, metadata={"module": module})
        for module in MODULES
        for name, function in sorted(vars(import_module(module)).items())
        if not name.startswith("_") and inspect.isroutine(function) and (text := inspect.getdoc(function))
    ]


class Listener(BaseEventHandler):
    """Keeps what the instrumentation is told of encoding and reranking."""

    events: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Listener"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, EmbeddingStartEvent | EmbeddingEndEvent | ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener(events=[])
    handlers = get_dispatcher().event_handlers
    handlers.append(listener)
    yield listener
    handlers.remove(listener)
