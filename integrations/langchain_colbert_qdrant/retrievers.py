"""ColbertQdrantRetriever: LangChain's retriever over a store, or over another retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self, Unpack, cast

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation, TypeAdapter
from qdrant_client import models

from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rerank import ColbertReranker
from colbert_qdrant.types import Embedder
from langchain_colbert_qdrant.adding import checked_columns
from langchain_colbert_qdrant.documents import candidates, copy_with_score, in_order
from langchain_colbert_qdrant.filters import FilterLike, all_of
from langchain_colbert_qdrant.options import RetrieverOptions, RetrieverTextsOptions, TokenEmbedding
from langchain_colbert_qdrant.searches import check_threshold
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
        A `qdrant_client.models.Filter` or a dict of conditions on the metadata; see `to_qdrant_filter`.
    score_threshold
        Lowest relevance of a document, from 0 to 1.
    search_type
        ``"similarity"``, or ``"mmr"`` for documents unlike each other, with ``fetch_k`` and ``lambda_mult`` among
        `search_kwargs`. LangChain's ``"similarity_score_threshold"`` is a `score_threshold` here.
    search_kwargs
        Further keywords of the search; `k`, `filter` and `score_threshold` may stand here as well.
    with_score
        Put the relevance into the metadata, under ``relevance_score``. What is stored stays as it is. Off, because a
        document that two questions found would then be two: LangChain tells documents apart by all they hold.

    Raises
    ------
    pydantic.ValidationError
        `vectorstore`, `base_retriever` and `embedding` don't go together, or a field can't be used.

    Notes
    -----
    `k`, `score_threshold` and the keywords of the search can also be given to ``invoke`` and its kin, for one call, in
    place of the retriever's own. A `filter` of a call is asked together with the retriever's: only documents pass that
    pass both, so that a filter which keeps tenants apart holds for every call. With `base_retriever` the filter and the
    keywords go to that one, since it is the one that searches.

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

    vectorstore: ColbertQdrantVectorStore | None = Field(default=None, frozen=True)
    base_retriever: RetrieverLike | None = None
    embedding: Embedder | str | None = Field(default=None, frozen=True)
    k: int = Field(default=4, ge=1)
    filter: SkipValidation[FilterLike | None] = None
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    search_type: Literal["similarity", "mmr", "similarity_score_threshold"] = "similarity"
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    with_score: bool = False

    _reranker: ColbertReranker = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: TokenEmbedding,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[RetrieverTextsOptions],
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
        columns = checked_columns(texts, metadatas, ids)
        retriever = cls(vectorstore=ColbertQdrantVectorStore.from_texts([], embedding, **place), **fields)
        retriever._store.add_texts(*columns)
        return retriever

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: TokenEmbedding,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[RetrieverTextsOptions],
    ) -> Self:
        """Do as `from_texts` does."""
        fields, place = cls._fields_and_place(options)
        columns = checked_columns(texts, metadatas, ids)
        retriever = cls(vectorstore=await ColbertQdrantVectorStore.afrom_texts([], embedding, **place), **fields)
        await retriever._store.aadd_texts(*columns)
        return retriever

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: TokenEmbedding,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[RetrieverTextsOptions],
    ) -> Self:
        """Store documents, under `ids` or those that they have, and return their retriever; see `from_texts`."""
        return cls.from_texts(embedding=embedding, **_columns(documents, ids), **options)

    @classmethod
    async def afrom_documents(
        cls,
        documents: Iterable[Document],
        embedding: TokenEmbedding,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[RetrieverTextsOptions],
    ) -> Self:
        """Do as `from_documents` does."""
        return await cls.afrom_texts(embedding=embedding, **_columns(documents, ids), **options)

    @classmethod
    def from_existing(
        cls, collection_name: str, embedding: TokenEmbedding, **options: Unpack[RetrieverOptions]
    ) -> Self:
        """Return the retriever of a collection that exists; see `from_texts`.

        Raises
        ------
        CollectionNotFound
            It does not exist.
        """
        fields, place = cls._fields_and_place({**options, "collection_name": collection_name})
        return cls(
            vectorstore=ColbertQdrantVectorStore.from_existing_collection(embedding=embedding, **place), **fields
        )

    @classmethod
    async def afrom_existing(
        cls, collection_name: str, embedding: TokenEmbedding, **options: Unpack[RetrieverOptions]
    ) -> Self:
        """Do as `from_existing` does."""
        return await asyncio.to_thread(cls.from_existing, collection_name, embedding, **options)

    @classmethod
    def _fields_and_place(cls, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tell the retriever's fields, checked before there is a store, from the arguments of the store."""
        fields = {name: value for name, value in options.items() if name in cls.model_fields}
        for name, value in fields.items():
            TypeAdapter(cls.model_fields[name].rebuild_annotation(), config=_ANY_TYPE).validate_python(value)
        place = {name: value for name, value in options.items() if name not in fields}
        return fields, place

    def model_post_init(self, context: Any, /) -> None:
        """Open the embedder."""
        if self.vectorstore is None and (self.base_retriever is None or self.embedding is None):
            raise InvalidInput("give vectorstore, or base_retriever and embedding; from_texts makes a store of texts")
        if self.vectorstore is not None and self.embedding is not None:
            raise InvalidInput("vectorstore has an embedder of its own: leave embedding out")
        if self.base_retriever is not None and self.search_type != "similarity":
            raise InvalidInput(
                f"search_type={self.search_type!r} is of a store's search; base_retriever searches itself"
            )
        if self.vectorstore is not None:
            collection = self.vectorstore.collection
            self._reranker = ColbertReranker(collection.embedder, collection=collection)
        elif self.embedding is not None:
            self._reranker = ColbertReranker(windowed(self.embedding))
        asked = self._asked({})
        if self.search_type == "similarity_score_threshold" and asked.lowest is None:
            raise InvalidInput("search_type='similarity_score_threshold' needs a score_threshold")

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        asked = self._asked({"k": k, **kwargs})
        if self.base_retriever is None:
            return self._shown(self._search(query, asked.k, score_threshold=asked.lowest, **asked.search))
        found = self.base_retriever.invoke(query, {"callbacks": run_manager.get_child()}, **asked.search)
        ranked = self._reranker.rerank(query, **candidates(found), top_n=asked.k, min_relevance=asked.lowest)
        return self._shown(in_order(found, ranked))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        asked = self._asked({"k": k, **kwargs})
        if self.base_retriever is None:
            return self._shown(await self._asearch(query, asked.k, score_threshold=asked.lowest, **asked.search))
        found = await self.base_retriever.ainvoke(query, {"callbacks": run_manager.get_child()}, **asked.search)
        ranked = await self._reranker.arerank(query, **candidates(found), top_n=asked.k, min_relevance=asked.lowest)
        return self._shown(in_order(found, ranked))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        embedder = self._reranker.embedder
        params["ls_embedding_provider"] = type(embedder).__name__
        params["ls_embedding_model"] = embedder.model_name
        if self.base_retriever is None:  # else it says itself where it searches
            params["ls_vector_store_provider"] = type(self._store).__name__
        return params

    def delete_collection(self) -> None:
        """Remove the store's collection with all that it holds; the retriever is of no use afterwards."""
        self._with_collection.delete_collection()

    async def adelete_collection(self) -> None:
        """Do as `delete_collection` does."""
        await self._with_collection.adelete_collection()

    def close(self) -> None:
        """Close the store, unless it lives in the caller's own `client`."""
        if self.vectorstore is not None:
            self.vectorstore.close()

    async def aclose(self) -> None:
        """Do as `close` does."""
        if self.vectorstore is not None:
            await self.vectorstore.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    @property
    def _store(self) -> ColbertQdrantVectorStore:
        return cast(ColbertQdrantVectorStore, self.vectorstore)  # model_post_init: it or base_retriever is there

    @property
    def _with_collection(self) -> ColbertQdrantVectorStore:
        if self.vectorstore is None:
            raise InvalidInput("this retriever reranks what another one finds: it has no collection to remove")
        return self.vectorstore

    @property
    def _search(self) -> Callable[..., list[tuple[Document, float]]]:
        diverse = self.search_type == "mmr"
        store = self._store
        return store.max_marginal_relevance_search_with_score if diverse else store.similarity_search_with_score

    @property
    def _asearch(self) -> Callable[..., Awaitable[list[tuple[Document, float]]]]:
        diverse = self.search_type == "mmr"
        store = self._store
        return store.amax_marginal_relevance_search_with_score if diverse else store.asimilarity_search_with_score

    def _asked(self, call: Mapping[str, Any]) -> _Asked:
        """Return what is asked for: a call's before `search_kwargs` before the fields; the filters of all of them.

        A field is given where it is not the default: LangChain makes a configured retriever of all fields.
        """
        for name in ("k", "score_threshold"):
            if name in self.search_kwargs and getattr(self, name) != type(self).model_fields[name].default:
                raise InvalidInput(f"{name} is given twice, by itself and in search_kwargs")
        own = {"k": self.k, "score_threshold": self.score_threshold, **self.search_kwargs}
        search = own | {name: value for name, value in call.items() if value is not None}
        filters = [self.filter, self.search_kwargs.get("filter"), call.get("filter")]
        limit, lowest = search.pop("k"), search.pop("score_threshold")
        search.pop("filter", None)
        together = self._together([filter for filter in filters if filter])
        if together is not None:
            search["filter"] = together
        if search and isinstance(self.base_retriever, BaseRetriever) and not self.base_retriever._expects_other_args:
            raise InvalidInput(  # LangChain would drop them without a word
                f"{self.base_retriever.get_name()} takes no {', '.join(search)} for a call: set it on that retriever"
            )
        return _Asked(limit, None if lowest is None else check_threshold(lowest), search)

    def _together(self, filters: list[FilterLike]) -> FilterLike | None:
        """Return the filter of those that pass all; a base retriever's language is its own."""
        if self.base_retriever is None:
            return all_of([self._store._filter(filter) for filter in filters])
        if len(filters) < 2:
            return next(iter(filters), None)
        if all(isinstance(filter, models.Filter) for filter in filters):
            return all_of(cast(list[models.Filter], filters))
        if all(isinstance(filter, Mapping) for filter in filters):
            return {"$and": filters}
        raise InvalidInput("the call's filter and the retriever's are of different kinds and can't be put together")

    def _shown(self, scored: Iterable[tuple[Document, float]]) -> list[Document]:
        return [copy_with_score(document, score) if self.with_score else document for document, score in scored]


_ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


class _Asked(NamedTuple):
    """What one call asks for; `search` holds the rest of the keywords, for whoever searches."""

    k: int
    lowest: float | None
    search: dict[str, Any]


def _columns(documents: Iterable[Document], ids: Iterable[RecordId | None] | None) -> dict[str, Any]:
    documents = list(documents)
    return {
        "texts": [document.page_content for document in documents],
        "metadatas": [document.metadata for document in documents],
        "ids": [document.id for document in documents] if ids is None else ids,
    }
