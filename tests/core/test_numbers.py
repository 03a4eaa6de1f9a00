"""Floating-point numbers come back as they were given, and filters find them, whatever Qdrant makes of them."""

from __future__ import annotations

import math
import operator
import random
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection import conditions, numbers
from colbert_qdrant.collection.points import Record

ELEVENTH = 1 / 11  # comes back from Qdrant as 0.09090909090909093
RANDOM = random.Random(7)
SIZES: dict[str, Callable[[], float]] = {
    "unit": RANDOM.random,
    "longitude": lambda: RANDOM.uniform(-180, 180),
    "timestamp": lambda: RANDOM.uniform(1.6e9, 1.8e9),
    "1e-9": lambda: RANDOM.random() * 1e-9,
    "1e20": lambda: RANDOM.random() * 1e20,
    "1e-300": lambda: -RANDOM.random() * 1e-300,
    "integers of 60 bits": lambda: float(RANDOM.getrandbits(60)),
    "any bits": lambda: struct.unpack("d", struct.pack("Q", RANDOM.getrandbits(64)))[0],
}
FEW = 300


def some(size: str, count: int = FEW) -> list[float]:
    return [number for number in (SIZES[size]() for _ in range(count)) if math.isfinite(number)]


@pytest.mark.parametrize("size", SIZES)
def test_a_survivor_survives_and_is_near(size):
    for number in some(size):
        near = numbers.survivor(number)
        assert numbers.reread(near) == near
        assert abs(near - number) <= 16 * math.ulp(number)


@pytest.mark.parametrize("size", ["unit", "timestamp", "1e-9"])
def test_survivors_keep_the_order(size):
    ordered = sorted(number for start in some(size) for number in (start, math.nextafter(start, math.inf)))

    survivors = [numbers.survivor(number) for number in ordered]

    assert survivors == sorted(survivors)


def test_the_embedded_engine_reads_numbers_as_we_think(tmp_path):
    pytest.importorskip("qdrant_edge")
    from colbert_qdrant.collection.engines.edge import EdgeClient

    given = [number for size in SIZES for number in some(size)] + [
        0.0,
        -0.0,
        5e-324,
        1e22,
        1e23,
        1.7976931348623157e308,
    ]
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT))
        client.upsert("docs", [models.PointStruct(id=1, vector=[1.0], payload={"numbers": given})])
        [record] = client.retrieve("docs", [1])

    assert record.payload["numbers"] == [numbers.reread(number) for number in given]
    assert record.payload["numbers"] != given


@pytest.fixture
def odd() -> list[float]:
    return [ELEVENTH, *(number for size in ("unit", "timestamp", "1e-9") for number in some(size, 20))]


def test_metadata_comes_back_as_given_and_is_unchanged_at_the_next_run(
    collection: MultivectorCollection, odd: list[float]
) -> None:
    texts = [f"text {position}" for position in range(len(odd))]
    metadatas: list[dict[str, Any]] = [
        {"price": number, "deep": {"a.b": [1, number, {"": -number}]}, "round": 2.5} for number in odd
    ]

    collection.add(texts, metadatas, ids=texts)

    assert [record.metadata for record in collection.get(texts)] == metadatas
    assert {hit.metadata["price"] for hit in collection.search("text 1", len(odd))} == set(odd)
    assert collection.add(texts, metadatas, ids=texts).unchanged == len(odd)


def test_a_number_next_to_the_one_that_is_stored_is_another(collection: MultivectorCollection) -> None:
    number = numbers.survivor(ELEVENTH)
    collection.add(["text"], [{"price": ELEVENTH}], ids=["a"])

    assert collection.add(["text"], [{"price": number}], ids=["a"]).updated == 1
    assert collection.get(["a"])[0].metadata == {"price": number}


@pytest.mark.parametrize("indexed", [False, True], ids=["by scan", "by index"])
def test_filters_find_numbers_by_equality_and_range(
    collection: MultivectorCollection, odd: list[float], indexed: bool
) -> None:
    if indexed:
        collection.create_index("price", "float")
    collection.add([f"text {number!r}" for number in odd], [{"price": number} for number in odd])

    def count(**bounds: float) -> int:
        return collection.count(_price(**bounds))

    for number in odd:
        assert count(gte=number, lte=number) == 1
        assert count(gt=number, lt=number) == 0
        assert count(gte=number) == sum(other >= number for other in odd)
        assert count(lt=number) == sum(other < number for other in odd)
    assert len(collection.search("text", filter=_price(lte=ELEVENTH, gte=ELEVENTH))) == 1
    assert len(list(collection.scroll(_price(lte=ELEVENTH, gte=ELEVENTH)))) == 1
    collection.delete(filter=models.Filter(should=[models.Filter(must=[_price(gte=ELEVENTH, lte=ELEVENTH)])]))
    assert collection.count() == len(odd) - 1


