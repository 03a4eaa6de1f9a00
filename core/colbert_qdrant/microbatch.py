"""Queries that wait at the same time are encoded together.

Nobody waits for company: a query that comes alone is encoded at once. While it is, others queue up, and whoever is
next takes all of them along. So a wait is never longer than the run under way and the one after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from colbert_qdrant._fork import renewed_after_fork
from colbert_qdrant.types import Embedder, Multivector

MOST = 64
"""Queries of one run; with more waiting, the last ones take the run after it."""


@dataclass(slots=True)
class _Waiting:
    """Queries of one caller, and what came of them."""

    texts: Sequence[str]
    vectors: list[Multivector] | None = None
    error: Exception | None = None

    def settle(self) -> list[Multivector]:
        if self.error is not None:
            raise self.error
        assert self.vectors is not None
        return self.vectors

    @property
    def is_done(self) -> bool:
        return self.vectors is not None or self.error is not None


class QueryBatcher:
    """Encodes queries for many threads.

    Parameters
    ----------
    embedder
        Called by one thread at a time.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.renew_after_fork()
        renewed_after_fork(self)

    def renew_after_fork(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: list[_Waiting] = []
        self._queueing = threading.Lock()
        self._running = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[Multivector]:
        """Encode queries, together with those of other threads that wait."""
        mine = _Waiting(texts)
        with self._queueing:
            self._waiting.append(mine)
        while not mine.is_done:
            with self._running:
                if not mine.is_done:
                    with self._queueing:
                        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                    run(self._embedder, batch)
        return mine.settle()


class AsyncQueryBatcher:
    """Encodes queries for many tasks of an event loop, in one thread at a time.

    Parameters
    ----------
    batcher
        Does the work, for other threads as well.
    """

    def __init__(self, batcher: QueryBatcher) -> None:
        self._batcher = batcher
        self._waiting: list[tuple[Sequence[str], asyncio.Future[list[Multivector]]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def encode(self, texts: Sequence[str]) -> list[Multivector]:
        """Encode queries, together with those of other tasks that wait."""
        future: asyncio.Future[list[Multivector]] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            texts = list(chain.from_iterable(own for own, _ in batch))
            try:
                encoded = iter(await asyncio.to_thread(self._batcher.encode, texts))
            except Exception as error:
                for _, future in batch:
                    if not future.cancelled():
                        future.set_exception(error)
                continue
            for own, future in batch:
                vectors = list(islice(encoded, len(own)))
                if not future.cancelled():
                    future.set_result(vectors)
                    await asyncio.sleep(0)  # one task at a time: all woken at once would hold up the loop


def run(embedder: Embedder, batch: Sequence[_Waiting]) -> None:
    """Encode the queries of several callers in one go; a failure is everybody's, or else they would wait forever."""
    try:
        encoded = iter(list(embedder.query_embed(list(chain.from_iterable(caller.texts for caller in batch)))))
        for caller in batch:
            caller.vectors = list(islice(encoded, len(caller.texts)))
    except BaseException as error:
        for caller in batch:
            caller.error = error if isinstance(error, Exception) else RuntimeError("interrupted while encoding queries")
        if not isinstance(error, Exception):
            raise
