"""LangChain's TimeWeightedVectorStoreRetriever, which keeps datetimes in metadata."""

from __future__ import annotations

import datetime

from langchain_classic.retrievers import TimeWeightedVectorStoreRetriever
from langchain_core.documents import Document

from langchain_colbert_qdrant import ColbertQdrantVectorStore

YESTERDAY = datetime.datetime.now() - datetime.timedelta(days=1)


def retriever_of(store: ColbertQdrantVectorStore) -> TimeWeightedVectorStoreRetriever:
    return TimeWeightedVectorStoreRetriever(vectorstore=store, decay_rate=0.9, k=1, search_kwargs={"k": 2})


def test_what_was_seen_lately_comes_first(store: ColbertQdrantVectorStore) -> None:
    retriever = retriever_of(store)
    retriever.add_documents([Document("a time loop", metadata={"last_accessed_at": YESTERDAY})])
    retriever.add_documents([Document("a loop of time")])

    [found] = retriever.invoke("a time loop")

    assert found.page_content == "a loop of time"
    assert isinstance(found.metadata["last_accessed_at"], datetime.datetime)
    [stored] = store.similarity_search("a time loop", k=1)
    assert stored.metadata["last_accessed_at"] == YESTERDAY.isoformat()


async def test_it_is_the_same_asynchronously(store: ColbertQdrantVectorStore) -> None:
    retriever = retriever_of(store)
    await retriever.aadd_documents([Document("a time loop", metadata={"last_accessed_at": YESTERDAY})])
    await retriever.aadd_documents([Document("a loop of time")])

    [found] = await retriever.ainvoke("a time loop")

    assert found.page_content == "a loop of time"
