"""A collection on a server: the real client, a real socket, and what goes wrong on the way."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import AsyncMultivectorCollection, Bm25, MultivectorCollection, Muvera
from colbert_qdrant.collection import driving, ingest, patience
from colbert_qdrant.errors import CollectionNotFound, EngineError, EngineUnavailable
from conftest import WordEmbedder
from faulty_server import BODY_LIMIT, FAULTS, Fault, FaultyServer, serving, some_faults

TEXTS = ["red apple", "green apple pie", "blue sky", "red sky at night"]
METADATAS = [{"color": "red", "size": 1}, {"color": "green", "nested": {"list": [1, None]}}, {}, {"color": "red"}]
IDS = ["0", "18446744073709551615", "11111111-2222-3333-4444-555555555555", "any string: ünïcode"]
RED = models.Filter(must=[models.FieldCondition(key="metadata.color", match=models.MatchValue(value="red"))])

ANSWERED_IN_TIME: tuple[Fault, ...] = tuple(fault for fault in FAULTS if fault != "stall")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving() as (running, _):
        running.retry_after = "0"
        yield running


@pytest.fixture
def collection(server: FaultyServer, words: WordEmbedder) -> Iterator[MultivectorCollection]:
    with MultivectorCollection("wire", words, url=server.url, timeout=1) as opened:
        server.requests.clear()
        yield opened


@pytest.fixture
async def face(collection: MultivectorCollection) -> Any:
    face = collection.as_async()
    yield face
    await face.close()


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting between tries; how long each wait may have been."""
    longest: list[float] = []

    def uniform(least: float, most: float) -> float:
        longest.append(most)
        return 0.0

    monkeypatch.setattr(patience, "random", SimpleNamespace(uniform=uniform))
    return longest


def upserts(server: FaultyServer) -> list[int]:
    return [request.size for request in server.requests if (request.method, request.path[-7:]) == ("PUT", "/points")]


def test_a_collection_works_whole(collection: MultivectorCollection, words: WordEmbedder) -> None:
    assert collection.add(TEXTS, METADATAS, IDS).added == 4
    assert collection.add(TEXTS, METADATAS, IDS).unchanged == 4
    assert collection.add(["blue sky"], [{"color": "blue"}], [IDS[2]]).updated == 1

    records = collection.get(IDS, with_vectors=True)
    assert [(record.id, record.text) for record in records] == list(zip(IDS, TEXTS, strict=True))
    assert [record.metadata for record in records] == [*METADATAS[:2], {"color": "blue"}, METADATAS[3]]
    np.testing.assert_allclose(records[0].vectors, next(words.embed("red apple")), atol=1e-6)

    best, *others = collection.search("red apple", limit=4)
    assert (best.id, best.score) == ("0", pytest.approx(2, abs=1e-5))
    assert [hit.id for hit in collection.search("red apple", 2, offset=1)] == [hit.id for hit in others[:2]]
    assert {hit.id for hit in collection.search("apple", filter=RED)} == {IDS[0], IDS[3]}
    assert [hit.id for hit in collection.search("red apple", score_threshold=1.99)] == ["0"]
    assert [[hit.text for hit in hits] for hits in collection.search_batch(["blue sky", "pie"], 1)] == [
        ["blue sky"],
        ["green apple pie"],
    ]
    assert collection.score("red apple", ["missing", "0"]) == {"0": pytest.approx(2, abs=1e-5)}

    collection.delete([IDS[0], IDS[1]], filter=RED)
    collection.delete([IDS[2]])
    assert {record.id for record in collection.scroll()} == {IDS[1], IDS[3]}
    collection.delete(filter=RED)
    assert collection.count() == 1
    assert collection.count(RED) == 0


def test_scroll_goes_through_all_pages(collection: MultivectorCollection) -> None:
    texts = [f"text {number}" for number in range(300)]
    collection.add(texts)

    assert sorted(record.text for record in collection.scroll()) == sorted(texts)


