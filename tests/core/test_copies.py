"""What is taken for stored where a cluster keeps copies that may differ: the answers of its nodes are written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant.collection import copies
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.steps import Call, Pause
from colbert_qdrant.errors import EngineUnavailable

MARKED = "The replica set for shard 0 on peer 1 does not have enough active replicas"
UNANSWERED = "1 of 2 read operations failed: transport error"

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
