"""The places a collection can live in, behind one set of calls: those of ``qdrant_client``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from colbert_qdrant.collection.engines.bm25 import with_bm25_vectors
from colbert_qdrant.collection.engines.place import Place as Place
from colbert_qdrant.collection.engines.place import PlaceKeywords as PlaceKeywords
from colbert_qdrant.collection.points import Wire
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

if TYPE_CHECKING:
    from colbert_qdrant.collection.engines.edge import EdgeClient

T = TypeVar("T")


class Engine(Protocol):
    """Carries out the calls of an operation."""

    wire: Wire

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a method of ``QdrantClient``, or ``optimize``."""
        ...

    def close(self) -> None:
        """Let go of what the engine holds."""
        ...


class AsyncEngine(Protocol):
    """Carries out the calls of an operation without blocking."""

    wire: Wire

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a method of ``AsyncQdrantClient``, or ``optimize``."""
        ...

    async def close(self) -> None:
        """Let go of what the engine holds."""
        ...


class Embedded:
    """Carries calls out on the embedded engine, which speaks numpy and raises our errors by itself.

    Parameters
    ----------
    client
        Of the folder the collections are in.
    """

    wire = Wire(bytes_per_float=8, request_bytes=64 * 2**20)

    def __init__(self, client: EdgeClient) -> None:
        self.client = client

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call."""
        if not hasattr(self.client, method):
            raise UnsupportedByEngine(f"{method} is not supported by the embedded engine; a Qdrant server has it")
        return getattr(self.client, method)(**with_bm25_vectors(arguments))

    def close(self) -> None:
        """Flush and close the collections, and release their locks."""
        self.client.close()


def connect(place: Place) -> Engine:
    """Return the engine of a place."""
    from qdrant_client import QdrantClient

    from colbert_qdrant.collection.engines.client import ClientEngine

    if place.client is not None:
        if not isinstance(place.client, QdrantClient):
            raise InvalidInput(
                f"client is a {type(place.client).__name__}; give a QdrantClient, or use AsyncMultivectorCollection"
            )
        return ClientEngine(place.client)
    if place.path is not None:
        from colbert_qdrant.collection.engines.edge import EdgeClient

        return Embedded(EdgeClient(place.path))
    if not place.is_server:
        return ClientEngine(QdrantClient(":memory:"))
    return ClientEngine(_made(QdrantClient, place), again=lambda: _made(QdrantClient, place))


def connect_async(place: Place) -> AsyncEngine | None:
    """Return the engine of a place whose I/O is asynchronous by itself; ``None`` where it has none."""
    from qdrant_client import AsyncQdrantClient

    from colbert_qdrant.collection.engines.client import AsyncClientEngine

    given = place.client if isinstance(place.client, AsyncQdrantClient) else place.async_client
    if given is not None:
        return AsyncClientEngine(given)
    return AsyncClientEngine(_made(AsyncQdrantClient, place)) if place.is_server else None


def _made(kind: type[T], place: Place) -> T:
    from colbert_qdrant.collection.engines.deadline import with_deadline

    try:
        return kind(**with_deadline(place.arguments, asynchronous=kind.__name__ == "AsyncQdrantClient"))
    except (TypeError, ValueError, OSError) as error:  # a keyword that nobody takes, a file that is no certificate
        if not place.client_options:
            raise
        given = ", ".join(place.client_options)
        raise InvalidInput(f"client_options ({given}): QdrantClient refuses them: {error}") from error