async def test_an_asynchronous_collection_works_whole(server: FaultyServer, words: WordEmbedder) -> None:
    async with AsyncMultivectorCollection("wire", words, url=server.url) as collection:
        assert (await collection.add(TEXTS, METADATAS, IDS)).added == 4
        assert (await collection.add(TEXTS, METADATAS, IDS)).unchanged == 4
        assert [record.metadata for record in await collection.get(IDS)] == METADATAS
        assert [hit.id for hit in await collection.search("red apple", 1)] == ["0"]
        assert {hit.id for hit in await collection.search("apple", filter=RED)} == {IDS[0], IDS[3]}
        assert [[hit.text for hit in hits] for hits in await collection.search_batch(["pie"], 1)] == [[TEXTS[1]]]
        assert await collection.score("red apple", ["0"]) == {"0": pytest.approx(2, abs=1e-5)}
        await collection.delete([IDS[2]])
        await collection.delete(filter=RED)
        assert [record.id async for record in collection.scroll()] == [IDS[1]]
        assert await collection.count() == 1


def test_first_stages_are_stored_searched_and_added_later(server: FaultyServer, words: WordEmbedder) -> None:
    with MultivectorCollection("staged", words, url=server.url, stages=[Bm25()]) as collection:
        collection.add(TEXTS, ids=IDS)
        collection.add_stage(Muvera(words.dim))

        assert collection.search("green pie", 1)[0].id == IDS[1]
        assert [hits[0].id for hits in collection.search_batch(["green pie", "blue sky"], 1)] == [IDS[1], IDS[2]]

    assert [stage.name for stage in MultivectorCollection("staged", words, url=server.url).layout.stages] == [
        "bm25",
        "muvera",
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_add_waits_a_fault_out(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], fault: Fault
) -> None:
    server.faults = iter([fault, None, fault])  # at the look-up and at the upload

    report = collection.add(["a", "b"])

    assert (report.added, collection.count()) == (2, 2)
    assert [request.fault for request in server.requests[:4]] == [fault, None, fault, None]


@pytest.mark.parametrize("fault", FAULTS)
async def test_asynchronous_add_waits_a_fault_out(
    face: AsyncMultivectorCollection, server: FaultyServer, backoffs: list[float], fault: Fault
) -> None:
    server.faults = iter([fault, None, fault])

    report = await face.add(["a", "b"])

    assert (report.added, await face.count()) == (2, 2)
    assert [request.fault for request in server.requests[:4]] == [fault, None, fault, None]


