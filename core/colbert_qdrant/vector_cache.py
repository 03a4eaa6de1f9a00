"""Token vectors of texts that were seen lately, for those who ask for the same ones again."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import unit_rows
from colbert_qdrant.types import Embedder, Multivector

Half = npt.NDArray[np.float16]

CACHE_BYTES = 64 * 2**20
"""Some 1,700 passages of 145 tokens at 128 numbers a token."""

_OF_A_TEXT = 200
"""What a text's entry takes beside its letters and vectors, about."""

_by_embedder: weakref.WeakKeyDictionary[Any, VectorCache] = weakref.WeakKeyDictionary()
_finding = threading.Lock()


class VectorCache:
    """Keeps what an embedder made of texts, those used last, in float16 and of length 1.

    Vectors come back as they are kept, the first time too: a text has the same vectors whether it was seen before or
    not. Half precision costs no quality (tests/benchmarks/pooling.py).

    Parameters
    ----------
    capacity
        Bytes to keep at most; with 0 nothing is kept, and vectors are only rounded.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: OrderedDict[str, Half] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def embed(self, embedder: Embedder, texts: Sequence[str]) -> list[Multivector]:
        """Return the vectors of texts, ``(tokens, dim)`` float32 each; only those that are not kept are encoded.

        They are scaled before they are rounded: half precision has no room for the very long and the very short.
        """
        found = self._take(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        encoded = zip(missing, embedder.embed(missing), strict=True) if missing else ()
        made = {text: unit_rows(np.asarray(vectors, np.float32)).astype(np.float16) for text, vectors in encoded}
        self._keep(made)
        found.update(made)
        return [found[text].astype(np.float32) for text in texts]

    def _take(self, texts: Iterable[str]) -> dict[str, Half]:
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
            for text in found:
                self._kept.move_to_end(text)
        return found

    def _keep(self, made: Mapping[str, Half]) -> None:
        with self._lock:
            for text, vectors in made.items():
                if text not in self._kept:
                    self._kept[text] = vectors
                    self._bytes += _size(text, vectors)
            while self._bytes > self.capacity:
                self._bytes -= _size(*self._kept.popitem(last=False))

    def __deepcopy__(self, memo: dict[int, Any]) -> VectorCache:
        return self

    def __reduce__(self) -> tuple[type[VectorCache], tuple[int]]:
        return VectorCache, (self.capacity,)


def cache_of(embedder: Embedder, capacity: int) -> VectorCache:
    """Return the cache that all who use an embedder share; the largest capacity that one of them asked for holds.

    Raises
    ------
    InvalidInput
        A capacity below 0.
    """
    if capacity < 0:
        raise InvalidInput(f"cache_bytes={capacity}: give 0 to remember nothing")
    if capacity == 0:
        return VectorCache(0)
    with _finding:
        try:
            shared = _by_embedder.setdefault(embedder, VectorCache(capacity))
        except TypeError:  # of a class without hashes or weak references
            return VectorCache(capacity)
        shared.capacity = max(shared.capacity, capacity)
        return shared


def _size(text: str, vectors: Half) -> int:
    return vectors.nbytes + 4 * len(text) + _OF_A_TEXT
