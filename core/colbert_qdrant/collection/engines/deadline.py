"""A request is bounded as a whole: httpx bounds each pause of an answer, and an answer may have any number of them.

https://www.python-httpx.org/advanced/timeouts/
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, cast

import httpx

_KEY = "colbert_qdrant.until"


def with_deadline(arguments: Mapping[str, Any], *, asynchronous: bool) -> dict[str, Any]:
    """Return the arguments of a client, with hooks that end an answer which is not whole when its time is up.

    Parameters
    ----------
    arguments
        ``timeout`` in seconds, and the caller's own ``event_hooks``, which stay.
    asynchronous
        Whether they are for an ``AsyncQdrantClient``.
    """
    seconds = float(arguments["timeout"])

    def begin(request: httpx.Request) -> None:
        request.extensions[_KEY] = time.monotonic() + seconds

    def bound(response: httpx.Response) -> None:
        until = response.request.extensions[_KEY]
        # What a client of either kind reads from; see `httpx.Response.stream`.
        if asynchronous:
            response.stream = _AsyncBounded(cast("httpx.AsyncByteStream", response.stream), until, response.request)
        else:
            response.stream = _Bounded(cast("httpx.SyncByteStream", response.stream), until, response.request)

    own = arguments.get("event_hooks") or {}
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [begin], "response": [bound]}
    if asynchronous:
        hooks = {name: [_awaitable(hook) for hook in given] for name, given in hooks.items()}
    return {**arguments, "event_hooks": {name: [*given, *own.get(name, ())] for name, given in hooks.items()}}


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, until: float, request: httpx.Request) -> None:
        self._stream, self._until, self._request = stream, until, request

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            _check(self._until, self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _AsyncBounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, until: float, request: httpx.Request) -> None:
        self._stream, self._until, self._request = stream, until, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            _check(self._until, self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _check(until: float, request: httpx.Request) -> None:
    if time.monotonic() > until:
        raise httpx.ReadTimeout("the answer was not whole when the timeout was over", request=request)


def _awaitable(hook: Callable[[Any], None]) -> Callable[[Any], Any]:
    async def hooked(subject: Any) -> None:
        hook(subject)

    return hooked
