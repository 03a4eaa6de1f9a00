"""AsyncMultivectorCollection: the same operations for callers on an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from qdrant_client import models

from colbert_qdrant.collection import administration, citing, ingest, operations, search_options, searching
from colbert_qdrant.collection.columns import Source
from colbert_qdrant.collection.driving import AsyncDriver, InThreads
from colbert_qdrant.collection.engines import AsyncEngine, Place, connect, connect_async
from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.managed import AsyncManagedCollection
from colbert_qdrant.collection.operations import Query
from colbert_qdrant.collection.points import Hit, Record
from colbert_qdrant.collection.progress import progress_bar
from colbert_qdrant.collection.reports import AddReport, Failure, OnError
from colbert_qdrant.collection.schema import DEFAULT_VECTOR, Layout
from colbert_qdrant.collection.search_options import SearchKeywords
from colbert_qdrant.collection.stages import StageLike, as_stages
from colbert_qdrant.collection.storage import Footprint, Storage
from colbert_qdrant.collection.sync import MultivectorCollection
from colbert_qdrant.collection.tenants import check_tenant
from colbert_qdrant.embedders import as_embedder, check_collection_name, embedder_dim, embedder_settings
from colbert_qdrant.explanation import Explanation
from colbert_qdrant.microbatch import AsyncQueryBatcher, QueryBatcher
from colbert_qdrant.passages import EncodedText, Passage
from colbert_qdrant.types import Embedder

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient


class AsyncMultivectorCollection(AsyncManagedCollection):
    """`MultivectorCollection` for an event loop.

    With `url` or an `AsyncQdrantClient` the I/O is asynchronous; in memory, embedded, or with a `QdrantClient`,
    each call runs in a thread. Encoding always runs in a thread. The collection is opened (created, or held
    against what is there) by the first call, or by ``async with``.

    Parameters
    ----------
    name, embedder, url, path, location, api_key, prefer_grpc, timeout, client_options
        As in `MultivectorCollection`.
    dim, vector_name, content_key, metadata_key, stages, storage, indexes, tenant, shard_key, create
        As in `MultivectorCollection`.
    client, async_client
        An `AsyncQdrantClient` or a `QdrantClient`.
    """

    def __init__(
        self,
        name: str,
        embedder: Embedder | str | None,
        *,
        dim: int | None = None,
        client: AsyncQdrantClient | QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        location: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout: float | None = None,
        client_options: Mapping[str, Any] | None = None,
        vector_name: str = DEFAULT_VECTOR,
        content_key: str = "page_content",
        metadata_key: str = "metadata",
        stages: Iterable[StageLike] | None = None,
        storage: Storage | None = None,
        indexes: Mapping[str, Index] | None = None,
        tenant: str | None = None,
        shard_key: str | int | None = None,
        create: bool = True,
    ) -> None:
        check_collection_name(name, embedder)
        self.place = Place(
            client=client,
            async_client=async_client,
            url=url,
            path=path,
            location=location,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            timeout=timeout,
            client_options=client_options,
        )
        self.embedder = as_embedder(embedder, dim)
        self.settings = embedder_settings(self.embedder)
        self._queries = AsyncQueryBatcher(QueryBatcher(self.embedder))
        self.storage = storage or Storage()
        size = embedder_dim(self.embedder)
        self._layout = Layout(
            name,
            vector_name,
            content_key,
            metadata_key,
            size,
            as_stages(stages or ()),
            tenant=check_tenant(tenant),
            shard_key=shard_key,
        )
        self._of: MultivectorCollection | None = None
        self._create, self._restore, self._indexes = create, stages is None, indexes or {}
        self.engine: AsyncEngine = connect_async(self.place) or InThreads(connect(self.place))
        self._owns_engine = client is None
        self._is_open = False
        self._opening = asyncio.Lock()

    @classmethod
    def of(cls, collection: MultivectorCollection) -> AsyncMultivectorCollection:
        """Return the asynchronous face of an open collection."""
        face = cls.__new__(cls)
        face.place, face.embedder, face.settings = collection.place, collection.embedder, collection.settings
        face._of, face.storage = collection, collection.storage
        face._queries = AsyncQueryBatcher(collection.queries)
        own = connect_async(collection.place)
        face.engine = own or InThreads(collection.engine)
        face._owns_engine = own is not None and collection.place.async_client is None
        face._is_open = True
        face._opening = asyncio.Lock()
        return face

    @property
    def layout(self) -> Layout:
        """Where things are in the collection; a face's is its collection's, which may be given another stage."""
        return self._layout if self._of is None else self._of.layout

    @layout.setter
    def layout(self, layout: Layout) -> None:
        if self._of is None:
            self._layout = layout
        else:
            self._of.layout = layout

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.layout.name

    async def add(
        self,
        texts: Iterable[str] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        *,
        extras: Iterable[Mapping[str, Any]] | None = None,
        encoded_as: Iterable[str] | None = None,
        vectors: Iterable[Any] | None = None,
        stage_vectors: Mapping[str, Iterable[Any]] | None = None,
        on_error: OnError = "raise",
        show_progress: bool | None = None,
        progress: Callable[[AddReport], None] | None = None,
    ) -> AddReport:
        """Encode and store documents; see `MultivectorCollection.add`."""
        source = Source(
            texts=texts,
            metadatas=metadatas,
            ids=ids,
            extras=extras,
            encoded_as=encoded_as,
            vectors=vectors,
            stage_vectors=stage_vectors,
        )
        await self._open()
        with progress_bar(vectors if texts is None else texts, show=show_progress, also=progress) as advance:
            before = self.layout
            report, after = await self._run(
                ingest.add(before, self.settings, self.engine.wire, source, on_error=on_error, progress=advance)
            )
        if after.stages != before.stages:  # others have added one
            self.layout = after
        return report

    async def search(self, query: Query, limit: int = 10, **options: Unpack[SearchKeywords]) -> list[Hit]:
        """Find the documents with the highest MaxSim; see `MultivectorCollection.search`."""
        asked = search_options.options(limit, options)
        await self._open()
        return await self._run(searching.search(self.layout, query, asked))

    async def search_batch(
        self, queries: Sequence[Query], limit: int = 10, **options: Unpack[SearchKeywords]
    ) -> list[list[Hit]]:
        """Answer several queries at once; see `MultivectorCollection.search_batch`."""
        asked = search_options.options(limit, options)
        await self._open()
        return await self._run(searching.search_batch(self.layout, queries, asked))

    async def score(
        self, query: Query, ids: Sequence[RecordId], *, texts: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the MaxSim of stored records with a query; see `MultivectorCollection.score`."""
        await self._open()
        return await self._run(searching.score(self.layout, self.settings, query, ids, texts))

    async def passages(self, query: Query, ids: Sequence[RecordId], limit: int = 3) -> dict[str, tuple[Passage, ...]]:
        """Return the parts of records that answer a query best; see `MultivectorCollection.passages`."""
        await self._open()
        return await self._run(citing.passages(self.layout, query, ids, limit))

    async def encoded(self, ids: Sequence[RecordId]) -> dict[str, EncodedText]:
        """Return records' texts with their token vectors and their places; see `MultivectorCollection.encoded`."""
        await self._open()
        return await self._run(citing.encoded(self.layout, ids))

    async def explain(self, query: str, record_id: RecordId) -> Explanation:
        """Say which token of a record answered which of the query; see `MultivectorCollection.explain`."""
        await self._open()
        return await self._run(citing.explanation(self.layout, query, record_id))

    async def get(self, ids: Sequence[RecordId], *, with_vectors: bool = False) -> list[Record]:
        """Return records in the order of their ids; missing ones are left out."""
        await self._open()
        return await self._run(operations.get(self.layout, ids, with_vectors=with_vectors))

    async def delete(self, ids: Iterable[RecordId] | None = None, *, filter: models.Filter | None = None) -> None:
        """Delete records; see `MultivectorCollection.delete`."""
        await self._open()
        await self._run(operations.delete(self.layout, ids, filter))

    async def set_metadata(self, ids: Iterable[RecordId], metadata: Mapping[str, Any]) -> int:
        """Set keys in the metadata of records; see `MultivectorCollection.set_metadata`."""
        await self._open()
        return await self._run(operations.set_metadata(self.layout, ids, metadata))

    async def count(self, filter: models.Filter | None = None) -> int:
        """Return how many records pass a filter, exactly."""
        await self._open()
        return await self._run(operations.count(self.layout, filter))

    async def scroll(
        self, filter: models.Filter | None = None, *, with_vectors: bool = False, agreed: bool = False
    ) -> AsyncIterator[Record]:
        """Yield all records that pass a filter, a page at a time; see `MultivectorCollection.scroll`."""
        operations.check_filter(filter)
        await self._open()
        offset = None
        while True:
            page, offset = await self._run(
                operations.scroll_page(self.layout, filter, offset, with_vectors=with_vectors, agreed=agreed)
            )
            for record in page:
                yield record
            if offset is None:
                return

    async def footprint(self, texts: Sequence[str], documents: int) -> Footprint:
        """Estimate what so many documents will take; see `MultivectorCollection.footprint`."""
        await self._open()
        return await self._run(operations.estimate(self.layout, self.storage, texts, documents))

    async def plan(self, texts: Sequence[str]) -> list[Failure]:
        """Return the texts that `add` would refuse; see `MultivectorCollection.plan`."""
        await self._open()
        return await self._run(ingest.refusals(self.layout, texts))

    async def close(self) -> None:
        """Close the connection, unless it is the caller's own."""
        if self._of is not None:
            self._of._forget(self)
        if self._owns_engine:
            await self.engine.close()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        layout = getattr(self, "layout", None)  # there is none while the constructor fails
        if layout is None:
            return f"{type(self).__name__}(not opened)"
        return f"{type(self).__name__}({layout.name!r}, model={self.embedder.model_name!r})"

    async def _open(self) -> None:
        if self._is_open:
            return
        async with self._opening:
            if not self._is_open:
                opening = administration.open_collection(
                    self.layout, self.settings, self.storage, self._indexes, create=self._create, restore=self._restore
                )
                self.layout = await AsyncDriver._run(self, opening)
                self._is_open = True
