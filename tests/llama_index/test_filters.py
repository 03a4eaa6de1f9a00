"""Filters select in Qdrant what LlamaIndex's reference selects in a dictionary.

Every operator is asked with many values over metadata of every shape. The expected answer is the reference's
own, except where `DIFFERENCES` names a rule of Qdrant that is another, with its reason and its answer.
"""

import random
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import QdrantClient, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine
from llama_index_colbert_qdrant.filters import to_qdrant_filter

utils = pytest.importorskip("llama_index.core.vector_stores.utils")
build_metadata_filter_fn = getattr(utils, "build_metadata_filter_fn", lambda *_: lambda _: False)
without_key = MetadataFilters(filters=[MetadataFilter(key="value", value=1, operator=FilterOperator.NE)])
if not build_metadata_filter_fn(lambda _: {}, without_key)("any id"):
    pytest.skip("an older LlamaIndex, whose reference answers otherwise", allow_module_level=True)

Op = FilterOperator
LAYOUT = Layout("records", "colbert", "page_content", "metadata", 1)
Scalar = str | int | float | bool | None
Stored = Scalar | list[str] | list[int] | list[float] | object
Asked = str | int | float | list[str] | list[int] | list[float] | None

MISSING = object()
BIG = 2**53 + 1  # the first integer that float64 can't hold

STORED: list[Stored] = [
    MISSING, None,
    "alpha", "beta", "Alpha beta", "beta, ALPHA!", "alphabet", "a", "", "5",
    "2023-12-31", "2024-01-15", "2024-01-15T10:00:00", "2024-01-15T10:00:00Z", "2024-01-15T01:00:00+02:00",
    0, 1, 5, -3, BIG, BIG - 1, 2**63 - 1, 5.0, 2.5, 0.1, -3.75,
    True, False,
    [], ["alpha"], ["alpha", "beta"], ["Alpha beta", "x"], [""], ["2024-01-15", "2020-06-01"],
    [1], [1, 5], [2.5, 5.0], [BIG], [True, 5],
]  # fmt: skip

SINGLE: list[Asked] = ["alpha", "Alpha beta", "a", "", "5", "2024-01-15", 0, 1, 5, -3, BIG, 5.0, 2.5, 0.1]
LISTS: list[Asked] = [
    [], ["alpha"], ["alpha", "beta"], ["alpha", ""], ["5"], [0], [1, 5], [5, BIG], [2.5, 5.0], [0.1],
]  # fmt: skip
ORDERED: list[Asked] = [0, 1, 5, 2.5, -3.5, "2024-01-15", "2024-01-15T10:00:00", "2024-01-15 09:30:00+01:00"]
TEXTS: list[Asked] = ["alpha", "Alpha", "ALPHA", "pha", "beta alpha", "alpha beta", "2024", "-01-", "5", ""]

ASKED: dict[FilterOperator, list[Asked]] = {
    Op.EQ: [*SINGLE, None],
    Op.NE: [*SINGLE, None],
    Op.GT: ORDERED,
    Op.GTE: ORDERED,
    Op.LT: ORDERED,
    Op.LTE: ORDERED,
    Op.IN: LISTS,
    Op.NIN: LISTS,
    Op.ANY: LISTS,
    Op.ALL: LISTS,
    Op.CONTAINS: SINGLE,
    Op.TEXT_MATCH: TEXTS,
    Op.TEXT_MATCH_INSENSITIVE: TEXTS,
    Op.IS_EMPTY: [None],
}
QUESTIONS = [(operator, asked) for operator, values in ASKED.items() for asked in values]


def one(operator: FilterOperator, asked: Asked, *, key: str = "value") -> MetadataFilter:
    return MetadataFilter(key=key, value=asked, operator=operator)


def metadata(stored: Stored) -> dict[str, object]:
    return {} if stored is MISSING else {"value": stored}


def reference(operator: FilterOperator, asked: Asked, stored: Stored) -> bool:
    """LlamaIndex's own answer; TypeError where Python can't compare the two."""
    matches = build_metadata_filter_fn(lambda _: metadata(stored), MetadataFilters(filters=[one(operator, asked)]))
    return matches("any id")


# --- where Qdrant's rule is another

NEGATED = {Op.NE: Op.EQ, Op.NIN: Op.IN}
OF_ARRAYS = {Op.ANY, Op.ALL, Op.CONTAINS}
COMPARE: dict[FilterOperator, Callable[[datetime, datetime], bool]] = {
    Op.GT: lambda stored, asked: stored > asked,
    Op.GTE: lambda stored, asked: stored >= asked,
    Op.LT: lambda stored, asked: stored < asked,
    Op.LTE: lambda stored, asked: stored <= asked,
}


