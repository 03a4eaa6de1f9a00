from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertQdrantVectorStore

MOVIES = [
    Document(
        id="edge-of-tomorrow",
        page_content="A soldier relives the same day over and over, dying in a battle against aliens.",
        metadata={"year": 2014, "rating": 7.9, "genres": ["action", "sci-fi"], "studio": {"city": "Burbank"}},
    ),
    Document(
        id="groundhog-day",
        page_content="A weatherman is caught in a time loop and lives the same day again and again.",
        metadata={"year": 1993, "rating": 8.0, "genres": ["comedy"], "seen": True, "sequel": None},
    ),
    Document(
        id="toy-story-3",
        page_content="Toys are left at a day-care center by mistake and try to return home.",
        metadata={"year": 2010, "rating": 8, "genres": ["comedy", "animation"], "seen": False},
    ),
    Document(
        id="alien",
        page_content="The crew of a spaceship meets a deadly creature far from Earth.",
        metadata={"year": 1979, "genres": ["horror", "sci-fi"], "first name": "Ridley"},
    ),
]


class CountingEmbedder:
    """The real model, counting the documents it encodes."""

    def __init__(self, model: ColbertEmbedder) -> None:
        self.model = model
        self.model_name = model.model_name
        self.dim = model.dim
        self.encoded = 0
        self.calls = 0

    def embed(self, documents: Iterable[str]) -> list[np.ndarray]:
        texts = list(documents)
        self.encoded += len(texts)
        self.calls += 1
        return list(self.model.embed(texts))

    def query_embed(self, query: str | Iterable[str]) -> list[np.ndarray]:
        return list(self.model.query_embed(query))


class LetterEmbedder:
    """One vector a letter: another model, of another dimension."""

    model_name = "letters"
    dim = 26

    def embed(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        for text in documents:
            letters = [ord(letter) - ord("a") for letter in text.lower() if "a" <= letter <= "z"]
            yield np.eye(26, dtype=np.float32)[letters]

    def query_embed(self, query: str | Iterable[str]) -> Iterator[np.ndarray]:
        return self.embed([query] if isinstance(query, str) else query)


@pytest.fixture
def counting(offline: ColbertEmbedder) -> CountingEmbedder:
    return CountingEmbedder(offline)


@pytest.fixture
def letters() -> LetterEmbedder:
    return LetterEmbedder()


@pytest.fixture
def movies() -> list[Document]:
    return [movie.model_copy(deep=True) for movie in MOVIES]


@pytest.fixture
def open_store(offline: ColbertEmbedder, place: dict[str, Any]) -> Iterator[Callable[..., ColbertQdrantVectorStore]]:
    """Open a store of a name of its own at the place."""
    stores: list[ColbertQdrantVectorStore] = []

    def opened(**options: Any) -> ColbertQdrantVectorStore:
        stores.append(ColbertQdrantVectorStore(f"test-{uuid.uuid4().hex[:12]}", offline, **place, **options))
        return stores[-1]

    yield opened
    for store in stores:
        store.collection.engine.call("delete_collection", {"collection_name": store.collection.name})
        store.close()


@pytest.fixture
def store(open_store: Callable[..., ColbertQdrantVectorStore], movies: list[Document]) -> ColbertQdrantVectorStore:
    """The movies."""
    store = open_store()
    store.add_documents(movies)
    return store
