"""What comes back from ``qdrant_client`` in place of an answer, as errors of this package. Nothing in it is trusted.

A server, or whatever stands in its place, may say anything: escape sequences are shown as what they are, and the key
that it was sent is not repeated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from colbert_qdrant.errors import (
    AccessDenied,
    ColbertQdrantError,
    CollectionMismatch,
    CollectionNotFound,
    EngineError,
    EngineUnavailable,
    MissingIndex,
    UnsupportedByEngine,
)

# A time-out of Qdrant's own is 408: https://github.com/qdrant/qdrant/blob/master/src/actix/helpers.rs
_PASSING = (408, 429)

_MISSING_INDEX = re.compile(
    r'Index required but not found for \\?"(?P<path>[^"\\]+)\\?"(?: of one of the following types: \[(?P<kind>\w+))?'
)

_NO_COLLECTION = re.compile(r"[Cc]ollection .*(not found|doesn't exist|does not exist)", re.DOTALL)

_NO_VECTOR = re.compile(r"Not existing vector name|[Vv]ector .* is not found in the collection")
"""In a server's words and in local mode's."""

_MOST_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a client talks to.

    Parameters
    ----------
    address
        For a message; empty: nobody, it is local.
    secrets
        What was sent along and is not to be shown: the API key, the values of headers.
    """

    address: str = ""
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Server:
        """Return what a client's ``init_options`` say."""
        headers = {**(options.get("headers") or {}), **(options.get("metadata") or {})}
        given = (options.get("api_key"), *headers.values())
        secrets = tuple(value for value in given if isinstance(value, str) and len(value) > 3)
        return cls(str(options.get("url") or options.get("host") or ""), secrets)

    def shown(self, said: object) -> str:
        """Return what was said, in one line that a terminal does nothing with, without the secrets."""
        text = str(said)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

    def keeps_quiet(self, error: Exception) -> bool:
        """Tell whether an error of the client's may be seen: not one that quotes a header."""
        if isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.LocalProtocolError):
            return False
        content = getattr(error, "content", b"")
        said = f"{error} {error!r} {content!r} {getattr(error, 'headers', '')} {getattr(error, 'source', '')}"
        return not any(secret in said for secret in self.secrets)


def translated(
    error: Exception, method: str, arguments: Mapping[str, Any], server: Server = Server()
) -> tuple[Exception, Exception | None]:
    """Return our exception for one of the client's, and the client's own where it may be seen as the cause."""
    if isinstance(error, ColbertQdrantError):
        return error, error.__cause__ if isinstance(error.__cause__, Exception) else None
    return _translated(error, _doing(method, arguments), arguments, server), (
        error if server.keeps_quiet(error) else None
    )


_DOING = {
    "collection_exists": "opening",
    "count": "counting",
    "create_collection": "making",
    "delete": "deleting from",
    "delete_collection": "dropping",
    "delete_vectors": "changing",
    "get_collection": "opening",
    "overwrite_payload": "changing",
    "query_batch_points": "searching",
    "query_points": "searching",
    "retrieve": "reading",
    "scroll": "reading",
    "set_payload": "changing",
    "update_collection": "changing",
    "update_vectors": "changing",
    "upsert": "adding to",
}


def _doing(method: str, arguments: Mapping[str, Any]) -> str:
    """Say what was being done, in words of the caller's."""
    said = _DOING.get(method, method.replace("_", " "))
    name = arguments.get("collection_name")
    return said if name is None else f"{said} {name!r}"


def _translated(error: Exception, what: str, arguments: Mapping[str, Any], server: Server) -> ColbertQdrantError:
    name = arguments.get("collection_name")
    shown = server.shown
    if isinstance(error, ResponseHandlingException):
        return _unread(error.source, what, server)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):  # part of an answer, or a proxy's page
        return EngineUnavailable(f"{what}: the answer is not JSON ({shown(error)}). Did the server answer?")
    if isinstance(error, QdrantException):  # 429, or its like of gRPC, with a retry-after
        message = f"{what}: Qdrant answered 429 Too Many Requests: {shown(error)}"
        return EngineUnavailable(message, retry_after=_seconds(getattr(error, "retry_after_s", None)))
    if isinstance(error, UnexpectedResponse):
        return _refusal(error, what, name, server)
    if isinstance(error, NotImplementedError):
        return UnsupportedByEngine(f"{what}: qdrant-client's local mode does not support it: {shown(error)}")
    if type(error).__module__.startswith("grpc"):
        return _from_grpc(error, what, name, server)
    if isinstance(error, ValueError) and str(error) == f"Collection {name} not found":
        return CollectionNotFound(f"collection {name!r} does not exist (any more)")
    return _refused(f"{what}: {type(error).__name__}: {shown(error)}")


