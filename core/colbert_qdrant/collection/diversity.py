"""Maximal marginal relevance among documents of token vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colbert_qdrant.collection.points import Hit
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import maxsim
from colbert_qdrant.types import Multivector


def diversified(hits: Sequence[Hit], query_vectors: int, *, k: int, lambda_mult: float) -> list[Hit]:
    """Choose hits one by one, each relevant and unlike those chosen before.

    Relevance is MaxSim for each query vector, likeness the MaxSim of the candidate with a chosen document for each of
    the candidate's vectors: both are mean cosines, so `lambda_mult` weighs like with like. Qdrant's own MMR weighs the
    sums. A document has many times the vectors of a query, and nothing but likeness counts at a `lambda_mult` of 0.9.
    A hit that has no vectors, as another program may store one, is like no other.

    Parameters
    ----------
    hits
        The candidates with their vectors, the most relevant first.
    query_vectors
        How many vectors the query has.
    k
        How many to choose.
    lambda_mult
        From 0, the least alike, to 1, the most relevant.

    Raises
    ------
    InvalidInput
        `k` is below 1, or `lambda_mult` is not within [0, 1].

    References
    ----------
    Carbonell and Goldstein 1998, https://doi.org/10.1145/290941.291025
    """
    if k < 1:
        raise InvalidInput(f"k={k}: ask for at least 1 document")
    if not 0 <= lambda_mult <= 1:
        raise InvalidInput(f"lambda_mult={lambda_mult:g}: give 0 (the least alike) to 1 (the most relevant)")
    relevance = np.array([hit.score for hit in hits]) / query_vectors
    likeness = np.zeros(len(hits))
    chosen: list[int] = []
    while len(chosen) < min(k, len(hits)):
        gain = lambda_mult * relevance - (1 - lambda_mult) * likeness
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        latest = hits[chosen[-1]].vectors
        likeness = np.maximum(likeness, [_likeness(hit.vectors, latest) for hit in hits])
    return [hits[index] for index in chosen]


def _likeness(vectors: Multivector | None, chosen: Multivector | None) -> float:
    return 0.0 if vectors is None or chosen is None else float(maxsim(vectors, [chosen])[0]) / len(vectors)
