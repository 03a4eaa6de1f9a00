"""Several requests of one `add` are under way at once, and each counts when it is acknowledged."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection import driving, ingest
from colbert_qdrant.collection.engines import Engine
from colbert_qdrant.collection.steps import WRITES
from colbert_qdrant.errors import EngineUnavailable
from conftest import WordEmbedder

TEXTS = [f"text {number}" for number in range(12)]


class Remote:
    """An engine that takes three requests at once, as far away as a test says."""

    def __init__(self, near: Engine, before_upsert: Callable[[set[str]], object]) -> None:
        self.near = near
        self.wire = replace(near.wire, in_flight=3)
        self.before_upsert = before_upsert
        self.begun: list[set[str]] = []
        self.done: list[set[str]] = []

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        if method != "upsert":
            return self.near.call(method, arguments)
        texts = {point.payload["page_content"] for point in arguments["points"]}
        self.begun.append(texts)
        self.before_upsert(texts)
        answer = self.near.call(method, arguments)
        self.done.append(texts)
        return answer

    def close(self) -> None:
        self.near.close()


@pytest.fixture(autouse=True)
def two_texts_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "WINDOW", 2)
    monkeypatch.setattr(driving.time, "sleep", lambda seconds: None)


def far_away(words: WordEmbedder, before_upsert: Callable[[set[str]], object]) -> tuple[MultivectorCollection, Remote]:
    collection = MultivectorCollection("docs", words)
    remote = Remote(collection.engine, before_upsert)
    collection.engine = remote
    return collection, remote


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_as_many_requests_are_under_way_as_the_engine_takes(face: str, words: WordEmbedder) -> None:
    three = threading.Barrier(3, timeout=10)  # broken, and add with it, where fewer come
    collection, remote = far_away(words, lambda _: three.wait())

    report = collection.add(TEXTS) if face == "sync" else await collection.as_async().add(TEXTS)

    assert (report.added, collection.count(), len(remote.done)) == (12, 12, 6)
    assert sorted(record.text for record in collection.scroll()) == sorted(TEXTS)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_one_that_fails_for_good_leaves_the_others_counted(
    face: str, words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None: ...

    def refuse(texts: set[str]) -> None:
        if "text 4" in texts:
            raise EngineUnavailable("busy")

    monkeypatch.setattr(driving.asyncio, "sleep", at_once)
    collection, _ = far_away(words, refuse)

    with pytest.raises(EngineUnavailable) as caught:
        _ = collection.add(TEXTS) if face == "sync" else await collection.as_async().add(TEXTS)

    stored = collection.count()
    assert 4 <= stored < len(TEXTS)
    assert any(f"{stored} texts were stored before" in note for note in caught.value.__notes__)


def test_a_request_that_fails_once_is_tried_again_and_nothing_is_counted_twice(words: WordEmbedder) -> None:
    failing = [{"text 0", "text 1"}, {"text 4", "text 5"}]

    def refuse(texts: set[str]) -> None:
        if texts in failing:
            failing.remove(texts)
            raise EngineUnavailable("busy")

    collection, remote = far_away(words, refuse)

    assert collection.add(TEXTS).added == collection.count() == 12
    assert len(remote.begun) == 8


def test_nothing_that_was_begun_is_stored_after_an_interrupt(words: WordEmbedder) -> None:
    collection, remote = far_away(words, lambda _: threading.Event().wait(0.05))
    windows = iter(range(3))

    def interrupt(report: Any) -> None:
        if next(windows, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.add(TEXTS, progress=interrupt)

    stored = collection.count()
    assert 0 < stored < len(TEXTS)
    assert sorted(map(sorted, remote.begun)) == sorted(map(sorted, remote.done))
    assert collection.add(TEXTS).encoded == len(TEXTS) - stored


def interrupted(texts: list[str], error: BaseException) -> Iterator[str]:
    yield from texts
    raise error


def test_a_failure_waits_for_what_was_begun_however_slow(words: WordEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or an old text would be stored over the one that the caller adds next."""
    monkeypatch.setattr(driving, "_SECONDS_TO_FINISH", 0.01)
    collection, remote = far_away(words, lambda _: threading.Event().wait(0.1))

    with pytest.raises(ValueError, match="no more"):
        collection.add(interrupted(TEXTS[:4], ValueError("no more")))

    assert remote.begun == remote.done == [{"text 0", "text 1"}]


def test_what_waits_for_a_thread_is_not_sent_after_an_interrupt(
    words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "_SECONDS_TO_FINISH", 0.01)
    three, go_on = threading.Barrier(4), threading.Event()

    def wait(texts: set[str]) -> None:
        if texts <= {*TEXTS[:6]}:
            three.wait(10)
        go_on.wait(10)

    collection, remote = far_away(words, wait)
    beside = threading.Thread(target=collection.add, args=(TEXTS[:6],))
    beside.start()
    three.wait(10)  # all threads are busy

    with pytest.raises(KeyboardInterrupt):
        collection.add(interrupted(["mine", "and mine", "not yet", "sent"], KeyboardInterrupt()))

    go_on.set()
    beside.join()
    collection.add(["mine after all"])
    assert {"mine", "and mine"} not in remote.begun


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_a_cancelled_write_is_not_carried_out_after_what_comes_next(in_flight: int, words: WordEmbedder) -> None:
    """Hanging up stops no thread, and no server that has the request."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(texts: set[str]) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    collection, remote = far_away(words, wait)
    remote.wire = replace(remote.wire, in_flight=in_flight)
    adding = asyncio.create_task(collection.as_async().add(TEXTS))
    await begun.wait()
    adding.cancel()
    loop.call_later(0.05, go_on.set)

    with pytest.raises(asyncio.CancelledError):
        await adding

    assert remote.begun == remote.done
    assert collection.count() == 2 * len(remote.done) > 0


async def test_a_cancelled_write_that_hangs_is_not_waited_for_all_day(
    words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "_SECONDS_TO_FINISH", 0.01)
    go_on = threading.Event()
    collection, remote = far_away(words, lambda _: go_on.wait(10))
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collection.as_async().add(TEXTS), 0.05)

        assert len(remote.begun) == 3 > len(remote.done) == 0
    finally:
        go_on.set()


def test_every_call_is_known_to_write_or_to_read() -> None:
    """A write that is not known as one would be cancelled, and carried out after what its caller does next."""
    sources = (Path(driving.__file__).parent).glob("*.py")
    made = {name for path in sources for name in re.findall(r'\bCall\(\s*"(\w+)"', path.read_text(encoding="utf-8"))}
    reads = {name for name in made if name.startswith(("get_", "list_", "query_"))}

    assert made - reads - {*WRITES} == {"collection_exists", "count", "optimize", "retrieve", "scroll"}
