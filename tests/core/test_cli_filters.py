"""What ``--filter`` means, asked of real collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

pytest.importorskip("click")
from colbert_qdrant.cli.filters import parsed

ROWS: dict[str, dict[str, Any]] = {
    "old": {"year": 1999, "lang": "en", "place": {"city": "Oslo"}, "seen": True},
    "new": {"year": 2024.5, "lang": "de", "on": "2024-05-01", "a b": "c=d"},
    "csv": {"year": "1999", "lang": "en", "code": "9400110200881234567890"},
    "bare": {},
}


@pytest.fixture
def rows(make_collection: Callable[..., MultivectorCollection]) -> MultivectorCollection:
    collection = make_collection()
    collection.add(list(ROWS), list(ROWS.values()), list(ROWS))
    return collection


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["year=1999"], "old csv"),
        (['year="1999"'], "csv"),
        (["year=2024.5"], "new"),
        (["year>=1999"], "old new"),
        (["year > 1999"], "new"),
        (["year<=1999"], "old"),
        (["year<1999"], ""),
        (["lang=en"], "old csv"),
        (["lang!=en"], "new bare"),
        (["lang=en", "year>=1000"], "old"),
        (["place.city=Oslo"], "old"),
        (["seen=true"], "old"),
        (["on>=2024-01-01"], "new"),
        (["on<2024-01-01"], ""),
        (["lang=null"], "bare"),
        (["lang!=null"], "old new csv"),
        (["a b=c=d"], "new"),
        (["code=9400110200881234567890"], "csv"),
        (['{"must": [{"key": "metadata.lang", "match": {"value": "de"}}]}'], "new"),
        ([], "old new csv bare"),
    ],
    ids=str,
)
def test_finds(rows: MultivectorCollection, conditions: list[str], expected: str) -> None:
    found = {record.id for record in rows.scroll(parsed(conditions, rows.layout))}

    assert found == set(expected.split())


@pytest.mark.parametrize("condition", ["year", "=1", "year==1", "year=>1", "a..b=1", "", '{"must": 3}', "{"])
def test_what_cannot_be_read_is_refused(collection: MultivectorCollection, condition: str) -> None:
    with pytest.raises(InvalidInput, match="--filter"):
        parsed([condition], collection.layout)


PART = '{"key": "metadata.lang", "match": {"value": "de"}}'


@pytest.mark.parametrize(
    "empty",
    [
        *("{}", '{"must": []}', '{"should": [{"must_not": [{}]}]}', '{"must": null}', f'{{"should": [{PART}, {{}}]}}'),
        f'{{"must": {PART}, "must_not": {{"must": []}}}}',
        '{"min_should": {"conditions": [], "min_count": 0}}',
        '{"must": [{"nested": {"key": "metadata.tags", "filter": {}}}]}',
    ],
)
def test_a_filter_that_all_would_pass_is_refused(collection: MultivectorCollection, empty: str) -> None:
    with pytest.raises(InvalidInput, match="has no condition"):
        parsed([empty], collection.layout)


def test_strings_have_no_order(collection: MultivectorCollection) -> None:
    with pytest.raises(UnsupportedByEngine, match="not strings"):
        parsed(["lang>en"], collection.layout)
