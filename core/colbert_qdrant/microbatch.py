"""Queries that wait at the same time are encoded together.

Nobody waits for company: a query that comes alone is encoded at once. While it is, others queue up, and whoever is
next takes all of them along. So a wait is never longer than the run under way and the one after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from colbert_qdrant._fork import renewed_after_fork
from colbert_qdrant.embedders import encoded_all
from colbert_qdrant.types import Embedder, Multivector

MOST = 64
"""Queries of one run; with more waiting, the last ones take the run after it."""


@dataclass(slots=True)
class _Waiting:
    """Queries of one caller, and what came of them."""

    texts: Sequence[str]
    vectors: list[Multivector] | None = None
    error: BaseException | None = None

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
        self._renew_after_fork()
        renewed_after_fork(self)

    def _renew_after_fork(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: list[_Waiting] = []
        self._queueing = threading.Lock()
        self._running = threading.RLock()  # an embedder may search, too

    def encode(self, texts: Sequence[str]) -> list[Multivector]:
        """Encode queries, together with those of other threads that wait."""
        mine = _Waiting(texts)
        with self._queueing:
            self._waiting.append(mine)
        self._wait_for(mine)
        return mine.settle()

    def encode_each(self, callers: Sequence[Sequence[str]]) -> list[list[Multivector] | BaseException]:
        """Encode the queries of several callers; where those of one can't be, the error is that one's."""
        waiting = [_Waiting(texts) for texts in callers]
        with self._queueing:
            self._waiting += waiting
        for mine in waiting:
            self._wait_for(mine)
        return [mine.error if mine.error is not None else mine.settle() for mine in waiting]

    def _wait_for(self, mine: _Waiting) -> None:
        while not mine.is_done:
            with self._running:
                if not mine.is_done:
                    batch: list[_Waiting] = []
                    try:
                        with self._queueing:
                            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                        run(self._embedder, batch)
                    except BaseException:  # an interrupt is this thread's own: others encode theirs themselves
                        with self._queueing:
                            self._waiting = _put_back(self._waiting, batch, mine)
                        raise


_Asked: TypeAlias = tuple[Sequence[str], "asyncio.Future[list[Multivector]]"]


class AsyncQueryBatcher:
    """Encodes queries for many tasks, in one thread at a time for each event loop.

    Loops of several threads, and one after another, are each kept apart: what one waits for no other can wake.

    Parameters
    ----------
    batcher
        Does the work, for other threads as well.
    """

    def __init__(self, batcher: QueryBatcher) -> None:
        self._batcher = batcher
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Asked]] = {}
        """Of each loop that is at it."""
        self._draining: set[asyncio.Task[None]] = set()
        """A loop itself holds its tasks weakly."""

    async def encode(self, texts: Sequence[str]) -> list[Multivector]:
        """Encode queries, together with those of other tasks that wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Multivector]] = loop.create_future()
        if loop in self._waiting:
            self._waiting[loop].append((texts, future))
        else:
            self._waiting[loop] = [(texts, future)]
            task = loop.create_task(self._drain(loop))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return await future

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, batch = self._waiting[loop], []
        try:
            while waiting:
                batch, waiting[:] = waiting[:MOST], waiting[MOST:]
                answers = await asyncio.to_thread(self._batcher.encode_each, [own for own, _ in batch])
                for answer, (_, future) in zip(answers, batch, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, BaseException):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
                    await asyncio.sleep(0)  # one task at a time: all woken at once would hold up the loop
        except Exception as error:  # no thread could be had
            for _, future in (*batch, *waiting):
                if not future.done():
                    future.set_exception(error)
        finally:
            del self._waiting[loop]
            for _, future in (*batch, *waiting):  # of a loop that ends: nobody is left to wait
                future.cancel()


def run(embedder: Embedder, batch: Sequence[_Waiting]) -> None:
    """Encode the queries of several callers in one go; where that fails, those of each by themselves."""
    try:
        texts = [text for caller in batch for text in caller.texts]
        encoded = iter(list(encoded_all(embedder.query_embed(texts), len(texts), type(embedder).__name__)))
        for caller in batch:
            caller.vectors = list(islice(encoded, len(caller.texts)))
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # an encoder in Rust panics with a BaseException
        if len(batch) == 1:
            batch[0].error = error
        else:
            for caller in batch:
                run(embedder, [caller])


def _put_back(waiting: list[_Waiting], batch: Sequence[_Waiting], interrupted: _Waiting) -> list[_Waiting]:
    """Return the queue with those in front that an interrupted thread had taken along with its own."""
    return [caller for caller in batch if caller is not interrupted and not caller.is_done] + waiting
