"""ColbertExtractor: of each document what answers the question, within a budget of tokens. Needs no Qdrant."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from colbert_qdrant.checks import check_query, check_text
from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.explanation import check_explains
from colbert_qdrant.passages import EncodedText, Passage, extracted
from colbert_qdrant.rerank import RecordId
from colbert_qdrant.types import Embedder, TokenEmbedder


class StoredTexts(Protocol):
    """A collection that can give what it holds token by token; `MultivectorCollection` is one."""

    def encoded(self, ids: Sequence[RecordId]) -> Mapping[str, EncodedText]:
        """Return those of the ids that are stored, with their token vectors and the place of each in the text."""
        ...


class ColbertExtractor:
    """Keeps of each document the passages that answer a question, under one budget of tokens over all of them.

    A sentence counts by the evidence of its own tokens and of its surroundings, comparable over all documents; see
    `colbert_qdrant.passages`. Kept passages stand in the order of their text, neighbours as one.

    Parameters
    ----------
    embedder
        A `ColbertEmbedder` that does not pool, or the name of a model. Long documents are encoded whole.
    collection
        Where documents may be stored already: those whose id is found there with this very text are not encoded again.

    Examples
    --------
    >>> extractor = ColbertExtractor("all-MiniLM-L6-v2-int8")
    >>> text = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
    >>> [[passage]] = extractor.extract("When did people land on the moon?", [text], max_tokens=20)
    >>> passage.text
    'A lander set two men down on the Moon in 1969.'
    """

    def __init__(self, embedder: Embedder | str | None = None, *, collection: StoredTexts | None = None) -> None:
        self.embedder: Any = windowed(embedder)
        check_explains(self.embedder)
        self.collection = collection

    def extract(
        self,
        query: str,
        texts: Sequence[str],
        *,
        max_tokens: int = 512,
        ids: Sequence[RecordId | None] | None = None,
    ) -> list[list[Passage]]:
        """Return the passages to keep of each text, in its order; none of a text that has nothing to say.

        Parameters
        ----------
        query
            The question.
        texts
            The documents.
        max_tokens
            Of everything that is kept, in tokens of the embedder's model.
        ids
            Their ids in the collection, ``None`` for those that are not in it.

        Raises
        ------
        InvalidInput
            Something is not text, ids are not one a text, `max_tokens` is below 1, or the embedder pools.
        """
        if max_tokens < 1:
            raise InvalidInput(f"max_tokens={max_tokens}: give at least 1")
        if ids is not None and len(ids) != len(texts):
            raise InvalidInput(f"{len(ids)} ids for {len(texts)} texts: give one for each, None where there is none")
        check_query(query)
        for position, text in enumerate(texts):
            check_text(text, f"text {position}")
        if not texts:
            return []
        [vectors] = self.embedder.query_embed([query])
        return extracted(np.asarray(vectors, np.float32), self._encoded(texts, ids), max_tokens)

    async def aextract(
        self,
        query: str,
        texts: Sequence[str],
        *,
        max_tokens: int = 512,
        ids: Sequence[RecordId | None] | None = None,
    ) -> list[list[Passage]]:
        """Do as `extract` does, in a thread: nearly all of it is arithmetic."""
        return await asyncio.to_thread(self.extract, query, texts, max_tokens=max_tokens, ids=ids)

    def _encoded(self, texts: Sequence[str], ids: Sequence[RecordId | None] | None) -> list[EncodedText]:
        wanted = [record_id for record_id in ids or () if record_id is not None]
        stored = self.collection.encoded(wanted) if self.collection is not None and wanted else {}
        known = [stored.get(str(record_id)) for record_id in ids] if ids is not None else [None] * len(texts)
        pairs = list(zip(known, texts, strict=True))
        made = iter(encoded_texts([text for each, text in pairs if each is None or each.text != text], self.embedder))
        return [next(made) if each is None or each.text != text else each for each, text in pairs]


def encoded_texts(texts: Sequence[str], embedder: TokenEmbedder) -> list[EncodedText]:
    """Encode texts and place each vector."""
    made = embedder.token_vectors(texts)
    return [EncodedText(text, each.vectors, each.spans) for text, each in zip(texts, made, strict=True)]
