"""ColbertReranker: candidates in, their order out. Needs no Qdrant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from colbert_qdrant.checks import check_query, check_text, check_thresholds, reaches
from colbert_qdrant.embedders import as_embedder, embedder_settings, same_model
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import maxsim, relevance, unit_rows
from colbert_qdrant.types import Embedder, Multivector
from colbert_qdrant.vector_cache import CACHE_BYTES, cache_of

RecordId: TypeAlias = str | int


class StoredVectors(Protocol):
    """A collection that can score what it holds; `MultivectorCollection` is one."""

    def score(
        self, query: Multivector, ids: Sequence[RecordId], *, texts: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the MaxSim of those ids that are stored, with vectors of these texts."""
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate's place.

    Parameters
    ----------
    index
        Its position among the candidates.
    score
        Its MaxSim with the query.
    relevance
        The same as a number from 0 to 1: `score` divided by the number of query vectors; see `scoring.relevance`.
    """

    index: int
    score: float
    relevance: float


class ColbertReranker:
    """Orders candidates, wherever they were found, by MaxSim with the query.

    Parameters
    ----------
    embedder
        A `ColbertEmbedder`, the name of a model, or any `Embedder`.
    collection
        Where candidates may be stored already: those whose id is found there, with vectors of this very text, are
        scored by these in Qdrant and not encoded again.
    cache_bytes
        Memory for the vectors of candidates seen lately, which are not encoded again either; rerankers of one embedder
        share it. 0: nothing is remembered.

    Raises
    ------
    InvalidInput
        The collection can't score, or was made by another model; `cache_bytes` below 0.

    Notes
    -----
    Vectors are compared by cosine, as a collection does, whether the embedder normalises them or not: a candidate has
    one score, wherever its vectors come from. A candidate without a word scores 0.

    Examples
    --------
    >>> reranker = ColbertReranker("all-MiniLM-L6-v2-int8")
    >>> ranked = reranker.rerank("time loop", ["Toys at a day-care center.", "A soldier relives the same day."])
    >>> [candidate.index for candidate in ranked]
    [1, 0]
    """

    def __init__(
        self,
        embedder: Embedder | str,
        *,
        collection: StoredVectors | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.embedder = as_embedder(embedder)
        self.collection = _checked(collection, self.embedder)
        self._cache = cache_of(self.embedder, cache_bytes)

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        ids: Sequence[RecordId | None] | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
        min_relevance: float | None = None,
    ) -> list[Ranked]:
        """Order candidates, the best first; equal scores keep their order.

        Parameters
        ----------
        query
            The question.
        texts
            The candidates.
        ids
            Their ids in the collection, ``None`` for those that are not in it.
        top_n
            How many to return; ``None``: all.
        score_threshold
            Lowest MaxSim to return.
        min_relevance
            Lowest relevance to return, from 0 to 1.

        Raises
        ------
        InvalidInput
            Something is not text, ids are not one a text, `top_n` is below 1, or a threshold is none.
        """
        if top_n is not None and top_n < 1:
            raise InvalidInput(f"top_n={top_n}: give at least 1, or None for all")
        check_thresholds(score_threshold, min_relevance)
        self._check(query, texts, ids)
        if not texts:
            return []
        vectors = self._query(query)
        scores = self._scores(vectors, texts, ids)
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        ranked = [Ranked(index, scores[index], relevance(scores[index], len(vectors))) for index in order]
        if score_threshold is not None:
            ranked = [candidate for candidate in ranked if reaches(candidate.score, score_threshold)]
        if min_relevance is not None:
            ranked = [candidate for candidate in ranked if reaches(candidate.relevance, min_relevance)]
        return ranked[:top_n]

    async def arerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        ids: Sequence[RecordId | None] | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
        min_relevance: float | None = None,
    ) -> list[Ranked]:
        """Do as `rerank` does, in a thread: nearly all of it is arithmetic."""
        return await asyncio.to_thread(
            self.rerank,
            query,
            texts,
            ids=ids,
            top_n=top_n,
            score_threshold=score_threshold,
            min_relevance=min_relevance,
        )

    def scores(self, query: str, texts: Sequence[str], *, ids: Sequence[RecordId | None] | None = None) -> list[float]:
        """Return the MaxSim of each candidate with the query, in the candidates' order."""
        self._check(query, texts, ids)
        return self._scores(self._query(query), texts, ids) if texts else []

    def _check(self, query: str, texts: Sequence[str], ids: Sequence[RecordId | None] | None) -> None:
        if ids is not None and len(ids) != len(texts):
            raise InvalidInput(f"{len(ids)} ids for {len(texts)} texts: give one for each, None where there is none")
        check_query(query)
        for position, text in enumerate(texts):
            check_text(text, f"text {position}")

    def _query(self, query: str) -> Multivector:
        [vectors] = self.embedder.query_embed([query])
        return unit_rows(np.asarray(vectors, dtype=np.float32))

    def _scores(self, query: Multivector, texts: Sequence[str], ids: Sequence[RecordId | None] | None) -> list[float]:
        scores: list[float | None] = [None if text.strip() else 0.0 for text in texts]
        if self.collection is not None:
            known = [place for place, each in enumerate(ids or ()) if each is not None and scores[place] is None]
            wanted: list[Any] = [ids[place] for place in known] if ids is not None else []
            stored = self.collection.score(query, wanted, texts=[texts[place] for place in known]) if wanted else {}
            for place, record_id in zip(known, wanted, strict=True):
                scores[place] = stored.get(str(record_id))
        fresh = [place for place, score in enumerate(scores) if score is None]
        encoded = self._cache.embed(self.embedder, [texts[place] for place in fresh])
        computed = maxsim(query, encoded)
        for place, score in zip(fresh, computed.tolist(), strict=True):
            scores[place] = score
        return [score or 0.0 for score in scores]


def _checked(collection: StoredVectors | None, embedder: Embedder) -> StoredVectors | None:
    """Refuse what can't score, and vectors of another model, which would be mixed with these in silence."""
    if collection is not None and not callable(getattr(collection, "score", None)):
        raise InvalidInput(f"collection is a {type(collection).__name__}; give a MultivectorCollection")
    theirs = getattr(collection, "settings", {}).get("model")
    ours = embedder_settings(embedder).get("model")
    if theirs is not None and ours is not None and not same_model(str(theirs), str(ours)):
        raise InvalidInput(
            f"the collection's vectors were made by {theirs!r}, the reranker's model is {ours!r}: give it the "
            "collection's embedder"
        )
    return collection
