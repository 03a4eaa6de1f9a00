"""What is taken for stored where a cluster keeps copies that may differ: its answers are written down, or played."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import Bm25, MultivectorCollection
from colbert_qdrant.collection import copies, schema, upgrading
from colbert_qdrant.collection.driving import Driver
from colbert_qdrant.collection.reports import AddReport
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.steps import Call, Pause
from colbert_qdrant.errors import EngineUnavailable
from conftest import WordEmbedder
from two_copies import MARKED, UNANSWERED, TwoCopies

RECORD = models.Record(id="a", payload={"text": "red", "_hash": "1"})


def asked(number_of_copies: int, answers: Mapping[int | None, Any]) -> tuple[dict[Any, models.Record], list[Any]]:
    """Return what is taken for stored, and how many copies were asked at each try."""
    layout = Layout("docs", "colbert", "text", "metadata", 4, copies=number_of_copies)
    operation, asked_for = copies.agreed(layout, {"collection_name": "docs", "ids": ["a"]}), []
    sent: Any = None
    try:
        step = next(operation)
        while True:
            match step:
                case Call("retrieve", arguments):
                    asked_for.append(arguments.get("consistency"))
                    answer = answers[asked_for[-1]]
                    step = (
                        operation.throw(EngineUnavailable(answer))
                        if isinstance(answer, str)
                        else operation.send(answer)
                    )
                case Pause():
                    step = operation.send(None)
    except StopIteration as done:
        sent = done.value
    return sent, asked_for


@pytest.mark.parametrize(("stated", "expected"), [((None, None), 1), ((1, 1), 1), ((3, 2), 3), ((1, 2), 2)])
def test_as_many_are_asked_as_there_are_or_are_to_take_a_write(
    two: TwoCopies, docs: MultivectorCollection, stated: tuple[int | None, int | None], expected: int
) -> None:
    info = two.call("get_collection", {"collection_name": "docs"})
    info.config.params.replication_factor, info.config.params.write_consistency_factor = stated

    assert schema.copies(info) == expected


def test_one_copy_is_asked_as_ever() -> None:
    assert asked(1, {None: [RECORD]}) == ({"a": RECORD}, [None])


def test_all_copies_are_asked() -> None:
    assert asked(3, {3: []}) == ({}, [3])


def test_copies_that_are_known_to_be_away_need_not_agree() -> None:
    assert asked(3, {3: MARKED, 2: [RECORD]}) == ({"a": RECORD}, [3, 2])
    assert asked(2, {2: MARKED, None: [RECORD]}) == ({"a": RECORD}, [2, None])


@pytest.mark.parametrize("first", [{3: UNANSWERED}, {3: MARKED, 2: UNANSWERED}])
def test_where_a_copy_does_not_answer_nothing_counts_as_stored(first: dict[int | None, str]) -> None:
    found, _ = asked(3, {**first, None: [RECORD]})

    assert found["a"].payload == {"text": "red"}


def test_where_none_answers_it_is_an_error() -> None:
    with pytest.raises(EngineUnavailable, match="transport"):
        asked(2, {2: UNANSWERED, None: UNANSWERED})


TEXTS = [f"word {number}" for number in range(40)]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoCopies]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the tries of what is refused
    two = TwoCopies()
    yield two
    two.close()


@pytest.fixture
def docs(two: TwoCopies, words: WordEmbedder) -> MultivectorCollection:
    """A collection of two copies, with a stage that nothing of it has a vector of yet."""
    return two.open(words, stages=[Bm25()])


def lacking(two: TwoCopies, vector: str, limit: int) -> Iterator[copies.Page]:
    layout = Layout("docs", "colbert", "page_content", "metadata", 16, copies=2)
    arguments = {"collection_name": "docs", "limit": limit, "with_payload": True, "with_vectors": False}
    offset = None
    while True:
        page = Driver(two, WordEmbedder())._run(copies.lacking(layout, vector, {**arguments, "offset": offset}))
        yield page
        if (offset := page.following) is None:
            return


@pytest.mark.parametrize("limit", [1, 3, 8, 64])
@pytest.mark.parametrize("each", [{1: [], 2: []}, {1: [0], 2: [39]}, {1: [], 2: [17, 18, 19]}, {1: range(40), 2: [5]}])
def test_pages_give_each_point_that_a_copy_lacks_once_and_count_the_others(
    docs: MultivectorCollection, two: TwoCopies, limit: int, each: dict[int, Any]
) -> None:
    docs.add(TEXTS, ids=range(40))
    for copy, ids in zip(two.copies, each.values(), strict=True):
        two.lose("bm25", ids, copy)

    pages = list(lacking(two, "bm25", limit))

    missing = sorted({*each[1], *each[2]})
    assert [record.id for page in pages for record in page.lacking] == missing
    assert max(len(page.lacking) for page in pages) <= limit
    assert sum(page.held for page in pages) == 40 - len(missing)
    assert all(record.payload["page_content"] for page in pages for record in page.lacking)


def test_what_is_whole_is_looked_through_by_ever_larger_pages(docs: MultivectorCollection, two: TwoCopies) -> None:
    docs.add(TEXTS, ids=range(40))
    two.asked.clear()

    assert [page.held for page in lacking(two, "bm25", 4)] == [40]
    assert two.asked == [("scroll", None), ("scroll", 2)] * 4  # 4, 8, 16 and 12 points


@pytest.mark.parametrize("again", ["add_stage", "add"])
def test_a_stage_that_one_copy_missed_is_completed(docs: MultivectorCollection, two: TwoCopies, again: str) -> None:
    docs.add(TEXTS, ids=range(40))
    two.lose("bm25", range(40))
    with two.refusing(), pytest.raises(EngineUnavailable, match="failed to apply"):
        docs.add_stage(Bm25())
    assert two.held("bm25") == [40, 0]

    if again == "add":
        assert docs.add(TEXTS, ids=range(40)).unchanged == 40
    else:
        docs.add_stage(Bm25())

    assert two.held("bm25") == [40, 40]


def test_a_delete_that_one_copy_missed_says_how_it_is_completed(docs: MultivectorCollection, two: TwoCopies) -> None:
    docs.add(TEXTS, ids=range(40))
    with two.refusing(), pytest.raises(EngineUnavailable, match="failed to apply") as refused:
        docs.delete([7])
    assert [len(ids) for ids in two.ids()] == [39, 40]
    assert "delete the same ids" in refused.value.__notes__[0]

    docs.delete([7])

    assert [len(ids) for ids in two.ids()] == [39, 39]


def test_a_scroll_of_what_all_agree_on_leaves_out_what_one_lacks_or_holds_otherwise(
    docs: MultivectorCollection, two: TwoCopies
) -> None:
    docs.add(TEXTS[:4], ids=range(4))
    with two.refusing():
        for changed in ({"texts": ["new"], "ids": [9]}, {"texts": [TEXTS[1]], "metadatas": [{"n": 1}], "ids": [1]}):
            with pytest.raises(EngineUnavailable, match="failed to apply"):
                docs.add(**changed)

    assert [record.id for record in docs.scroll()] == ["0", "1", "2", "3", "9"]
    assert [record.id for record in docs.scroll(agreed=True)] == ["0", "2", "3"]
    two.unread = UNANSWERED
    assert list(docs.scroll(agreed=True)) == []


class TestUpgrade:
    @pytest.fixture
    def upgraded(self, two: TwoCopies, words: WordEmbedder) -> Any:
        """Run an upgrade of what another program wrote; gives its report."""
        vectors = {"theirs": models.VectorParams(size=4, distance=models.Distance.COSINE)}
        two.call("create_collection", {"collection_name": "docs", "vectors_config": vectors})
        written = [
            models.PointStruct(id=at, vector={"theirs": [1.0] * 4}, payload={"page_content": text, "metadata": {}})
            for at, text in enumerate(TEXTS)
        ]
        two.call("upsert", {"collection_name": "docs", "points": written, "wait": True})

        def run() -> AddReport:
            wanted = upgrading.wanted_of("docs", words, None, "colbert", None, None)
            return Driver(two, words)._run(upgrading.upgrade(wanted, two.wire, progress=lambda _: None))[0]

        return run

    def test_what_one_copy_missed_is_completed_by_another_run(self, upgraded: Any, two: TwoCopies) -> None:
        with two.refusing(), pytest.raises(EngineUnavailable, match="failed to apply"):
            upgraded()
        assert two.held("colbert") == [40, 0]

        report = upgraded()

        assert (report.encoded, report.updated, report.unchanged) == (40, 40, 0)
        assert two.held("colbert") == [40, 40]

    def test_what_both_have_is_left_alone(self, upgraded: Any, two: TwoCopies) -> None:
        assert upgraded().encoded == 40
        two.lose("colbert", [7], two.copies[1])

        assert [(report.encoded, report.unchanged) for report in (upgraded(), upgraded())] == [(1, 39), (0, 40)]

    def test_where_a_copy_does_not_answer_all_is_written_once(self, upgraded: Any, two: TwoCopies) -> None:
        upgraded()
        two.unread = UNANSWERED

        report = upgraded()

        assert (report.updated, report.unchanged) == (40, 0)

    def test_a_copy_that_is_known_to_be_away_need_not_have_it(self, upgraded: Any, two: TwoCopies) -> None:
        upgraded()
        two.unread = MARKED

        assert upgraded().unchanged == 40
