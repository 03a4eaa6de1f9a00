"""What both faces do with collections as wholes: list, drop, index, publish, upgrade. Operations decide, not this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeAlias, TypeVar, Unpack

from colbert_qdrant.collection import administration, growing, indexes, operations, tenants, upgrading
from colbert_qdrant.collection.driving import AsyncDriver, Driver, InThreads
from colbert_qdrant.collection.engines import Place, PlaceKeywords, connect, connect_async
from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.operations import Operation
from colbert_qdrant.collection.progress import progress_bar
from colbert_qdrant.collection.reopening import Reopened
from colbert_qdrant.collection.reports import AddReport
from colbert_qdrant.collection.schema import DEFAULT_VECTOR, Layout
from colbert_qdrant.collection.stages import StageLike, as_stages
from colbert_qdrant.embedders import NoEmbedder, as_embedder
from colbert_qdrant.types import Embedder

T = TypeVar("T")

Names: TypeAlias = list[str]


class ManagedCollection(Driver, Reopened):
    """The part of `MultivectorCollection` that is about the collection as a whole."""

    layout: Layout
    settings: dict[str, Any]

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
        name that they open, and drop ``"docs-1"``. A program that has the name open goes on asking with the model that
        it opened it with (what it adds is refused where the new collection is of another one): open it again there.

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

    @classmethod
    def upgrade(
        cls,
        name: str,
        embedder: Embedder | str,
        *,
        dense: Any = None,
        vector_name: str = DEFAULT_VECTOR,
        content_key: str | None = None,
        metadata_key: str | None = None,
        show_progress: bool | None = None,
        progress: Callable[[AddReport], None] | None = None,
        **place: Unpack[PlaceKeywords],
    ) -> Self:
        """Give a collection of single vectors token vectors too, and open it.

        The collection is one that langchain-qdrant, LlamaIndex's store, qdrant-haystack or mcp-server-qdrant wrote, or
        another whose text lies under `content_key`. The multivector is made beside its vectors, from its stored texts;
        nothing that it has is touched, and the program that wrote it goes on working. What that program adds later is
        found when `upgrade` has run again, which encodes only what has no token vectors yet; so is a run finished that
        was stopped. `downgrade` takes all back.

        Parameters
        ----------
        name
            Of the collection.
        embedder
            As for the class.
        dense
            The encoder that its vectors were made with (anything that `Dense` takes, or a `Dense`): they become a first
            stage. It is held against stored vectors. ``None``: MaxSim over all documents.
        vector_name
            Of the multivector.
        content_key, metadata_key
            Where text and metadata lie, for a payload of another program; remembered for another run.
        show_progress, progress
            As for `add`.
        **place
            ``client``, ``url``, ``path`` and so on; see `Place`.

        Raises
        ------
        CollectionNotFound
            There is none of this name.
        InvalidInput
            It has token vectors already, nobody knows its payload, no payload has a text, or `dense` is not what its
            vectors were made with.
        CollectionMismatch
            It was upgraded with other settings, was given a first stage whose encoder is not here, or the name is an
            alias that another collection was given meanwhile.
        """
        encoder = as_embedder(embedder)
        wanted = upgrading.wanted_of(name, encoder, dense, vector_name, content_key, metadata_key)
        with progress_bar(None, show=show_progress, also=progress) as advance, at(Place(**place), encoder) as driver:
            _, stages = driver._run(upgrading.upgrade(wanted, driver.engine.wire, progress=advance))
        make: Callable[..., Self] = cls  # of the face
        return make(name, encoder, vector_name=vector_name, stages=stages, create=False, **place)

    @classmethod
    def downgrade(cls, name: str, **place: Unpack[PlaceKeywords]) -> None:
        """Take token vectors away that `upgrade` made, and first stages that were added: the collection is what it was.

        Documents that we added stay. What had vectors of its own, or those of another text, has to be added again after
        another `upgrade`, which makes vectors of the texts that are stored.

        Parameters
        ----------
        name
            Of the collection.
        **place
            Where it is; see `Place`.

        Raises
        ------
        InvalidInput
            It was not upgraded.
        """
        with at(Place(**place)) as driver:
            driver._run(upgrading.downgrade(name))

    def add_stage(self, stage: StageLike) -> None:
        """Give the collection another first stage, computed from its stored texts or token vectors.

        Text that is stored under another form than it was encoded in (`encoded_as`) is encoded as it is stored.
        Others may write meanwhile: no document is left without the stage's vector. A run that was stopped is repeated,
        and adding a stage that is there completes it.

        Raises
        ------
        InvalidInput
            There is another stage of that name, or a vector that was not made as a stage, as another program's.
        CollectionMismatch
            The name is an alias that another collection was given since.
        """
        [made] = as_stages([stage])
        self.layout = self._run(growing.add_stage(self.layout, self.settings, self.engine.wire, made))

    def optimize(self) -> bool:
        """Build the vector indexes of an embedded collection, and give back what deleted documents keep on disk.

        It takes time and is done when you say so: after loading, say. A server does it by itself, and in memory there
        are no indexes.

        Returns
        -------
        bool
            Whether there was anything to build or to give back.
        """
        return self._run(operations.optimize(self.layout))


class AsyncManagedCollection(AsyncDriver, Reopened):
    """The part of `AsyncMultivectorCollection` that is about the collection as a whole."""

    settings: dict[str, Any]

    @property
    def layout(self) -> Layout:
        """Where things are in the collection."""
        raise NotImplementedError

    @layout.setter
    def layout(self, layout: Layout) -> None:
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

    @classmethod
    async def upgrade(
        cls,
        name: str,
        embedder: Embedder | str,
        *,
        dense: Any = None,
        vector_name: str = DEFAULT_VECTOR,
        content_key: str | None = None,
        metadata_key: str | None = None,
        show_progress: bool | None = None,
        progress: Callable[[AddReport], None] | None = None,
        **place: Unpack[PlaceKeywords],
    ) -> Self:
        """Give a collection of single vectors token vectors too; see `MultivectorCollection.upgrade`."""
        encoder = as_embedder(embedder)
        wanted = upgrading.wanted_of(name, encoder, dense, vector_name, content_key, metadata_key)
        with progress_bar(None, show=show_progress, also=progress) as advance:
            async with at_async(Place(**place), encoder) as driver:
                _, stages = await driver._run(upgrading.upgrade(wanted, driver.engine.wire, progress=advance))
        make: Callable[..., Self] = cls  # of the face
        return make(name, encoder, vector_name=vector_name, stages=stages, create=False, **place)

    @classmethod
    async def downgrade(cls, name: str, **place: Unpack[PlaceKeywords]) -> None:
        """Take token vectors away that `upgrade` made; see `MultivectorCollection.downgrade`."""
        async with at_async(Place(**place)) as driver:
            await driver._run(upgrading.downgrade(name))

    async def add_stage(self, stage: StageLike) -> None:
        """Give the collection another first stage; see `MultivectorCollection.add_stage`."""
        await self._open()
        [made] = as_stages([stage])
        self.layout = await self._run(growing.add_stage(self.layout, self.settings, self.engine.wire, made))

    async def optimize(self) -> bool:
        """Build the vector indexes of an embedded collection; see `MultivectorCollection.optimize`."""
        await self._open()
        return await self._run(operations.optimize(self.layout))


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
