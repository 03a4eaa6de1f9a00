"""The places a collection can live in, behind one set of calls: those of ``qdrant_client``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from colbert_qdrant.collection.engines.bm25 import with_bm25_vectors
from colbert_qdrant.collection.points import Wire
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

    from colbert_qdrant.collection.engines.edge import EdgeClient


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


class PlaceKeywords(TypedDict, total=False):
    """The fields of `Place`, as keyword arguments of what opens one."""

    client: QdrantClient | AsyncQdrantClient | None
    url: str | None
    path: str | os.PathLike[str] | None
    location: str | None
    api_key: str | None
    prefer_grpc: bool
    timeout: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a collection lives: one of `client`, `url`, `path` and `location`; none of them: in memory.

    Parameters
    ----------
    client
        A client of the caller's own, who also closes it.
    url
        A Qdrant server, cluster or Cloud.
    path
        A folder of the embedded engine.
    location
        ``":memory:"``.
    api_key, prefer_grpc, timeout
        For `url`; the timeout in seconds, 60 by default.
    """

    client: QdrantClient | AsyncQdrantClient | None = None
    url: str | None = None
    path: str | os.PathLike[str] | None = None
    location: str | None = None
    api_key: str | None = field(default=None, repr=False)
    prefer_grpc: bool = False
    timeout: int | None = None

    def __post_init__(self) -> None:
        """Refuse two places at once."""
        named = [name for name in ("client", "url", "path", "location") if getattr(self, name) is not None]
        if len(named) > 1:
            raise InvalidInput(f"{' and '.join(named)} name different places; give one of them")
        if self.location not in (None, ":memory:"):
            raise InvalidInput(f"location={self.location!r}: it can only be ':memory:'; a server is given by url=")
        # Refused here, by no name: the client's own refusal quotes the header, which is the key.
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InvalidInput("api_key has a character that no HTTP header takes; is there a line break at its end?")

    @property
    def client_options(self) -> dict[str, Any]:
        """Arguments for a client of `url`."""
        return {
            "url": self.url,
            "api_key": self.api_key,
            "prefer_grpc": self.prefer_grpc,
            "timeout": 60 if self.timeout is None else self.timeout,  # else 5 s, too short for a full request
            "check_compatibility": False,  # it asks the server, and warns where the first call will say more
            "cloud_inference": True,  # texts for BM25 go to the server as they are
        }


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
    return ClientEngine(QdrantClient(**place.client_options) if place.url else QdrantClient(":memory:"))


def connect_async(place: Place) -> AsyncEngine | None:
    """Return the engine of a place whose I/O is asynchronous by itself; ``None`` where it has none."""
    from qdrant_client import AsyncQdrantClient

    from colbert_qdrant.collection.engines.client import AsyncClientEngine

    if isinstance(place.client, AsyncQdrantClient):
        return AsyncClientEngine(place.client)
    if place.url is not None:
        return AsyncClientEngine(AsyncQdrantClient(**place.client_options))
    return None
