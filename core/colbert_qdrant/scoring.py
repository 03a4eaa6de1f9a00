"""How well a document answers a query: MaxSim over token vectors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector

# One product per document, and none of more multiply-adds than this. Above it OpenBLAS wakes its threads (2^19) or
# leaves its small-matrix kernels (10^6, AVX-512), which costs more than the product, and far more where other work
# holds the cores. Packing many documents into one product was measured at twice the CPU time: the copy isn't free. It
# is no faster where BLAS is held to one thread, and what holds it does so for all threads of the process.
# https://github.com/OpenMathLib/OpenBLAS/blob/develop/kernel/x86_64/sgemm_small_kernel_permit_skylakex.c
_MULTIPLY_ADDS = 500_000


def maxsim(query: npt.ArrayLike, documents: Iterable[npt.ArrayLike]) -> npt.NDArray[np.float32]:
    """Score each document by the sum, over the query's tokens, of the best similarity among its own tokens.

    The similarity is the dot product, which for rows of length 1 is the cosine. A best similarity below zero
    counts as it is: documents are of any length and none is padded.

    Parameters
    ----------
    query
        ``(query_tokens, dim)``, any real dtype; computed in float32.
    documents
        One ``(tokens, dim)`` array a document. Float32 arrays, views included, are read where they lie.

    Returns
    -------
    ``(documents,)``, float32, within 1e-4 of float64 for rows of length 1. A document without tokens answers
    nothing and scores 0.

    Raises
    ------
    InvalidInput
        An array is not a matrix of numbers, the dimensions differ, or NaN, infinity or values too large for float32
        make a score that is not finite.

    References
    ----------
    Khattab and Zaharia, "ColBERT", 2020, section 3.3: https://arxiv.org/abs/2004.12832
    """
    query = _matrix(query, "the query")
    matrices = [_matrix(document, f"document {number}") for number, document in enumerate(documents)]
    tokens, dim = query.shape
    transposed = np.ascontiguousarray(query.T)
    best = np.zeros((len(matrices), tokens), dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, document in enumerate(matrices):
            if document.shape[1] != dim:
                raise InvalidInput(
                    f"document {number} has {document.shape[1]} dimensions and the query {dim}: "
                    "encode both with the same model"
                )
            if len(document):
                similarities(document, transposed).max(axis=0, out=best[number])
        scores: npt.NDArray[np.float32] = best.sum(axis=1)
    finite = np.isfinite(scores)
    if not finite.all():
        culprit = f"document {finite.argmin()}" if np.isfinite(query).all() else "the query"
        raise InvalidInput(f"{culprit} holds NaN, infinity or values too large for float32: look at what encoded it")
    return scores


def relevance(score: float, query_vectors: int) -> float:
    """Return MaxSim as a share of what it can be at most: 0 to 1, the mean cosine over the query's vectors.

    Every vector counts that takes part in MaxSim, ``[MASK]`` rows of a query's expansion included; a negative sum is
    0. So the number is of one scale for questions of all lengths to one model, not from one model to another.

    Parameters
    ----------
    score
        MaxSim over rows of length 1.
    query_vectors
        Rows of the query's multivector.
    """
    return min(max(score / query_vectors, 0.0), 1.0)


def unit_rows(vectors: Multivector) -> Multivector:
    """Return rows scaled to length 1, as Qdrant's cosine has them; rows that are (or are 0) come as they are."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    other = ~np.isclose(lengths, 1.0, rtol=0, atol=1e-3) & (lengths > 0)
    if not other.any():
        return vectors
    return (vectors / np.where(other, lengths, 1)[:, None]).astype(np.float32)


def similarities(vectors: Multivector, transposed: Multivector) -> Multivector:
    """Return the dot products of ``(n, dim)`` rows with ``(dim, m)`` columns, by products that are not too large."""
    rows = _MULTIPLY_ADDS // max(1, transposed.size) or 1
    if len(vectors) <= rows:
        return vectors @ transposed
    products = np.empty((len(vectors), transposed.shape[1]), dtype=np.float32)
    for at in range(0, len(vectors), rows):
        np.matmul(vectors[at : at + rows], transposed, out=products[at : at + rows])
    return products


def _matrix(values: npt.ArrayLike, name: str) -> Multivector:
    try:
        matrix = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} is not an array of numbers: {error}") from error
    if matrix.ndim != 2:
        raise InvalidInput(f"{name} has shape {matrix.shape}; MaxSim takes one (tokens, dim) array a text")
    return matrix