@dataclass(frozen=True)
class Difference:
    """A rule of Qdrant's that differs. It is written for EQ and IN; NE and NIN are their negation."""

    reason: str
    applies: Callable[[FilterOperator, Asked, Stored], bool]
    answer: Callable[[FilterOperator, Asked, Stored], bool]


def expected(operator: FilterOperator, asked: Asked, stored: Stored) -> bool:
    rule = difference(operator, asked, stored)
    if rule is None:
        return reference(operator, asked, stored)
    return rule.answer(NEGATED.get(operator, operator), asked, stored) != (operator in NEGATED)


def difference(operator: FilterOperator, asked: Asked, stored: Stored) -> Difference | None:
    positive = NEGATED.get(operator, operator)
    return next((rule for rule in DIFFERENCES if rule.applies(positive, asked, stored)), None)


def is_scalar(stored: Stored) -> bool:
    return stored is not MISSING and stored is not None and not isinstance(stored, list)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def has_case(asked: Asked) -> bool:
    return re.search("[a-zA-Z]", str(asked)) is not None


def asks_number(asked: Asked) -> bool:
    values = asked if isinstance(asked, list) else [asked]
    return any(isinstance(value, int | float) for value in values)


def has_boolean(stored: Stored) -> bool:
    return any(isinstance(value, bool) for value in (stored if isinstance(stored, list) else [stored]))


def without_booleans(stored: Stored) -> Stored:
    if isinstance(stored, list):
        return [without_booleans(value) for value in stored]
    return object() if isinstance(stored, bool) else stored


