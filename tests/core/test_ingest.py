"""What `add` promises: nothing encoded twice, nothing lost, nothing half-written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection, Storage
from colbert_qdrant.collection.driving import Driver
from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.collection.ingest import WINDOW
from colbert_qdrant.collection.patience import WRITING
from colbert_qdrant.collection.reports import AddReport
from colbert_qdrant.collection.steps import Call
from colbert_qdrant.errors import EngineError, EngineUnavailable, InvalidInput
from conftest import WordEmbedder

Make = Callable[..., MultivectorCollection]


class CountingEmbedder(WordEmbedder):
    def __init__(self) -> None:
        self.encoded: list[str] = []

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        for text in documents:
            self.encoded.append(text)
            yield self._encode(text)


@pytest.fixture
def counting() -> CountingEmbedder:
    return CountingEmbedder()


def test_adding_a_corpus_twice_encodes_it_once(make_collection: Make, counting: CountingEmbedder) -> None:
    collection = make_collection(counting)
    texts = [f"text {number}" for number in range(WINDOW + 3)]

    first, second = collection.add(texts), collection.add(texts)

    assert (first.added, first.encoded) == (len(texts), len(texts))
    assert (second.unchanged, second.encoded) == (len(texts), 0)
    assert first.ids == second.ids
    assert counting.encoded == texts


def test_what_is_deleted_before_its_new_metadata_is_written_is_stored_anew(
    make_collection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection()
    collection.add(["gone", "stays"], [{"n": 1}] * 2, ["gone", "stays"])
    do = Driver._do

    def overtaken(self: Driver, step: Any) -> Any:
        if isinstance(step, Call) and step.method == "overwrite_payload":
            gone = models.PointIdsList(points=[point_id("gone")])
            do(self, Call("delete", {"collection_name": collection.name, "points_selector": gone, "wait": True}))
        return do(self, step)

    monkeypatch.setattr(Driver, "_do", overtaken)
    collection.add(["gone", "stays"], [{"n": 2}] * 2, ["gone", "stays"])

    assert [record.metadata["n"] for record in collection.get(["gone", "stays"])] == [2, 2]


def test_new_metadata_for_a_stored_text_is_written_without_encoding(
    make_collection: Make, counting: CountingEmbedder
) -> None:
    collection = make_collection(counting)
    collection.add(["text"], [{"a": 1, "b": 2}], ["x"])

    report = collection.add(["text"], [{"a": 3}], ["x"])

    assert (report.updated, report.encoded) == (1, 0)
    assert collection.get(["x"])[0].metadata == {"a": 3}


def test_an_extra_that_is_no_longer_given_goes_and_what_others_added_stays(make_collection: Make) -> None:
    collection = make_collection()
    collection.add(["text"], ids=["x"], extras=[{"_node": {"a": 1}}])
    arguments = {"collection_name": collection.name, "payload": {"by hand": 1}, "points": [point_id("x")]}
    collection.engine.call("set_payload", arguments)

    report = collection.add(["text"], ids=["x"])

    assert (report.updated, report.encoded) == (1, 0)
    [record] = collection.get(["x"])
    assert "_node" not in record.payload
    assert record.payload["by hand"] == 1
    assert collection.add(["text"], ids=["x"]).unchanged == 1


def test_a_changed_text_is_encoded_again(make_collection: Make, counting: CountingEmbedder) -> None:
    collection = make_collection(counting)
    collection.add(["old", "same"], ids=["x", "y"])

    report = collection.add(["new", "same"], ids=["x", "y"])

    assert (report.updated, report.unchanged, report.encoded) == (1, 1, 1)
    assert counting.encoded == ["old", "same", "new"]


def test_a_generator_of_any_length_is_read_a_window_at_a_time(make_collection: Make) -> None:
    collection = make_collection()
    read = itertools.count()
    ahead: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(WINDOW * 8):
            next(read)
            yield f"text {number}"

    report = collection.add(texts(), progress=lambda report: ahead.append(next(read) - report.stored))

    assert report.added == WINDOW * 8
    assert max(ahead) <= (1 + collection.engine.wire.in_flight) * WINDOW + len(ahead)


def test_progress_is_told_while_it_goes(make_collection: Make) -> None:
    seen: list[int] = []

    collection = make_collection()
    collection.add([f"text {n}" for n in range(WINDOW * 5)], progress=lambda report: seen.append(report.stored))

    ahead = collection.engine.wire.in_flight  # requests that are not acknowledged yet
    assert seen == [WINDOW * max(0, window - ahead + 1) for window in range(5)] + [5 * WINDOW]


@pytest.mark.parametrize(("show", "is_shown"), [(True, True), (False, False), (None, False)])
def test_the_bar_is_for_a_terminal_or_who_asks(
    words: WordEmbedder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, show: Any, is_shown: bool
) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0)

    MultivectorCollection("bar", words).add(["text"], show_progress=show)

    assert ("text/s" in capsys.readouterr().err) == is_shown


POISON: list[Any] = ["fine", None, "\ud800", "fine too", 7]


def test_poisoned_records_are_left_out_when_asked(make_collection: Make) -> None:
    collection = make_collection()

    report = collection.add(
        [*POISON, "bad metadata", "last"], [*[None] * 5, {"a": b"x"}, None], list("abcdefg"), on_error="skip"
    )

    assert [failure.position for failure in report.failed] == [1, 2, 4, 5]
    assert [failure.id for failure in report.failed] == ["b", "c", "e", "f"]
    assert all(str(failure.position) in failure.reason for failure in report.failed)
    assert report.ids == ["a", "d", "g"]
    assert sorted(record.id for record in collection.scroll()) == ["a", "d", "g"]


@pytest.mark.parametrize("word", ["raises", "ignore", "", None, True])
def test_a_word_for_errors_that_says_neither_is_refused(collection: MultivectorCollection, word: Any) -> None:
    with pytest.raises(InvalidInput, match=r"on_error=.*: give 'raise' or 'skip'"):
        collection.add(["fine", None], on_error=word)  # type: ignore[list-item]

    assert collection.count() == 0


class Long(WordEmbedder):
    """Leaves its vectors their lengths."""

    settings: ClassVar[dict[str, Any]] = {"model": "long", "dim": 16, "normalize": False}

    def _encode(self, text: str) -> np.ndarray:
        return super()._encode(text) * (1e6 if "long" in text else 10)


@pytest.mark.parametrize("given", [False, True], ids=["encoded", "given"])
def test_a_value_that_half_precision_makes_infinite_fails_alone(make_collection: Make, given: bool) -> None:
    texts = ["short", "long", "other"]
    vectors = list(Long().embed(texts)) if given else None
    half, full = make_collection(Long()), make_collection(Long(), storage=Storage(datatype="float32"))

    report = half.add(texts, ids=texts, vectors=vectors, on_error="skip")

    assert [failure.id for failure in report.failed] == ["long"]
    assert re.search(r"half precision.* ends at 65,504.*Storage\(datatype='float32'\)", report.failed[0].reason)
    assert {hit.id for hit in half.search("short")} == {"short", "other"}
    with pytest.raises(InvalidInput, match=r"query: a value of .* half precision"):
        half.search("long")
    assert full.add(texts, ids=texts, vectors=vectors).added == 3
    assert full.search("long", 1)[0].id == "long"


def test_a_poisoned_list_is_refused_before_anything_is_written(collection: MultivectorCollection) -> None:
    with pytest.raises(InvalidInput, match="text 1 is None"):
        collection.add(POISON)

    assert collection.count() == 0


def test_a_poisoned_generator_stops_cleanly_and_says_what_is_stored(collection: MultivectorCollection) -> None:
    texts: Iterable[Any] = itertools.chain((f"text {n}" for n in range(WINDOW * 2)), [None])

    with pytest.raises(InvalidInput, match=f"text {WINDOW * 2} is None") as caught:
        collection.add(texts)

    assert f"{collection.count()} texts were stored before" in caught.value.__notes__[0]


class TooLong(WordEmbedder):
    """Gives one text more vectors than Qdrant takes."""

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        return (np.ones((2**16, self.dim), np.float32) if t == "long" else self._encode(t) for t in documents)


def test_a_text_too_long_for_qdrant_fails_alone(make_collection: Make) -> None:
    collection = make_collection(TooLong())

    report = collection.add(["short", "long", "other"], ids=["a", "b", "c"], on_error="skip")

    assert [(f.position, f.id) for f in report.failed] == [(1, "b")]
    assert "65535 tokens" in report.failed[0].reason
    assert report.ids == ["a", "c"]
    assert collection.count() == 2


@pytest.mark.parametrize("given", [list, iter])
def test_a_text_too_long_for_qdrant_fails_wherever_it_stands(make_collection: Make, given: Any) -> None:
    """Also behind the window in which it failed, where it was said to be stored."""
    collection = make_collection(TooLong())
    texts = ["long", "long", *(f"text {number}" for number in range(WINDOW)), "long"]

    report = collection.add(given(texts), on_error="skip")

    assert [failure.position for failure in report.failed] == [0, 1, len(texts) - 1]
    assert len(report.ids) == len(collection.get(report.ids)) == collection.count() == WINDOW
    assert [failure.position for failure in collection.plan(texts)] == [0, 1, len(texts) - 1]


class FlakyClient(QdrantClient):
    """A client whose upserts fail as a server's do, as often as told."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__(":memory:")
        self.failures = failures

    def upsert(self, *args: Any, **kwargs: Any) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return super().upsert(*args, **kwargs)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("colbert_qdrant.collection.driving.time.sleep", slept.append)
    return slept


