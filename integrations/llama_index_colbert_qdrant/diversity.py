"""Maximal marginal relevance among nodes of token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colbert_qdrant.scoring import maxsim

if TYPE_CHECKING:
    from colbert_qdrant import Hit


@dataclass(frozen=True, slots=True)
class Mmr:
    """Chooses hits one by one, each relevant and unlike those chosen before.

    Relevance is the MaxSim with the query for each vector of the query; likeness is the candidate's MaxSim with a
    chosen hit for each vector of the candidate. Both are mean cosines. Qdrant's own MMR weighs the sums: a document has
    many times the vectors of a query, so that likeness decides nearly alone, and in favour of the shortest.

    Parameters
    ----------
    limit
        How many to choose.
    threshold
        LlamaIndex's ``mmr_threshold``: from 0, the least alike, to 1, the most relevant.

    References
    ----------
    Carbonell and Goldstein 1998, https://doi.org/10.1145/290941.291025
    """

    limit: int
    threshold: float

    def choose(self, hits: Sequence[Hit], query_vectors: int) -> list[Hit]:
        """Choose among hits that come with their vectors, for a query of so many."""
        vectors = [hit.vectors for hit in hits if hit.vectors is not None]
        relevance = np.array([hit.score for hit in hits]) / query_vectors
        likeness = np.zeros(len(hits))
        chosen: list[int] = []
        while len(chosen) < min(self.limit, len(hits)):
            gain = self.threshold * relevance - (1 - self.threshold) * likeness
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
            latest = vectors[chosen[-1]]
            likeness = np.maximum(likeness, [float(maxsim(own, [latest])[0]) / len(own) for own in vectors])
        return [hits[index] for index in chosen]
