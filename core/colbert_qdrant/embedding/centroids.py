"""Which of some thousands of centroids a document's tokens lie near: a sparse vector, for an inverted index.

A document is the set of its tokens' nearest centroids; a query asks for the centroids near each of its own. So PLAID
finds its candidates (Santhanam, Khattab, Potts and Zaharia, https://arxiv.org/abs/2205.09707), and so does a search
engine find words: in the lists of what is asked for, whatever else the collection holds.

A query's token that finds none of its centroids in a document counts as the best that it did not ask for, not as 0: the
imputation of XTR and WARP (Lee et al., https://arxiv.org/abs/2304.01982; Scheerer et al.,
https://arxiv.org/abs/2501.17788). That is the same for all documents, so weights are what is above it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from colbert_qdrant._once import once
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import similarities, unit_rows
from colbert_qdrant.types import Multivector

COUNT = 4096
"""Of centroids: lists of a hundredth of the documents each, and half a megabyte for the collection to remember."""

PROBES = 16
"""How many centroids a token of a query asks for; see tests/benchmarks/centroids.py."""

_SAMPLE_PER_CENTROID = 16
_FEWEST_PER_CENTROID = 4
_ROUNDS = 6
_EVERYWHERE = 1e-3
"""Weight of what all documents share, so that those with none of the centroids asked for are found too, last."""

_TOKENS_AT_ONCE = 64

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.intp]


class Weights(NamedTuple):
    """A sparse vector: indices, none twice, and their values."""

    indices: _Indices
    values: _Floats


class Centroids:
    """Sparse vectors of documents and queries, whose dot product ranks as MaxSim would by centroids.

    A vector's indices are the centroids' numbers, and one more that all documents have: 8 bytes each, of some fifty a
    document.

    Parameters
    ----------
    vectors
        ``(count, dim)``: the centroids. Their directions count, which are kept in 8 bits a number. `train` finds them.

    Raises
    ------
    InvalidInput
        `vectors` is no finite matrix of rows other than 0.
    """

    _train: Callable[[], _Floats]
    is_for_new: bool
    """Whether `train` made them: a collection that has others keeps its own."""

    def __init__(self, vectors: npt.ArrayLike) -> None:
        self._codes = _coded(_numbers(vectors, "centroids"))
        self.is_for_new = False

    @classmethod
    def train(cls, multivectors: Iterable[Multivector], count: int = COUNT, random_seed: int = 42) -> Centroids:
        """Find the centroids of token vectors, by k-means over a sample of them, when a collection is made.

        A collection that has centroids keeps them, and nothing is trained: what they were trained on may have changed
        since.

        Parameters
        ----------
        multivectors
            Of some hundreds or thousands of the documents that will be searched: ``embedder.embed(texts)``. Read when
            they are needed, in memory that is bounded.
        count
            Of centroids, at most: no more than a quarter of the tokens.
        random_seed
            Of the sample and of the beginning.

        Raises
        ------
        InvalidInput
            `count` is out of its range; when they are needed: there are too few tokens, or they are no finite
            ``(tokens, dim)`` matrices of one `dim`.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 65_536:
            raise InvalidInput(f"count={count!r}: give a number of centroids from 1 to 65,536")
        made = object.__new__(cls)
        made.is_for_new = True
        made._train = partial(_means, multivectors, count, random_seed)
        return made

    @classmethod
    def unpacked(cls, packed: str, dim: int) -> Centroids:
        """Make them again from what `packed` returned.

        Raises
        ------
        InvalidInput
            It is damaged.
        """
        try:
            codes = np.frombuffer(base64.b64decode(packed, validate=True), dtype=np.int8).reshape(-1, dim)
        except (TypeError, ValueError, binascii.Error) as error:
            raise InvalidInput(f"centroids of {dim} numbers each can't be read: {error}") from None
        return cls(codes)

    def __getstate__(self) -> dict[str, Any]:
        """Return what they are, so that a sample need not be pickled."""
        return {"_codes": self._codes, "is_for_new": self.is_for_new}

    @property
    def is_trained(self) -> bool:
        """Whether they are known by now."""
        return "_codes" in vars(self)

    @once
    def digest(self) -> str:
        """Return eight hexadecimal digits that tell them from others."""
        return hashlib.blake2b(self._codes.tobytes(), digest_size=4).hexdigest()

    @property
    def packed(self) -> str:
        """The centroids as text, 8 bits a number in base64."""
        return base64.b64encode(self._codes.tobytes()).decode()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Length of a token vector."""
        return int(self._vectors.shape[1])

    @once
    def _codes(self) -> npt.NDArray[np.int8]:
        """Return the centroids' directions in 8 bits a number; trained when they are first asked for."""
        codes = _coded(self._train())
        del self._train  # and the sample with it
        return codes

    @once
    def _vectors(self) -> _Floats:
        return unit_rows(self._codes.astype(np.float32))

    def process_document(self, vectors: npt.NDArray[np.floating]) -> Weights:
        """Encode a document: the centroids nearest to its tokens, each with the best likeness to one of them.

        Parameters
        ----------
        vectors
            ``(tokens, dim)``, any floating dtype; computed in float32.

        Raises
        ------
        InvalidInput
            `vectors` is not a finite ``(tokens, dim)`` matrix, or has no tokens.
        """
        nearest, likeness = _nearest(_tokens(vectors, self.dim), self._vectors)
        order = np.lexsort((-likeness, nearest))
        indices, firsts = np.unique(nearest[order], return_index=True)
        return Weights(np.append(indices, self.count), np.append(likeness[order][firsts], np.float32(1)))

    def process_query(self, vectors: npt.NDArray[np.floating]) -> Weights:
        """Encode a query: what each of its tokens gains by the centroids nearest to it.

        Parameters and errors are those of `process_document`.
        """
        likeness = _likeness(_tokens(vectors, self.dim), self._vectors).T
        probes = min(PROBES, self.count - 1)
        asked = np.argpartition(-likeness, probes, axis=1)[:, : probes + 1]
        found = np.take_along_axis(likeness, asked, axis=1)
        weights = np.zeros(self.count + 1, dtype=np.float32)
        np.add.at(weights, asked, found - found.min(axis=1, keepdims=True))
        weights[self.count] = _EVERYWHERE
        [indices] = weights.nonzero()
        return Weights(indices, weights[indices])


