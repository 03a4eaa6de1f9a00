"""Token pooling gives PyLate's and sentence-transformers' vectors (see data/make_pooling_golden.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from colbert_qdrant.embedding.pooling import pool, pool_to
from colbert_qdrant.errors import InvalidInput

GOLDEN = Path(__file__).parents[1] / "data/pooling_golden.npz"
TOLERANCE = 1e-5

Vectors = npt.NDArray[np.float32]


def cases_of(system: str) -> list[str]:
    with np.load(GOLDEN) as golden:
        return [key for key in golden if key.startswith(f"{system}|")]


@pytest.mark.parametrize("case", cases_of("pylate"))
def test_without_normalizing_gives_the_vectors_of_pylate(case: str) -> None:
    vectors, factor, protected, expected = recorded(case)

    pooled = pool(vectors, factor, protected_tokens=protected, normalize=False)

    assert largest_difference(pooled, expected) < TOLERANCE


@pytest.mark.parametrize("case", cases_of("sentence-transformers"))
def test_gives_the_vectors_of_sentence_transformers(case: str) -> None:
    vectors, factor, protected, expected = recorded(case)

    pooled = pool(vectors, factor, protected_tokens=protected)

    assert largest_difference(pooled, expected) < TOLERANCE


def test_rows_follow_the_first_tokens_of_their_clusters() -> None:
    cls, one, other, third = np.eye(4, dtype=np.float32)

    pooled = pool(np.stack([cls, other, one, one, third, other, third]), 2)

    np.testing.assert_allclose(pooled, [cls, other, one, third], atol=1e-6)


def test_means_have_length_1() -> None:
    lengths = np.linalg.norm(pool(document(90), 3), axis=1)

    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_protected_tokens_are_kept_as_they_are() -> None:
    vectors = document(40)

    np.testing.assert_array_equal(pool(vectors, 4, protected_tokens=5)[:5], vectors[:5])


def test_factor_1_changes_nothing() -> None:
    vectors = document(40)

    np.testing.assert_array_equal(pool(vectors, 1), vectors)


@pytest.mark.parametrize("tokens", [0, 1, 2, 3])
def test_a_document_of_protected_tokens_is_kept(tokens: int) -> None:
    vectors = document(tokens)

    np.testing.assert_array_equal(pool(vectors, 4, protected_tokens=3), vectors)


@pytest.mark.parametrize("tokens", [2, 33, 300])
def test_repeated_tokens_are_pooled_like_others(tokens: int) -> None:
    vectors = np.repeat(document(1), tokens, axis=0)

    pooled = pool(vectors, 2, protected_tokens=0)

    np.testing.assert_allclose(pooled, vectors[: tokens // 2], atol=1e-6)


def test_ties_cost_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One merge a round, on 600 tokens all equally far apart, would be 300 rounds."""
    from colbert_qdrant.embedding import pooling

    rounds = []
    merge = pooling._merge
    monkeypatch.setattr(pooling, "_merge", lambda *arguments: rounds.append(merge(*arguments)))

    pooling.pool(np.eye(600, dtype=np.float32), 2)

    assert len(rounds) < 20


def test_zero_vectors_stay_zero() -> None:
    assert not pool(np.zeros((8, 4), dtype=np.float32), 2).any()


def test_half_precision_is_pooled_in_single_precision() -> None:
    vectors = document(60).astype(np.float16)

    pooled = pool(vectors, 3)

    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, pool(vectors.astype(np.float32), 3))


def test_the_document_is_not_changed() -> None:
    vectors = document(60)
    before = vectors.copy()

    pool(vectors, 3)

    np.testing.assert_array_equal(vectors, before)


@pytest.mark.parametrize("factor", [0.99, 0, -2, float("nan")])
def test_factor_below_1_is_refused(factor: float) -> None:
    with pytest.raises(InvalidInput, match="pool_factor is"):
        pool(document(5), factor)


def test_negative_protected_tokens_are_refused() -> None:
    with pytest.raises(InvalidInput, match="protected_tokens is -1"):
        pool(document(5), 2, protected_tokens=-1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    vectors = document(5)
    vectors[3, 1] = value

    with pytest.raises(InvalidInput, match="NaN or infinity"):
        pool(vectors, 2)


@pytest.mark.parametrize("shape", [(5,), (2, 5, 4)])
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="expected \\(tokens, dim\\)"):
        pool(np.ones(shape, dtype=np.float32), 2)


@pytest.mark.parametrize("rows", [1, 2, 3, 59, 60])
def test_pool_to_gives_as_many_rows_as_asked_for(rows: int) -> None:
    assert pool_to(document(60), rows).shape == (rows, 16)


def test_pool_to_keeps_a_document_that_fits() -> None:
    vectors = document(60)

    np.testing.assert_array_equal(pool_to(vectors, 60), vectors)


def test_pool_to_clusters_as_pool_does() -> None:
    vectors = document(61)

    np.testing.assert_array_equal(pool_to(vectors, 1 + 20), pool(vectors, 3))


@pytest.mark.parametrize(("tokens", "rows"), [(20_000, 2730), (9000, 4), (9000, 1)])
def test_pool_to_bounds_a_document_of_many_blocks(tokens: int, rows: int) -> None:
    assert pool_to(document(tokens), rows).shape == (rows, 16)


def test_every_token_of_a_long_document_counts() -> None:
    vectors = document(5000)

    only = pool_to(vectors, 1, normalize=False)

    np.testing.assert_allclose(only[0], vectors.mean(axis=0), atol=TOLERANCE)


def test_a_long_document_keeps_its_protected_tokens_and_order() -> None:
    topics = np.eye(16, dtype=np.float32)
    vectors = np.concatenate([topics[:1], np.repeat(topics, 600, axis=0)])

    pooled = pool_to(vectors, 500)

    np.testing.assert_array_equal(pooled[0], vectors[0])
    assert (np.diff(pooled[1:].argmax(axis=1)) >= 0).all()


@pytest.mark.parametrize("rows", [0, -1])
def test_pool_to_no_rows_is_refused(rows: int) -> None:
    with pytest.raises(InvalidInput, match="at least one vector"):
        pool_to(document(5), rows)


def test_pool_to_refuses_negative_protected_tokens() -> None:
    with pytest.raises(InvalidInput, match="protected_tokens is -1"):
        pool_to(document(5), 2, protected_tokens=-1)


def recorded(case: str) -> tuple[Vectors, float, int, Vectors]:
    _, document, factor, protected = case.split("|")
    with np.load(GOLDEN) as golden:
        return golden[document], float(factor), int(protected), golden[case]


def document(tokens: int) -> Vectors:
    vectors = np.random.RandomState(tokens).normal(size=(tokens, 16)) + 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def largest_difference(pooled: Vectors, expected: Vectors) -> float:
    """Compare as sets: each expected row with the pooled row nearest to it, none of which may serve twice."""
    assert pooled.shape == expected.shape
    apart = np.abs(pooled[:, np.newaxis] - expected).max(axis=2)
    nearest = apart.argmin(axis=0)
    assert sorted(nearest) == list(range(len(pooled)))
    return float(apart.min(axis=0).max())