BOUNDS: list[dict[str, Any]] = [
    {"gt": 2, "gte": 5},
    {"gt": 5, "gte": 2},
    {"gt": 4, "gte": 4},
    {"lt": 8, "lte": 3},
    {"lt": 3, "lte": 8},
    {"lt": 5, "lte": 5},
    {"gt": 1, "gte": 3, "lt": 9, "lte": 6},
]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("indexed", [False, True], ids=["by scan", "by index"])
def test_two_bounds_on_one_side_hold_both(
    collection: MultivectorCollection, indexed: bool, bounds: dict[str, Any]
) -> None:
    """Of two, an index reads the first only, and a delete would take the others with it."""
    if indexed:
        collection.create_index("price", "integer")
        collection.create_index("day", "datetime")
    days = {number: datetime(2020, 1, 1 + number) for number in range(10)}
    collection.add([f"text {number}" for number in days], [{"price": n, "day": day} for n, day in days.items()])
    kept = [number for number in days if all(KEEPS[name](number, bound) for name, bound in bounds.items())]
    zoned = {
        name: days[bound].replace(tzinfo=UTC) if name.endswith("e") else days[bound].date()
        for name, bound in bounds.items()
    }
    asked = [
        models.FieldCondition(key="metadata.price", range=models.Range(**bounds)),
        models.FieldCondition(key="metadata.day", range=models.DatetimeRange(**zoned)),
        conditions.ordered("metadata.price", **bounds),
        conditions.ordered("metadata.day", **{name: days[bound].isoformat() for name, bound in bounds.items()}),
    ]

    for condition in asked:
        passing = models.Filter(min_should=models.MinShould(conditions=[condition], min_count=1))
        assert [record.metadata["price"] for record in _in_order(collection.scroll(passing))] == kept
        assert len(collection.search("text", filter=models.Filter(must=condition))) == len(kept)
    collection.delete(filter=models.Filter(must=[models.Filter(should=asked)]))
    assert [record.metadata["price"] for record in _in_order(collection.scroll())] == [
        number for number in days if number not in kept
    ]


KEEPS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.metadata["price"])


def _price(**bounds: float) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="metadata.price", range=models.Range(**bounds))])


def test_metadata_that_is_set_later_is_as_given_too(collection: MultivectorCollection) -> None:
    collection.add(["text", "other"], [{"price": 1 / 7, "kept": ELEVENTH}, {"price": 2.5}], ids=["a", "b"])

    collection.set_metadata(["a", "b"], {"price": ELEVENTH})

    first, second = collection.get(["a", "b"])
    assert first.metadata == {"price": ELEVENTH, "kept": ELEVENTH}
    assert second.metadata == {"price": ELEVENTH}
    assert collection.add(["text"], [{"price": ELEVENTH, "kept": ELEVENTH}], ids=["a"]).stored == 1
    collection.set_metadata(["a"], {"price": 3.5})
    assert collection.get(["a"])[0].metadata == {"price": 3.5, "kept": ELEVENTH}


@pytest.mark.parametrize("key", ["price", "deep"])
def test_what_is_set_later_is_not_taken_for_the_number_that_was_there(
    collection: MultivectorCollection, key: str
) -> None:
    def metadata(number: Any) -> dict[str, Any]:
        return {"price": number, "deep": [{"price": number}]}

    near = numbers.survivor(ELEVENTH)  # what is stored in place of the other
    collection.add(["text", "other"], [metadata(ELEVENTH), {"kept": ELEVENTH}], ids=["a", "b"])

    collection.set_metadata(["a", "b"], {key: metadata(near)[key]})

    first, second = collection.get(["a", "b"])
    assert first.metadata == {**metadata(ELEVENTH), key: metadata(near)[key]}
    assert second.metadata == {"kept": ELEVENTH, key: metadata(near)[key]}
    assert collection.add(["text"], [first.metadata], ids=["a"]).unchanged == 1
    collection.set_metadata(["a"], {"price": "text", "deep": None})
    assert collection.add(["text"], [{"price": "text"}], ids=["a"]).unchanged == 1


def test_what_others_put_beside_us_changes_nothing(make_collection: Callable[..., MultivectorCollection]) -> None:
    collection = make_collection()
    collection.add(["text"], [{"price": ELEVENTH}], ids=["1"])
    name = {"collection_name": collection.name, "points": [1]}

    collection.engine.call("set_payload", {**name, "payload": {"_exact": {'["metadata"': "x", "[1": None}}})
    assert collection.get(["1"])[0].metadata == {"price": numbers.survivor(ELEVENTH)}
    collection.set_metadata(["1"], {"price": 2.5})
    collection.engine.call("set_payload", {**name, "payload": {"_exact": "mine"}})
    collection.set_metadata(["1"], {"price": numbers.survivor(ELEVENTH)})
    assert collection.get(["1"])[0].metadata == {"price": numbers.survivor(ELEVENTH)}


def test_a_payload_made_by_hand_gets_no_key_of_ours_into_its_metadata(collection: MultivectorCollection) -> None:
    vector = {"colbert": [[1.0] * 16]}
    point = models.PointStruct(id=1, vector=vector, payload={"page_content": "text", "year": 1999})
    collection.engine.call("upsert", {"collection_name": collection.name, "points": [point]})

    collection.set_metadata([1], {"price": ELEVENTH})

    assert collection.get([1])[0].metadata == {"year": 1999, "price": ELEVENTH}
