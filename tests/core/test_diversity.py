from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colbert_qdrant import Hit
from colbert_qdrant.collection.diversity import diversified
from colbert_qdrant.errors import InvalidInput

QUERY = np.eye(5, dtype=np.float32)[:2]


def hit(name: str, rows: list[int]) -> Hit:
    """Return a hit for `QUERY` whose vectors are these unit vectors."""
    vectors = np.eye(5, dtype=np.float32)[rows]
    score = float((QUERY @ vectors.T).max(axis=1).sum())
    return Hit(id=name, text=name, metadata={}, payload={}, vectors=vectors, score=score, relevance=0.0)


# Relevance, and likeness with the best: 1 and 1, 0.5 and 0.25, 0 and 0.
BEST, TWIN, RELATED, UNRELATED = (
    hit("best", [0, 1]),
    hit("twin", [0, 1]),
    hit("related", [0, 2, 3, 4]),
    hit("unrelated", [2]),
)


@pytest.mark.parametrize(
    ("lambda_mult", "second"), [(1.0, "twin"), (0.7, "twin"), (0.5, "related"), (0.3, "unrelated"), (0.0, "unrelated")]
)
def test_lambda_mult_goes_from_unlike_to_relevant(lambda_mult: float, second: str) -> None:
    chosen = diversified([BEST, TWIN, RELATED, UNRELATED], len(QUERY), k=2, lambda_mult=lambda_mult)

    assert [hit.id for hit in chosen] == ["best", second]


def test_the_length_of_documents_does_not_matter() -> None:
    long = [hit("best", [0, 1] * 50), hit("twin", [0, 1] * 50), hit("unrelated", [2] * 100)]

    chosen = diversified(long, len(QUERY), k=2, lambda_mult=0.7)

    assert [hit.id for hit in chosen] == ["best", "twin"]


def test_likeness_is_with_any_of_the_chosen() -> None:
    candidates = [BEST, hit("other", [2, 3]), hit("twin of other", [2, 3]), hit("third", [4])]

    chosen = diversified(candidates, len(QUERY), k=3, lambda_mult=0.0)

    assert [hit.id for hit in chosen] == ["best", "other", "third"]


@pytest.mark.parametrize("k", [1, 2, 9])
def test_k_is_the_most(k: int) -> None:
    assert len(diversified([BEST, TWIN], len(QUERY), k=k, lambda_mult=0.5)) == min(k, 2)


def test_a_hit_without_vectors_is_like_no_other() -> None:
    bare = replace(hit("bare", [0]), vectors=None)

    chosen = diversified([BEST, TWIN, bare], len(QUERY), k=3, lambda_mult=0.3)

    assert [hit.id for hit in chosen] == ["best", "bare", "twin"]


def test_no_hits() -> None:
    assert diversified([], len(QUERY), k=4, lambda_mult=0.5) == []


@pytest.mark.parametrize(("k", "lambda_mult"), [(0, 0.5), (4, -0.1), (4, 1.1)])
def test_numbers_out_of_range(k: int, lambda_mult: float) -> None:
    with pytest.raises(InvalidInput, match=r"k=0|lambda_mult=-?\d"):
        diversified([BEST], len(QUERY), k=k, lambda_mult=lambda_mult)
