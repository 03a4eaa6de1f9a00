"""Sixteen threads on one collection, and many tasks on one event loop: nothing lost, nothing twice.

    CONCURRENCY_SECONDS=60 pytest tests/core/test_concurrency.py

keeps the threads at it for a minute an engine, instead of two seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import servers
from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from conftest import WordEmbedder
from faulty_server import serving
from servers import server_place

SECONDS = float(os.environ.get("CONCURRENCY_SECONDS", "2"))
THREADS = 16
MOST_OWN = 40
SHARED = 5


@pytest.fixture(params=["memory", "edge", "server"])
def collection(request: pytest.FixtureRequest, tmp_path: Path, words: WordEmbedder) -> Iterator[MultivectorCollection]:
    """An empty collection: in memory, embedded, and on a server (of tests/faulty_server.py, if there is no other)."""
    with serving() as (_, url):
        if request.param == "edge":
            pytest.importorskip("qdrant_edge")
        places: dict[str, dict[str, Any]] = {
            "memory": {"client": QdrantClient(":memory:")},
            "edge": {"path": tmp_path / "edge"},
            "server": server_place() if servers.URL else {"url": url},
        }
        with MultivectorCollection(f"threads-{time.time_ns()}", words, **places[request.param]) as opened:
            yield opened
            opened.engine.call("delete_collection", {"collection_name": opened.name})


class Worker:
    """One thread's work: on records of its own, of which it knows what is stored, and on some that all share."""

    def __init__(self, number: int, collection: MultivectorCollection) -> None:
        self.number = number
        self.collection = collection
        self.own: dict[str, str] = {}
        self.rounds = 0

    def __call__(self, start: threading.Barrier) -> dict[str, str]:
        start.wait()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            self.rounds += 1
            self.add()
            self.search()
            self.read()
            self.delete()
        return self.own

    def add(self) -> None:
        fresh = {f"{self.number}-{self.rounds}-{k}": f"thread{self.number} round{self.rounds} {k}" for k in range(3)}
        report = self.collection.add([*self.own.values(), *fresh.values()], self.mine(len(fresh)), [*self.own, *fresh])
        assert (report.added, report.updated, report.unchanged) == (len(fresh), 0, len(self.own))
        self.own |= fresh
        name = self.rounds % SHARED
        self.collection.add([f"shared {name} by thread{self.number}"], ids=[f"shared-{name}"])

    def mine(self, more: int) -> list[dict[str, int]]:
        return [{"thread": self.number}] * (len(self.own) + more)

    def search(self) -> None:
        own = models.FieldCondition(key="metadata.thread", match=models.MatchValue(value=self.number))
        hits = self.collection.search(f"thread{self.number} round{self.rounds}", 8, filter=models.Filter(must=[own]))
        assert len({hit.id for hit in hits}) == min(8, len(self.own))
        assert all(self.own[hit.id] == hit.text for hit in hits)
        everybodys = self.collection.search("shared round", 10)
        assert len({hit.id for hit in everybodys}) == len(everybodys) > 0

    def read(self) -> None:
        assert {record.id: record.text for record in self.collection.get([*self.own, "missing"])} == self.own

    def delete(self) -> None:
        gone = list(self.own)[: 1 if len(self.own) < MOST_OWN else MOST_OWN // 2]
        self.collection.delete(gone)
        for record_id in gone:
            del self.own[record_id]
        assert self.collection.get(gone) == []


def in_threads(work: list[Callable[[threading.Barrier], Any]]) -> list[Any]:
    """Start all work at the same moment; returns what came of each, raises what one of them raised."""
    start = threading.Barrier(len(work))
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(each, start) for each in work]]


def test_threads_lose_nothing_and_store_nothing_twice(collection: MultivectorCollection) -> None:
    workers = [Worker(number, collection) for number in range(THREADS)]

    owned = in_threads(list(workers))

    print(f"\n{sum(worker.rounds for worker in workers)} rounds of {THREADS} threads in {SECONDS:.0f} s")
    expected = {record_id: text for own in owned for record_id, text in own.items()}
    stored = list(collection.scroll())
    shared = Counter(record.id for record in stored if record.id.startswith("shared-"))
    assert {record.id: record.text for record in stored if record.id not in shared} == expected
    assert set(shared.values()) == {1}
    assert collection.count() == len(stored) == len(expected) + len(shared)


def test_threads_that_add_the_same_store_it_once(collection: MultivectorCollection) -> None:
    texts = [f"text {number}" for number in range(50)]

    reports = in_threads([lambda start: (start.wait(), collection.add(texts))[1]] * THREADS)

    assert all(report.ids == reports[0].ids for report in reports)
    assert sorted(record.text for record in collection.scroll()) == sorted(texts)


async def test_tasks_add_search_and_delete_on_one_loop(collection: MultivectorCollection) -> None:
    face = collection.as_async()

    async def work(number: int) -> None:
        for k in range(3):
            await face.add([f"task{number} {k}"], ids=[f"{number}-{k}"])
            assert [hit.id for hit in await face.search(f"task{number} {k}", 1)] == [f"{number}-{k}"]
        await face.delete([f"{number}-0"])

    await asyncio.gather(*(work(number) for number in range(THREADS)))

    stored = sorted([record.id async for record in face.scroll()])
    await face.close()
    assert stored == sorted(f"{number}-{k}" for number in range(THREADS) for k in (1, 2))


def test_threads_share_an_embedder(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, threads=2)
    texts = [f"document {number} of several words" for number in range(20)]
    alone = ColbertEmbedder(tiny_folder, threads=2)
    documents, queries = list(alone.embed(texts)), list(alone.query_embed(texts))

    def encode(start: threading.Barrier) -> tuple[list[np.ndarray], list[np.ndarray]]:
        start.wait()  # before the model is loaded: all of them ask for it at once
        return list(embedder.embed(texts)), list(embedder.query_embed(texts))

    for in_thread in in_threads([encode] * THREADS):
        for mine, theirs in zip((documents, queries), in_thread, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def test_threads_that_search_get_their_own_answers(tiny: ColbertEmbedder) -> None:
    texts = [f"number {number} {word}" for number in range(8) for word in ("apple", "sky", "night")]
    collection = MultivectorCollection("answers", tiny)
    collection.add(texts, ids=texts)
    expected = {text: [(hit.id, hit.score) for hit in collection.search(text, 3)] for text in texts}

    def search(start: threading.Barrier) -> dict[str, list[tuple[str, float]]]:
        start.wait()
        return {text: [(hit.id, hit.score) for hit in collection.search(text, 3)] for text in texts}

    for found in in_threads([search] * THREADS):
        for text in texts:
            assert [score for _, score in found[text]] == pytest.approx([s for _, s in expected[text]], abs=1e-4)
            assert found[text][0][0] == expected[text][0][0]


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let SIGINT interrupt: among several processes of tests, each ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_add_in_memory_leaves_a_collection_that_works(words: WordEmbedder) -> None:
    collection = MultivectorCollection("interrupted", words)
    interrupted = 0
    for number in range(12):
        texts = [f"red apple {number} {text}" for text in range(200)]
        timer = threading.Timer(
            0.004 * (number + 1), signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
        )
        try:
            timer.start()
            collection.add(texts)
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            interrupted += 1
        assert len(collection.search("red apple", limit=3)) == 3 or not collection.count()
        collection.add(texts)

    assert interrupted > 0
    assert collection.count() == 12 * 200
