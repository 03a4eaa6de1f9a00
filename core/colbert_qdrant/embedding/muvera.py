"""One vector for a whole multivector, made so that dot products approximate MaxSim.

MUVERA (Dhulipala, Hadian, Jayaram, Lee and Mirrokni, "MUVERA: Multi-Vector Retrieval via Fixed Dimensional
Encodings", https://arxiv.org/abs/2405.19504) cuts the space into cells with random hyperplanes, takes a document's
mean and a query's sum in each cell, and shortens both by random projection; all that several times over, with other
random numbers. An ordinary vector index then finds what exact MaxSim puts in order.

Equal to ``fastembed.postprocess.Muvera`` of FastEmbed 0.9.1, random numbers included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder, Multivector

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.intp]

_CHUNK = 256
"""Tokens of short documents that are encoded together: enough to spread the cost of NumPy's calls."""

_MULTIPLY_ADDS = 500_000
"""The largest single product; above it OpenBLAS wakes its threads, which can take ten times as long on busy cores."""


class Muvera:
    """Fixed dimensional encodings (FDEs) of documents and queries.

    An encoding holds ``r_reps * 2**k_sim * dim_proj`` floats: 10,240 by default. (Qdrant takes at most 65,536.)
    Encodings compare only where all parameters are the same.

    Parameters
    ----------
    dim
        Dimension of the token vectors.
    k_sim
        Hyperplanes a repetition, from 1 to 10: ``2**k_sim`` cells.
    dim_proj
        Dimension of a cell's vector after projection; `dim` leaves it as it is.
    r_reps
        Repetitions.
    random_seed
        Seed of the hyperplanes and projections.
    center
        ``(dim,)``, subtracted from each token of documents and queries before all else: the mean of many documents'
        tokens. For models whose tokens all point much the same way (a mean of length near 1, as LateOn's), which
        random hyperplanes can't tell apart otherwise. Subtracting it for the hyperplanes only would help little: what
        the tokens share would drown the rest in the projection's noise. Where the mean is short, leave it out.
        https://huggingface.co/blog/lightonai/lateon-regularization

    Raises
    ------
    InvalidInput
        A parameter is out of its range.
    """

    def __init__(
        self,
        dim: int,
        k_sim: int = 5,
        dim_proj: int = 16,
        r_reps: int = 20,
        random_seed: int = 42,
        *,
        center: npt.NDArray[np.floating] | None = None,
    ) -> None:
        if not 1 <= k_sim <= 10:
            raise InvalidInput(f"k_sim is {k_sim}; it must be from 1 to 10, for 2**k_sim cells")
        if not 1 <= dim_proj <= dim:
            raise InvalidInput(f"dim_proj is {dim_proj}; it must be from 1 to dim, which is {dim}")
        if r_reps < 1:
            raise InvalidInput(f"r_reps is {r_reps}; at least one repetition is needed")
        if center is not None and (np.shape(center) != (dim,) or not np.isfinite(center).all()):
            raise InvalidInput(f"center has shape {np.shape(center)}; expected {dim} finite numbers")
        self.dim = dim
        self.k_sim = k_sim
        self.dim_proj = dim_proj
        self.r_reps = r_reps
        self.random_seed = random_seed
        self.center = None if center is None else np.asarray(center, dtype=np.float32)

        # The order of these calls is FastEmbed's: the random numbers depend on it.
        random = np.random.default_rng(random_seed)
        normals = np.stack([random.normal(size=(dim, k_sim)) for _ in range(r_reps)])
        signs = random.choice([-1, 1], size=(r_reps, dim, dim_proj))

        self._normals = np.ascontiguousarray(normals.transpose(2, 0, 1))
        self._hyperplanes = np.ascontiguousarray(self._normals.swapaxes(1, 2), dtype=np.float32)
        self._projections = (signs / np.sqrt(dim_proj)).astype(np.float32) if dim_proj < dim else None
        # A float32 product with a token of length 1 is off by less than this.
        self._rounding = dim * np.finfo(np.float32).eps * np.linalg.norm(normals, axis=1).max()
        self._bit_values = np.exp2(np.arange(k_sim, dtype=np.float32))
        self._one_hot = np.eye(2**k_sim, dtype=np.float32)

    @classmethod
    def from_embedder(
        cls,
        embedder: Embedder | str,
        k_sim: int = 5,
        dim_proj: int = 16,
        r_reps: int = 20,
        random_seed: int = 42,
        *,
        center: npt.NDArray[np.floating] | None = None,
    ) -> Muvera:
        """Make one for the vectors of an embedder, or a model's name, by ``dim`` or ``embedding_size``.

        Raises
        ------
        InvalidInput
            The embedder has neither, or a parameter is out of its range.
        """
        if isinstance(embedder, str):
            from colbert_qdrant.embedding.embedder import ColbertEmbedder

            embedder = ColbertEmbedder(embedder)
        dim = getattr(embedder, "dim", None) or getattr(embedder, "embedding_size", None)
        if dim is None:
            raise InvalidInput(f"{type(embedder).__name__} has neither dim nor embedding_size: use Muvera(dim)")
        return cls(dim, k_sim, dim_proj, r_reps, random_seed, center=center)

    @property
    def embedding_size(self) -> int:
        """Length of an encoding."""
        return self.r_reps * len(self._one_hot) * self.dim_proj

    def process_document(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Encode a document: the mean of the tokens in each cell.

        An empty cell gets the first token of the nearest cell that has any: by Hamming distance of the cells' numbers,
        and the lower number where two are as near.

        Parameters
        ----------
        vectors
            ``(tokens, dim)``, any floating dtype; computed in float32.

        Returns
        -------
        ``(embedding_size,)``, float32.

        Raises
        ------
        InvalidInput
            `vectors` is not a finite ``(tokens, dim)`` matrix, or has no tokens.
        """
        return self.process_documents([vectors]).ravel()

    def process_documents(self, documents: Iterable[npt.NDArray[np.floating]]) -> npt.NDArray[np.float32]:
        """Encode documents as `process_document` does; short ones take less time together.

        Returns
        -------
        ``(documents, embedding_size)``, float32.
        """
        matrices = [self._tokens(vectors) for vectors in documents]
        encoded = np.empty((len(matrices), self.embedding_size), dtype=np.float32)
        for chunk in _chunks([len(matrix) for matrix in matrices]):
            encoded[chunk] = self._encode(matrices[chunk], fill=True)
        return encoded

    def process_query(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Encode a query: the sum of the tokens in each cell, zeros where there are none.

        Parameters, result and errors are those of `process_document`.
        """
        return self._encode([self._tokens(vectors)], fill=False).ravel()

    def _tokens(self, vectors: npt.NDArray[np.floating]) -> Multivector:
        tokens = np.asarray(vectors, dtype=np.float32)
        if tokens.ndim != 2 or tokens.shape[1] != self.dim:
            raise InvalidInput(f"vectors has shape {tokens.shape}; expected (tokens, {self.dim})")
        if len(tokens) == 0:
            raise InvalidInput("vectors has no tokens; there is nothing to encode")
        if not np.isfinite(tokens).all():
            raise InvalidInput("vectors holds NaN or infinity; such tokens have no place among the cells")
        return tokens if self.center is None else tokens - self.center

    def _encode(self, matrices: list[Multivector], *, fill: bool) -> _Floats:
        """Return ``(documents, embedding_size)``: means and no empty cells where `fill`, else sums."""
        tokens = np.concatenate(matrices) if len(matrices) > 1 else matrices[0]
        lengths = [len(matrix) for matrix in matrices]
        cells = self._cells(tokens)
        members = self._one_hot.take(cells, axis=0)
        if fill:
            counts, firsts = self._occupation(cells, lengths)
            repetition = np.arange(len(counts))[:, np.newaxis] % self.r_reps
            members[repetition, firsts, np.arange(counts.shape[1])] = 1

        projected = tokens if self._projections is None else _products(tokens, self._projections)
        encoded = np.empty((len(matrices), self.r_reps, len(self._one_hot), self.dim_proj), dtype=np.float32)
        start = 0
        for length, sums in zip(lengths, encoded, strict=True):
            end = start + length
            np.matmul(members[:, start:end].swapaxes(1, 2), projected[..., start:end, :], out=sums)
            start = end
        if fill:
            encoded /= np.maximum(counts, 1, dtype=np.float32).reshape(*encoded.shape[:3], 1)
        return encoded.reshape(len(matrices), -1)

    def _cells(self, tokens: Multivector) -> _Indices:
        """Return each token's cell in each repetition, ``(r_reps, tokens)``: bit i is its side of hyperplane i."""
        dots = _products(tokens, self._hyperplanes)
        above = dots > 0
        # FastEmbed computes in float64. The signs that float32 may have got wrong are computed again: a few a document.
        longest = np.sqrt(np.einsum("ij,ij->i", tokens, tokens).max())
        unsure = np.flatnonzero(np.abs(dots) <= self._rounding * longest)
        bit, token, repetition = np.unravel_index(unsure, dots.shape)
        exact = np.einsum("ij,ij->i", self._normals[bit, repetition], tokens[token], dtype=np.float64)
        above[bit, token, repetition] = exact > 0
        numbers: _Floats = self._bit_values @ above.reshape(self.k_sim, -1)
        return numbers.reshape(len(tokens), -1).T.astype(np.intp)

    def _occupation(self, cells: _Indices, lengths: list[int]) -> tuple[_Indices, _Indices]:
        """Count each cell's tokens, and find the first one there or, where there is none, in the nearest cell.

        Both results are ``(documents * r_reps, 2**k_sim)``.
        """
        shape = len(lengths) * self.r_reps, len(self._one_hot)
        tokens = np.arange(cells.shape[1])
        document = np.repeat(np.arange(len(lengths)), lengths)
        row = document * self.r_reps + np.arange(self.r_reps)[:, np.newaxis]
        place = (row * shape[1] + cells).ravel()
        counts = np.bincount(place, minlength=shape[0] * shape[1])
        firsts = np.full(len(counts), len(tokens))
        np.minimum.at(firsts, place, np.tile(tokens, self.r_reps))
        nearest = _nearest_occupied(counts.reshape(shape) > 0)
        return counts.reshape(shape), firsts[nearest + np.arange(0, len(firsts), shape[1])[:, np.newaxis]]


def _nearest_occupied(occupied: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Find each cell's nearest occupied cell by Hamming distance of their numbers, the lowest of several.

    Hamming distance is a sum over bits, so one pass a bit finds it: two cells that differ in that bit alone tell each
    other what they have found.
    """
    cells = occupied.shape[1]
    # Distance and number in one integer: the minimum settles ties.
    found = np.where(occupied, np.arange(cells, dtype=np.int32), np.int32(cells * cells))
    for bit in range(cells.bit_length() - 1):
        pairs = found.reshape(-1, 2, 1 << bit)
        found = np.minimum(pairs, pairs[:, ::-1] + np.int32(cells))
    return found.reshape(occupied.shape) % np.int32(cells)


def _products(tokens: Multivector, matrices: _Floats) -> _Floats:
    """Multiply with each of the ``(n, dim, width)`` matrices: ``(n, tokens, width)``."""
    products = np.empty((len(matrices), len(tokens), matrices.shape[2]), dtype=np.float32)
    rows = max(1, _MULTIPLY_ADDS // matrices[0].size)
    for at in range(0, len(tokens), rows):
        np.matmul(tokens[at : at + rows], matrices, out=products[:, at : at + rows])
    return products


def _chunks(lengths: list[int]) -> Iterator[slice]:
    """Cut the documents into runs of at most `_CHUNK` tokens, or of a single document."""
    start = tokens = 0
    for number, length in enumerate(lengths):
        if number > start and tokens + length > _CHUNK:
            yield slice(start, number)
            start, tokens = number, 0
        tokens += length
    if lengths:
        yield slice(start, len(lengths))
