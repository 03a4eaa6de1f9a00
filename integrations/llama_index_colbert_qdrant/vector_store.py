"""ColbertQdrantVectorStore: LlamaIndex nodes as token vectors in Qdrant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, TransformComponent
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import adding, migration
from llama_index_colbert_qdrant.embedding import ColbertTextEmbedding, embeddings_of, is_shown, stage_of
from llama_index_colbert_qdrant.nodes import DOCUMENT_INDEX, as_columns, as_node, as_result, document_hash, document_id
from llama_index_colbert_qdrant.splitting import splitter_for

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from llama_index.core.base.embeddings.base import BaseEmbedding
    from qdrant_client import QdrantClient

    from colbert_qdrant import MultivectorCollection, Storage
    from colbert_qdrant.collection.indexes import Index
    from colbert_qdrant.collection.stages import StageLike
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.calls import Calls
    from llama_index_colbert_qdrant.index import ColbertVectorStoreIndex
    from llama_index_colbert_qdrant.pipeline import ColbertIngestionPipeline


class ColbertQdrantVectorStore(BasePydanticVectorStore):
    """Nodes stored as one vector a token and found by MaxSim: text in, text queries.

    The store encodes nodes and queries itself; embeddings of queries are never looked at, those of nodes only where
    `embed_model` says whose they are. What it writes LangChain's ``ColbertQdrantVectorStore`` reads, and the other way
    round. There is nothing to persist: a store on the same place finds its nodes again.

    Constructing it opens the collection and waits for a server; the asynchronous methods leave the event loop free.

    Parameters
    ----------
    collection_name
        Created when it is missing.
    embedder
        A `ColbertEmbedder`, the name of a model, or any `Embedder`; ``None``: `ColbertEmbedder`'s default. Long texts
        are encoded whole, as windows, unless the embedder was made with `long_documents`.
    client, url, path, location, api_key, prefer_grpc, timeout, client_options
        Where the collection lives: one of the first four, by default in memory. See `MultivectorCollection`.
    vector_name, content_key, metadata_key
        What its parts are called in Qdrant.
    stages
        What finds candidates for MaxSim: `Muvera`, `Centroids`, `Dense`, `Bm25`, or several. See
        `MultivectorCollection`.
    embed_model
        The model that embeds the nodes, where it is the encoder of a `Dense` stage too: the stage then takes a node's
        ``embedding`` and does not compute it again. It has to be the same object, or of the same class and name.
    enable_hybrid
        Candidates by words beside those by meaning, and so the mode "hybrid": ``[Muvera(dim), Bm25()]`` where there
        are no `stages`, else a `Bm25` more.
    storage
        How a new collection is stored.
    indexes
        Payload indexes by metadata key, such as ``{"year": "integer"}``; those that are missing are made.
    payload_indexes
        The same as LlamaIndex's own store takes it: ``[{"field_name": "year", "field_schema": "integer"}]``.
    index_doc_id
        Index the document of each node, by which documents are deleted and updated, when nodes are added.
    tenant, shard_key
        Whose nodes these are, of several tenants of one collection, and where they lie. See `MultivectorCollection`.
    **others
        Of LlamaIndex's own store: ``aclient``, ``batch_size``, ``parallel`` and ``max_retries`` have no effect; what
        stands for the others, the error says.

    Raises
    ------
    InvalidInput
        An argument is none, or no place.
    CollectionMismatch
        The collection was made for other vectors, by another model or with other keys.
    EngineUnavailable
        The server does not answer.

    Notes
    -----
    Similarities are relevances: MaxSim divided by the number of the query's vectors, from 0 to 1. MaxSim itself is
    what ``store.collection.search`` gives.

    Examples
    --------
    >>> from llama_index.core.schema import Document
    >>> store = ColbertQdrantVectorStore("movies", "all-MiniLM-L6-v2-int8")
    >>> index = store.as_index([Document(text="A soldier relives the same day.")])
    >>> [found] = index.as_retriever(similarity_top_k=1).retrieve("time loop")
    >>> found.text
    'A soldier relives the same day.'
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    collection_name: str

    _collection: MultivectorCollection = PrivateAttr()
    _is_shared: bool = PrivateAttr(default=False)
    _indexes_documents: bool = PrivateAttr(default=True)
    _dense: str | None = PrivateAttr(default=None)
    _has_warned: bool = PrivateAttr(default=False)

    def __init__(
        self,
        collection_name: str,
        embedder: Embedder | str | None = None,
        *,
        client: QdrantClient | None = None,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        location: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout: float | None = None,
        client_options: Mapping[str, Any] | None = None,
        vector_name: str = "colbert",
        content_key: str = "page_content",
        metadata_key: str = "metadata",
        stages: Iterable[StageLike] | None = None,
        embed_model: BaseEmbedding | None = None,
        enable_hybrid: bool = False,
        storage: Storage | None = None,
        indexes: Mapping[str, Index] | None = None,
        payload_indexes: Sequence[Mapping[str, Any]] | None = None,
        index_doc_id: bool = True,
        tenant: str | None = None,
        shard_key: str | int | None = None,
        **others: Any,
    ) -> None:
        from colbert_qdrant import MultivectorCollection

        migration.refuse(others, type(self).__name__)
        if others.get("aclient") is not None and client is None and url is None:
            raise InvalidInput("aclient= alone opens nothing: give url=, whose I/O is asynchronous too, or client=")
        stages = None if stages is None else list(stages)
        dense = None if embed_model is None else stage_of(embed_model, stages or ())
        whole = windowed(embedder)
        collection = MultivectorCollection(
            collection_name,
            whole,
            client=client,
            url=url,
            path=path,
            location=location,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            timeout=timeout,
            client_options=client_options,
            vector_name=vector_name,
            content_key=content_key,
            metadata_key=metadata_key,
            stages=with_words(stages, whole) if enable_hybrid else stages,
            storage=storage,
            indexes=migration.indexes_of(indexes, payload_indexes),
            tenant=tenant,
            shard_key=shard_key,
        )
        self._hold(collection, is_shared=False)
        self._dense = dense
        self._indexes_documents = index_doc_id and tenant is None

    @classmethod
    def of(cls, collection: MultivectorCollection) -> Self:
        """Return a store over an open collection, which stays the caller's to close."""
        store = cls.__new__(cls)
        store._hold(collection, is_shared=True)
        return store

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex knows the class by."""
        return "ColbertQdrantVectorStore"

    @property
    def collection(self) -> MultivectorCollection:
        """The collection behind the store, for all that LlamaIndex has no word for."""
        return self._collection

    @property
    def client(self) -> Any:
        """The Qdrant client, or the embedded engine's in its place."""
        engine: Any = self._collection.engine
        return engine.client

    def as_index(
        self,
        documents: Iterable[Document] | None = None,
        *,
        transformations: list[TransformComponent] | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> ColbertVectorStoreIndex:
        """Return an index over the store, which needs no embedding model.

        Parameters
        ----------
        documents
            To be stored now. What is stored of them and did not change costs a look-up, what is no longer in them is
            deleted; both by their ids, so give them ids that stay.
        transformations
            What makes nodes of documents; ``None``: `splitter`.
        show_progress
            Draw bars, here and in each later insertion.
        **kwargs
            As for ``VectorStoreIndex.from_vector_store``.
        """
        from llama_index_colbert_qdrant.index import ColbertVectorStoreIndex

        kwargs.setdefault("embed_model", ColbertTextEmbedding())
        index: Any = ColbertVectorStoreIndex.from_vector_store(
            self,
            transformations=[self.splitter()] if transformations is None else transformations,
            show_progress=show_progress,
            **kwargs,
        )
        if documents:
            index.insert_documents(documents)
        return index  # type: ignore[no-any-return]

    def as_pipeline(
        self, transformations: list[TransformComponent] | None = None, **kwargs: Any
    ) -> ColbertIngestionPipeline:
        """Return a pipeline that ends in the store.

        LlamaIndex hands only those nodes on that have an embedding: one of a pipeline's own making, without
        `ColbertTextEmbedding` at its end, stores nothing, and the store is not told.

        Parameters
        ----------
        transformations
            What makes nodes of documents; ``None``: `splitter`.
        **kwargs
            As for ``IngestionPipeline``, such as ``docstore`` and ``docstore_strategy``.
        """
        from llama_index_colbert_qdrant.pipeline import ColbertIngestionPipeline

        steps = [self.splitter()] if transformations is None else list(transformations)
        return ColbertIngestionPipeline(transformations=[*steps, ColbertTextEmbedding()], vector_store=self, **kwargs)

    def splitter(self) -> SentenceSplitter:
        """Return what cuts documents into nodes that the model reads at once, by its own tokenizer.

        Nodes have ids that are made of their document's and their place in it, so that a script that runs twice does
        not store them twice.
        """
        return splitter_for(self._collection.embedder)

    def add(self, nodes: Sequence[BaseNode], show_progress: bool | None = None, **add_kwargs: Any) -> list[str]:
        """Encode and store nodes; one whose id is stored already replaces it.

        Parameters
        ----------
        nodes
            Of any class. Metadata is stored as JSON; binary data of media is not stored, as in LlamaIndex's own
            stores.
        show_progress
            Draw a bar of the encoding; ``None``: where the index or the pipeline (of `as_pipeline`) that adds them was
            to show progress.
        **add_kwargs
            Further arguments of `MultivectorCollection.add`. With ``on_error="skip"`` nodes that can't be stored are
            left out without a word, but for the ids that are returned.

        Returns
        -------
        The ids of the nodes that are stored, in their order.

        Raises
        ------
        InvalidInput
            Names the nodes that can't be stored, because of a text, an id or metadata; all others are stored.
        """
        options = adding.options_of(add_kwargs)
        columns = self._columns(nodes)
        if self._indexes_documents and DOCUMENT_INDEX not in self._collection.indexes():
            self._collection.create_index(DOCUMENT_INDEX, "keyword")
        self._indexes_documents = False
        shown = is_shown(nodes) if show_progress is None else show_progress
        with adding.reported(self._collection.embedder.model_name, columns["encoded_as"]):
            report = self._collection.add(**columns, show_progress=shown, **options)
        return adding.settled(report, len(nodes), add_kwargs)

    async def async_add(self, nodes: Sequence[BaseNode], show_progress: bool | None = None, **kwargs: Any) -> list[str]:
        """Do as `add` does, without blocking."""
        options = adding.options_of(kwargs)
        columns = await asyncio.to_thread(self._columns, nodes)
        collection = self._collection.as_async()
        if self._indexes_documents and DOCUMENT_INDEX not in await collection.indexes():
            await collection.create_index(DOCUMENT_INDEX, "keyword")
        self._indexes_documents = False
        shown = is_shown(nodes) if show_progress is None else show_progress
        with adding.reported(self._collection.embedder.model_name, columns["encoded_as"]):
            report = await collection.add(**columns, show_progress=shown, **options)
        return adding.settled(report, len(nodes), kwargs)

    def keep_only(self, nodes: Sequence[BaseNode], *, of: Sequence[str]) -> None:
        """Delete the nodes of these documents but for those that are given.

        By a filter, which each copy in a cluster holds against what it has itself, after a refused call other nodes.
        """
        for others in self._calls.others(nodes, of):
            self._collection.delete(filter=others)

    def document_hashes(self, doc_ids: Sequence[str]) -> dict[str, str | None]:
        """Return the hash of each of these documents that there are nodes of, ``None`` of one stored in part.

        In a cluster those nodes count that all copies have.
        """
        hashes: dict[str, str | None] = {}
        for documents in self._calls.all_documents(doc_ids):
            stored: dict[str, list[BaseNode]] = {}
            for node in map(as_node, self._collection.scroll(documents, agreed=True)):
                stored.setdefault(document_id(node), []).append(node)
            hashes |= {doc_id: document_hash(nodes) for doc_id, nodes in stored.items()}
        return hashes

    async def adocument_hashes(self, doc_ids: Sequence[str]) -> dict[str, str | None]:
        """Do as `document_hashes` does, without blocking."""
        return await asyncio.to_thread(self.document_hashes, doc_ids)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes that were made from a document; no node is no error.

        A node that was made from no document counts as its own.

        Raises
        ------
        InvalidInput
            `ref_doc_id` is None or empty.
        """
        migration.refuse(delete_kwargs, "delete")
        self._collection.delete(filter=self._calls.documents(ref_doc_id))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do as `delete` does, without blocking."""
        migration.refuse(delete_kwargs, "adelete")
        await self._collection.as_async().delete(filter=self._calls.documents(ref_doc_id))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by filters, or those of the ids that pass the filters.

        Raises
        ------
        InvalidInput
            Neither ids nor a filter, or a group that says nothing; `clear` empties the store.
        """
        migration.refuse(delete_kwargs, "delete_nodes")
        self._collection.delete(**self._calls.deletion(node_ids, filters))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Do as `delete_nodes` does, without blocking."""
        migration.refuse(delete_kwargs, "adelete_nodes")
        await self._collection.as_async().delete(**self._calls.deletion(node_ids, filters))

    def clear(self) -> None:
        """Delete every node; the collection stays."""
        self._collection.delete(filter=self._calls.everything())

    async def aclear(self) -> None:
        """Do as `clear` does, without blocking."""
        await self._collection.as_async().delete(filter=self._calls.everything())

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Return nodes by id, in that order, by filters, those of the ids that pass the filters, or all of them.

        Ids that are not stored are left out. Nodes come a page at a time, without vectors, and at most `limit` of them.
        """
        migration.refuse(kwargs, "get_nodes")
        migration.check_limit(limit)
        if node_ids is not None and filters is None:
            return [as_node(record) for record in self._collection.get(node_ids)[:limit]]
        records = self._collection.scroll(self._calls.selection(node_ids, filters))
        return [as_node(record) for record in islice(records, limit)]

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Do as `get_nodes` does, without blocking."""
        migration.refuse(kwargs, "aget_nodes")
        migration.check_limit(limit)
        if node_ids is not None and filters is None:
            return [as_node(record) for record in (await self._collection.as_async().get(node_ids))[:limit]]
        nodes: list[BaseNode] = []
        async for record in self._collection.as_async().scroll(self._calls.selection(node_ids, filters)):
            if limit is not None and len(nodes) >= limit:
                break
            nodes.append(as_node(record))
        return nodes

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the nodes with the highest MaxSim, the best first.

        Parameters
        ----------
        query
            Its ``query_str`` is searched for among the nodes that pass ``filters``, are of ``doc_ids`` and, unless it
            is empty, in ``node_ids``. There a ``VectorStoreIndex`` names the IndexNodes and ImageNodes that it was
            given, and finds no other nodes then; an index of `as_index` finds all. Modes are DEFAULT, MMR and, where
            the store has a stage for words (`Bm25`), HYBRID, SEMANTIC_HYBRID, SPARSE and TEXT_SEARCH. SPARSE and
            TEXT_SEARCH find by words alone and have their order; the others go through all stages and have that of
            MaxSim. In HYBRID and SEMANTIC_HYBRID ``alpha`` weighs both, from 0, words alone, to 1, MaxSim alone (see
            `Blend`); ``None`` is 1. ``sparse_top_k`` asks each stage for more candidates than it finds anyway, 100;
            fewer would only lose nodes.
        **kwargs
            A retriever's ``vector_store_kwargs``: ``filter``, a `qdrant_client.models.Filter` to pass as well;
            ``qdrant_filters``, the same, with keys that are checked; for MMR ``mmr_threshold``, from 0 (the least
            alike) to 1 (the most relevant), and ``mmr_prefetch_k`` or ``mmr_prefetch_factor``, how many candidates to
            choose from; ``search_params``, also as a dict; or further arguments of `MultivectorCollection.search`.

        Raises
        ------
        InvalidInput
            The query has no text, an option is none, a number is out of range, or two say what orders the nodes.
        UnsupportedByEngine
            Another mode, or a filter that Qdrant can't answer.
        """
        return as_result(self._collection.search(**self._calls.search(query, kwargs)))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do as `query` does, without blocking."""
        return as_result(await self._collection.as_async().search(**self._calls.search(query, kwargs)))

    def close(self) -> None:
        """Close the connection, unless the client or the collection is the caller's own."""
        if not self._is_shared:
            self._collection.close()

    async def aclose(self) -> None:
        """Close what this event loop opened, then do as `close` does."""
        if not self._is_shared:
            await self._collection.as_async().close()
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a store over the same collection, which stays this store's to close."""
        store = type(self).of(self._collection)
        store._dense = self._dense
        return store

    def __getstate__(self) -> NoReturn:
        """Refuse: LlamaIndex would drop the connection and open an empty collection in memory on the other side."""
        raise TypeError("a ColbertQdrantVectorStore can't be pickled: open another one on the same place")

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> NoReturn:
        """Refuse: a dict holds neither the place nor the model."""
        raise InvalidInput(
            f"a {cls.__name__} can't be made of a dict, which holds neither its place nor its model: open the "
            f"collection {data.get('collection_name')!r} again"
        )

    def _hold(self, collection: MultivectorCollection, *, is_shared: bool) -> None:
        super().__init__(collection_name=collection.name)  # type: ignore[call-arg]  # mypy knows the base's fields only
        self._collection = collection
        self._is_shared = is_shared
        self._indexes_documents = collection.layout.tenant is None  # one of several may not change the collection

    def _columns(self, nodes: Sequence[BaseNode]) -> dict[str, Any]:
        if self._dense is not None:
            return as_columns(nodes) | {"stage_vectors": {self._dense: embeddings_of(nodes)}}
        self._has_warned = self._has_warned or adding.warn_of_embeddings(nodes)
        return as_columns(nodes)

    @property
    def _calls(self) -> Calls:
        from llama_index_colbert_qdrant.calls import Calls

        return Calls(self._collection.layout)


def with_words(stages: Iterable[StageLike] | None, embedder: Embedder) -> list[StageLike]:
    """Return the stages with one for words; beside one for meaning, as words alone would hide what has other words."""
    from colbert_qdrant import Bm25, Muvera
    from colbert_qdrant.embedders import embedder_dim

    given: list[StageLike] = [Muvera(embedder_dim(embedder))] if stages is None else list(stages)
    return given if any(isinstance(stage, Bm25) for stage in given) else [*given, Bm25()]
