"""LangChain's documents on their way out of the core, and into its reranker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

if TYPE_CHECKING:
    from colbert_qdrant.collection.points import Hit, Record
    from colbert_qdrant.rerank import Ranked

SCORE_KEY = "relevance_score"
"""Where LangChain's rerankers put a score into a document's metadata."""


def to_document(record: Record) -> Document:
    """Return the document that was stored, its metadata as it was given."""
    return Document(id=record.id, page_content=record.text, metadata=record.metadata)


def to_documents(records: Iterable[Record]) -> list[Document]:
    """Return the documents of records."""
    return [to_document(record) for record in records]


def to_scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    """Return documents and their relevance, from 0 to 1."""
    return [(to_document(hit), hit.relevance) for hit in hits]


def copy_with_score(document: Document, score: float) -> Document:
    """Return a copy of a document with the score in its metadata."""
    return document.model_copy(update={"metadata": {**document.metadata, SCORE_KEY: score}})


def candidates(documents: Sequence[Document]) -> dict[str, Any]:
    """Return documents as the arguments of `ColbertReranker.rerank`."""
    return {
        "texts": [document.page_content for document in documents],
        "ids": [document.id or None for document in documents],
    }


def in_order(documents: Sequence[Document], ranked: Iterable[Ranked]) -> list[tuple[Document, float]]:
    """Return what the reranker kept of its candidates, with their relevance."""
    return [(documents[candidate.index], candidate.relevance) for candidate in ranked]
