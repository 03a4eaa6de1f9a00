"""Who carries the steps of operations out: one for callers that wait, one for an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, TypeVar, assert_never

from colbert_qdrant._fork import renewed_after_fork
from colbert_qdrant._once import once
from colbert_qdrant.collection import operations
from colbert_qdrant.collection.engines import AsyncEngine, Engine
from colbert_qdrant.collection.operations import (
    Begin,
    Call,
    Compute,
    EncodeQueries,
    Finish,
    Operation,
    Pause,
    Start,
    Step,
)
from colbert_qdrant.collection.steps import WRITES
from colbert_qdrant.cuts import cuts_told_once
from colbert_qdrant.microbatch import AsyncQueryBatcher, QueryBatcher
from colbert_qdrant.telemetry import span
from colbert_qdrant.types import Embedder

T = TypeVar("T")

_SECONDS_TO_FINISH = 5.0
"""How long an operation that Ctrl-C ends, or is cancelled, waits for the writes that it has begun: whoever hangs up
does not stop a server. One that fails waits for each to its end."""


class Driver:
    """Carries out the steps of an operation, one after the other.

    Parameters
    ----------
    engine
        Carries out calls.
    embedder
        Encodes; not needed where an operation has only calls.
    """

    def __init__(self, engine: Engine, embedder: Embedder) -> None:
        self.engine = engine
        self.embedder = embedder
        self.queries = QueryBatcher(embedder)
        renewed_after_fork(self)

    def _renew_after_fork(self) -> None:
        """Let go of the threads that encode and send."""
        vars(self).pop("_encoding", None)
        vars(self).pop("_sending", None)

    def _run(self, operation: Operation[T]) -> T:
        """Carry out an operation's steps."""
        with cuts_told_once(), span(_name_of(operation), _about(self.embedder, self.engine)):
            return self._carry_out(operation)

    def _carry_out(self, operation: Operation[T]) -> T:
        result: Any = None
        error: Exception | None = None
        begun: set[Future[Any]] = set()
        try:
            while True:
                try:
                    step = operation.send(result) if error is None else operation.throw(error)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                try:
                    result, error = self._perform(step), None
                except Exception as caught:
                    error = caught
                _note(begun, step, result)
        except Exception:
            _let_finish(begun)
            raise
        finally:  # what was begun is not to be carried out after what the caller does next
            _let_finish(begun, _SECONDS_TO_FINISH)

    def _perform(self, step: Step) -> Any:
        about = operations.attributes(step)
        if about is None:
            return self._do(step)
        with span(type(step).__name__, about) as opened:
            result = self._do(step)
            if opened is not None and isinstance(step, EncodeQueries):
                opened.set_attribute("colbert.tokens", sum(map(len, result)))
        return result

    def _do(self, step: Step) -> Any:
        match step:
            case Call(method, arguments):
                return self.engine.call(method, arguments)
            case EncodeQueries(texts):
                return self.queries.encode(texts)
            case Compute(work):
                return work(self.embedder)
            case Start(work):
                return self._encoding.submit(copy_context().run, work, self.embedder)
            case Begin(call):
                return self._sending.submit(copy_context().run, self._perform, call)
            case Finish(job):
                return job.result()
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case _:
                assert_never(step)

    @once
    def _encoding(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="colbert-add")

    @once
    def _sending(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.engine.wire.in_flight, thread_name_prefix="colbert-send")


class AsyncDriver:
    """Carries out the steps of an operation on an event loop, encoding in threads.

    Parameters
    ----------
    engine, embedder
        As in `Driver`.
    """

    def __init__(self, engine: AsyncEngine, embedder: Embedder) -> None:
        self.engine = engine
        self.embedder = embedder
        self._queries = AsyncQueryBatcher(QueryBatcher(embedder))

    async def _run(self, operation: Operation[T]) -> T:
        """Carry out an operation's steps."""
        with cuts_told_once(), span(_name_of(operation), _about(self.embedder, self.engine)):
            return await self._carry_out(operation)

    async def _carry_out(self, operation: Operation[T]) -> T:
        result: Any = None
        error: Exception | None = None
        begun: set[asyncio.Task[Any]] = set()
        try:
            while True:
                try:
                    step = operation.send(result) if error is None else operation.throw(error)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                try:
                    result, error = await self._perform_whole(step, begun), None
                except Exception as caught:
                    error = caught
                _note(begun, step, result)
        except asyncio.CancelledError:
            try:
                if begun:
                    await asyncio.wait(begun, timeout=_SECONDS_TO_FINISH)
            finally:
                for task in begun:
                    task.cancel()
            raise
        finally:  # what was begun is not to be carried out after what the caller does next
            await asyncio.gather(*begun, return_exceptions=True)

    async def _perform_whole(self, step: Step, begun: set[asyncio.Task[Any]]) -> Any:
        """Carry out a step; a write goes on while its caller is cancelled."""
        match step:
            case Call(method) if method in WRITES:
                writing = asyncio.create_task(self._perform(step))
                begun.add(writing)
                writing.add_done_callback(begun.discard)
                return await asyncio.shield(writing)
            case Finish(job) if job in begun:
                return await asyncio.shield(job)
        return await self._perform(step)

    async def _perform(self, step: Step) -> Any:
        about = operations.attributes(step)
        if about is None:
            return await self._do(step)
        with span(type(step).__name__, about) as opened:
            result = await self._do(step)
            if opened is not None and isinstance(step, EncodeQueries):
                opened.set_attribute("colbert.tokens", sum(map(len, result)))
        return result

    async def _do(self, step: Step) -> Any:
        match step:
            case Call(method, arguments):
                return await self.engine.call(method, arguments)
            case EncodeQueries(texts):
                return await self._queries.encode(texts)
            case Compute(work):
                return await asyncio.to_thread(work, self.embedder)
            case Start(work):
                return asyncio.create_task(asyncio.to_thread(work, self.embedder))
            case Begin(call):
                return asyncio.create_task(self._perform(call))
            case Finish(job):
                return await job
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case _:
                assert_never(step)


class InThreads:
    """An engine without asynchronous I/O, called from threads.

    Parameters
    ----------
    engine
        Safe to call from several threads.
    """

    def __init__(self, engine: Engine) -> None:
        self.wire = engine.wire
        self._engine = engine

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call in a thread."""
        return await asyncio.to_thread(self._engine.call, method, arguments)

    async def close(self) -> None:
        """Close the engine."""
        await asyncio.to_thread(self._engine.close)


def _let_finish(begun: Collection[Future[Any]], seconds: float | None = None) -> None:
    """Wait for requests that are under way; those that wait for a thread are not made."""
    for job in begun:
        job.cancel()
    wait(begun, seconds)


def _note(begun: set[Any], step: Step, result: Any) -> None:
    """Keep account of the requests that are under way."""
    match step:
        case Begin():
            begun.add(result)
        case Finish(job):
            begun.discard(job)


def _name_of(operation: Operation[Any]) -> str:
    return getattr(operation, "__name__", "operation")


def _about(embedder: Embedder, engine: Engine | AsyncEngine) -> dict[str, Any]:
    return {"colbert.model": embedder.model_name, "colbert.engine": type(engine).__name__}