def test_a_passing_fault_is_waited_out(words: WordEmbedder, pauses: list[float]) -> None:
    client = FlakyClient([EngineUnavailable("busy"), EngineUnavailable("busy", retry_after=7)])
    collection = MultivectorCollection("flaky", words, client=client)

    report = collection.add(["a", "b"])

    assert report.added == collection.count() == 2
    assert len(pauses) == 2
    assert 0 <= pauses[0] <= 1
    assert pauses[1] == 7


def test_a_server_is_not_waited_for_all_day(words: WordEmbedder, pauses: list[float]) -> None:
    client = FlakyClient([EngineUnavailable("busy", retry_after=86_400)])

    MultivectorCollection("flaky", words, client=client).add(["a"])

    assert pauses == [60]


def test_a_fault_that_stays_is_raised_with_what_was_stored(words: WordEmbedder, pauses: list[float]) -> None:
    client = FlakyClient([])
    collection = MultivectorCollection("flaky", words, client=client)
    collection.add(["before"])
    client.failures = [EngineUnavailable("busy") for _ in range(WRITING.attempts)]

    with pytest.raises(EngineUnavailable) as caught:
        collection.add(["before", "after"])

    assert len(pauses) == WRITING.attempts - 1
    assert any("1 texts were stored before" in note for note in caught.value.__notes__)
    assert collection.add(["before", "after"]).unchanged == 1


def test_a_lasting_error_is_raised_at_once(words: WordEmbedder, pauses: list[float]) -> None:
    collection = MultivectorCollection("flaky", words, client=FlakyClient([ValueError("no")]))

    with pytest.raises(EngineError, match="adding to 'flaky'"):
        collection.add(["a"])

    assert pauses == []


def test_a_report_counts_what_is_stored() -> None:
    assert AddReport(added=1, updated=2, unchanged=3).stored == 6
