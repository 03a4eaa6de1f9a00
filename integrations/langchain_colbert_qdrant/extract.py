"""ColbertExtract: LangChain's document compressor that keeps of each document what answers. Needs no Qdrant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.extract import ColbertExtractor, StoredTexts
from colbert_qdrant.types import Embedder
from langchain_colbert_qdrant.documents import candidates

if TYPE_CHECKING:
    from colbert_qdrant.passages import Passage
    from langchain_colbert_qdrant.vectorstores import ColbertQdrantVectorStore
else:  # pydantic resolves the annotation, whose value it does not check
    ColbertQdrantVectorStore = Any

PASSAGES_KEY = "passages"
SEPARATOR = "\n\n"


class ColbertExtract(BaseDocumentCompressor):
    """Keeps of each document the sentences that answer the query, under one budget of tokens over all documents.

    What comes out are copies in the order they came in, without those that have nothing to say: the text is what was
    kept, in its order, and ``passages`` in the metadata says where each part stood, as ``[start, end]`` in characters.

    Parameters
    ----------
    model
        Name of the model; by default the collection's or, without one, `ColbertEmbedder`'s default.
    embedder
        Instead of `model`: a `ColbertEmbedder` that does not pool.
    max_tokens
        Of everything that is kept, in tokens of that model.
    collection
        A `ColbertQdrantVectorStore` or a `MultivectorCollection`: documents that are stored there with this very text
        are not encoded again.

    Raises
    ------
    pydantic.ValidationError
        Both `model` and `embedder` are given, or `max_tokens` is below 1.

    Examples
    --------
    >>> extract = ColbertExtract(model="all-MiniLM-L6-v2-int8", max_tokens=20)
    >>> text = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
    >>> [document] = extract.compress_documents([Document(text)], "When did people land on the moon?")
    >>> document.page_content, document.metadata
    ('A lander set two men down on the Moon in 1969.', {'passages': [[26, 72]]})
    """

    model: str | None = Field(default=None, frozen=True)
    embedder: Embedder | None = Field(default=None, frozen=True)
    max_tokens: int = Field(default=512, ge=1)
    collection: SkipValidation[ColbertQdrantVectorStore | StoredTexts | None] = Field(default=None, frozen=True)

    _extractor: ColbertExtractor = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        """Open the embedder."""
        if self.model is not None and self.embedder is not None:
            raise InvalidInput(f"model={self.model!r} and embedder={self.embedder!r:.80}; give one of them")
        collection: Any = getattr(self.collection, "collection", self.collection)  # a store has one
        embedder = self.embedder or self.model or getattr(collection, "embedder", None)
        self._extractor = ColbertExtractor(embedder, collection=collection)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return what answers of each document."""
        found = self._extractor.extract(query, **candidates(documents), max_tokens=self.max_tokens)
        return _kept(documents, found)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Do as `compress_documents` does."""
        found = await self._extractor.aextract(query, **candidates(documents), max_tokens=self.max_tokens)
        return _kept(documents, found)


def _kept(documents: Sequence[Document], found: Sequence[Sequence[Passage]]) -> list[Document]:
    return [
        document.model_copy(
            update={
                "page_content": SEPARATOR.join(passage.text for passage in passages),
                "metadata": {**document.metadata, PASSAGES_KEY: [[each.start, each.end] for each in passages]},
            }
        )
        for document, passages in zip(documents, found, strict=True)
        if passages
    ]
