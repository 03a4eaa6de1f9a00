"""The few shapes that every part shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Multivector: TypeAlias = npt.NDArray[np.float32]
"""``(tokens, dim)``: one row a token. Rows of a ColBERT model have length 1."""

Precision: TypeAlias = Literal["float32", "int8"]
"""What a model's products are computed in."""


@runtime_checkable
class Embedder(Protocol):
    """What the collection and the rerankers ask of an encoder of token vectors.

    `ColbertEmbedder` is one; FastEmbed's ``LateInteractionTextEmbedding`` is another (its ``embedding_size`` is
    taken where ``dim`` is absent); a fake of ten lines is a third.
    """

    model_name: str

    def embed(self, documents: Iterable[str]) -> Iterable[Multivector]:
        """Return one ``(tokens, dim)`` array a document, in input order."""
        ...

    def query_embed(self, query: str | Iterable[str]) -> Iterable[Multivector]:
        """Return one ``(tokens, dim)`` array a query, in input order."""
        ...


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """A text's multivector with the place each row comes from.

    Parameters
    ----------
    vectors
        ``(tokens, dim)``, float32.
    tokens
        The token of each row as the tokenizer spells it, markers and ``[MASK]`` included.
    spans
        ``(tokens, 2)``, int64: start and end of the token in the text, in characters, without the spaces around it;
        ``(0, 0)`` for what the text does not hold (``[CLS]``, markers, expansion).
    """

    vectors: Multivector
    tokens: Sequence[str]
    spans: npt.NDArray[np.int64]


class TokenEmbedder(Protocol):
    """An embedder that can also say which part of the text each vector stands for."""

    def token_vectors(self, texts: Iterable[str], *, is_query: bool = False) -> Iterable[TokenVectors]:
        """Return one `TokenVectors` a text, in input order."""
        ...
