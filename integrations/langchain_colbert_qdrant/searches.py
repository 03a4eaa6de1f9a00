"""Every search that LangChain knows, over a collection."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from qdrant_client import models

from colbert_qdrant.checks import as_whole, is_share
from colbert_qdrant.collection.operations import Query
from colbert_qdrant.collection.points import Hit, check_multivector
from colbert_qdrant.collection.sync import MultivectorCollection
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector
from langchain_colbert_qdrant.documents import to_documents, to_scored
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

    @property
    def collection_name(self) -> str:
        """Of the collection."""
        return self.collection.name

    @property
    def vector_name(self) -> str:
        """Of the multivector."""
        return self.collection.layout.vector_name

    @property
    def content_payload_key(self) -> str:
        """Where a payload has the text."""
        return self.collection.layout.content_key

    @property
    def metadata_payload_key(self) -> str:
        """Where a payload has the metadata."""
        return self.collection.layout.metadata_key

    def similarity_search(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return the `k` most relevant documents, the best first."""
        return to_documents(self._search(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[Document]:
        """Do as `similarity_search` does."""
        return to_documents(await self._asearch(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return documents with their relevance, from 0 to 1."""
        return to_scored(self._search(query, k, filter, **kwargs))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do as `similarity_search_with_score` does."""
        return to_scored(await self._asearch(query, k, filter, **kwargs))

    def similarity_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return the documents most relevant to a multivector, ``(tokens, dim)``."""
        return to_documents(self._search(self._checked(embedding), k, filter, **kwargs))

    async def asimilarity_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[Document]:
        """Do as `similarity_search_by_vector` does."""
        return to_documents(await self._asearch(self._checked(embedding), k, filter, **kwargs))

    def similarity_search_with_score_by_vector(
        self, embedding: TokenVectors, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do as `similarity_search_with_score` does, for a multivector, ``(tokens, dim)``."""
        return to_scored(self._search(self._checked(embedding), k, filter, **kwargs))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: TokenVectors, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do as `similarity_search_with_score_by_vector` does."""
        return to_scored(await self._asearch(self._checked(embedding), k, filter, **kwargs))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Return documents that are relevant and unlike each other; see `diversified` of the core.

        Parameters
        ----------
        query, k, filter, kwargs
            As for `similarity_search`.
        fetch_k
            How many of the most relevant documents to choose from. Their token vectors are fetched.
        lambda_mult
            From 0, the least alike, to 1, the most relevant.
        """
        search = self.max_marginal_relevance_search_with_score
        return [document for document, _ in search(query, k, fetch_k, lambda_mult, filter, **kwargs)]

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search` does."""
        search = self.amax_marginal_relevance_search_with_score
        return [document for document, _ in await search(query, k, fetch_k, lambda_mult, filter, **kwargs)]

    def max_marginal_relevance_search_with_score(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Do as `max_marginal_relevance_search` does, and return each document's relevance."""
        return to_scored(self._search(query, k, filter, **_diverse(k, fetch_k, lambda_mult), **kwargs))

    async def amax_marginal_relevance_search_with_score(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Do as `max_marginal_relevance_search_with_score` does."""
        return to_scored(await self._asearch(query, k, filter, **_diverse(k, fetch_k, lambda_mult), **kwargs))

    def max_marginal_relevance_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search` does, for a multivector, ``(tokens, dim)``."""
        found = self.max_marginal_relevance_search_with_score_by_vector(embedding, k, fetch_k, lambda_mult, **kwargs)
        return [document for document, _ in found]

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: TokenVectors, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do as `max_marginal_relevance_search_by_vector` does."""
        search = self.amax_marginal_relevance_search_with_score_by_vector
        return [document for document, _ in await search(embedding, k, fetch_k, lambda_mult, **kwargs)]

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: TokenVectors,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Do as `max_marginal_relevance_search` does, for a multivector, and return each document's relevance."""
        mmr = _diverse(k, fetch_k, lambda_mult)
        return to_scored(self._search(self._checked(embedding), k, filter, **mmr, **kwargs))

    async def amax_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: TokenVectors,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterLike | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Do as `max_marginal_relevance_search_with_score_by_vector` does."""
        mmr = _diverse(k, fetch_k, lambda_mult)
        return to_scored(await self._asearch(self._checked(embedding), k, filter, **mmr, **kwargs))

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return self.similarity_search_with_score(query, k, **kwargs)

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await self.asimilarity_search_with_score(query, k, **kwargs)

    def _search(self, query: Query, k: int, filter: FilterLike | None = None, **options: Any) -> list[Hit]:
        return self.collection.search(query, k, **self._options(filter, options))

    async def _asearch(self, query: Query, k: int, filter: FilterLike | None = None, **options: Any) -> list[Hit]:
        return await self.collection.as_async().search(query, k, **self._options(filter, options))

    def _options(self, filter: FilterLike | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return LangChain's keywords of a search as those of the collection's."""
        search = {"filter": self._filter(filter), **options}
        threshold = search.pop("score_threshold", None)
        if threshold is not None:
            search["min_relevance"] = check_threshold(threshold)
        fusion = search.pop("hybrid_fusion", None)
        if fusion is not None:
            search["fusion"] = _fusion(fusion)
        return search

    def _filter(self, filter: FilterLike | None) -> models.Filter | None:
        return to_qdrant_filter(filter, self.collection.layout)

    def _checked(self, embedding: TokenVectors) -> Multivector:
        return check_multivector(embedding, self.collection.layout.dim, "embedding")


def check_threshold(score_threshold: float) -> float:
    """Return LangChain's threshold, which is one of relevance."""
    if not is_share(score_threshold):
        raise InvalidInput(
            f"score_threshold={score_threshold!r:.60}: it is a relevance, from 0 to 1; MaxSim itself, which grows with "
            "the query, is a threshold of collection.search"
        )
    return score_threshold


def _diverse(k: int, fetch_k: int, lambda_mult: float) -> dict[str, models.Mmr]:
    """Take LangChain's ``lambda_mult`` (1: relevance alone) for Qdrant's ``diversity`` (0: relevance alone)."""
    if not is_share(lambda_mult):
        raise InvalidInput(f"lambda_mult={lambda_mult!r:.60}: give 0 (the least alike) to 1 (the most relevant)")
    counts = []
    for name, given in (("k", k), ("fetch_k", fetch_k)):
        count = as_whole(given)
        if count is None:
            raise InvalidInput(f"{name}={given!r:.60}: give a whole number")
        counts.append(count)
    return {"mmr": models.Mmr(diversity=1 - lambda_mult, candidates_limit=max(counts))}


def _fusion(fusion: object) -> str:
    """Take langchain-qdrant's fusion for the name of ours."""
    if isinstance(fusion, models.FusionQuery):
        return str(fusion.fusion.value)
    raise InvalidInput(f"hybrid_fusion={fusion!r:.60}: give fusion='rrf' or fusion='dbsf'")
