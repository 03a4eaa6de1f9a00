"""LangChain's own suites, none of their tests overridden or skipped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests needs langchain-core 1.4")

from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore
from servers import needs_server, server_place

TEXTS = ["A cat purrs.", "A dog barks.", "A bird sings.", "A fish swims."]


class TestVectorStoreInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, offline: ColbertEmbedder) -> VectorStore:
        return ColbertQdrantVectorStore("standard", offline)


class TestVectorStoreEmbedded(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, offline: ColbertEmbedder, tmp_path: Path) -> Iterator[VectorStore]:
        pytest.importorskip("qdrant_edge")
        store = ColbertQdrantVectorStore("standard", offline, path=tmp_path / "qdrant")
        yield store
        store.close()


@needs_server
class TestVectorStoreOnAServer(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, offline: ColbertEmbedder) -> Iterator[VectorStore]:
        store = ColbertQdrantVectorStore(f"standard-{uuid.uuid4().hex}", offline, **server_place())
        yield store
        store.delete_collection()
        store.close()


class TestRetrieverInMemory(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _open(self, offline: ColbertEmbedder) -> None:
        self.vectorstore = ColbertQdrantVectorStore.from_texts(TEXTS, offline)

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return ColbertQdrantRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.vectorstore}

    @property
    def retriever_query_example(self) -> str:
        return "Which animal swims?"


class TestRetrieverEmbedded(TestRetrieverInMemory):
    @pytest.fixture(autouse=True)
    def _open(self, offline: ColbertEmbedder, tmp_path: Path) -> Iterator[None]:
        pytest.importorskip("qdrant_edge")
        self.vectorstore = ColbertQdrantVectorStore.from_texts(TEXTS, offline, path=tmp_path / "qdrant")
        yield
        self.vectorstore.close()


@needs_server
class TestRetrieverOnAServer(TestRetrieverInMemory):
    @pytest.fixture(autouse=True)
    def _open(self, offline: ColbertEmbedder) -> Iterator[None]:
        self.vectorstore = ColbertQdrantVectorStore.from_texts(
            TEXTS, offline, **server_place(), collection_name=f"standard-{uuid.uuid4().hex}"
        )
        yield
        self.vectorstore.delete_collection()
        self.vectorstore.close()


class TestRetrieverOverAnother(TestRetrieverInMemory):
    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        base = self.vectorstore.as_retriever(search_kwargs={"k": len(TEXTS)})
        return {"base_retriever": base, "embedding": self.vectorstore.collection.embedder}