def _unread(source: Exception, what: str, server: Server) -> ColbertQdrantError:
    """Say why there is no answer, or none that can be read."""
    if isinstance(source, httpx.LocalProtocolError):
        return EngineError(f"{what}: HTTP can't carry the request's headers; is there a line break in the api_key?")
    if isinstance(source, ValidationError):
        return EngineError(
            f"{what}: qdrant-client can't read the answer; do the versions of server and client fit? "
            f"({server.shown(source)})"
        )
    reason = server.shown(source) or type(source).__name__
    at = f" at {server.shown(server.address)}" if server.address else ""
    return EngineUnavailable(
        f"{what}: Qdrant did not answer{at} ({reason}). Is the server running? "
        "`docker run -p 6333:6333 qdrant/qdrant` starts one; location=':memory:' needs none",
        timed_out=isinstance(source, httpx.TimeoutException),
    )


def _refusal(error: UnexpectedResponse, what: str, name: object, server: Server) -> ColbertQdrantError:
    answer = server.shown(error.content.decode("utf-8", "replace"))
    status = f"{error.status_code} {server.shown(error.reason_phrase)}"
    if error.status_code == 404 and _NO_COLLECTION.search(_reason(error.content)):
        return CollectionNotFound(f"collection {name!r} does not exist: {answer}")
    if error.status_code == 404 and not _reason(error.content):
        at = server.shown(server.address) or "this address"
        return EngineError(f"{what}: {at} answered {status}, and not as Qdrant does ({answer}): is a prefix missing?")
    if error.status_code in (401, 403):
        return _denied(f"{what}: Qdrant answered {status}: {answer}", is_known=error.status_code == 403)
    if error.status_code in _PASSING or (error.status_code or 0) >= 500:
        return EngineUnavailable(f"{what}: Qdrant answered {status}: {answer}", retry_after=_retry_after(error))
    return _refused(f"{what}: Qdrant answered {status}: {answer}")


def _reason(content: bytes) -> str:
    """Return the reason that Qdrant states in its JSON; empty where it is not Qdrant that speaks."""
    try:
        reason = json.loads(content)["status"]["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return reason if isinstance(reason, str) else ""


def _retry_after(error: UnexpectedResponse) -> float | None:
    """Read the header in its form in seconds (RFC 9110, 10.2.3)."""
    stated = error.headers.get("retry-after", "") if error.headers else ""
    return float(stated) if stated.isdecimal() else None


def _seconds(stated: Any) -> float | None:
    return max(0.0, float(stated)) if isinstance(stated, int | float) else None


def _from_grpc(error: Any, what: str, name: object, server: Server) -> ColbertQdrantError:
    code, details = error.code().name, server.shown(error.details())
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"):  # the last is 500 over REST
        at = f" at {server.shown(server.address)}" if server.address else ""
        message = f"{what}: Qdrant did not answer{at} ({details}). Is the server running?"
        return EngineUnavailable(message, timed_out=code == "DEADLINE_EXCEEDED")
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return _denied(f"{what}: Qdrant answered {code}: {details}", is_known=code == "PERMISSION_DENIED")
    if code == "NOT_FOUND" and _NO_COLLECTION.search(details):
        return CollectionNotFound(f"collection {name!r} does not exist: {details}")
    return _refused(f"{what}: Qdrant answered {code}: {details}")


def _denied(message: str, *, is_known: bool) -> AccessDenied:
    """Say whether the key is none that the server knows, or one that may less than was asked."""
    if is_known:
        return AccessDenied(f"{message}. This api_key may not do that; one that may is needed")
    return AccessDenied(f"{message}. The api_key is missing, or it is not this server's")


def _refused(message: str) -> ColbertQdrantError:
    """Say which index is missing where that is why; the server's words are in its `operations/verification`."""
    if _NO_VECTOR.search(message):
        return CollectionMismatch(
            f"{message}. The collection has changed since it was opened, or its name stands for another one by now: "
            "open it again"
        )
    missing = _MISSING_INDEX.search(message)
    if missing is None:
        return EngineError(message)
    path, kind = missing["path"], missing["kind"] or "keyword"
    return MissingIndex(f"{message}. create_index('$.{path}', {kind!r}) makes it")
