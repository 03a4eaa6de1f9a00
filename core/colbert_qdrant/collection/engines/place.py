"""Where a collection lives, checked before anything is opened. No I/O."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

DEFAULT_TIMEOUT = 60
"""Seconds; the client's own 5 are too short for a full request."""

LONGEST_TIMEOUT = 86_400
"""A day, in seconds: far beyond it, sockets take no number."""

# What a collection states itself, or takes as an argument of its own.
_SET_HERE = {
    "check_compatibility": False,  # it asks the server, and warns where the first call will say more
    "cloud_inference": True,  # texts for BM25 go to the server as they are
}
_BY_THEIR_OWN_NAME = ("url", "api_key", "prefer_grpc", "timeout", "path", "location")


class PlaceKeywords(TypedDict, total=False):
    """The fields of `Place`, as keyword arguments of what opens one."""

    client: QdrantClient | AsyncQdrantClient | None
    async_client: AsyncQdrantClient | None
    url: str | None
    path: str | os.PathLike[str] | None
    location: str | None
    api_key: str | None
    prefer_grpc: bool
    timeout: float | None
    client_options: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a collection lives: one of `client`, `url`, `path` and `location`; none of them: in memory.

    Parameters
    ----------
    client
        A client of the caller's own, who also closes it.
    async_client
        Beside a `QdrantClient`: one of the same server for asynchronous calls, which else run in threads.
    url
        A Qdrant server, cluster or Cloud: ``"https://example.com:6333"``. Any node of a cluster answers for all; for
        searches to outlast the death of the one that is named, name a load balancer before them.
    path
        A folder of the embedded engine.
    location
        ``":memory:"``.
    api_key, prefer_grpc, timeout
        For a server; the timeout in seconds, 60 by default.
    client_options
        For a server: further keywords of ``QdrantClient`` and of the ``httpx.Client`` behind it, such as
        ``grpc_port``, ``prefix``, ``headers``, ``verify``. ``host`` (with ``port`` and ``https``) stands for `url`.

    Raises
    ------
    InvalidInput
        Two places, one that is none, or what only a server has need of without a server.
    """

    client: QdrantClient | AsyncQdrantClient | None = None
    async_client: AsyncQdrantClient | None = None
    url: str | None = None
    path: str | os.PathLike[str] | None = None
    location: str | None = None
    api_key: str | None = field(default=None, repr=False)
    prefer_grpc: bool = False
    timeout: float | None = None
    client_options: Mapping[str, Any] | None = field(default=None, repr=False)  # its headers may be a key

    def __post_init__(self) -> None:
        """Refuse what would be another place than the one that was meant: in memory, all is gone at the end."""
        _check_options(self.client_options)
        given = {name: getattr(self, name) for name in ("client", "url", "path", "location")}
        given["client_options['host']"] = (self.client_options or {}).get("host")
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise InvalidInput(f"{' and '.join(named)} name different places; give one of them")
        if self.async_client is not None and self.client is None:
            raise InvalidInput("async_client= stands beside client=, for a server that both reach")
        if self.location not in (None, ":memory:"):
            raise InvalidInput(f"location={self.location!r}: it can only be ':memory:'; a server is given by url=")
        _check_url(self.url)
        _check_path(self.path)
        _check_timeout(self.timeout)
        _check_api_key(self.api_key)
        if not self.is_server:
            self._refuse_what_a_server_needs(named[0] if named else None)

    @property
    def is_server(self) -> bool:
        """Whether a client is to be made for a server."""
        return self.url is not None or (self.client_options or {}).get("host") is not None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for a client of the server."""
        bare = self.url is not None and "://" not in self.url
        return {
            **(self.client_options or {}),
            "url": f"//{self.url}" if bare else self.url,  # else the host of "host:6333" is taken for a scheme
            "api_key": self.api_key,
            "prefer_grpc": self.prefer_grpc,
            "timeout": DEFAULT_TIMEOUT if self.timeout is None else self.timeout,
            **_SET_HERE,
        }

    def _refuse_what_a_server_needs(self, place: str | None) -> None:
        options = {"api_key": self.api_key, "prefer_grpc": self.prefer_grpc, "client_options": self.client_options}
        needless = [f"{name}=" for name, value in options.items() if value]
        if not needless:
            return
        if place == "client":
            raise InvalidInput(f"{' and '.join(needless)} beside client=: give it to the client when you make it")
        raise InvalidInput(
            f"{' and '.join(needless)} without url=: it is for a server, and the collection would be "
            f"{'in the folder' if place == 'path' else 'in memory and gone at exit'}. Is the variable with the "
            "server's address unset?"
        )