def moment(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def in_time_order(operator: FilterOperator, asked: Asked, stored: Stored) -> bool:
    assert isinstance(asked, str)
    assert isinstance(stored, str)
    at, bound = moment(stored), moment(asked)
    assert bound is not None
    return at is not None and COMPARE[operator](at, bound)


def words(text: object) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", str(text).lower()))


def reference_raises(operator: FilterOperator, asked: Asked, stored: Stored) -> bool:
    try:
        reference(operator, asked, stored)
    except TypeError:
        return True
    return False


DIFFERENCES = [
    Difference(
        "EQ None asks for an explicit null; in the reference it selects nothing, and NE None everything",
        lambda operator, asked, stored: operator == Op.EQ and asked is None,
        lambda operator, asked, stored: stored is None,
    ),
    Difference(
        "a boolean is not a number in Qdrant; in Python True is 1",
        lambda operator, asked, stored: asks_number(asked) and has_boolean(stored),
        lambda operator, asked, stored: expected(operator, asked, without_booleans(stored)),
    ),
    Difference(
        "an array matches by any of its elements; the reference compares the whole list",
        lambda operator, asked, stored: operator not in OF_ARRAYS and stored != [] and isinstance(stored, list),
        lambda operator, asked, stored: any(expected(operator, asked, element) for element in stored),
    ),
    Difference(
        "ANY, ALL, CONTAINS take a scalar for an array of one; the reference searches in a string",
        lambda operator, asked, stored: operator in OF_ARRAYS and is_scalar(stored),
        lambda operator, asked, stored: expected(operator, asked, [stored]),
    ),
    Difference(
        "dates are ordered by time, other strings not at all; the reference orders strings by letter",
        lambda operator, asked, stored: operator in COMPARE and is_text(asked) and is_text(stored),
        in_time_order,
    ),
    Difference(
        "without regard to case Qdrant finds whole words, in any order; the reference finds a substring",
        lambda operator, asked, stored: operator == Op.TEXT_MATCH_INSENSITIVE and has_case(asked) and is_text(stored),
        lambda operator, asked, stored: words(asked) <= words(stored),
    ),
    Difference(
        "ALL of nothing: Qdrant can't tell an empty array from a missing key",
        lambda operator, asked, stored: operator == Op.ALL and asked == [] and stored == [],
        lambda operator, asked, stored: False,
    ),
    Difference(
        "a value of another type does not match; the reference raises TypeError",
        lambda operator, asked, stored: reference_raises(operator, asked, stored),
        lambda operator, asked, stored: False,
    ),
]


# --- the engine


@pytest.fixture(scope="module", params=["memory", "edge"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantClient]:
    if request.param == "memory":
        client = QdrantClient(":memory:")
    else:
        pytest.importorskip("qdrant_edge")
        from colbert_qdrant.collection.engines.edge import EdgeClient

        client = EdgeClient(tmp_path_factory.mktemp("edge"))
    yield client
    client.close()


def store(client: QdrantClient, payloads: list[dict[str, object]]) -> str:
    """Put one point for each payload, with its position for an id, into a new collection; return its name."""
    name = uuid.uuid4().hex
    client.create_collection(name, vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT))
    client.upsert(name, [models.PointStruct(id=i, vector=[1.0], payload=row) for i, row in enumerate(payloads)])
    return name


@pytest.fixture(scope="module")
def shapes(client: QdrantClient) -> str:
    """One point for each stored shape, with a second key that splits them in three."""
    rows = [metadata(stored) | {"group": i % 3} for i, stored in enumerate(STORED)]
    return store(client, [{"metadata": row} for row in rows])


def selected(client: QdrantClient, collection: str, condition: models.Filter | None) -> set[int]:
    records, _ = client.scroll(collection, scroll_filter=condition, limit=1000)
    return {int(record.id) for record in records}


def shown(points: set[int]) -> list[str]:
    """What the points store, as text: in Python 1, 1.0 and True are equal, and here they are three cases."""
    return ["missing" if STORED[i] is MISSING else repr(STORED[i]) for i in sorted(points)]


# --- every operator, every value, every shape


@pytest.mark.parametrize(("operator", "asked"), QUESTIONS)
def test_filter_selects_what_the_reference_selects(
    client: QdrantClient, shapes: str, operator: FilterOperator, asked: Asked
) -> None:
    condition = to_qdrant_filter(MetadataFilters(filters=[one(operator, asked)]), LAYOUT)

    found = selected(client, shapes, condition)

    wanted = {i for i, stored in enumerate(STORED) if expected(operator, asked, stored)}
    assert shown(found) == shown(wanted)


@pytest.mark.parametrize("rule", DIFFERENCES, ids=lambda rule: rule.reason)
def test_each_difference_is_one(rule: Difference) -> None:
    cases = [
        (operator, asked, stored)
        for operator, asked in QUESTIONS
        for stored in STORED
        if difference(operator, asked, stored) is rule
    ]

    assert any(reference_raises(*case) or reference(*case) != expected(*case) for case in cases)


def test_differences_are_few() -> None:
    cases = [(operator, asked, stored) for operator, asked in QUESTIONS for stored in STORED]

    same = [case for case in cases if not reference_raises(*case) and reference(*case) == expected(*case)]

    assert len(same) > 0.9 * sum(not reference_raises(*case) for case in cases)


def test_every_operator_is_asked() -> None:
    assert set(ASKED) == set(FilterOperator)


# --- groups

AGREED = [one(Op.EQ, "alpha"), one(Op.NE, 5), one(Op.IN, [1, 5]), one(Op.EQ, 1, key="group"), one(Op.EQ, 9)]


@pytest.mark.parametrize("condition", [*FilterCondition, None])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_flat_group_selects_what_the_reference_selects(
    client: QdrantClient, condition: FilterCondition | None, count: int
) -> None:
    plain = [{"value": value, "group": i % 3} for i, value in enumerate(["alpha", "beta", 1, 5, 5.0, None])]
    name = store(client, [{"metadata": row} for row in plain])
    group = MetadataFilters(filters=AGREED[:count], condition=condition)
    matches = build_metadata_filter_fn(lambda i: plain[int(i)], group)

    found = selected(client, name, to_qdrant_filter(group, LAYOUT))

    assert found == {i for i in range(len(plain)) if matches(str(i))}


def random_group(rng: random.Random, depth: int) -> MetadataFilters:
    def member() -> MetadataFilter | MetadataFilters:
        if depth and rng.random() < 0.4:
            return random_group(rng, depth - 1)
        if rng.random() < 0.3:
            return one(Op.EQ, rng.randrange(3), key="group")
        return one(*rng.choice(QUESTIONS))

    return MetadataFilters(
        filters=[member() for _ in range(rng.randint(0 if depth < 3 else 1, 3))],
        condition=rng.choice([*FilterCondition, None]),
    )


def combined(group: MetadataFilters, i: int) -> bool:
    if not group.filters:
        return True
    answers = [
        combined(member, i)
        if isinstance(member, MetadataFilters)
        else expected(member.operator, member.value, i % 3 if member.key == "group" else STORED[i])
        for member in group.filters
    ]
    if group.condition == FilterCondition.OR:
        return any(answers)
    if group.condition == FilterCondition.NOT:
        return not any(answers)
    return all(answers)


@pytest.mark.parametrize("seed", range(200))
def test_nested_groups_combine(client: QdrantClient, shapes: str, seed: int) -> None:
    group = random_group(random.Random(seed), depth=3)

    found = selected(client, shapes, to_qdrant_filter(group, LAYOUT))

    assert shown(found) == shown({i for i in range(len(STORED)) if combined(group, i)})


@pytest.mark.parametrize("filters", [None, MetadataFilters(filters=[])])
def test_nothing_to_filter_by_is_no_filter(filters: MetadataFilters | None) -> None:
    assert to_qdrant_filter(filters, LAYOUT) is None


# --- keys

KEYS = [
    "plain",
    "snake_case-1",
    "a.b",
    "two words",
    "a[0]",
    "a[]",
    "url/path?",
    "größe",
    "日本",
    "'",
    "",
    "metadata",
]


@pytest.mark.parametrize("metadata_key", ["metadata", "my.meta data"])
@pytest.mark.parametrize("key", KEYS)
def test_key_is_the_name_of_an_entry(client: QdrantClient, metadata_key: str, key: str) -> None:
    name = store(client, [{metadata_key: row} for row in ({key: "yes"}, {key: "no"}, {"b": "yes"})])

    condition = to_qdrant_filter(
        MetadataFilters(filters=[one(Op.EQ, "yes", key=key)]), replace(LAYOUT, metadata_key=metadata_key)
    )

    assert selected(client, name, condition) == {0}


PATHS: list[tuple[str, FilterOperator, set[int]]] = [
    ("author.name", Op.EQ, {0, 3}),
    ("author.name", Op.NE, {1, 2}),
    ("author.name", Op.IS_EMPTY, {2}),
    ("tags[]", Op.EQ, {1}),
    ("papers[].title", Op.EQ, {2}),
    ("papers[].title", Op.NE, {0, 1, 3}),
]


@pytest.mark.parametrize(("key", "operator", "wanted"), PATHS)
def test_key_with_dots_or_brackets_is_a_path_as_well(
    client: QdrantClient, key: str, operator: FilterOperator, wanted: set[int]
) -> None:
    rows: list[dict[str, object]] = [
        {"author": {"name": "yes"}},
        {"author": {"name": "no"}, "tags": ["no", "yes"]},
        {"papers": [{"title": "no"}, {"title": "yes"}]},
        {"author.name": "yes"},
    ]
    name = store(client, [{"metadata": row} for row in rows])
    asked = one(operator, None if operator is Op.IS_EMPTY else "yes", key=key)

    assert selected(client, name, to_qdrant_filter(MetadataFilters(filters=[asked]), LAYOUT)) == wanted


@pytest.mark.parametrize("key", ['say "hi"', "back\\slash"])
def test_key_that_no_path_can_hold_is_refused(key: str) -> None:
    with pytest.raises(UnsupportedByEngine, match=re.escape(repr(key))):
        to_qdrant_filter(MetadataFilters(filters=[one(Op.EQ, 1, key=key)]), LAYOUT)


# --- refusals

REFUSED: list[tuple[FilterOperator, Asked, type[Exception], str]] = [
    # Qdrant compares elements; the reference compares the lists
    (Op.EQ, ["alpha", "beta"], UnsupportedByEngine, "whole list"),
    (Op.NE, [1], UnsupportedByEngine, "whole list"),
    # Qdrant orders no strings; the reference orders them by letter
    (Op.GT, "alpha", UnsupportedByEngine, "not strings"),
    (Op.LTE, "", UnsupportedByEngine, "not strings"),
    (Op.GTE, "2024-02-30", UnsupportedByEngine, "not strings"),
    # dates to Python, not to Qdrant: it would find no stored date in this format
    (Op.LT, "2024-W03-1", UnsupportedByEngine, "not strings"),
    # the reference raises TypeError
    (Op.NIN, 5, InvalidInput, "needs a list"),
    (Op.ALL, None, InvalidInput, "needs a list"),
    # the reference raises TypeError
    (Op.GT, None, InvalidInput, "one string or number"),
    (Op.TEXT_MATCH, 5, InvalidInput, "needs a string"),
    (Op.TEXT_MATCH_INSENSITIVE, ["alpha"], InvalidInput, "needs a string"),
    # no array of arrays, or of nulls, is searched
    (Op.CONTAINS, ["alpha"], InvalidInput, "one string or number"),
    (Op.CONTAINS, None, InvalidInput, "one string or number"),
    # no JSON, or no 64-bit integer
    (Op.EQ, float("nan"), InvalidInput, "finite"),
    (Op.GT, float("inf"), InvalidInput, "finite"),
    (Op.IN, [1, 2**63], InvalidInput, "64 bits"),
    (Op.LT, -(2**63) - 1, InvalidInput, "64 bits"),
]


@pytest.mark.parametrize(("operator", "asked", "error", "reason"), REFUSED)
def test_what_qdrant_can_not_answer_is_refused_by_name(
    operator: FilterOperator, asked: Asked, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=rf"filter on \S*value\S*: .*{reason}"):
        to_qdrant_filter(MetadataFilters(filters=[one(operator, asked)]), LAYOUT)


# --- filters as language models write them

LONG = "9" * 20  # more than an integer of 64 bits

SPELLED: list[tuple[FilterOperator, Asked, list[object]]] = [
    (Op.IN, "sci-fi", ["sci-fi"]),
    (Op.IN, "sci-fi, drama", ["sci-fi", "drama"]),
    (Op.IN, "2014,2010", [2014, 2010.0, "2010"]),
    (Op.IN, "Paris, Texas", ["Paris, Texas"]),
    (Op.IN, " , ", []),
    (Op.ANY, "drama", ["drama", ["sci-fi", "drama"]]),
    (Op.ALL, "sci-fi, drama", [["sci-fi", "drama"]]),
    (Op.IN, LONG, [LONG]),
    (Op.IN, f"drama, {LONG}", ["drama", ["sci-fi", "drama"], LONG]),
    (Op.ANY, f"{LONG}, 1999", [LONG, 1999]),
    (Op.ALL, LONG, [LONG]),
    (Op.GT, "2010", [2014, 2010.5]),
    (Op.LT, LONG, [2014, 2010.0, 2010.5, 1999]),
    (Op.LTE, "2010.0", [2010.0, 1999]),
    (Op.GT, "2010-01-01", ["2014-06-06"]),
]
HELD: list[object] = [
    "sci-fi", "drama", ["sci-fi", "drama"], "Paris, Texas",
    2014, 2010.0, 2010.5, 1999, "2010", LONG, "2014-06-06", True, None,
]  # fmt: skip


@pytest.mark.parametrize(("operator", "asked", "wanted"), SPELLED)
def test_strings_are_read_as_they_are_meant(
    client: QdrantClient, operator: FilterOperator, asked: Asked, wanted: list[object]
) -> None:
    name = store(client, [{"metadata": {"value": held}} for held in HELD])

    found = selected(client, name, to_qdrant_filter(MetadataFilters(filters=[one(operator, asked)]), LAYOUT))

    more = [["sci-fi", "drama"]] if operator is Op.IN and "sci-fi" in str(asked) else []
    assert {repr(HELD[i]) for i in found} == {repr(value) for value in [*wanted, *more]}


@pytest.mark.parametrize(("asked", "excluded"), [("2014,2010", {2014, 2010.0, "2010"}), (LONG, {LONG})])
def test_nin_takes_the_rest(client: QdrantClient, asked: str, excluded: set[object]) -> None:
    name = store(client, [{"metadata": {"value": held}} for held in HELD])

    found = selected(client, name, to_qdrant_filter(MetadataFilters(filters=[one(Op.NIN, asked)]), LAYOUT))

    assert {repr(HELD[i]) for i in set(range(len(HELD))) - set(found)} == {repr(value) for value in excluded}


def test_boolean_is_asked_past_the_strict_type(client: QdrantClient, shapes: str) -> None:
    true = MetadataFilter.model_construct(key="value", value=True, operator=Op.EQ)

    found = selected(client, shapes, to_qdrant_filter(MetadataFilters.model_construct(filters=[true]), LAYOUT))

    assert shown(found) == ["True", "[True, 5]"]


# --- what a server receives


def over_rest(condition: models.Filter) -> models.Filter:
    return models.Filter.model_validate_json(condition.model_dump_json(by_alias=True, exclude_none=True))


def over_grpc(condition: models.Filter) -> models.Filter:
    return GrpcToRest.convert_filter(RestToGrpc.convert_filter(condition))


@pytest.mark.parametrize("sent", [over_rest, over_grpc])
@pytest.mark.parametrize(("operator", "asked"), QUESTIONS)
def test_filter_means_the_same_on_the_wire(
    client: QdrantClient,
    shapes: str,
    sent: Callable[[models.Filter], models.Filter],
    operator: FilterOperator,
    asked: Asked,
) -> None:
    condition = to_qdrant_filter(MetadataFilters(filters=[one(operator, asked)]), LAYOUT)
    assert condition is not None

    received = sent(condition)

    assert selected(client, shapes, received) == selected(client, shapes, condition)
