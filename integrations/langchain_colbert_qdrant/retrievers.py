"""ColbertQdrantRetriever: LangChain's retriever over a store, or over another retriever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rerank import ColbertReranker
from colbert_qdrant.types import Embedder
from langchain_colbert_qdrant.documents import candidates, copy_with_score, in_order
from langchain_colbert_qdrant.filters import FilterLike
from langchain_colbert_qdrant.vectorstores import ColbertQdrantVectorStore


class ColbertQdrantRetriever(BaseRetriever):
    """Finds documents by ColBERT's MaxSim, in a store or among those that another retriever finds.

    Parameters
    ----------
    vectorstore
        Where to search. Together with `base_retriever`: where the token vectors of its documents may be stored.
    base_retriever
        A retriever, or any runnable from a question to documents: what it finds is reranked.
    embedding
        For `base_retriever` without `vectorstore`: a `ColbertEmbedder`, the name of a model, or any object with a
        `ColbertEmbedder`'s methods.
    k
        How many documents to return.
    filter
        A `qdrant_client.models.Filter` or a dict of equalities on the metadata.
    score_threshold
        Lowest MaxSim of a document.
    search_kwargs
        Further keywords of the search.
    with_score
        Put the MaxSim into the metadata, under ``relevance_score``. What is stored stays as it is.

    Raises
    ------
    pydantic.ValidationError
        `vectorstore`, `base_retriever` and `embedding` don't go together, or `k` is below 1.

    Notes
    -----
    `k`, `filter`, `score_threshold` and the keywords of the search can also be given to ``invoke`` and its kin, for
    one call. With `base_retriever` the filter and the keywords go to that one, since it is the one that searches.

    Examples
    --------
    >>> retriever = ColbertQdrantRetriever.from_texts(
    ...     ["A soldier relives the same day.", "Toys are left at a day-care center."],
    ...     "all-MiniLM-L6-v2-int8",
    ...     k=1,
    ... )
    >>> [movie] = retriever.invoke("time loop")
    >>> movie.page_content
    'A soldier relives the same day.'
    """

    vectorstore: ColbertQdrantVectorStore | None = None
    base_retriever: RetrieverLike | None = None
    embedding: Embedder | str | None = None
    k: int = Field(4, ge=1)
    filter: SkipValidation[FilterLike | None] = None
    score_threshold: float | None = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    with_score: bool = True

    _reranker: ColbertReranker = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embedder | str,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """Store texts and return their retriever.

        Parameters
        ----------
        texts, embedding, metadatas, ids
            As for `ColbertQdrantVectorStore.from_texts`.
        options
            Fields of the retriever (``k=5``), and where the store is to live (``path="index"``).
        """
        fields, place = cls._fields_and_place(options)
        store = ColbertQdrantVectorStore.from_texts(texts, embedding, metadatas, ids=ids, **place)
        return cls(vectorstore=store, **fields)

    @classmethod
    def from_documents(cls, documents: Iterable[Document], embedding: Embedder | str, **options: Any) -> Self:
        """Store documents, under their ids where they have some, and return their retriever; see `from_texts`."""
        documents = list(documents)
        return cls.from_texts(
            [document.page_content for document in documents],
            embedding,
            [document.metadata for document in documents],
            ids=[document.id for document in documents],
            **options,
        )

    @classmethod
    def from_existing(cls, collection_name: str, embedding: Embedder | str, **options: Any) -> Self:
        """Return the retriever of a collection that exists; see `from_texts`.

        Raises
        ------
        CollectionNotFound
            It does not exist.
        """
        fields, place = cls._fields_and_place(options)
        store = ColbertQdrantVectorStore.from_existing_collection(collection_name, embedding, **place)
        return cls(vectorstore=store, **fields)

    @classmethod
    def _fields_and_place(cls, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        fields = {name: value for name, value in options.items() if name in cls.model_fields}
        return fields, {name: value for name, value in options.items() if name not in fields}

    def model_post_init(self, context: Any, /) -> None:
        """Open the embedder."""
        if self.vectorstore is None and (self.base_retriever is None or self.embedding is None):
            raise InvalidInput("give vectorstore, or base_retriever and embedding; from_texts makes a store of texts")
        if self.vectorstore is not None and self.embedding is not None:
            raise InvalidInput("vectorstore has an embedder of its own: leave embedding out")
        if self.vectorstore is not None:
            collection = self.vectorstore.collection
            self._reranker = ColbertReranker(collection.embedder, collection=collection)
        elif self.embedding is not None:
            self._reranker = ColbertReranker(self.embedding)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: FilterLike | None = None,
        score_threshold: float | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        limit, lowest = self._limits(k, score_threshold)
        search = self._search_arguments(filter, kwargs)
        if self.base_retriever is None:
            hits = self._store.similarity_search_with_score(query, limit, score_threshold=lowest, **search)
            return self._shown(hits)
        found = self.base_retriever.invoke(query, {"callbacks": run_manager.get_child()}, **search)
        ranked = self._reranker.rerank(query, **candidates(found), top_n=limit, score_threshold=lowest)
        return self._shown(in_order(found, ranked))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: FilterLike | None = None,
        score_threshold: float | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        limit, lowest = self._limits(k, score_threshold)
        search = self._search_arguments(filter, kwargs)
        if self.base_retriever is None:
            hits = await self._store.asimilarity_search_with_score(query, limit, score_threshold=lowest, **search)
            return self._shown(hits)
        found = await self.base_retriever.ainvoke(query, {"callbacks": run_manager.get_child()}, **search)
        ranked = await self._reranker.arerank(query, **candidates(found), top_n=limit, score_threshold=lowest)
        return self._shown(in_order(found, ranked))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        embedder = self._reranker.embedder
        params["ls_embedding_provider"] = type(embedder).__name__
        params["ls_embedding_model"] = embedder.model_name
        if self.base_retriever is None:  # else it says itself where it searches
            params["ls_vector_store_provider"] = type(self._store).__name__
        return params

    @property
    def _store(self) -> ColbertQdrantVectorStore:
        return cast(ColbertQdrantVectorStore, self.vectorstore)  # model_post_init: it or base_retriever is there

    def _limits(self, k: int | None, score_threshold: float | None) -> tuple[int, float | None]:
        return self.k if k is None else k, self.score_threshold if score_threshold is None else score_threshold

    def _search_arguments(self, filter: FilterLike | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is asked besides our own limits, the call's before the retriever's."""
        search = {**self.search_kwargs, **options}
        filter = self.filter if filter is None else filter
        if filter is not None:
            search["filter"] = filter
        if search and isinstance(self.base_retriever, BaseRetriever) and not self.base_retriever._expects_other_args:
            raise InvalidInput(  # LangChain would drop them without a word
                f"{self.base_retriever.get_name()} takes no {', '.join(search)} for a call: set it on that retriever"
            )
        return search

    def _shown(self, scored: Iterable[tuple[Document, float]]) -> list[Document]:
        return [copy_with_score(document, score) if self.with_score else document for document, score in scored]
