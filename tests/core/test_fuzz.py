"""Sequences of operations that nobody thought of: two engines and a plain-Python collection give equal answers.

    FUZZ=5000 pytest tests/core/test_fuzz.py --hypothesis-show-statistics

tries that many new sequences; without it, the same few hundred each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.collection.points import Hit, Record
from conftest import WordEmbedder

EXAMPLES = int(os.environ.get("FUZZ", "0"))

WORDS = ["apple", "pie", "sky", "night", "red", "ünï", "日本", ":)"]
IDS = ["0", "7", "18446744073709551615", "11111111-2222-3333-4444-555555555555", "a", "A", "with space", "ünï"]
TOLERANCE = 1e-3

# ---------------------------------------------------------------------------------------------------------------------
# Filters, each with the function of metadata that it stands for
# https://qdrant.tech/documentation/concepts/filtering/
# ---------------------------------------------------------------------------------------------------------------------

Metadata = dict[str, Any]
Predicate = Callable[[str, Metadata], bool]


@dataclass(frozen=True)
class Condition:
    qdrant: Any
    passes: Predicate = field(repr=False)


def values(metadata: Mapping[str, Any], key: str) -> list[Any]:
    """Return what a key leads to; a list is each of its items."""
    found: Any = metadata
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return []
        found = found[part]
    return found if isinstance(found, list) else [found]


def same(value: Any, wanted: Any) -> bool:
    """Qdrant tells ``true``, ``1`` and ``1.0`` apart, as JSON does."""
    return type(value) is type(wanted) and value == wanted


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def match_value(key: str, wanted: Any) -> Condition:
    condition = models.FieldCondition(key=f"metadata.{key}", match=models.MatchValue(value=wanted))
    return Condition(condition, lambda _, metadata: any(same(value, wanted) for value in values(metadata, key)))


def match_any(key: str, wanted: list[Any]) -> Condition:
    condition = models.FieldCondition(key=f"metadata.{key}", match=models.MatchAny(any=wanted))
    return Condition(condition, lambda _, metadata: any(same(v, w) for v in values(metadata, key) for w in wanted))


def in_range(low: float, width: float) -> Condition:
    condition = models.FieldCondition(key="metadata.size", range=models.Range(gte=low, lt=low + width))

    def passes(_: str, metadata: Metadata) -> bool:
        return any(is_number(value) and low <= value < low + width for value in values(metadata, "size"))

    return Condition(condition, passes)


def is_empty(key: str) -> Condition:
    condition = models.IsEmptyCondition(is_empty=models.PayloadField(key=f"metadata.{key}"))
    return Condition(condition, lambda _, metadata: all(value is None for value in values(metadata, key)))


def has_id(ids: list[str]) -> Condition:
    condition = models.HasIdCondition(has_id=[point_id(record_id) for record_id in ids])
    return Condition(condition, lambda record_id, _: record_id in ids)


def combined(must: list[Condition], should: list[Condition], must_not: list[Condition]) -> Condition:
    clauses = {"must": must, "should": should, "must_not": must_not}
    qdrant = models.Filter(**{name: [c.qdrant for c in conditions] or None for name, conditions in clauses.items()})

    def passes(record_id: str, metadata: Metadata) -> bool:
        return (
            all(condition.passes(record_id, metadata) for condition in must)
            and (not should or any(condition.passes(record_id, metadata) for condition in should))
            and not any(condition.passes(record_id, metadata) for condition in must_not)
        )

    return Condition(qdrant, passes)


colors = st.sampled_from(["red", "blue", "ünï", ""])
sizes = st.sampled_from([-1, 0, 1, 2, 10**12])
conditions = st.one_of(
    st.builds(match_value, st.sampled_from(["color", "tags", "deep.color"]), colors),
    st.builds(match_value, st.sampled_from(["size", "flag"]), st.one_of(sizes, st.booleans())),
    st.builds(match_any, st.just("color"), st.lists(colors, min_size=1, max_size=3, unique=True)),
    st.builds(in_range, st.sampled_from([-2.0, 0.0, 0.5, 1.0]), st.sampled_from([0.5, 1.0, 1e13])),
    st.builds(is_empty, st.sampled_from(["color", "size", "tags", "deep.color"])),
    st.builds(has_id, st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)),
)
clauses = st.lists(conditions, max_size=2)
flat_filters = st.builds(combined, clauses, clauses, clauses)
filters = st.one_of(flat_filters, st.builds(lambda inner, outer: combined([inner], [], outer), flat_filters, clauses))

# ---------------------------------------------------------------------------------------------------------------------
# Operations
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Add:
    records: Sequence[tuple[str, str, Metadata]]


@dataclass(frozen=True)
class Delete:
    ids: Sequence[str] | None
    filter: Condition | None


@dataclass(frozen=True)
class Count:
    filter: Condition | None


@dataclass(frozen=True)
class Scroll:
    filter: Condition | None


@dataclass(frozen=True)
class Get:
    ids: Sequence[str]


@dataclass(frozen=True)
class Score:
    query: str
    ids: Sequence[str]


@dataclass(frozen=True)
class Search:
    query: str
    limit: int
    offset: int
    filter: Condition | None


texts = st.one_of(
    st.sampled_from(["red apple", "night sky"]),  # often the same, so that records come again
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
)
some_ids = st.lists(st.sampled_from(IDS), max_size=4)
metadatas = st.fixed_dictionaries(
    {},
    optional={
        "color": st.one_of(colors, st.none()),
        "size": st.one_of(sizes, st.sampled_from([1.0, 0.5, -0.25]), st.lists(sizes, max_size=2)),
        "flag": st.booleans(),
        "tags": st.lists(colors, max_size=3),
        "deep": st.fixed_dictionaries({"color": colors}),
    },
)
records = st.lists(st.tuples(st.sampled_from(IDS), texts, metadatas), max_size=5, unique_by=lambda record: record[0])
maybe_filters = st.one_of(st.none(), filters)
steps = st.one_of(
    st.builds(Add, records),
    st.builds(Search, texts, st.integers(1, 6), st.integers(0, 2), maybe_filters),
    st.builds(Delete, some_ids, maybe_filters),
    st.builds(Delete, st.none(), filters),
    st.builds(Count, maybe_filters),
    st.builds(Scroll, maybe_filters),
    st.builds(Get, some_ids),
    st.builds(Score, texts, some_ids),
)
sequences = st.builds(lambda first, rest: [first, *rest], st.builds(Add, records), st.lists(steps, max_size=10))

# ---------------------------------------------------------------------------------------------------------------------
# The collection in plain Python, and the comparison
# ---------------------------------------------------------------------------------------------------------------------

EMBEDDER = WordEmbedder()


class PlainCollection:
    """What a collection is, said with a dict."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[str, Metadata]] = {}

    def add(self, records: Sequence[tuple[str, str, Metadata]]) -> dict[str, int]:
        """Store records; returns how many were new, changed, there already, and had to be encoded."""
        counts = {"added": 0, "updated": 0, "unchanged": 0, "encoded": 0}
        for record_id, text, metadata in records:
            before = self.stored.get(record_id)
            changed = before is None or as_json(before) != as_json((text, metadata))
            counts["added" if before is None else "updated" if changed else "unchanged"] += 1
            counts["encoded"] += before is None or before[0] != text
            self.stored[record_id] = (text, metadata)
        return counts

    def passing(self, condition: Condition | None) -> list[str]:
        return [
            record_id
            for record_id, (_, metadata) in self.stored.items()
            if condition is None or condition.passes(record_id, metadata)
        ]

    def delete(self, ids: Sequence[str] | None, condition: Condition | None) -> None:
        for record_id in self.passing(condition):
            if ids is None or record_id in ids:
                del self.stored[record_id]

    def maxsim(self, query: str, record_id: str) -> float:
        [q], [d] = EMBEDDER.embed(query), EMBEDDER.embed(self.stored[record_id][0])
        return float((q @ d.T).max(axis=1).sum())


