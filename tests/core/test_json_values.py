"""Metadata is JSON once it is inside: what becomes what, what is refused, and that every engine gives it back."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection.json_values import MAX_DEPTH, check_metadata, json_value
from colbert_qdrant.errors import InvalidInput


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
GIVEN_AND_STORED = [
    (NOON, "2024-05-01T12:00:00+00:00"),
    (datetime.datetime(2024, 5, 1, 12, 0, 0, 7), "2024-05-01T12:00:00.000007"),
    (datetime.date(2024, 5, 1), "2024-05-01"),
    (datetime.time(12, 30), "12:30:00"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Decimal("1.10"), "1.10"),
    (PurePosixPath("a/b.txt"), "a/b.txt"),
    (Colour.RED, "red"),
    (Size.SMALL, 1),
    ((1, (2, 3)), [1, [2, 3]]),
    ({"b", "a"}, ["a", "b"]),
    (frozenset({10, 9.5, "a", None, (2, 1)}), [9.5, 10, "a", [2, 1], None]),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.longdouble(0.5), 0.5),
    (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    (np.array(3.5), 3.5),
    (np.array(["a", None], dtype=object), ["a", None]),
    (np.datetime64("2024-05-01T12:00:00.000000001"), "2024-05-01T12:00:00.000000001"),
    (np.array(["2024-05-01"], dtype="datetime64[D]"), ["2024-05-01"]),
    (np.datetime64("2024-05-01T12"), "2024-05-01T12:00:00"),
    (np.array(["2024-05", "2024-06"], dtype="datetime64[M]"), ["2024-05-01", "2024-06-01"]),
]


@pytest.mark.parametrize(("given", "stored"), GIVEN_AND_STORED, ids=lambda value: type(value).__name__)
def test_what_has_a_form_in_json_gets_it(given: Any, stored: Any) -> None:
    found = check_metadata({"key": given})["key"]

    assert found == stored
    assert type(found) is type(stored) or isinstance(found, str)
    assert json_value(given) == stored


def test_pandas_times_and_numbers_are_taken_as_they_come_from_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"day": [pandas.Timestamp("2024-05-01")], "n": [3], "x": [0.5], "is": [True]})

    [row] = [check_metadata(row) for row in table.to_dict("records")]

    assert row == {"day": "2024-05-01T00:00:00", "n": 3, "x": 0.5, "is": True}
    with pytest.raises(InvalidInput, match="leave the key out"):
        check_metadata({"day": pandas.NaT})


def test_keys_are_strings_as_json_writes_them() -> None:
    given = {1: "a", np.int64(2): "b", uuid.UUID(int=5): "c", Colour.RED: "d", datetime.date(2024, 5, 1): "e"}

    assert list(check_metadata(given)) == ["1", "2", str(uuid.UUID(int=5)), "red", "2024-05-01"]


@pytest.mark.parametrize("key", [None, True, 1.5, (1, 2), b"a"])
def test_a_key_without_one_written_form_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInput, match=r"metadata has the key .* write it as one"):
        check_metadata({key: "a"})


def test_two_keys_that_would_become_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"metadata\.a has two keys that JSON writes as '1'"):
        check_metadata({"a": {1: "one", "1": "another"}})


def test_metadata_is_copied() -> None:
    given = {"a": (1, [2.5, None]), "b": {"c": True, "ü": "x"}}

    copied = check_metadata(given)

    assert copied == {"a": [1, [2.5, None]], "b": {"c": True, "ü": "x"}}
    assert copied["b"] is not given["b"]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"a": [0, float("nan")]}, r"metadata\.a\[1\] is nan of type float.*leave the key out"),
        ({"a": np.float32("inf")}, r"metadata\.a is inf.*leave the key out"),
        ({"a": np.array([1, np.nan])}, r"metadata\.a\[1\] is nan"),
        ({"a": Decimal("NaN")}, r"metadata\.a is Decimal\('NaN'\).*leave the key out"),
        ({"a": Decimal("-Infinity")}, "leave the key out"),
        ({"a": np.datetime64("NaT")}, "leave the key out"),
        ({"a": b"x"}, r"metadata\.a is b'x' of type bytes.*base64"),
        ({"a": bytearray(b"x")}, "base64"),
        ({"a": np.bytes_(b"x")}, "base64"),
        ({"a": 1j}, "complex"),
        ({"a": np.complex64(1j)}, "complex64"),
        ({"a": {"b": object}}, r"metadata\.a\.b is"),
        ({"a": {"b": Unprintable()}}, r"metadata\.a\.b is a Unprintable"),
        ({"a": 2**63}, "64 bits"),
        ({"a": np.uint64(2**63)}, "64 bits"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a": PurePosixPath("\udcff")}, "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        ("text", "not a mapping"),
    ],
)
def test_what_json_has_no_form_for_is_refused_with_its_path(given: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_metadata(given)


def nested(levels: int, wrap: Callable[[Any], Any] = lambda inside: {"k": inside}) -> dict[str, Any]:
    """Return metadata of so many levels, its own the first."""
    value: Any = "deep"
    for _ in range(levels - 1):
        value = wrap(value)
    return {"k": value}


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


@pytest.mark.parametrize("wrap", [lambda inside: {"k": inside}, lambda inside: [inside], lambda inside: (inside,)])
def test_levels_are_counted_over_dicts_and_lists(wrap: Callable[[Any], Any]) -> None:
    check_metadata(nested(MAX_DEPTH, wrap))

    with pytest.raises(InvalidInput, match="nested deeper than 30 levels"):
        check_metadata(nested(MAX_DEPTH + 1, wrap))


@pytest.mark.parametrize("too_deep", [nested(122), nested(900), nested(50_000), cyclic()])
def test_too_deep_is_refused_on_every_engine_and_skipped_where_asked(
    collection: MultivectorCollection, too_deep: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="deeper than 30 levels"):
        collection.add(["good", "bad"], [{}, too_deep])
    assert collection.count() == 0

    report = collection.add(["good", "bad"], [{}, too_deep], on_error="skip")

    assert report.stored == 1
    assert [failure.position for failure in report.failed] == [1]


def test_the_deepest_is_stored_on_every_engine_and_still_there_when_opened_again(
    make_collection: Callable[..., MultivectorCollection],
) -> None:
    collection = make_collection()
    collection.add(["deep"], [nested(MAX_DEPTH)], ids=["1"])
    if collection.place.path is not None:
        collection.close()
        collection = make_collection(name=collection.name)

    assert collection.get(["1"])[0].metadata == nested(MAX_DEPTH)


def test_the_deepest_fits_into_what_grpc_takes() -> None:
    """Protobuf reads 100 levels, in Python as on the server; hits in groups lie deepest."""
    from qdrant_client import grpc
    from qdrant_client.conversions.conversion import payload_to_grpc

    payload = payload_to_grpc({"metadata": nested(MAX_DEPTH)})
    hits = grpc.GroupsResult(groups=[grpc.PointGroup(hits=[grpc.ScoredPoint(payload=payload)])])

    message = grpc.QueryGroupsResponse(result=hits).SerializeToString()

    assert grpc.QueryGroupsResponse.FromString(message).result.groups[0].hits[0].payload["metadata"]


def test_every_engine_gives_back_the_same_json_and_the_second_run_changes_nothing(
    collection: MultivectorCollection,
) -> None:
    metadata = {f"value {number}": given for number, (given, _) in enumerate(GIVEN_AND_STORED)}

    collection.add(["a"], [metadata], ids=["1"])

    assert collection.get(["1"])[0].metadata == check_metadata(metadata)
    assert collection.add(["a"], [metadata], ids=["1"]).unchanged == 1


def test_a_date_is_found_by_its_range(collection: MultivectorCollection) -> None:
    days = [datetime.date(2024, 5, day) for day in (1, 2, 3)]
    collection.add(["a", "b", "c"], [{"day": day} for day in days])
    since = models.DatetimeRange(gte=datetime.datetime(2024, 5, 2, tzinfo=datetime.UTC))

    found = collection.count(models.Filter(must=[models.FieldCondition(key="metadata.day", range=since)]))

    assert found == 2
