"""Every search that LangChain knows, over a collection."""

from __future__ import annotations

import asyncio
from abc import ABC
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from qdrant_client import models

from colbert_qdrant.collection.operations import Query
from colbert_qdrant.collection.points import Hit, check_multivector
from colbert_qdrant.collection.sync import MultivectorCollection
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector
from langchain_colbert_qdrant.documents import to_documents, to_relevant, to_scored
from langchain_colbert_qdrant.filters import FilterLike, to_qdrant_filter

TokenVectors: TypeAlias = Multivector | list[list[float]] | list[float]
"""A multivector, ``(tokens, dim)``. A flat list, which LangChain's signature has, is refused: it is one vector."""


class CollectionSearches(VectorStore, ABC):
    """The searching half of `ColbertQdrantVectorStore`.

    Parameters
    ----------
    collection
        The open collection.
    """

    def __init__(self, collection: MultivectorCollection) -> None:
        self.collection = collection

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the `k` documents with the highest MaxSim, the best first."""
        return to_documents(self._search(query, k, **kwargs))

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Do as `similarity_search` does."""
        return to_documents(await self._asearch(query, k, **kwargs))

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """Return documents with their MaxSim: more is better, the number of query vectors is the most."""
        return to_scored(self._search(query, k, **kwargs))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do as `similarity_search_with_score` does."""
        return to_scored(await self._asearch(query, k, **kwargs))

    def similarity_search_by_vector(self, embedding: TokenVectors, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents with the highest MaxSim with a multivector, ``(tokens, dim)``."""
        return to_documents(self._search(self._checked(embedding), k, **kwargs))

    async def asimilarity_search_by_vector(self, embedding: TokenVectors, k: int = 4, **kwargs: Any) -> list[Document]:
        """Do as `similarity_search_by_vector` does."""
        return to_documents(await self._asearch(self._checked(embedding), k, **kwargs))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents that are relevant and unlike each other; see `diversified` of the core.

        Parameters
        ----------
        query, k, kwargs
            As for `similarity_search`.
        fetch_k
            How many of the most relevant documents to choose from. Their token vectors are fetched.
        lambda_mult
            From 0, the least alike, to 1, the most relevant.
        """
        return to_documents(self._search(query, k, mmr=_mmr(k, fetch_k, lambda_mult), **kwargs))

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search` does."""
        return to_documents(await self._asearch(query, k, mmr=_mmr(k, fetch_k, lambda_mult), **kwargs))

    def max_marginal_relevance_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search` does, for a multivector, ``(tokens, dim)``."""
        return to_documents(self._search(self._checked(embedding), k, mmr=_mmr(k, fetch_k, lambda_mult), **kwargs))

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search_by_vector` does."""
        mmr = _mmr(k, fetch_k, lambda_mult)
        return to_documents(await self._asearch(self._checked(embedding), k, mmr=mmr, **kwargs))

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vectors = self._encoded(query)
        return to_relevant(self._search(vectors, k, **kwargs), len(vectors))

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vectors = await asyncio.to_thread(self._encoded, query)
        return to_relevant(await self._asearch(vectors, k, **kwargs), len(vectors))

    def _search(self, query: Query, k: int, *, filter: FilterLike | None = None, **options: Any) -> list[Hit]:
        return self.collection.search(query, k, filter=self._filter(filter), **options)

    async def _asearch(self, query: Query, k: int, *, filter: FilterLike | None = None, **options: Any) -> list[Hit]:
        return await self.collection.as_async().search(query, k, filter=self._filter(filter), **options)

    def _filter(self, filter: FilterLike | None) -> models.Filter | None:
        return to_qdrant_filter(filter, metadata_key=self.collection.layout.metadata_key)

    def _checked(self, embedding: TokenVectors) -> Multivector:
        return check_multivector(embedding, self.collection.layout.dim, "embedding")

    def _encoded(self, query: str) -> Multivector:
        [vectors] = self.collection.embedder.query_embed([query])
        return vectors


def _mmr(k: int, fetch_k: int, lambda_mult: float) -> models.Mmr:
    """Take LangChain's ``lambda_mult`` (1: relevance alone) for Qdrant's ``diversity`` (0: relevance alone)."""
    if not 0 <= lambda_mult <= 1:
        raise InvalidInput(f"lambda_mult={lambda_mult}: give 0 (the least alike) to 1 (the most relevant)")
    return models.Mmr(diversity=1 - lambda_mult, candidates_limit=max(k, fetch_k))