def as_json(value: Any) -> str:
    """Return what tells ``true``, ``1`` and ``1.0`` apart, unlike Python's ``==``."""
    return json.dumps(value, sort_keys=True)


def check(collection: MultivectorCollection, plain: PlainCollection, step: Any) -> None:
    """Carry a step out and hold its answer against the plain collection's, which knows of the step already if it adds
    or deletes.
    """
    match step:
        case Delete(ids, condition):
            collection.delete(ids, filter=condition and condition.qdrant)
            assert collection.count() == len(plain.stored)
        case Count(condition):
            assert collection.count(condition and condition.qdrant) == len(plain.passing(condition))
        case Scroll(condition):
            found = list(collection.scroll(condition and condition.qdrant))
            assert sorted(record.id for record in found) == sorted(plain.passing(condition))
            check_records(found, plain)
        case Get(ids):
            found = collection.get(ids)
            assert [record.id for record in found] == [record_id for record_id in ids if record_id in plain.stored]
            check_records(found, plain)
        case Score(query, ids):
            expected = {record_id: plain.maxsim(query, record_id) for record_id in ids if record_id in plain.stored}
            assert collection.score(query, ids) == pytest.approx(expected, abs=TOLERANCE)
        case Search(query, limit, offset, condition):
            hits = collection.search(query, limit, offset=offset, filter=condition and condition.qdrant)
            check_hits(hits, step, plain)