def _coded(rows: _Floats) -> npt.NDArray[np.int8]:
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise InvalidInput(
            f"centroids of shape {rows.shape}: give a (count, dim) matrix of finite rows, none of them 0; "
            "Centroids.train finds them"
        )
    codes: npt.NDArray[np.int8] = np.rint(rows / np.abs(rows).max(axis=1, keepdims=True) * 127).astype(np.int8)
    return codes


def _means(multivectors: Iterable[Multivector], count: int, random_seed: int) -> _Floats:
    """Spherical k-means: centroids are directions, and a token belongs to the one of the highest dot product."""
    dice = np.random.default_rng(random_seed)
    sample = _sample(multivectors, _SAMPLE_PER_CENTROID * count, dice)
    count = min(count, len(sample) // _FEWEST_PER_CENTROID)
    if not count:
        raise InvalidInput(
            f"Centroids.train: {len(sample)} tokens; give vectors of some hundred documents (an iterator is read once)"
        )
    centroids = sample[dice.permutation(len(sample))[:count]]
    for _ in range(_ROUNDS):
        nearest, _ = _nearest(sample, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, sample)
        centroids = unit_rows(np.where(sums.any(axis=1, keepdims=True), sums, centroids))
    return centroids


def _sample(multivectors: Iterable[Multivector], most: int, dice: np.random.Generator) -> _Floats:
    """Return so many of the tokens, each as likely as another, in bounded memory."""
    kept: list[_Floats] = []
    drawn: list[npt.NDArray[np.float64]] = []
    dim = None
    for vectors in multivectors:
        tokens = _tokens(vectors, dim)
        dim = tokens.shape[1]
        kept.append(unit_rows(tokens[tokens.any(axis=1)]))
        drawn.append(dice.random(len(kept[-1])))
        if sum(map(len, kept)) > 2 * most:
            kept, drawn = _lowest(kept, drawn, most)
    if not kept:
        return np.empty((0, 0), np.float32)
    return _lowest(kept, drawn, most)[0][0]


def _lowest(
    kept: list[_Floats], drawn: list[npt.NDArray[np.float64]], most: int
) -> tuple[list[_Floats], list[npt.NDArray[np.float64]]]:
    numbers = np.concatenate(drawn)
    chosen = np.sort(np.argsort(numbers)[:most])
    return [np.concatenate(kept)[chosen]], [numbers[chosen]]


def _numbers(values: npt.ArrayLike, what: str) -> _Floats:
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what}: {values!r:.60} is no matrix of numbers ({error})") from None


def _tokens(vectors: npt.ArrayLike, dim: int | None) -> Multivector:
    tokens = _numbers(vectors, "vectors")
    if tokens.ndim != 2 or (dim is not None and tokens.shape[1] != dim):
        raise InvalidInput(f"vectors has shape {tokens.shape}; expected (tokens, {'dim' if dim is None else dim})")
    if len(tokens) == 0:
        raise InvalidInput("vectors has no tokens; there is nothing to encode")
    if not np.isfinite(tokens).all():
        raise InvalidInput("vectors holds NaN or infinity; such tokens are near no centroid")
    return tokens


def _nearest(tokens: Multivector, centroids: _Floats) -> tuple[_Indices, _Floats]:
    """Return each token's nearest centroid and its likeness to it."""
    nearest = np.empty(len(tokens), np.intp)
    likeness = np.empty(len(tokens), np.float32)
    for at in range(0, len(tokens), _TOKENS_AT_ONCE):
        some = slice(at, at + _TOKENS_AT_ONCE)
        of_some = _likeness(tokens[some], centroids)
        nearest[some] = of_some.argmax(axis=0)
        likeness[some] = of_some.max(axis=0)
    return nearest, likeness


def _likeness(tokens: Multivector, centroids: _Floats) -> _Floats:
    """Return the dot products, ``(centroids, tokens)``."""
    return similarities(centroids, np.ascontiguousarray(tokens.T))
