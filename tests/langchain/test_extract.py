"""ColbertExtract: LangChain's compressor that keeps what answers."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

MUSEUM = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
QUESTION = "When did people land on the moon?"
ANSWER = "A lander set two men down on the Moon in 1969."


def test_it_keeps_what_answers_and_says_where_it_stood(offline: ColbertEmbedder) -> None:
    documents = [Document("Toys are unhappy there."), Document(MUSEUM, id="m", metadata={"page": 3})]

    [kept] = ColbertExtract(embedder=offline, max_tokens=14).compress_documents(documents, QUESTION)

    assert kept == Document(ANSWER, id="m", metadata={"page": 3, "passages": [[26, 72]]})
    assert documents[1].page_content == MUSEUM


async def test_stored_documents_are_taken_from_the_store(offline: ColbertEmbedder) -> None:
    store = ColbertQdrantVectorStore("movies", offline)
    store.add_documents([Document(MUSEUM, id="m")])
    extract = ColbertExtract(collection=store, max_tokens=14)

    found = store.similarity_search(QUESTION, k=1)

    assert [kept.page_content for kept in extract.compress_documents(found, QUESTION)] == [ANSWER]
    assert await extract.acompress_documents(found, QUESTION) == extract.compress_documents(found, QUESTION)


def test_two_models_are_refused(offline: ColbertEmbedder) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        ColbertExtract(model="all-MiniLM-L6-v2-int8", embedder=offline)
