"""Stores, retrievers and rerankers that are opened twice, copied, or sent to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant.errors import InvalidInput
from conftest import WordEmbedder
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore, ColbertRerank

cloudpickle = pytest.importorskip("cloudpickle")
pytest.importorskip("qdrant_edge")

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "cloudpickle": lambda made: pickle.loads(cloudpickle.dumps(made)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=WAYS)
def sent(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    way: Callable[[Any], Any] = WAYS[request.param]
    return way


@pytest.fixture
def store(words: WordEmbedder, tmp_path: Path) -> ColbertQdrantVectorStore:
    return ColbertQdrantVectorStore.from_texts(["red apple", "green pear"], words, ids=["apple", "pear"], path=tmp_path)


def test_a_cell_of_a_notebook_runs_again(words: WordEmbedder, tmp_path: Path) -> None:
    for _ in range(2):
        store = ColbertQdrantVectorStore("fruits", words, path=tmp_path)
        store.add_texts(["red apple"], ids=["apple"])

    assert store.collection.count() == 1


def test_a_store(store: ColbertQdrantVectorStore, sent: Callable[[Any], Any]) -> None:
    with sent(store) as other:
        assert other.similarity_search("red apple") == store.similarity_search("red apple")


def test_a_retriever(store: ColbertQdrantVectorStore, sent: Callable[[Any], Any]) -> None:
    retriever = ColbertQdrantRetriever(vectorstore=store, k=1, filter={"n": {"$exists": False}}, with_score=True)

    with sent(retriever) as other:
        assert other.invoke("red apple") == retriever.invoke("red apple")


def test_a_retriever_of_langchains(store: ColbertQdrantVectorStore, sent: Callable[[Any], Any]) -> None:
    retriever = store.as_retriever(k=1)

    assert sent(retriever).invoke("red apple") == retriever.invoke("red apple")


def test_a_reranker(store: ColbertQdrantVectorStore, sent: Callable[[Any], Any]) -> None:
    reranker, documents = ColbertRerank(collection=store, top_n=1), store.get_by_ids(["pear", "apple"])

    assert sent(reranker).compress_documents(documents, "apple") == reranker.compress_documents(documents, "apple")


def test_a_deep_copy_of_a_retriever(store: ColbertQdrantVectorStore) -> None:
    retriever = ColbertQdrantRetriever(vectorstore=store, k=1)

    assert retriever.model_copy(deep=True).invoke("pear") == retriever.invoke("pear")


def test_what_lives_in_memory_is_refused(words: WordEmbedder, sent: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidInput, match="in this process's memory: open it with url= or path="):
        sent(ColbertQdrantVectorStore("fruits", words))
