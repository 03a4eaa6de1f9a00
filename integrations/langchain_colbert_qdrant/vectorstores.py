"""ColbertQdrantVectorStore: LangChain's vector store over a `MultivectorCollection`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack, overload

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from colbert_qdrant.collection.engines import PlaceKeywords
from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.collection.schema import DEFAULT_VECTOR
from colbert_qdrant.collection.sync import MultivectorCollection
from colbert_qdrant.embedders import embedder_dim, windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder
from langchain_colbert_qdrant.adding import checked_columns, options_of, with_ids, without_wait
from langchain_colbert_qdrant.documents import to_documents
from langchain_colbert_qdrant.filters import FilterLike
from langchain_colbert_qdrant.options import (
    StoreOptions,
    TextsOptions,
    TokenEmbedding,
    by_name,
    collection_arguments,
)
from langchain_colbert_qdrant.searches import CollectionSearches
from langchain_colbert_qdrant.store_retriever import StoreRetriever, fields_and_search

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

DEFAULT_COLLECTION = "langchain"


class ColbertQdrantVectorStore(CollectionSearches):
    """Documents as ColBERT token vectors in Qdrant, found by MaxSim.

    The collection is created when it is missing; one that exists is attached to when it fits. Every method has a
    native asynchronous twin: with `url` its I/O is asynchronous, elsewhere it runs in a thread, as encoding does.

    Parameters
    ----------
    collection_name
        Of the collection.
    embedding
        A `ColbertEmbedder`, the name of a model, or any object with its methods. LangChain's own `Embeddings` make
        one vector a text and are refused.
    client, url, path, location, api_key, prefer_grpc, timeout, client_options
        Where the collection lives, by default in memory; see `colbert_qdrant.MultivectorCollection`. A client may also
        stand first: ``ColbertQdrantVectorStore(client, "movies", embedding)``.
    async_client
        Beside `client`: an ``AsyncQdrantClient`` of the same server for the asynchronous methods.
    vector_name
        Of the multivector; ``""``: the unnamed one.
    content_payload_key, metadata_payload_key
        Payload keys of the text and of the metadata.
    stages
        What finds the candidates that MaxSim puts in order, as for `MultivectorCollection`.
    dense
        LangChain embeddings as a first stage: their vectors find the candidates, in the same request.
    storage, indexes, tenant, shard_key
        How a new collection is stored, which keys of the metadata are indexed, and whose documents are seen; as for
        `MultivectorCollection`.
    create
        Make the collection where there is none.
    force_recreate
        Remove the collection first, with all that it holds.

    Attributes
    ----------
    collection
        The `MultivectorCollection`, with all that LangChain has no method for: count, scroll, token vectors.

    Raises
    ------
    CollectionMismatch
        The collection was made for other vectors, by another model or with other keys.
    InvalidInput
        An argument can't be used, or asks for other vectors than token vectors; it says what to write instead.

    Notes
    -----
    Every score is the relevance, from 0 to 1: MaxSim divided by the number of query vectors; so is every
    ``score_threshold``. MaxSim itself is what ``collection.search`` returns.

    Searches take the keywords of `MultivectorCollection.search`: ``offset``, ``search_params``, ``consistency``,
    ``candidates`` and so on. A ``filter`` may also be a dict of conditions on the metadata, see `to_qdrant_filter`.

    The arguments and methods of langchain-qdrant's ``QdrantVectorStore`` are taken by its names: ``host``, ``port``,
    ``grpc_port``, ``https``, ``prefix`` and further keywords of the client; ``collection_create_options`` and
    ``vector_params`` where `Storage` has them; ``validate_...``, ``batch_size``, ``wait`` and ``distance=COSINE`` have
    no effect. Documents come back under their id, and their metadata as it was given, without ``_id`` and
    ``_collection_name``.

    It can be pickled and copied, by what it was made of; not in memory, and not with the caller's own `client`.

    Examples
    --------
    >>> store = ColbertQdrantVectorStore("movies", "all-MiniLM-L6-v2-int8")
    >>> ids = store.add_texts(
    ...     ["A soldier relives the same day.", "Toys are left at a day-care center."],
    ...     [{"year": 2014}, {"year": 2010}],
    ... )
    >>> [movie] = store.similarity_search("time loop", k=1)
    >>> movie.page_content, movie.metadata
    ('A soldier relives the same day.', {'year': 2014})
    >>> [movie] = store.similarity_search("time loop", filter={"year": {"$lt": 2014}})
    >>> movie.page_content
    'Toys are left at a day-care center.'
    """

    CONTENT_KEY: ClassVar[str] = "page_content"
    METADATA_KEY: ClassVar[str] = "metadata"
    VECTOR_NAME: ClassVar[str] = DEFAULT_VECTOR

    @overload
    def __init__(self, collection_name: str, embedding: TokenEmbedding, **options: Unpack[StoreOptions]) -> None: ...

    @overload
    def __init__(
        self,
        client: QdrantClient,
        /,
        collection_name: str,
        embedding: TokenEmbedding,
        **options: Unpack[StoreOptions],
    ) -> None: ...

    def __init__(self, *positional: Any, **keywords: Any) -> None:
        given = by_name(positional, keywords)
        name, embedder = given.pop("collection_name", None), _opened(given.pop("embedding", None))
        recreate = given.pop("force_recreate", False)
        arguments = collection_arguments(given)
        if recreate:
            _discard(name, arguments)
        super().__init__(MultivectorCollection(name, embedder, **arguments))

    @classmethod
    def of(cls, collection: MultivectorCollection) -> Self:
        """Return the store over an open collection."""
        store = cls.__new__(cls)
        CollectionSearches.__init__(store, collection)
        return store

    @classmethod
    def from_texts(  # type: ignore[override]  # its keywords have names, so that an editor knows a wrong one
        cls,
        texts: Iterable[str],
        embedding: TokenEmbedding | Embeddings,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[TextsOptions],
    ) -> Self:
        """Open a store (`options`: those of its constructor) and add texts to it."""
        columns = checked_columns(texts, metadatas, ids)
        store = cls(**_named(embedding, options))
        store.add_texts(*columns)
        return store

    @classmethod
    async def afrom_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: TokenEmbedding | Embeddings,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        **options: Unpack[TextsOptions],
    ) -> Self:
        """Do as `from_texts` does."""
        columns = checked_columns(texts, metadatas, ids)
        store = await asyncio.to_thread(cls, **_named(embedding, options))
        await store.aadd_texts(*columns)
        return store

    @classmethod
    def from_documents(  # type: ignore[override]  # LangChain's own signature has no embedder of token vectors
        cls, documents: Iterable[Document], embedding: TokenEmbedding | Embeddings, **options: Unpack[TextsOptions]
    ) -> Self:
        """Open a store (`options`: those of its constructor) and add documents to it, under ids they have."""
        given: Any = options
        return super().from_documents(list(documents), embedding, **given)  # type: ignore[arg-type]

    @classmethod
    async def afrom_documents(  # type: ignore[override]
        cls, documents: Iterable[Document], embedding: TokenEmbedding | Embeddings, **options: Unpack[TextsOptions]
    ) -> Self:
        """Do as `from_documents` does."""
        given: Any = options
        return await super().afrom_documents(list(documents), embedding, **given)  # type: ignore[arg-type]

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Encode and store documents, under ids they have; any iterable, of which LangChain takes lists alone.

        Parameters
        ----------
        documents, kwargs
            What to add, and the keywords of `add_texts`.
        """
        return super().add_documents(list(documents), **kwargs)

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Do as `add_documents` does."""
        return await super().aadd_documents(list(documents), **kwargs)

    @classmethod
    def from_existing_collection(
        cls, collection_name: str, embedding: TokenEmbedding, **options: Unpack[StoreOptions]
    ) -> Self:
        """Open a store (`options`: those of its constructor) on a collection that exists.

        Raises
        ------
        CollectionNotFound
            It does not; nothing was created.
        """
        unless_asked: StoreOptions = {"create": False, **options}
        return cls(collection_name, embedding, **unless_asked)

    @classmethod
    async def afrom_existing_collection(
        cls, collection_name: str, embedding: TokenEmbedding, **options: Unpack[StoreOptions]
    ) -> Self:
        """Do as `from_existing_collection` does."""
        return await asyncio.to_thread(cls.from_existing_collection, collection_name, embedding, **options)

    @classmethod
    def upgrade(
        cls,
        collection_name: str,
        embedding: TokenEmbedding,
        *,
        dense: Embeddings | None = None,
        vector_name: str = DEFAULT_VECTOR,
        content_payload_key: str | None = None,
        metadata_payload_key: str | None = None,
        show_progress: bool | None = None,
        **place: Unpack[PlaceKeywords],
    ) -> Self:
        """Give a collection of langchain-qdrant's token vectors beside its own, from its stored texts, and open it.

        Nothing that it has is touched, and the program that wrote it goes on working; see
        `MultivectorCollection.upgrade`, and `MultivectorCollection.downgrade` for the way back.

        Parameters
        ----------
        collection_name, embedding, vector_name, content_payload_key, metadata_payload_key
            As for the class.
        dense
            The embeddings that its vectors were made with: they become a first stage.
        show_progress
            As for `MultivectorCollection.add`.
        **place
            Where it lives: ``client``, ``url`` and so on.
        """
        collection = MultivectorCollection.upgrade(
            collection_name,
            _opened(embedding),
            dense=dense,
            vector_name=vector_name,
            content_key=content_payload_key,
            metadata_key=metadata_payload_key,
            show_progress=show_progress,
            **place,
        )
        return cls.of(collection)

    @classmethod
    async def aupgrade(cls, collection_name: str, embedding: TokenEmbedding, **options: Any) -> Self:
        """Do as `upgrade` does."""
        return await asyncio.to_thread(cls.upgrade, collection_name, embedding, **options)

    @classmethod
    def construct_instance(
        cls,
        embedding: TokenEmbedding,
        *,
        client_options: Mapping[str, Any] | None = None,
        collection_name: str | None = None,
        **options: Any,
    ) -> Self:
        """Open a store as langchain-qdrant's method of this name does: all keywords of the client in a mapping."""
        return cls(**_named(embedding, {**(client_options or {}), **options, "collection_name": collection_name}))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Encode and store texts; one whose id is stored already replaces it.

        Parameters
        ----------
        texts
            Any iterable.
        metadatas
            One mapping of JSON values a text.
        ids
            One a text, any string; where it is ``None`` a random UUID is made.
        batch_size
            Has no effect: the indexing API gives it, but requests are cut by their size in bytes.
        kwargs
            Further keywords of `MultivectorCollection.add`. ``wait`` has no effect: what is added is there.

        Returns
        -------
        list of str
            The ids of what is stored, in the order of the texts: with ``on_error="skip"`` without those left out.

        Raises
        ------
        InvalidInput
            A text, metadata or id is wrong, or there is not one for each text; nothing was written.
        """
        texts, chosen = with_ids(texts, ids)
        return self.collection.add(texts, metadatas, chosen, **options_of(batch_size, kwargs)).ids

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Do as `add_texts` does."""
        texts, chosen = with_ids(texts, ids)
        return (await self.collection.as_async().add(texts, metadatas, chosen, **options_of(batch_size, kwargs))).ids

    def delete(self, ids: Iterable[RecordId] | None = None, *, filter: FilterLike | None = None, **kwargs: Any) -> bool:
        """Delete documents by id, by filter, or those of the ids that pass the filter; missing ones are no error.

        Parameters
        ----------
        ids, filter
            What to delete.
        kwargs
            ``wait`` alone, and without effect: what is deleted is gone.

        Raises
        ------
        InvalidInput
            Neither is given: to empty the store give ``filter=models.Filter()``.
        """
        self.collection.delete(ids, filter=self._filter(filter), **without_wait(kwargs))
        return True

    async def adelete(
        self, ids: Iterable[RecordId] | None = None, *, filter: FilterLike | None = None, **kwargs: Any
    ) -> bool:
        """Do as `delete` does."""
        await self.collection.as_async().delete(ids, filter=self._filter(filter), **without_wait(kwargs))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents in the order of their ids; missing ones are left out."""
        return to_documents(self.collection.get(ids))

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Do as `get_by_ids` does."""
        return to_documents(await self.collection.as_async().get(ids))

    def as_retriever(self, **kwargs: Any) -> StoreRetriever:
        """Return LangChain's retriever over this store.

        Parameters
        ----------
        kwargs
            Fields of `VectorStoreRetriever`: ``search_type``, ``search_kwargs``, ``tags``, ``metadata``. Keywords of
            the search, such as ``k`` and ``filter``, may also stand by themselves.

        Raises
        ------
        InvalidInput
            A keyword is neither, or is given twice. LangChain drops what it does not know without a word.

        Notes
        -----
        The filter of a call is asked together with the retriever's, as `ColbertQdrantRetriever` does.
        """
        fields, search = fields_and_search(kwargs)
        tags = fields.pop("tags", None) or self._get_retriever_tags()
        retriever = StoreRetriever(vectorstore=self, tags=tags, search_kwargs=search, **fields)
        self._filter(search.get("filter"))  # refuse now what no search could take
        return retriever

    @property
    def embeddings(self) -> Embedder:  # type: ignore[override]  # LangChain's Embeddings make one vector a text
        """What encodes documents and queries."""
        return self.collection.embedder

    @property
    def client(self) -> Any:
        """The `QdrantClient` behind the collection; with `path` what stands for one."""
        engine: Any = self.collection.engine
        return engine.client

    def delete_collection(self) -> None:
        """Remove the collection with all that it holds; the store is of no use afterwards."""
        self.collection.drop()

    async def adelete_collection(self) -> None:
        """Do as `delete_collection` does."""
        await self.collection.as_async().drop()

    def close(self) -> None:
        """Close the collection, unless it lives in the caller's own `client`."""
        self.collection.close()

    async def aclose(self) -> None:
        """Close the collection, and the running event loop's connection to it."""
        await self.collection.as_async().close()
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.collection!r})"


def _discard(name: Any, arguments: Mapping[str, Any]) -> None:
    """Remove the collection of these arguments, if there is one."""
    if arguments.get("tenant") is not None:
        raise InvalidInput(
            "force_recreate with tenant=: it would remove all tenants' documents; delete your own instead"
        )
    place: Any = {name: arguments[name] for name in PlaceKeywords.__annotations__ if name in arguments}
    MultivectorCollection.discard(name, **place)


def _named(embedding: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    name = options.get("collection_name")
    return {**options, "embedding": embedding, "collection_name": DEFAULT_COLLECTION if name is None else name}


def _opened(embedding: Any) -> Embedder:
    """Return the embedder, before anything is made or removed for its vectors."""
    if embedding is None:
        raise InvalidInput("embedding=None: give a ColbertEmbedder or the name of a model, which make token vectors")
    embedder = windowed(embedding)
    embedder_dim(embedder)
    return embedder