def _check_url(url: Any) -> None:
    if url is None:
        return
    if not isinstance(url, str):
        raise InvalidInput(f"url is {url!r:.60} of type {type(url).__name__}; give a string, 'http://localhost:6333'")
    if not url.strip():
        raise InvalidInput(f"url={url!r} is empty: is the variable unset? url=None is in memory, which ends at exit")
    if url == ":memory:":
        raise InvalidInput("url=':memory:' is a location: give location=':memory:', or nothing at all")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidInput(f"url={url!r} has a space or a line break in it, which no address has")
    if re.match(r"[./~]|[A-Za-z]:\\", url) or url.startswith("file:"):
        raise InvalidInput(f"url={url!r} is a folder: give path= for the embedded engine")
    if "@" in url:  # the client would drop it without a word; and it is not repeated here
        raise InvalidInput("url has a user name in it, which Qdrant does not know: give api_key= for a key")
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise InvalidInput(f"url={url!r}: the scheme is {scheme!r}; Qdrant's are http and https, also for gRPC")
    try:
        parts = urlsplit(url if separator else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"url={url!r} is no address ({error}); write it as http://host:6333") from None
    if port == 0:
        raise InvalidInput(f"url={url!r}: there is no port 0")
    if parts.query or parts.fragment:
        raise InvalidInput("url has a query ('?...' or '#...'), which the client leaves out; give api_key= for a key")
    _check_host(host, f"url={url!r}")


def _check_host(host: str | None, what: str) -> None:
    if not host:
        raise InvalidInput(f"{what} names no host; write it as http://host:6333")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise InvalidInput(f"{what}: {host!r} is no host's name ({error})") from None


def _check_path(path: Any) -> None:
    if path is None:
        return
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InvalidInput(f"path is {path!r:.60} of type {type(path).__name__}; give the name of a folder")
    name = os.fspath(path)
    if not name:
        raise InvalidInput("path='' is empty: is the variable unset? path='.' is the working directory")
    if "\0" in name:
        raise InvalidInput(f"path={name!r:.60} has a NUL in it, which no folder's name has")
    if re.match(r"https?:/", name):  # pathlib makes one slash of two
        raise InvalidInput(f"path={name!r} is a server's address: give url=")
    if name == ":memory:":
        raise InvalidInput("path=':memory:' is a location: give location=':memory:', or nothing at all")


def _check_timeout(timeout: Any) -> None:
    if timeout is None:
        return
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or not math.isfinite(timeout) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise InvalidInput(f"timeout={timeout!r}: give seconds, more than 0 and at most {LONGEST_TIMEOUT:,} (a day)")


def _check_api_key(api_key: Any) -> None:
    """Refuse a key by no name: the client's own refusal quotes the header, which is the key."""
    if api_key is None:
        return
    if not isinstance(api_key, str):
        raise InvalidInput(f"api_key is of type {type(api_key).__name__}; give a string")
    if not api_key:
        raise InvalidInput("api_key='' is empty: is the variable unset? api_key=None sends none")
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidInput("api_key has a character that no HTTP header takes; is there a line break at its end?")


def _check_options(options: Any) -> None:
    if options is None:
        return
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InvalidInput(
            f"client_options is of type {type(options).__name__}; give a dict of QdrantClient's keywords"
        )
    if "client" in options:
        raise InvalidInput("client_options has 'client': a client of your own is given as client=")
    for name in _BY_THEIR_OWN_NAME:
        if name in options:
            raise InvalidInput(f"client_options has {name!r}, which is an argument of its own: give {name}=")
    for name in _SET_HERE:
        if name in options:
            raise InvalidInput(f"client_options has {name!r}, which the collection sets itself: leave it out")
    host = options.get("host")
    if host is not None:
        if not isinstance(host, str) or "/" in host or any(char.isspace() for char in host):
            raise InvalidInput(
                f"client_options['host'] is {host!r:.60}: give a host's name alone, or url= for an address"
            )
        _check_host(host, f"client_options['host'] = {host!r}")
    for name in ("port", "grpc_port"):
        port = options.get(name)
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 2**16):
            raise InvalidInput(f"client_options[{name!r}] is {port!r:.60}: give a number from 1 to 65535")
