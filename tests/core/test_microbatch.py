from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

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
    expected = WordEmbedder().query_embed(QUERIES)
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
