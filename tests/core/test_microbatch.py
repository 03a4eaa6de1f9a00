from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.microbatch import MOST, AsyncQueryBatcher, QueryBatcher
from conftest import WordEmbedder


class SlowEmbedder(WordEmbedder):
    """Takes its time, as a model does, and remembers how many queries came together."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.runs: list[int] = []
        self.at_once = threading.Semaphore(1)

    def query_embed(self, query: Any) -> Iterator[np.ndarray]:
        assert self.at_once.acquire(blocking=False), "two runs at the same time"
        self.runs.append(len(query))
        time.sleep(self.seconds)
        if "fail" in query:
            self.at_once.release()
            raise RuntimeError("no")
        self.at_once.release()
        return (self._encode(text) for text in query)


QUERIES = [f"query {number}" for number in range(64)]


def check(results: list[list[np.ndarray]]) -> None:
    expected = WordEmbedder().query_embed(QUERIES[: len(results)])
    for [vectors], ours in zip(results, expected, strict=True):
        np.testing.assert_array_equal(vectors, ours)


def test_a_lone_query_does_not_wait_for_company() -> None:
    embedder = SlowEmbedder(0)
    start = time.perf_counter()

    QueryBatcher(embedder).encode(["alone"])

    assert time.perf_counter() - start < 0.5
    assert embedder.runs == [1]


def test_threads_that_wait_are_served_together_each_with_its_own() -> None:
    embedder = SlowEmbedder()
    batcher = QueryBatcher(embedder)

    with ThreadPoolExecutor(64) as pool:
        results = list(pool.map(lambda text: batcher.encode([text]), QUERIES))

    check(results)
    assert sum(embedder.runs) == 64
    assert len(embedder.runs) < 16


async def test_tasks_that_wait_are_served_together_each_with_its_own() -> None:
    embedder = SlowEmbedder()
    batcher = AsyncQueryBatcher(QueryBatcher(embedder))

    results = await asyncio.gather(*(batcher.encode([text]) for text in QUERIES))

    check(list(results))
    assert embedder.runs == [64]


async def test_a_run_is_bounded() -> None:
    embedder = SlowEmbedder(0)
    batcher = AsyncQueryBatcher(QueryBatcher(embedder))

    await asyncio.gather(*(batcher.encode(["q"]) for _ in range(MOST + 5)))

    assert embedder.runs == [MOST, 5]


async def test_a_failure_reaches_those_who_waited_and_nobody_else() -> None:
    embedder = SlowEmbedder(0)
    batcher = AsyncQueryBatcher(QueryBatcher(embedder))

    with pytest.raises(RuntimeError, match="no"):
        await batcher.encode(["fail"])

    assert len(await batcher.encode(["fine"])) == 1


async def test_a_cancelled_query_does_not_disturb_the_others() -> None:
    batcher = AsyncQueryBatcher(QueryBatcher(SlowEmbedder()))
    first, second = (asyncio.create_task(batcher.encode([text])) for text in ("one", "two"))
    await asyncio.sleep(0)

    first.cancel()

    assert len(await second) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


class Panic(BaseException):
    """What a library in Rust raises where it panics: no `Exception`."""


class Choosy(WordEmbedder):
    """Refuses some queries, gives too few or too many vectors for others, and is interrupted by one, once."""

    def __init__(self) -> None:
        self.is_running, self.goes_on = threading.Event(), threading.Event()
        self.was_interrupted = False

    def query_embed(self, query: Any) -> Iterator[np.ndarray]:
        if "slow" in query:
            self.is_running.set()
            assert self.goes_on.wait(5)
        if "interrupt" in query and not self.was_interrupted:
            self.was_interrupted = True
            raise KeyboardInterrupt
        if "bad" in query:
            raise ValueError("bad query")
        if "panic" in query:
            raise Panic("of Rust's")
        if "few" in query:
            return iter(())
        if "many" in query:
            return (self._encode(text) for text in [*query, "more"])
        return (self._encode(text) for text in query)


def together(texts: list[str]) -> dict[str, Any]:
    """Encode queries of as many threads in one run, which begins when all wait."""
    embedder = Choosy()
    batcher = QueryBatcher(embedder)
    answers: dict[str, Any] = {}

    def encode(text: str) -> None:
        try:
            answers[text] = batcher.encode([text])
        except BaseException as error:
            answers[text] = error

    threads = [threading.Thread(target=encode, args=(text,)) for text in ["slow", *texts]]
    threads[0].start()
    assert embedder.is_running.wait(5)
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        while len(batcher._waiting) < number:
            time.sleep(0.001)
    embedder.goes_on.set()
    for thread in threads:
        thread.join(5)
    assert len(answers) == len(threads)
    return answers


@pytest.mark.parametrize(
    ("text", "error"), [("bad", ValueError), ("panic", Panic), ("few", InvalidInput), ("many", InvalidInput)]
)
def test_a_query_that_fails_fails_only_itself(text: str, error: type[BaseException]) -> None:
    answers = together(["fine", text, "fine too"])

    assert isinstance(answers[text], error)
    assert [len(answers[good]) for good in ("fine", "fine too")] == [1, 1]


def test_an_interrupt_is_of_one_thread_alone() -> None:
    answers = together(["interrupt", "fine", "fine too"])

    interrupted = [text for text, answer in answers.items() if isinstance(answer, BaseException)]
    assert len(interrupted) == 1  # the thread that encodes for all, whichever comes to it first


@pytest.mark.parametrize(("text", "error"), [("bad", ValueError), ("panic", Panic)])
async def test_a_query_that_fails_fails_only_itself_on_an_event_loop(text: str, error: type[BaseException]) -> None:
    batcher = AsyncQueryBatcher(QueryBatcher(Choosy()))

    answers = await asyncio.wait_for(
        asyncio.gather(*(batcher.encode([each]) for each in ["fine", text, "fine too"]), return_exceptions=True), 5
    )

    assert [isinstance(answer, error) for answer in answers] == [False, True, False]


def test_each_thread_has_an_event_loop_of_its_own() -> None:
    batcher = AsyncQueryBatcher(QueryBatcher(SlowEmbedder(0.2)))

    def encode(text: str) -> list[np.ndarray]:
        return asyncio.run(asyncio.wait_for(batcher.encode([text]), 5))

    with ThreadPoolExecutor(4) as pool:
        check(list(pool.map(encode, QUERIES[:4])))
    assert batcher._waiting == {}


def test_an_event_loop_that_ended_while_it_waited_holds_up_no_other() -> None:
    batcher = AsyncQueryBatcher(QueryBatcher(SlowEmbedder(0.2)))
    ended = asyncio.new_event_loop()
    with pytest.raises(asyncio.TimeoutError):
        ended.run_until_complete(asyncio.wait_for(batcher.encode(QUERIES[:1]), 0.05))
    ended.close()

    [answer] = asyncio.run(asyncio.wait_for(batcher.encode(QUERIES[:1]), 5))

    check([[answer]])


async def test_who_waits_where_no_thread_can_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio, "to_thread", fails)
    batcher = AsyncQueryBatcher(QueryBatcher(SlowEmbedder(0)))

    with pytest.raises(RuntimeError, match="new thread"):
        await asyncio.wait_for(batcher.encode(["one"]), 5)


async def test_who_waits_when_a_loop_ends_is_not_left_waiting() -> None:
    batcher = AsyncQueryBatcher(QueryBatcher(SlowEmbedder(0.1)))
    waiting = asyncio.create_task(batcher.encode(["one"]))
    await asyncio.sleep(0.01)

    for task in batcher._draining:
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
    assert len(await batcher.encode(["two"])) == 1


def test_an_embedder_may_search_too() -> None:
    class Nested(WordEmbedder):
        def query_embed(self, query: Any) -> Iterator[np.ndarray]:
            return iter(batcher.encode(["inner"])) if list(query) == ["outer"] else super().query_embed(query)

    batcher = QueryBatcher(Nested())
    thread = threading.Thread(target=batcher.encode, args=(["outer"],), daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