def test_a_server_that_restarts_is_waited_for(words: WordEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FaultyServer()
    with server.listening() as url:
        collection = MultivectorCollection("restarted", words, url=url)

    with ExitStack() as restarted:

        def restart(seconds: float) -> None:
            restarted.enter_context(server.listening(int(url.rpartition(":")[2])))

        monkeypatch.setattr(driving, "time", SimpleNamespace(sleep=restart))

        assert collection.add(["a"]).added == 1


def test_waits_grow(collection: MultivectorCollection, server: FaultyServer, backoffs: list[float]) -> None:
    server.faults = iter(["503"] * 5)

    collection.add(["a"])

    assert backoffs == [1, 2, 4, 8, 16]


def test_a_server_is_left_alone_for_as_long_as_it_asks(
    collection: MultivectorCollection, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(driving, "time", SimpleNamespace(sleep=slept.append))
    server.faults, server.retry_after = iter(["429"]), "7"

    collection.add(["a"])

    assert slept == [7]


@pytest.mark.parametrize("retry_after", [None, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_busy_server_that_names_no_seconds_is_tried_again(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], retry_after: str | None
) -> None:
    server.faults, server.retry_after = iter(["429"]), retry_after

    assert collection.add(["a"]).added == 1
    assert len(backoffs) == 1


def test_a_write_whose_answer_was_lost_is_stored_once(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float]
) -> None:
    server.faults = iter([None, None, "drop after"])  # what is there, the collection's stages, the points

    report = collection.add(["a", "b"])

    assert len(upserts(server)) == 2
    assert (report.added, report.updated, collection.count()) == (2, 0, 2)


def test_a_fault_that_stays_is_raised_and_a_second_run_finishes(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "WINDOW", 2)
    texts = [f"text {number}" for number in range(10)]
    good: list[Fault | None] = [None] * 6
    server.faults = itertools.chain(good, itertools.repeat("503"))

    with pytest.raises(EngineUnavailable, match="503 Service Unavailable") as caught:
        collection.add(texts)

    server.faults = iter(())
    stored = collection.count()
    assert 0 < stored < len(texts)
    assert any(f"{stored} texts were stored before" in note for note in caught.value.__notes__)
    assert collection.add(texts).encoded == len(texts) - stored


def test_a_fifth_of_all_requests_may_fail(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "WINDOW", 8)
    server.faults = some_faults(seed=0, share=0.2, faults=ANSWERED_IN_TIME)
    texts = [f"text {number}" for number in range(800)]

    report = collection.add(texts)

    server.faults = iter(())
    assert {request.fault for request in server.requests} == {None, *ANSWERED_IN_TIME}
    assert (report.added, report.encoded) == (800, 800)
    assert sorted(record.text for record in collection.scroll()) == sorted(texts)


def test_a_lasting_error_is_raised_at_once(collection: MultivectorCollection, server: FaultyServer) -> None:
    server.api_key = "a key that nobody was told"

    with pytest.raises(EngineError, match=r"reading 'wire': Qdrant answered 401 Unauthorized: .*API key"):
        collection.add(["a"])

    assert len(server.requests) == 1


def test_a_collection_that_is_gone_is_not_waited_for(collection: MultivectorCollection, server: FaultyServer) -> None:
    server.qdrant.delete_collection("wire")

    with pytest.raises(CollectionNotFound, match="wire"):
        collection.add(["a"])

    assert len(server.requests) == 1


def test_a_search_that_took_its_time_is_not_repeated(collection: MultivectorCollection, server: FaultyServer) -> None:
    server.faults = iter(["stall"])

    with pytest.raises(EngineUnavailable, match="searching 'wire'"):
        collection.search("a")

    assert len(server.requests) == 1


async def test_an_asynchronous_search_that_took_its_time_is_not_repeated(
    face: AsyncMultivectorCollection, server: FaultyServer
) -> None:
    server.faults = iter(["stall"])

    with pytest.raises(EngineUnavailable, match="searching 'wire'"):
        await face.search("a")

    assert len(server.requests) == 1


def test_a_search_says_how_long_to_leave_the_server_alone(
    collection: MultivectorCollection, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "time", SimpleNamespace(sleep=lambda seconds: None))
    server.faults, server.retry_after = iter(["429"] * 3), "7"

    with pytest.raises(EngineUnavailable, match="429 Too Many Requests") as caught:
        collection.search("a")

    assert caught.value.retry_after == 7


def test_an_answer_of_another_shape_is_no_passing_fault(
    collection: MultivectorCollection, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda request, body: {"points": "of a later version"})

    with pytest.raises(EngineError, match="do the versions of server and client fit"):
        collection.add(["a"])

    assert len(server.requests) == 1


def test_a_closed_grpc_port_is_unavailable(words: WordEmbedder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_and_given_back:
        closed = taken_and_given_back.getsockname()[1]
    client = QdrantClient("127.0.0.1", grpc_port=closed, prefer_grpc=True, timeout=1, check_compatibility=False)

    with pytest.raises(EngineUnavailable, match="Is the server running"):
        MultivectorCollection("grpc", words, client=client)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
async def test_the_api_key_is_sent_with_every_request(words: WordEmbedder) -> None:
    with serving("s3cret") as (server, url):
        with MultivectorCollection("locked", words, url=url, api_key="s3cret") as collection:
            collection.add(["red apple"])
        async with AsyncMultivectorCollection("locked", words, url=url, api_key="s3cret") as collection:
            assert len(await collection.search("apple")) == 1

    assert {request.headers.get("api-key") for request in server.requests} == {"s3cret"}


class LongNumbers(WordEmbedder):
    """Gives multivectors of 512 x 128 whose numbers are as long in JSON as float32 gets within a unit vector."""

    dim = 128

    def _encode(self, text: str) -> np.ndarray:
        return (-1e-4 - 1e-4 * np.random.RandomState(len(text)).rand(512, self.dim)).astype(np.float32)


def test_documents_are_cut_to_the_size_that_the_server_takes(server: FaultyServer) -> None:
    collection = MultivectorCollection("long", LongNumbers(), url=server.url, timeout=60)

    report = collection.add(["word " * number for number in range(1, 25)])

    assert (report.added, collection.count()) == (24, 24)
    assert sum(upserts(server)) > BODY_LIMIT
    assert max(upserts(server)) < BODY_LIMIT


def test_a_request_that_is_too_large_is_refused_at_once(
    server: FaultyServer, words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faulty_server.BODY_LIMIT", 1000)
    collection = MultivectorCollection("small", words, url=server.url)

    with pytest.raises(EngineError, match=r"adding to 'small': .*400 Bad Request: .*larger than allowed"):
        collection.add(["one text of several words"])

    assert len(upserts(server)) == 1


class TestAnswersThatAreNone:
    """Whatever stands in the server's place may say what it likes."""

    @pytest.mark.parametrize("stated", ["-5", "soon", "1e9", ""])
    def test_a_pause_that_is_none_is_not_waited_for(
        self, collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], stated: str
    ) -> None:
        server.retry_after = stated
        server.faults = iter(["429"])

        assert collection.add(["a"]).added == 1

    def test_another_404_is_not_a_missing_collection(
        self, collection: MultivectorCollection, server: FaultyServer
    ) -> None:
        server.faults = iter(["vhost"])

        with pytest.raises(EngineError, match=r"http://127.0.0.1.* answered 404 Not Found, and not as Qdrant does"):
            collection.count()

    def test_a_score_that_is_no_number_is_refused(
        self, collection: MultivectorCollection, server: FaultyServer
    ) -> None:
        collection.add(["a"], ids=["1"])
        for act in (lambda: collection.search("a"), lambda: collection.score("a", ["1"])):
            server.faults = iter(["NaN"])
            with pytest.raises(EngineError, match="score nan"):
                act()

    def test_what_it_says_can_not_reach_the_terminal(
        self, collection: MultivectorCollection, server: FaultyServer
    ) -> None:
        server.faults = iter(["hostile"])

        with pytest.raises(EngineError) as caught:
            collection.count()

        assert str(caught.value).isprintable()
        assert "\\x1b]0;OWNED" in str(caught.value)

    def test_a_server_that_is_not_there_is_named(self, words: WordEmbedder) -> None:
        with pytest.raises(EngineUnavailable, match=r"did not answer at http://127.0.0.1:9 "):
            MultivectorCollection("nowhere", words, url="http://127.0.0.1:9")


@pytest.mark.parametrize("fault", ["reset", "503", "429", "garble", "truncate"])
@pytest.mark.parametrize("operation", ["search", "search_batch", "score", "get", "count", "scroll"])
def test_a_read_is_tried_again_where_a_node_goes_away(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float], operation: str, fault: Fault
) -> None:
    collection.add(["a"], ids=["1"])
    server.faults = iter([fault, fault])
    acts: dict[str, Callable[[], Any]] = {
        "search": lambda: len(collection.search("a")),
        "search_batch": lambda: len(collection.search_batch(["a"])),
        "score": lambda: len(collection.score("a", ["1"])),
        "get": lambda: len(collection.get(["1"])),
        "count": collection.count,
        "scroll": lambda: len(list(collection.scroll())),
    }

    assert acts[operation]() == 1
    assert [request.fault for request in server.requests[-3:]] == [fault, fault, None]


def test_a_read_is_given_up_after_a_second_or_two(
    collection: MultivectorCollection, server: FaultyServer, backoffs: list[float]
) -> None:
    server.faults = iter(["503"] * 9)

    with pytest.raises(EngineUnavailable, match="503") as caught:
        collection.count()

    assert caught.value.__notes__ == ["tried 3 times"]
    assert sum(backoffs) <= 2


async def test_a_read_is_tried_again_on_an_event_loop(
    collection: MultivectorCollection, server: FaultyServer, face: Any, backoffs: list[float]
) -> None:
    server.faults = iter(["503", "reset"])

    assert await face.count() == 0


def test_a_timeout_bounds_an_answer_that_drips(words: WordEmbedder, server: FaultyServer) -> None:
    with MultivectorCollection("drips", words, url=server.url, timeout=3) as collection:
        server.faults = iter(["drip"] * 3)
        start = time.monotonic()

        with pytest.raises(EngineUnavailable, match="not whole when the timeout was over"):
            collection.engine.call("count", {"collection_name": "drips"})

    assert time.monotonic() - start < 5


async def test_a_timeout_bounds_it_on_an_event_loop(words: WordEmbedder, server: FaultyServer) -> None:
    async with AsyncMultivectorCollection("drips", words, url=server.url, timeout=3) as collection:
        await collection.count()
        server.faults = iter(["drip"] * 3)
        start = time.monotonic()

        with pytest.raises(EngineUnavailable, match="not whole when the timeout was over"):
            await collection.engine.call("count", {"collection_name": "drips"})

    assert time.monotonic() - start < 5
