"""Fewer vectors a document: tokens that mean much the same are replaced by their mean.

Token pooling (Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
Performance Impact via Token Pooling", https://arxiv.org/abs/2409.14683) clusters the token vectors of a document
by Ward's method on ``1 - cos`` and keeps one mean a cluster. The paper finds virtually no loss with half of the
vectors, and less than 5% on most data sets with a third or a quarter.

The clusters are those of PyLate 1.6 and sentence-transformers 6, which pass the condensed ``1 - cos`` to SciPy.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector

_Indices = npt.NDArray[np.intp]
_Matrix = npt.NDArray[np.float64]

_BLOCK = 2048
"""The most tokens clustered together: their distances take 32 MiB, and time grows with the square."""

_ROUNDS = 16
"""Rounds of merging after which ties are told apart: without ties 7 to 14 are needed, half of them for most merges."""

_FEW = 6
"""Pairs that are merged one by one sooner than together."""

_MULTIPLY_ADDS = 500_000
"""The largest single product; above it OpenBLAS wakes its threads, which can take ten times as long on busy cores."""


@dataclass(frozen=True, slots=True)
class TokenPooling:
    """How a checkpoint pools its documents; the arguments of `pool`."""

    factor: float
    protected_tokens: int = 1
    normalize: bool = True


def pool(
    vectors: npt.NDArray[np.floating],
    pool_factor: float,
    *,
    protected_tokens: int = 1,
    normalize: bool = True,
) -> Multivector:
    """Keep about one in `pool_factor` vectors of a document.

    The protected tokens come first, then ``max((tokens - protected_tokens) // pool_factor, 1)`` means in the
    order of their clusters' first tokens. (PyLate's order is that of SciPy's tree; MaxSim sees no order.) Where
    nothing would be saved, the vectors are returned as they are.

    Parameters
    ----------
    vectors
        ``(tokens, dim)``, any floating dtype; rows of length 1, as ColBERT models make them.
    pool_factor
        At least 1, which pools nothing; fractions such as 1.5 are allowed.
    protected_tokens
        Tokens at the start that are neither pooled nor changed; 1 spares ``[CLS]``.
    normalize
        Bring each mean back to length 1, as sentence-transformers does; PyLate does not.

    Returns
    -------
    Multivector
        ``(rows, dim)``, float32.

    Raises
    ------
    InvalidInput
        `vectors` is not a finite matrix, `pool_factor` is below 1 or NaN, or `protected_tokens` is negative.

    Notes
    -----
    More than 2,048 tokens are clustered in consecutive parts of at most that length, so that memory stays
    bounded; each part gives its share of the rows.
    """
    if not pool_factor >= 1:
        raise InvalidInput(f"pool_factor is {pool_factor}; it must be at least 1, which pools nothing")
    _check_protected(protected_tokens)
    document = _multivector(vectors)
    clusters = max(int((len(document) - protected_tokens) // pool_factor), 1)
    return _pool(document, clusters, protected_tokens, normalize)


def pool_to(
    vectors: npt.NDArray[np.floating], rows: int, *, protected_tokens: int = 1, normalize: bool = True
) -> Multivector:
    """Keep at most `rows` vectors of a document, chosen as `pool` does.

    This is for documents beyond what Qdrant takes: fewer than 1,048,576 floats a point, which are 8,191 vectors
    of 128 dimensions.

    Parameters
    ----------
    vectors
        ``(tokens, dim)``, as for `pool`; no more than `rows` of them are returned as they are.
    rows
        At least 1.
    protected_tokens
        As for `pool`, but at most ``rows - 1`` are protected.
    normalize
        As for `pool`.

    Returns
    -------
    Multivector
        ``(min(tokens, rows), dim)``, float32.

    Raises
    ------
    InvalidInput
        `vectors` is not a finite matrix, `rows` is below 1, or `protected_tokens` is negative.
    """
    if rows < 1:
        raise InvalidInput(f"rows is {rows}; a document needs at least one vector")
    _check_protected(protected_tokens)
    protected = min(protected_tokens, rows - 1)
    return _pool(_multivector(vectors), rows - protected, protected, normalize)


def _check_protected(protected_tokens: int) -> None:
    if protected_tokens < 0:
        raise InvalidInput(f"protected_tokens is {protected_tokens}; use 0 to pool every token")


def _multivector(vectors: npt.NDArray[np.floating]) -> Multivector:
    array = np.asarray(vectors, dtype=np.float32)
    if array.ndim != 2:
        raise InvalidInput(f"vectors has shape {array.shape}; expected (tokens, dim)")
    if not np.isfinite(array).all():
        raise InvalidInput("vectors holds NaN or infinity; such tokens can't be compared")
    return array


def _pool(vectors: Multivector, clusters: int, protected: int, normalize: bool) -> Multivector:
    tokens = vectors[protected:]
    if clusters >= len(tokens):
        return vectors
    means = _means(tokens, _clusters(tokens, clusters))
    return np.concatenate([vectors[:protected], _unit(means) if normalize else means])


def _means(vectors: Multivector, labels: _Indices) -> Multivector:
    counts = np.bincount(labels)
    ends = counts.cumsum()
    begins = ends - counts
    by_cluster = vectors[labels.argsort(kind="stable")]
    means: Multivector = by_cluster[begins]
    (several,) = (counts > 1).nonzero()
    # One by one, which is half the time of `reduceat`: that goes down the columns.
    for cluster, begin, end in zip(several.tolist(), begins[several].tolist(), ends[several].tolist(), strict=True):
        by_cluster[begin:end].sum(axis=0, out=means[cluster])
    means /= counts.astype(np.float32)[:, np.newaxis]
    return means


def _unit(vectors: Multivector) -> Multivector:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Multivector = np.divide(vectors, np.maximum(lengths, 1e-12), dtype=np.float32)
    return unit


def _clusters(vectors: Multivector, clusters: int) -> _Indices:
    """Give each row its cluster's number; clusters are counted in the order of their first rows."""
    if len(vectors) <= _BLOCK:
        return _ward(_squared_distances(vectors), clusters)
    parts = -(-len(vectors) // _BLOCK)
    bounds = np.arange(parts + 1) * len(vectors) // parts
    shares = np.maximum(np.diff(clusters * bounds // len(vectors)), 1)
    split = zip(np.split(vectors, bounds[1:-1]), shares.tolist(), np.cumsum(shares) - shares, strict=True)
    labels = np.concatenate([first + _clusters(part, share) for part, share, first in split])
    if shares.sum() > clusters:
        labels = _clusters(_unit(_means(vectors, labels)), clusters)[labels]
    return labels


def _squared_distances(vectors: Multivector) -> _Matrix:
    """Return the squares of ``1 - cos``, exactly symmetric: rounding must not decide whose nearest is whose."""
    count, dim = vectors.shape
    cosines = np.empty((count, count), dtype=np.float32)
    # A copy: an array times its own transpose is BLAS's syrk to NumPy, and that wakes threads for far smaller products.
    transposed = np.ascontiguousarray(vectors.T)
    step = max(1, math.isqrt(_MULTIPLY_ADDS // max(1, dim)))
    tiles = [slice(at, at + step) for at in range(0, count, step)]
    for number, down in enumerate(tiles):
        for across in tiles[:number]:
            product = vectors[down] @ transposed[:, across]
            cosines[down, across] = product
            cosines[across, down] = product.T
        product = vectors[down] @ transposed[:, down]
        np.maximum(product, product.T, out=cosines[down, down])
    np.subtract(1, cosines, out=cosines)
    # The lower bound is below a float32 cosine's rounding; it leaves `_ward` something to break ties by.
    np.clip(cosines, 1e-8, 2, out=cosines)
    squared = cosines.astype(np.float64)
    squared *= squared
    return squared


def _ward(squared: _Matrix, clusters: int) -> _Indices:
    """Cut Ward's tree over the `squared` distances, which are overwritten, into exactly `clusters`.

    Ward's criterion is reducible: two clusters that are each other's nearest stay so whatever else is merged,
    and whatever is merged later is no closer than the nearest two are now. So all such pairs are merged at once,
    where SciPy merges one; the tree is the same (reciprocal nearest neighbours: Murtagh, The Computer Journal
    26(4), 1983, https://doi.org/10.1093/comjnl/26.4.354).

    As soon as there are enough merges, the highest of them bounds what is still to be looked at: a cluster without
    another below that bound is done.
    """
    count = len(squared)
    merges = missing = count - clusters
    height = np.full(count, np.inf)
    bound = np.inf
    here = first = np.arange(count)
    merged_into = np.arange(count)
    size = np.ones(count)
    squared.ravel()[:: count + 1] = np.inf
    for number in itertools.count(1):
        nearest = squared.argmin(axis=1)
        gap = squared[here, nearest]
        # What was merged away is no column's nearest, and so in no pair.
        pairs = nearest[nearest] == here
        pairs &= here < nearest
        pairs &= gap < bound
        (left,) = pairs.nonzero()
        if len(left) == 0:
            break
        right, heights = nearest[left], gap[left]
        height[first[right]] = heights
        merged_into[first[right]] = first[left]
        if number % _ROUNDS == 0 or (missing > 0 and number % (_ROUNDS // 2) == 0):
            # Many ties (repeated tokens) make few pairs, and as many rounds as tokens. Tell them apart, by less than a
            # cosine's rounding and so that i's nearest is i ^ 1.
            squared *= 1 + (here[:, np.newaxis] ^ here) * 2.0**-42
        _merge(squared, size, left, right, heights)
        missing -= len(left)
        if missing > 0:
            continue
        gap[right] = np.inf
        bound = np.partition(height, merges - 1)[merges - 1]
        (open_ones,) = (gap < bound).nonzero()
        if len(open_ones) < 2:
            break
        if len(open_ones) * 2 < len(here):
            squared = squared.take(open_ones, 0).take(open_ones, 1)
            here, first, size = here[: len(open_ones)], first[open_ones], size[open_ones]

    lowest = height.argsort()[:merges]
    root = np.arange(count)
    root[lowest] = merged_into[lowest]
    while not np.array_equal(root, root[root]):
        root = root[root]
    is_root = root == np.arange(count)  # the first of its cluster
    labels: _Indices = (is_root.cumsum() - 1)[root]
    return labels


def _merge(squared: _Matrix, size: _Matrix, left: _Indices, right: _Indices, gap: _Matrix) -> None:
    """Put each pair's union in its `left` cluster's place: the Lance-Williams update of Ward's method.

    The `right` clusters, each at the distance `gap`, are nobody's nearest from now on.
    """
    if len(left) <= _FEW:
        for a_place, b_place, apart in zip(left.tolist(), right.tolist(), gap.tolist(), strict=True):
            _merge_pair(squared, size, a_place, b_place, apart)
        return
    a, b = size.take(left)[:, np.newaxis], size.take(right)[:, np.newaxis]
    both = a + b
    # In place, because most of the time would go into fresh memory.
    rows, other = squared.take(left, 0), squared.take(right, 0)
    rows *= a + size
    other *= b + size
    rows += other
    np.multiply(gap[:, np.newaxis], size, out=other)
    rows -= other
    np.add(both, size, out=other)
    rows /= other
    unions, other = rows.take(left, 1), rows.take(right, 1)
    unions *= both + a.T
    other *= both + b.T
    unions += other
    unions -= both * gap
    unions /= both + both.T
    # Two of a pair must be exactly as far from each other: it is not for rounding to say who is nearest.
    np.minimum(unions, unions.T, out=other)
    rows[:, left] = other
    squared[left] = rows
    squared[:, left] = rows.T
    squared[:, right] = np.inf
    size[left] = both[:, 0]


def _merge_pair(squared: _Matrix, size: _Matrix, left: int, right: int, gap: float) -> None:
    """Do the same for one pair: a sixth of the time that it takes for any number."""
    both = size[left] + size[right]
    row, other = squared[left], squared[right]
    row *= size + size[left]
    other *= size + size[right]
    row += other
    np.multiply(size, gap, out=other)
    row -= other
    np.add(size, both, out=other)
    row /= other
    row[left] = np.inf
    squared[:, left] = row
    squared[:, right] = np.inf
    size[left] = both
