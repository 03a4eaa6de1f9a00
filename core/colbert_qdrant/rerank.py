"""ColbertReranker: candidates in, their order out. Needs no Qdrant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from colbert_qdrant.checks import check_text
from colbert_qdrant.embedders import as_embedder
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import maxsim
from colbert_qdrant.types import Embedder, Multivector

RecordId: TypeAlias = str | int


class StoredVectors(Protocol):
    """A collection that can score what it holds; `MultivectorCollection` is one."""

    def score(self, query: Multivector, ids: Sequence[RecordId]) -> dict[str, float]:
        """Return the MaxSim of those ids that are stored."""
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
    """

    index: int
    score: float


class ColbertReranker:
    """Orders candidates, wherever they were found, by MaxSim with the query.

    Parameters
    ----------
    embedder
        A `ColbertEmbedder`, the name of a model, or any `Embedder`.
    collection
        Where candidates may be stored already: those whose id is found there are scored by their stored vectors, in
        Qdrant, and not encoded again.

    Examples
    --------
    >>> reranker = ColbertReranker("all-MiniLM-L6-v2-int8")
    >>> ranked = reranker.rerank("time loop", ["Toys at a day-care center.", "A soldier relives the same day."])
    >>> [candidate.index for candidate in ranked]
    [1, 0]
    """

    def __init__(self, embedder: Embedder | str, *, collection: StoredVectors | None = None) -> None:
        self.embedder = as_embedder(embedder)
        self.collection = collection

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        ids: Sequence[RecordId | None] | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
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

        Raises
        ------
        InvalidInput
            Something is not text, ids are not one a text, or `top_n` is below 1.
        """
        if top_n is not None and top_n < 1:
            raise InvalidInput(f"top_n={top_n}: give at least 1, or None for all")
        scores = self.scores(query, texts, ids=ids)
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        ranked = [Ranked(index, scores[index]) for index in order]
        if score_threshold is not None:
            ranked = [candidate for candidate in ranked if candidate.score >= score_threshold]
        return ranked[:top_n]

    async def arerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        ids: Sequence[RecordId | None] | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
    ) -> list[Ranked]:
        """Do as `rerank` does, in a thread: nearly all of it is arithmetic."""
        return await asyncio.to_thread(self.rerank, query, texts, ids=ids, top_n=top_n, score_threshold=score_threshold)

    def scores(self, query: str, texts: Sequence[str], *, ids: Sequence[RecordId | None] | None = None) -> list[float]:
        """Return the MaxSim of each candidate with the query, in the candidates' order."""
        if ids is not None and len(ids) != len(texts):
            raise InvalidInput(f"{len(ids)} ids for {len(texts)} texts: give one for each, None where there is none")
        check_text(query, "query")
        for position, text in enumerate(texts):
            check_text(text, f"text {position}")
        if not texts:
            return []
        [vectors] = self.embedder.query_embed([query])
        stored = self._stored(vectors, ids)
        known = [stored.get(str(record_id)) for record_id in ids] if ids is not None else [None] * len(texts)
        fresh = [position for position, score in enumerate(known) if score is None]
        encoded = list(self.embedder.embed([texts[position] for position in fresh])) if fresh else []
        computed = dict(zip(fresh, maxsim(vectors, encoded).tolist() if encoded else [], strict=True))
        return [computed[position] if score is None else score for position, score in enumerate(known)]

    def _stored(self, vectors: Multivector, ids: Sequence[RecordId | None] | None) -> dict[str, float]:
        wanted = [record_id for record_id in ids or () if record_id is not None]
        return self.collection.score(vectors, wanted) if self.collection is not None and wanted else {}
