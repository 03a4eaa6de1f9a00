"""Qdrant through ``qdrant_client``: a server, Cloud, or the client's own local mode."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from colbert_qdrant._fork import first_after_fork, renewed_after_fork
from colbert_qdrant._whole import carried_out_whole
from colbert_qdrant.collection.engines.answers import Server, translated
from colbert_qdrant.collection.engines.bm25 import with_bm25_vectors
from colbert_qdrant.collection.engines.grpc_points import as_request
from colbert_qdrant.collection.engines.versions import (
    NEWEST,
    Version,
    check_call,
    in_words_of,
    is_particular,
    parsed,
    warn_of_age,
)
from colbert_qdrant.collection.points import Wire
from colbert_qdrant.collection.schema import UNNAMED_VECTOR
from colbert_qdrant.collection.steps import WRITES
from colbert_qdrant.errors import EngineUnavailable, UnsupportedByEngine

# https://github.com/qdrant/qdrant/blob/master/config/config.yaml: max_request_size_mb is 32. A float32 widened to a
# Python float is 20.7 bytes of JSON on average (measured on unit vectors).
# A server reads one request while it carries out another: tests/benchmarks/upload.py.
_REST = Wire(bytes_per_float=21, request_bytes=24 * 2**20, in_flight=4)
_GRPC = Wire(bytes_per_float=4, request_bytes=24 * 2**20, in_flight=4)
_IN_PROCESS = Wire(bytes_per_float=8, request_bytes=64 * 2**20)

_LOCAL = _UNKNOWN = NEWEST
"""Versions that nothing is kept from: the client's own mode, and a server that does not say."""

LOCAL_MODE_DOCUMENTS = 5_000
"""More than that take local mode about a quarter of a second a search (tests/benchmarks/embedded_engine.py)."""

_local_locks: weakref.WeakKeyDictionary[object, threading.RLock] = weakref.WeakKeyDictionary()
_making_a_lock = threading.Lock()


def _unlocked() -> None:
    global _making_a_lock
    _making_a_lock = threading.Lock()
    _local_locks.clear()


first_after_fork(_unlocked)


class ClientEngine:
    """Carries calls out on a `QdrantClient`.

    Local mode is not safe to share between threads, so its calls take turns.
    https://github.com/qdrant/qdrant-client/issues/1193

    Parameters
    ----------
    client
        A server's or a local one.
    again
        Makes such a client again in a forked process, where two processes would read each other's answers from one
        connection; ``None``: it is the caller's own, and so is that.
    """

    def __init__(self, client: QdrantClient, again: Callable[[], QdrantClient] | None = None) -> None:
        self.client = client
        self._again = again
        self._left: list[QdrantClient] = []
        renewed_after_fork(self)
        self.is_local = is_local(client)
        self.wire = _wire(client)
        self._server = Server.of(client.init_options)
        self._version = _LOCAL if self.is_local else None
        self._turn: AbstractContextManager[Any] = _lock_of(client) if self.is_local else nullcontext()
        self._watches_growth = self.is_local
        # Not with a folder: SQLite takes calls from the thread alone that opened it.
        self._is_torn_by_interrupts = self.is_local and client.init_options.get("location") == ":memory:"

    def _renew_after_fork(self) -> None:
        """Take a connection of one's own; the parent's is kept, as closing it would speak on it."""
        if self.is_local:
            self._turn = _lock_of(self.client)
        elif self._again is not None:
            self._left.append(self.client)
            self.client = self._again()

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call; the client's exceptions come out as ours."""
        if method in _not_done(self.is_local):
            return False
        if self._version is None and is_particular(method, arguments):
            self._version = self._ask_version()
        if self._version is not None:
            check_call(self._version, method, arguments)
        operation = _bound(self.client, method, in_words_of(self._version, arguments), self.wire)
        try:
            answer = self._in_turn(method, operation)
            grown = method == "upsert" and self._watches_growth and self._documents(arguments["collection_name"])
        except Exception as error:
            failure, cause = translated(error, method, arguments, self._server)
        else:
            if grown > LOCAL_MODE_DOCUMENTS:
                self._warn_of_growth(arguments["collection_name"], grown)
            if self._version is None:
                self._version = self._ask_version()
            return answer
        raise failure from cause  # not within the handler: the error is its context there, key and all

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _ask_version(self) -> Version | None:
        """Ask what a server is."""
        try:
            return _stated(self.client.info().version)
        except Exception as error:
            return _unstated(error, self._server)

    def _in_turn(self, method: str, operation: Callable[[], Any]) -> Any:
        def work() -> Any:
            with self._turn:
                return operation()

        return carried_out_whole(work) if self._is_torn_by_interrupts and method in WRITES else work()

    def _documents(self, name: str) -> int:
        with self._turn:
            return int(self.client.count(name).count)

    def _warn_of_growth(self, name: str, documents: int) -> None:
        self._watches_growth = False
        warnings.warn(
            f"{name!r} holds {documents:,} documents in qdrant-client's local mode, which goes through all of them "
            "in Python for each search: path= opens the embedded engine, many times as fast, url= a server",
            stacklevel=3,
        )


