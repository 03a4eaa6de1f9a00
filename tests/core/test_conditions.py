"""What each condition selects, on every engine; the adapters' own filters are tested with the adapters."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection import conditions
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

MakeCollection = Callable[..., MultivectorCollection]

VALUE = conditions.path("metadata", "value")
BIG = 2**53
LEAST = -(2**63)
NUMBERS: list[Any] = [*range(12), 1.0, 2.5, 7.0, -3, LEAST, BIG, BIG + 1, 1e300]
STORED: list[Any] = [*NUMBERS, True, False, "1", "a", None, [3, 40], [40.5]]


@pytest.fixture
def shapes(make_collection: MakeCollection) -> MultivectorCollection:
    collection = make_collection()
    collection.add([f"t{i}" for i in range(len(STORED))], [{"value": stored} for stored in STORED])
    return collection


def selected(collection: MultivectorCollection, condition: models.Condition) -> list[str]:
    """What the selected records store, as text: in Python 1, 1.0 and True are equal, and here they are not."""
    found = collection.scroll(models.Filter(must=[condition]))
    return sorted(repr(record.metadata["value"]) for record in found)


def is_equal(stored: Any, asked: Any) -> bool:
    if isinstance(stored, list):
        return any(is_equal(element, asked) for element in stored)
    return isinstance(stored, bool) == isinstance(asked, bool) and stored == asked


LISTS: list[list[Any]] = [
    [],
    [1],
    [1, 2.5],
    list(range(100)),
    [float(number) for number in range(100)],
    [number + 0.5 for number in range(100)],
    [BIG + 1, *range(5)],
    [1e300, -1e300, *range(5)],
    ["a", "1"],
    [LEAST, *range(5)],
    ["a", 1, None, True],
    [False, 0, 0.0],
]


@pytest.mark.parametrize("asked", LISTS, ids=lambda asked: f"{asked!r:.30}")
def test_one_of_selects_what_is_equal_to_one(shapes: MultivectorCollection, asked: list[Any]) -> None:
    wanted = sorted(repr(stored) for stored in STORED if any(is_equal(stored, value) for value in asked))

    assert selected(shapes, conditions.one_of(VALUE, asked)) == wanted


def test_one_of_many_numbers_selects_all_of_them(make_collection: MakeCollection) -> None:
    rng = random.Random(0)
    stored = [*rng.sample(range(300), 100), *(rng.randrange(600) / 2 for _ in range(100))]
    asked = {rng.randrange(600) / 2 for _ in range(60)} | set(rng.sample(range(300), 60))
    collection = make_collection()
    collection.add([f"t{i}" for i in range(len(stored))], [{"value": number} for number in stored])

    found = selected(collection, conditions.one_of(VALUE, asked))

    assert found == sorted(repr(number) for number in stored if number in asked)


def comparisons(condition: models.Condition, value: float) -> int:
    """Count the ranges that an engine compares a value with, which leaves a ``must`` at the first that fails."""
    if isinstance(condition, models.FieldCondition):
        return int(condition.range is not None)
    assert isinstance(condition, models.Filter)
    if condition.must:
        bounds, inner = condition.must
        assert isinstance(bounds, models.FieldCondition)
        assert isinstance(bounds.range, models.Range)
        is_inside = bounds.range.gte <= value <= bounds.range.lte
        return 1 + (comparisons(inner, value) if is_inside else 0)
    return sum(comparisons(branch, value) for branch in condition.should)


def test_a_number_is_compared_with_few_of_a_thousand() -> None:
    condition = conditions.one_of(VALUE, range(0, 4000, 4))

    assert max(comparisons(condition, value) for value in range(4000)) < 30


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        (["metadata", "year"], "metadata.year"),
        (["metadata", "published on"], 'metadata."published on"'),
        (["metadata", "a.b"], 'metadata."a.b"'),
        (["meta data", "größe"], '"meta data"."größe"'),
    ],
)
def test_a_path_quotes_what_needs_it(keys: list[str], path: str) -> None:
    assert conditions.path(*keys) == path


@pytest.mark.parametrize("key", ['say "hi"', "back\\slash"])
def test_a_key_that_no_path_can_hold_is_refused(key: str) -> None:
    with pytest.raises(UnsupportedByEngine, match="quote or a backslash"):
        conditions.path("metadata", key)


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", float("nan"), float("inf"), 2**63])
def test_a_value_that_nothing_can_equal_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"filter on metadata\.value"):
        conditions.one_of(VALUE, [value])


READ = [
    "2024-01-31", "2024-01-31T12:00", "2024-01-31 12:00", "2024-01-31T12:00:00", "2024-01-31 12:00:00",
    "2024-01-31T12:00:00.5", "2024-01-31T12:00:00Z", "2024-01-31T12:00:00+02:00", "2024-01-31 12:00:00+0200",
    "2024-01-31T12:00:00.123456+00:00",
]  # fmt: skip
UNREAD = [
    "2024-01-31T12", "2024-01-31T12Z", "2024-01-31T12:00Z", "2024-01-31 12:00Z", "2024-01-31T12:00+02:00",
    "2024-01-31T12:00:00,5",
]  # fmt: skip


def test_a_stored_date_is_one_that_qdrant_reads(make_collection: MakeCollection) -> None:
    collection = make_collection()
    collection.add([*READ, *UNREAD], [{"value": stored} for stored in [*READ, *UNREAD]])

    found = collection.scroll(models.Filter(must=[conditions.ordered(VALUE, gt="2024-01-30")]))

    assert {record.text for record in found} == set(READ)


@pytest.mark.parametrize("asked", [*READ, *UNREAD])
def test_a_bound_may_be_written_in_more_ways(make_collection: MakeCollection, asked: str) -> None:
    moment = datetime.fromisoformat(asked)
    collection = make_collection()
    collection.add(["it"], [{"value": moment.isoformat()}])

    found = collection.scroll(models.Filter(must=[conditions.ordered(VALUE, gte=asked, lte=asked)]))

    assert [record.text for record in found] == ["it"]


@pytest.mark.parametrize("value", ["alpha", "2010", "20240115", "2024-W03-1", "2024-02-30"])
def test_a_string_that_is_no_date_has_no_order(value: str) -> None:
    with pytest.raises(UnsupportedByEngine, match="orders numbers and dates"):
        conditions.ordered(VALUE, gt=value)
