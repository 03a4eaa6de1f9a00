"""What becomes of a document that is longer than its encoder's limit."""

from __future__ import annotations

from itertools import islice
from typing import Literal, TypeAlias

import numpy as np

from colbert_qdrant.embedding.encoder import Encoder
from colbert_qdrant.embedding.tokens import TextTokenizer, TokenizedText
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector

LongDocuments: TypeAlias = Literal["truncate", "window", "error"]
"""Cut it, encode it in overlapping windows, or refuse it."""


def encode_documents(
    documents: list[TokenizedText],
    encoder: Encoder,
    tokenizer: TextTokenizer,
    long_documents: LongDocuments,
    *,
    first: int,
) -> list[Multivector]:
    """Encode documents, each into one multivector.

    Parameters
    ----------
    documents
        As the tokenizer gave them: cut already where `long_documents` is ``"truncate"``, and else whole.
    encoder, tokenizer
        What they are encoded and were tokenized with.
    long_documents
        What becomes of those beyond the tokenizer's limit.
    first
        Position of the first of them among the caller's, for messages.

    Raises
    ------
    InvalidInput
        One is too long and ``"error"`` was asked for; none was encoded.
    """
    if long_documents == "truncate":
        return encoder.encode(documents)
    if long_documents == "error":
        _refuse_long(documents, tokenizer.document_limit, first)
    parts = [tokenizer.windows(document) for document in documents]
    encoded = iter(encoder.encode([window for windows in parts for window in windows]))
    return [_joined(list(islice(encoded, len(windows)))) for windows in parts]


def _refuse_long(documents: list[TokenizedText], limit: int, first: int) -> None:
    for position, document in enumerate(documents, start=first):
        if len(document.ids) > limit:
            raise InvalidInput(
                f"document {position} has {len(document.ids)} tokens, the limit is {limit}: split it, or use "
                "long_documents='window'"
            )


def _joined(parts: list[Multivector]) -> Multivector:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
