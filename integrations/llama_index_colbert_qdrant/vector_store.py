"""ColbertQdrantVectorStore: LlamaIndex nodes as token vectors in Qdrant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.indices import VectorStoreIndex
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from colbert_qdrant.embedders import windowed
from llama_index_colbert_qdrant.embedding import ColbertTextEmbedding
from llama_index_colbert_qdrant.nodes import as_columns, as_node, as_result

if TYPE_CHECKING:
    from typing import Self

    from qdrant_client import QdrantClient

    from colbert_qdrant import MultivectorCollection, Muvera, Storage
    from colbert_qdrant.collection.stages import Stage
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.calls import Calls


class ColbertQdrantVectorStore(BasePydanticVectorStore):
    """Nodes stored as one vector a token and found by MaxSim: text in, text queries.

    The store encodes nodes and queries itself; embeddings of nodes and queries are never looked at. What it writes
    LangChain's ``ColbertQdrantVectorStore`` reads, and the other way round. There is nothing to persist: a store
    on the same place finds its nodes again.

    Constructing it opens the collection and waits for a server; the asynchronous methods leave the event loop free.

    Parameters
    ----------
    collection_name
        Created when it is missing.
    embedder
        A `ColbertEmbedder`, the name of a model, or any `Embedder`; ``None``: `ColbertEmbedder`'s default.
    client, url, path, location, api_key, prefer_grpc, timeout
        Where the collection lives: one of the first four, by default in memory. See `MultivectorCollection`.
    vector_name, content_key, metadata_key
        What its parts are called in Qdrant.
    stages
        What finds candidates for MaxSim: `Muvera`, `Dense`, `Bm25`, or several. See `MultivectorCollection`.
    storage
        How a new collection is stored.

    Raises
    ------
    CollectionMismatch
        The collection was made for other vectors or by another model.
    EngineUnavailable
        The server does not answer.

    Notes
    -----
    Similarities are MaxSim: sums over the query's vectors, not numbers from 0 to 1.

    Examples
    --------
    >>> from llama_index.core.schema import Document
    >>> store = ColbertQdrantVectorStore("movies", "all-MiniLM-L6-v2-int8")
    >>> index = store.as_index()
    >>> index.insert(Document(text="A soldier relives the same day."))
    >>> [found] = index.as_retriever(similarity_top_k=1).retrieve("time loop")
    >>> found.text
    'A soldier relives the same day.'
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    collection_name: str

    _collection: MultivectorCollection = PrivateAttr()
    _is_shared: bool = PrivateAttr(default=False)

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
        timeout: int | None = None,
        vector_name: str = "colbert",
        content_key: str = "page_content",
        metadata_key: str = "metadata",
        stages: Iterable[Stage | Muvera] | None = None,
        storage: Storage | None = None,
    ) -> None:
        from colbert_qdrant import MultivectorCollection

        collection = MultivectorCollection(
            collection_name,
            windowed(embedder),
            client=client,
            url=url,
            path=path,
            location=location,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            timeout=timeout,
            vector_name=vector_name,
            content_key=content_key,
            metadata_key=metadata_key,
            stages=stages,
            storage=storage,
        )
        self._hold(collection, is_shared=False)

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

    def as_index(self, **kwargs: Any) -> VectorStoreIndex:
        """Return an index over the store, which needs no embedding model.

        Parameters
        ----------
        **kwargs
            As for ``VectorStoreIndex.from_vector_store``, such as ``transformations``.
        """
        return VectorStoreIndex.from_vector_store(self, embed_model=ColbertTextEmbedding(), **kwargs)

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Encode and store nodes; one whose id is stored already replaces it.

        Parameters
        ----------
        nodes
            Of any class. Metadata is stored as it is and must be JSON; binary data of media is not stored, as in
            LlamaIndex's own stores.
        **add_kwargs
            Further arguments of `MultivectorCollection.add`.

        Returns
        -------
        The ids of the nodes, in their order.

        Raises
        ------
        InvalidInput
            A text, an id or metadata can't be stored; nothing was.
        """
        return self._collection.add(**as_columns(nodes), **add_kwargs).ids

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do as `add` does, without blocking."""
        columns = await asyncio.to_thread(as_columns, nodes)
        return (await self._collection.as_async().add(**columns, **kwargs)).ids

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes that were made from a document; no node is no error.

        A node that was made from no document counts as its own.

        Raises
        ------
        InvalidInput
            `ref_doc_id` is None or empty.
        """
        self._collection.delete(filter=self._calls.document(ref_doc_id), **delete_kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do as `delete` does, without blocking."""
        await self._collection.as_async().delete(filter=self._calls.document(ref_doc_id), **delete_kwargs)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by filters, or those of the ids that pass the filters.

        Raises
        ------
        InvalidInput
            Neither ids nor a filter; `clear` empties the store.
        """
        self._collection.delete(**self._calls.deletion(node_ids, filters), **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Do as `delete_nodes` does, without blocking."""
        await self._collection.as_async().delete(**self._calls.deletion(node_ids, filters), **delete_kwargs)

    def clear(self) -> None:
        """Delete every node; the collection stays."""
        self._collection.delete(filter=self._calls.everything())

    async def aclear(self) -> None:
        """Do as `clear` does, without blocking."""
        await self._collection.as_async().delete(filter=self._calls.everything())

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id, in that order, by filters, those of the ids that pass the filters, or all of them.

        Ids that are not stored are left out. Nodes come a page at a time, without vectors.
        """
        if node_ids is not None and filters is None:
            return [as_node(record) for record in self._collection.get(node_ids)]
        return [as_node(record) for record in self._collection.scroll(self._calls.selection(node_ids, filters))]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Do as `get_nodes` does, without blocking."""
        if node_ids is not None and filters is None:
            return [as_node(record) for record in await self._collection.as_async().get(node_ids)]
        selected = self._calls.selection(node_ids, filters)
        return [as_node(record) async for record in self._collection.as_async().scroll(selected)]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the nodes with the highest MaxSim, the best first.

        Parameters
        ----------
        query
            Its ``query_str`` is searched for among the nodes that pass ``filters``, are of ``doc_ids`` and, unless it
            is empty, in ``node_ids``. Modes are DEFAULT, MMR and, where the store has a stage for words (`Bm25`),
            HYBRID and SEMANTIC_HYBRID. Every mode goes through all stages.
        **kwargs
            A retriever's ``vector_store_kwargs``: ``qdrant_filters``, a `qdrant_client.models.Filter` to pass as
            well; for MMR ``mmr_threshold``, from 0 (the least alike) to 1 (the most relevant), and ``mmr_prefetch_k``,
            how many candidates to choose from; or further arguments of `MultivectorCollection.search`.

        Raises
        ------
        InvalidInput
            The query has no text, or a number is out of range.
        UnsupportedByEngine
            Another mode, ``alpha``, or a filter that Qdrant can't answer.
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

    def __getstate__(self) -> NoReturn:
        """Refuse: LlamaIndex would drop the connection and open an empty collection in memory on the other side."""
        raise TypeError("a ColbertQdrantVectorStore can't be pickled: open another one on the same place")

    def _hold(self, collection: MultivectorCollection, *, is_shared: bool) -> None:
        super().__init__(collection_name=collection.name)  # type: ignore[call-arg]  # mypy knows the base's fields only
        self._collection = collection
        self._is_shared = is_shared

    @property
    def _calls(self) -> Calls:
        from llama_index_colbert_qdrant.calls import Calls

        return Calls(self._collection.layout)
