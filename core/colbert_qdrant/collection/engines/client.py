"""Qdrant through ``qdrant_client``: a server, Cloud, or the client's own local mode."""

from __future__ import annotations

import json
import re
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import httpx
import numpy as np
from pydantic import ValidationError
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from colbert_qdrant._fork import first_after_fork, renewed_after_fork
from colbert_qdrant.collection.engines.bm25 import with_bm25_vectors
from colbert_qdrant.collection.points import Wire
from colbert_qdrant.collection.schema import UNNAMED_VECTOR
from colbert_qdrant.errors import (
    ColbertQdrantError,
    CollectionNotFound,
    EngineError,
    EngineUnavailable,
    MissingIndex,
    UnsupportedByEngine,
)

# https://github.com/qdrant/qdrant/blob/master/config/config.yaml: max_request_size_mb is 32. A float32 widened to a
# Python float is 20.7 bytes of JSON on average (measured on unit vectors).
_REST = Wire(bytes_per_float=21, request_bytes=24 * 2**20)
_GRPC = Wire(bytes_per_float=4, request_bytes=24 * 2**20)
_IN_PROCESS = Wire(bytes_per_float=8, request_bytes=64 * 2**20)

# A time-out of Qdrant's own is 408: https://github.com/qdrant/qdrant/blob/master/src/actix/helpers.rs
_PASSING = (408, 429)

_MISSING_INDEX = re.compile(
    r'Index required but not found for \\?"(?P<path>[^"\\]+)\\?"(?: of one of the following types: \[(?P<kind>\w+))?'
)

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
        self._turn: AbstractContextManager[Any] = _lock_of(client) if self.is_local else nullcontext()
        self._watches_growth = self.is_local

    def renew_after_fork(self) -> None:
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
        ready = as_local(arguments) if self.is_local else as_lists(arguments)
        operation: Callable[..., Any] = getattr(self.client, method)
        try:
            with self._turn:
                answer = operation(**ready)
        except Exception as error:
            raise translated(error, method, arguments) from _cause(error)
        if method == "upsert" and self._watches_growth:
            self._warn_of_growth(arguments["collection_name"])
        return answer

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _warn_of_growth(self, name: str) -> None:
        with self._turn:
            documents = self.client.count(name).count
        if documents > LOCAL_MODE_DOCUMENTS:
            self._watches_growth = False
            warnings.warn(
                f"{name!r} holds {documents:,} documents in qdrant-client's local mode, which goes through all of them "
                "in Python for each search: path= opens the embedded engine, many times as fast, url= a server",
                stacklevel=2,
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

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call; the client's exceptions come out as ours."""
        if method in _not_done(self.is_local):
            return False
        ready = as_local(arguments) if self.is_local else as_lists(arguments)
        operation: Callable[..., Any] = getattr(self.client, method)
        try:
            return await operation(**ready)
        except Exception as error:
            raise translated(error, method, arguments) from _cause(error)

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()


def _not_done(is_local: bool) -> Sequence[str]:
    """Return what there is nothing to do for: a server optimizes by itself, local mode has no payload indexes."""
    return ("optimize", "create_payload_index", "delete_payload_index") if is_local else ("optimize",)


def is_local(client: QdrantClient | AsyncQdrantClient) -> bool:
    """Tell local mode from a server."""
    from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal
    from qdrant_client.local.qdrant_local import QdrantLocal

    return isinstance(client._client, QdrantLocal | AsyncQdrantLocal)


def as_local(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out search parameters, which local mode warns about as its search is always exact; name the vectors."""
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
    settings = ("datatype", "quantization_config", "on_disk")
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


def translated(error: Exception, method: str, arguments: Mapping[str, Any]) -> Exception:
    """Return our exception for one of the client's."""
    name = arguments.get("collection_name")
    if isinstance(error, ColbertQdrantError):
        return error
    if _cause(error) is None:
        return EngineError(
            f"{method} on {name!r}: HTTP can't carry the request's headers; is there a line break in the api_key?"
        )
    if isinstance(error, ResponseHandlingException) and isinstance(error.source, ValidationError):
        return EngineError(
            f"{method} on {name!r}: qdrant-client can't read the answer; do the versions of server and client fit? "
            f"({error.source})"
        )
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):  # part of an answer, or a proxy's page
        return EngineUnavailable(f"{method} on {name!r}: the answer is not JSON ({error}). Did the server answer?")
    if isinstance(error, QdrantException):  # 429, or its like of gRPC, with a retry-after
        message = f"{method} on {name!r}: Qdrant answered 429 Too Many Requests: {error}"
        return EngineUnavailable(message, retry_after=getattr(error, "retry_after_s", None))
    if isinstance(error, ResponseHandlingException):
        reason = str(error.source) or type(error.source).__name__
        return EngineUnavailable(
            f"{method} on {name!r}: Qdrant did not answer ({reason}). Is the server running? "
            "`docker run -p 6333:6333 qdrant/qdrant` starts one; location=':memory:' needs none"
        )
    if isinstance(error, UnexpectedResponse):
        answer = error.content.decode("utf-8", "replace")[:500]
        if error.status_code == 404:
            return CollectionNotFound(f"collection {name!r} does not exist: {answer}")
        if error.status_code in _PASSING or (error.status_code or 0) >= 500:
            message = f"{method} on {name!r}: Qdrant answered {error.status_code} {error.reason_phrase}: {answer}"
            return EngineUnavailable(message, retry_after=_retry_after(error))
        return _refused(f"{method} on {name!r}: Qdrant answered {error.status_code} {error.reason_phrase}: {answer}")
    if isinstance(error, NotImplementedError):
        return UnsupportedByEngine(f"{method} is not supported by qdrant-client's local mode: {error}")
    if type(error).__module__.startswith("grpc"):
        return _from_grpc(error, method, name)
    if isinstance(error, ValueError) and "not found" in str(error) and str(name) in str(error):
        return CollectionNotFound(f"collection {name!r} does not exist (any more)")
    return EngineError(f"{method} on {name!r}: {type(error).__name__}: {error}")


def _cause(error: Exception) -> Exception | None:
    """Return what may be shown as an error's cause; not what quotes a header, which may be the API key."""
    is_quoting = isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.LocalProtocolError)
    return None if is_quoting else error


def _retry_after(error: UnexpectedResponse) -> float | None:
    """Read the header in its form in seconds (RFC 9110, 10.2.3)."""
    stated = error.headers.get("retry-after", "") if error.headers else ""
    return float(stated) if stated.isdecimal() else None


def _from_grpc(error: Any, method: str, name: object) -> Exception:
    code, details = error.code().name, error.details()
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"):  # the last is 500 over REST
        return EngineUnavailable(f"{method} on {name!r}: Qdrant did not answer ({details}). Is the server running?")
    if code == "NOT_FOUND":
        return CollectionNotFound(f"collection {name!r} does not exist: {details}")
    return _refused(f"{method} on {name!r}: Qdrant answered {code}: {details}")


def _refused(message: str) -> EngineError:
    """Say which index is missing where that is why; the server's words are in its `operations/verification`."""
    missing = _MISSING_INDEX.search(message)
    if missing is None:
        return EngineError(message)
    path, kind = missing["path"], missing["kind"] or "keyword"
    return MissingIndex(f"{message}. create_index('$.{path}', {kind!r}) makes it")


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
