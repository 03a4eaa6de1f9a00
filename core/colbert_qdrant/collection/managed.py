"""What both faces do with collections as wholes: list, drop, index, publish. The decisions are the operations'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias, TypeVar, Unpack

from colbert_qdrant.collection import administration, indexes, tenants
from colbert_qdrant.collection.driving import AsyncDriver, Driver, InThreads
from colbert_qdrant.collection.engines import Place, PlaceKeywords, connect, connect_async
from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.operations import Operation
from colbert_qdrant.collection.reopening import Reopened
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.embedders import NoEmbedder
from colbert_qdrant.types import Embedder

T = TypeVar("T")

Names: TypeAlias = list[str]


class ManagedCollection(Driver, Reopened):
    """The part of `MultivectorCollection` that is about the collection as a whole."""

    layout: Layout

    def _run(self, operation: Operation[T]) -> T:
        """Carry out an operation's steps, kept to the tenant and the shard key."""
        return super()._run(tenants.carried(self.layout, operation))

    @classmethod
    def list(cls, **place: Unpack[PlaceKeywords]) -> Names:
        """Return the names of the collections of a place, in order; others than ours too.

        Parameters
        ----------
        **place
            ``client``, ``url``, ``path`` and so on; see `Place`.
        """
        with at(Place(**place)) as driver:
            return driver._run(administration.names())

    @classmethod
    def discard(cls, name: str, **place: Unpack[PlaceKeywords]) -> bool:
        """Remove a collection that need not fit, nor be ours, with all that it holds.

        Parameters
        ----------
        name
            Of the collection, or an alias of it.
        **place
            ``client``, ``url``, ``path`` and so on; see `Place`.

        Returns
        -------
        bool
            Whether there was one.
        """
        with at(Place(**place)) as driver:
            return driver._run(administration.discard(name))

    def drop(self) -> None:
        """Remove the collection with all that it holds. What is opened on it finds it gone.

        Raises
        ------
        CollectionNotFound
            It is gone already.
        """
        self._run(administration.drop(self.layout))

    def publish(self, alias: str) -> str | None:
        """Let a name stand for this collection from now on, in one step.

        So a collection is made anew while programs go on searching: fill ``"docs-2"``, publish it as ``"docs"``, the
        name that they open, and drop ``"docs-1"``.

        Returns
        -------
        str or None
            The collection that the name stood for before.

        Raises
        ------
        InvalidInput
            There is a collection of that name.
        UnsupportedByEngine
            The embedded engine has no aliases.
        """
        return self._run(administration.publish(self.layout, alias))

    def create_index(self, key: str, index: Index) -> None:
        """Index a metadata key, which makes filters on it fast.

        A server takes the indexes that are there before its documents into account when it builds the vectors' graph;
        so index early. In memory (local mode) there are no indexes, and this does nothing.

        Parameters
        ----------
        key
            Of the metadata, such as ``"year"`` or ``"place.city"``; ``"$.title"``: of the payload itself.
        index
            A type (``"keyword"``, ``"integer"``, ``"float"``, ``"bool"``, ``"geo"``, ``"datetime"``, ``"text"``,
            ``"uuid"``) or Qdrant's parameters for one.
        """
        self._run(indexes.create(self.layout, key, index))

    def drop_index(self, key: str) -> None:
        """Index a metadata key no longer; one that is not indexed is no error."""
        self._run(indexes.drop(self.layout, key))

    def indexes(self) -> dict[str, str]:
        """Return the type of each payload index by its key, spelled as for `create_index`."""
        return self._run(indexes.existing(self.layout))


class AsyncManagedCollection(AsyncDriver, Reopened):
    """The part of `AsyncMultivectorCollection` that is about the collection as a whole."""

    @property
    def layout(self) -> Layout:
        """Where things are in the collection."""
        raise NotImplementedError

    async def _open(self) -> None:
        raise NotImplementedError

    async def _run(self, operation: Operation[T]) -> T:
        """Carry out an operation's steps, kept to the tenant and the shard key."""
        return await super()._run(tenants.carried(self.layout, operation))

    @classmethod
    async def list(cls, **place: Unpack[PlaceKeywords]) -> Names:
        """Return the names of the collections of a place; see `MultivectorCollection.list`."""
        async with at_async(Place(**place)) as driver:
            return await driver._run(administration.names())

    @classmethod
    async def discard(cls, name: str, **place: Unpack[PlaceKeywords]) -> bool:
        """Remove a collection that need not fit; see `MultivectorCollection.discard`."""
        async with at_async(Place(**place)) as driver:
            return await driver._run(administration.discard(name))

    async def drop(self) -> None:
        """Remove the collection with all that it holds; see `MultivectorCollection.drop`."""
        await self._open()
        await self._run(administration.drop(self.layout))

    async def publish(self, alias: str) -> str | None:
        """Let a name stand for this collection, in one step; see `MultivectorCollection.publish`."""
        await self._open()
        return await self._run(administration.publish(self.layout, alias))

    async def create_index(self, key: str, index: Index) -> None:
        """Index a metadata key; see `MultivectorCollection.create_index`."""
        await self._open()
        await self._run(indexes.create(self.layout, key, index))

    async def drop_index(self, key: str) -> None:
        """Index a metadata key no longer; see `MultivectorCollection.drop_index`."""
        await self._open()
        await self._run(indexes.drop(self.layout, key))

    async def indexes(self) -> dict[str, str]:
        """Return the type of each payload index by its key; see `MultivectorCollection.indexes`."""
        await self._open()
        return await self._run(indexes.existing(self.layout))


@contextmanager
def at(place: Place, embedder: Embedder | None = None) -> Iterator[Driver]:
    """Open a place for an operation that is no open collection's."""
    engine = connect(place)
    try:
        yield Driver(engine, embedder or NoEmbedder(0))
    finally:
        if place.client is None:
            engine.close()


@asynccontextmanager
async def at_async(place: Place, embedder: Embedder | None = None) -> AsyncIterator[AsyncDriver]:
    """Open a place for an operation that is no open collection's."""
    engine = connect_async(place) or InThreads(connect(place))
    try:
        yield AsyncDriver(engine, embedder or NoEmbedder(0))
    finally:
        if place.client is None:
            await engine.close()