class AsyncClientEngine:
    """Carries calls out on an `AsyncQdrantClient`, without a thread.

    Parameters
    ----------
    client
        A server's, or the asynchronous client's local mode (which does its work on the event loop).
    """

    def __init__(self, client: AsyncQdrantClient) -> None:
        self.client = client
        self.is_local = is_local(client)
        self.wire = _wire(client)
        self._server = Server.of(client.init_options)
        self._version = _LOCAL if self.is_local else None

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call; the client's exceptions come out as ours."""
        if method in _not_done(self.is_local):
            return False
        if self._version is None and is_particular(method, arguments):
            self._version = await self._ask_version()
        if self._version is not None:
            check_call(self._version, method, arguments)
        operation = _bound(self.client, method, in_words_of(self._version, arguments), self.wire)
        try:
            answer = await operation()
        except Exception as error:
            failure, cause = translated(error, method, arguments, self._server)
        else:
            if self._version is None:
                self._version = await self._ask_version()
            return answer
        raise failure from cause  # not within the handler: the error is its context there, key and all

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()

    async def _ask_version(self) -> Version | None:
        """Ask what a server is."""
        try:
            return _stated((await self.client.info()).version)
        except Exception as error:
            return _unstated(error, self._server)


def _not_done(is_local: bool) -> Sequence[str]:
    """Return what there is nothing to do for: a server optimizes by itself, local mode has no payload indexes."""
    return ("optimize", "create_payload_index", "delete_payload_index") if is_local else ("optimize",)


def is_local(client: QdrantClient | AsyncQdrantClient) -> bool:
    """Tell local mode from a server."""
    from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal
    from qdrant_client.local.qdrant_local import QdrantLocal

    return isinstance(client._client, QdrantLocal | AsyncQdrantLocal)


def _stated(said: str) -> Version:
    version = parsed(said) or _UNKNOWN
    warn_of_age(version)
    return version


def _unstated(error: Exception, server: Server) -> Version | None:
    """Take a server that does not say for what this is written for; one that is away is asked again, later."""
    failure, _ = translated(error, "info", {}, server)
    return None if isinstance(failure, EngineUnavailable) else _UNKNOWN


def _bound(
    client: QdrantClient | AsyncQdrantClient, method: str, arguments: Mapping[str, Any], wire: Wire
) -> Callable[[], Any]:
    """Return a call that is only to be made, its arguments as the client takes them."""
    if wire is _IN_PROCESS:
        return partial(getattr(client, method), **as_local(arguments))
    if wire is _GRPC and method == "upsert" and (request := as_request(arguments)) is not None:
        return partial(client.grpc_points.Upsert, request, timeout=client.init_options.get("timeout"))
    return partial(getattr(client, method), **as_lists(arguments))


def as_local(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out search parameters, which local mode warns about as its search is always exact; name the vectors."""
    if "group_by" in arguments:
        raise UnsupportedByEngine("qdrant-client's local mode raises the limits of prefetches where it groups")
    if "shard_key_selector" in arguments or "sharding_method" in arguments:
        raise UnsupportedByEngine("qdrant-client's local mode has no shards: shard_key= needs a cluster")
    ready = with_bm25_vectors(arguments)
    if "vectors_config" in ready:
        _warn_of_storage(ready)
    params = ready.get("search_params")
    if params is not None and params.idf is None:
        del ready["search_params"]
    if isinstance(ready.get("points"), list):  # else a selector
        ready["points"] = [_named(point) for point in ready["points"]]
    return ready


def _warn_of_storage(arguments: Mapping[str, Any]) -> None:
    """Say which of a `Storage` local mode takes and does not do: it keeps every vector as it is, in memory."""
    vectors = arguments["vectors_config"]
    params = vectors.values() if isinstance(vectors, Mapping) else [vectors]
    multivectors = [param for param in params if getattr(param, "multivector_config", None)]
    settings = ("datatype", "quantization_config", "memory")
    default = {"datatype": models.Datatype.FLOAT16}  # nobody asked for it
    ignored = [
        name
        for name in settings
        if any(getattr(param, name, None) not in (None, False, default.get(name)) for param in multivectors)
    ]
    if ignored:
        warnings.warn(
            f"qdrant-client's local mode stores vectors as they are: {', '.join(ignored)} has no effect here",
            stacklevel=2,
        )


def as_lists(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the arrays of a call into lists, which is what a wire format can be made of."""
    ready = dict(arguments)
    if "query" in ready:
        ready["query"] = _query_as_lists(ready["query"])
    if isinstance(ready.get("points"), list):  # else a selector
        ready["points"] = [_as_lists(point) for point in ready["points"]]
    if "requests" in ready:
        ready["requests"] = [
            request.model_copy(update={"query": _query_as_lists(request.query)}) for request in ready["requests"]
        ]
    return ready


def _wire(client: QdrantClient | AsyncQdrantClient) -> Wire:
    if is_local(client):
        return _IN_PROCESS
    return _GRPC if client.init_options.get("prefer_grpc") else _REST


def _lock_of(client: QdrantClient) -> threading.RLock:
    with _making_a_lock:
        return _local_locks.setdefault(client._client, threading.RLock())


def _query_as_lists(query: Any) -> Any:
    if isinstance(query, np.ndarray):
        return query.tolist()
    if isinstance(query, models.NearestQuery):
        return models.NearestQuery(nearest=_query_as_lists(query.nearest), mmr=query.mmr)
    return query


def _named(point: Any) -> Any:
    """Local mode takes an array only under a name; the unnamed vector's is empty."""
    if isinstance(point, models.PointStruct) and isinstance(point.vector, np.ndarray):
        return point.model_copy(update={"vector": {UNNAMED_VECTOR: point.vector}})
    return point


def _list(vector: Any) -> Any:
    return vector.tolist() if isinstance(vector, np.ndarray) else vector


def _as_lists(point: Any) -> Any:
    if not isinstance(point, models.PointStruct | models.PointVectors):  # an id
        return point
    vector = point.vector
    if isinstance(vector, Mapping):
        lists: Any = {name: _list(value) for name, value in vector.items()}
    else:
        lists = _list(vector)
    return point.model_copy(update={"vector": lists})