def check_records(found: Sequence[Record], plain: PlainCollection) -> None:
    for record in found:
        assert as_json((record.text, record.metadata)) == as_json(plain.stored[record.id])


def check_hits(hits: list[Hit], asked: Search, plain: PlainCollection) -> None:
    """Hold hits against MaxSim over all records; which of two that tie comes first is nobody's business."""
    scores = {record_id: plain.maxsim(asked.query, record_id) for record_id in plain.passing(asked.filter)}
    assert len({hit.id for hit in hits}) == len(hits)
    check_records(hits, plain)
    assert {hit.id: hit.score for hit in hits} == pytest.approx({hit.id: scores[hit.id] for hit in hits}, abs=TOLERANCE)
    best = sorted(scores.values(), reverse=True)[asked.offset : asked.offset + asked.limit]
    assert [hit.score for hit in hits] == pytest.approx(best, abs=TOLERANCE)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultivectorCollection]:
    """One collection for all sequences, emptied for each: what is deleted must not come back."""
    pytest.importorskip("qdrant_edge")
    with MultivectorCollection("fuzz", EMBEDDER, path=tmp_path_factory.mktemp("fuzz") / "edge") as collection:
        yield collection


@settings(
    max_examples=EXAMPLES or 250,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(sequence=sequences)
def test_engines_answer_as_a_plain_collection_does(embedded: MultivectorCollection, sequence: list[Any]) -> None:
    plain = PlainCollection()
    embedded.delete(filter=models.Filter())
    engines = [embedded, MultivectorCollection("fuzz", EMBEDDER, client=QdrantClient(":memory:"))]

    for step in sequence:
        if isinstance(step, Add):
            counts = plain.add(step.records)
            ids, added, given = ([record[column] for record in step.records] for column in range(3))
            for collection in engines:
                report = collection.add(added, given, ids)
                assert {name: getattr(report, name) for name in counts} == counts
                assert report.ids == ids
            continue
        if isinstance(step, Delete):
            plain.delete(step.ids, step.filter)
        for collection in engines:
            check(collection, plain, step)

    for collection in engines:
        check(collection, plain, Scroll(None))


@pytest.mark.parametrize("after", [True, 1.0], ids=repr)
def test_metadata_of_another_json_type_replaces_what_python_holds_equal(
    make_collection: Callable[..., MultivectorCollection], after: Any
) -> None:
    collection = make_collection()
    collection.add(["text"], [{"size": 1}], ["x"])

    collection.add(["text"], [{"size": after}], ["x"])

    assert as_json(collection.get(["x"])[0].metadata) == as_json({"size": after})
