"""ColbertRerank: LangChain's document compressor over `ColbertReranker`. Needs no Qdrant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation

from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rerank import ColbertReranker, StoredVectors
from colbert_qdrant.types import Embedder
from colbert_qdrant.vector_cache import CACHE_BYTES
from langchain_colbert_qdrant.documents import candidates, copy_with_score, in_order

if TYPE_CHECKING:
    from langchain_colbert_qdrant.vectorstores import ColbertQdrantVectorStore
else:  # pydantic resolves the annotation, whose value it does not check; a reranker needs no Qdrant
    ColbertQdrantVectorStore = Any


class ColbertRerank(BaseDocumentCompressor):
    """Keeps the best of the documents that any retriever found, by MaxSim with the query.

    What comes out are copies, the best first, each with its relevance, from 0 to 1, under ``relevance_score`` in its
    metadata; what goes in stays as it is. All documents that have to be encoded are encoded in one go.

    Parameters
    ----------
    model
        Name of the model; by default the collection's or, without one, `ColbertEmbedder`'s default.
    embedder
        Instead of `model`: a `ColbertEmbedder`, or any object with its methods.
    top_n
        How many documents to keep; ``None``: all.
    score_threshold
        Lowest relevance to keep.
    collection
        A `ColbertQdrantVectorStore` or a `MultivectorCollection`: documents whose id is found there, with vectors of
        this very text, are scored in Qdrant by these, and not encoded again.
    cache_bytes
        Memory for the vectors of documents seen lately, which are not encoded again either. See `ColbertReranker`.

    Raises
    ------
    pydantic.ValidationError
        Both `model` and `embedder` are given, the model is unknown or not the collection's, `top_n` is below 1, or
        `cache_bytes` below 0.

    Examples
    --------
    >>> reranker = ColbertRerank(model="all-MiniLM-L6-v2-int8", top_n=1)
    >>> documents = [Document("Toys at a day-care center."), Document("A soldier relives the same day.")]
    >>> [best] = reranker.compress_documents(documents, "time loop")
    >>> best.page_content
    'A soldier relives the same day.'
    """

    model: str | None = Field(default=None, frozen=True)
    embedder: Embedder | None = Field(default=None, frozen=True)
    top_n: int | None = Field(default=3, ge=1)
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    collection: SkipValidation[ColbertQdrantVectorStore | StoredVectors | None] = Field(default=None, frozen=True)
    cache_bytes: int = Field(default=CACHE_BYTES, frozen=True, ge=0)

    _reranker: ColbertReranker = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        """Open the embedder."""
        if self.model is not None and self.embedder is not None:
            raise InvalidInput(f"model={self.model!r} and embedder={self.embedder!r:.80}; give one of them")
        collection: Any = getattr(self.collection, "collection", self.collection)  # a store has one
        embedder = windowed(self.embedder or self.model or getattr(collection, "embedder", None))
        self._reranker = ColbertReranker(embedder, collection=collection, cache_bytes=self.cache_bytes)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best documents, the best first; equal scores keep their order."""
        ranked = self._reranker.rerank(query, **candidates(documents), **self._limits)
        return [copy_with_score(*scored) for scored in in_order(documents, ranked)]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Do as `compress_documents` does."""
        ranked = await self._reranker.arerank(query, **candidates(documents), **self._limits)
        return [copy_with_score(*scored) for scored in in_order(documents, ranked)]

    def as_runnable(self) -> Runnable[Mapping[str, Any], list[Document]]:
        """Return a step of a chain: ``{"documents": ..., "query": ...}`` goes in, the best documents come out.

        Examples
        --------
        >>> step = ColbertRerank(model="all-MiniLM-L6-v2-int8", top_n=1).as_runnable()
        >>> [best] = step.invoke({"documents": [Document("a cat"), Document("a dog")], "query": "puppies"})
        >>> best.page_content
        'a dog'
        """
        return RunnableLambda(self._step, self._astep, name=self.__class__.__name__)

    @property
    def _limits(self) -> dict[str, Any]:
        return {"top_n": self.top_n, "min_relevance": self.score_threshold}

    def _step(self, given: Mapping[str, Any]) -> list[Document]:
        return self.compress_documents(given["documents"], given["query"])

    async def _astep(self, given: Mapping[str, Any]) -> list[Document]:
        return await self.acompress_documents(given["documents"], given["query"])
