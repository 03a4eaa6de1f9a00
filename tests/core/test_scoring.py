"""MaxSim of numpy arrays is the sum over query tokens of the best dot product, whatever the shapes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import maxsim

Array = npt.NDArray[np.floating]


def unit_rows(rows: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact(query: Array, documents: Sequence[Array]) -> npt.NDArray[np.float64]:
    wide = query.astype(np.float64)
    return np.array([(wide @ document.astype(np.float64).T).max(axis=1).sum() for document in documents])


@given(
    query_tokens=st.integers(1, 80),
    dim=st.sampled_from([1, 7, 96, 384]),
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6),
)
def test_scores_are_those_of_float64(query_tokens: int, dim: int, lengths: list[int]) -> None:
    query = unit_rows(query_tokens, dim)
    documents = [unit_rows(length, dim, seed) for seed, length in enumerate(lengths, 1)]

    scores = maxsim(query, documents)

    np.testing.assert_allclose(scores, exact(query, documents), atol=1e-4)


@pytest.mark.parametrize("position", [0, 2_500, 4_999])
def test_the_best_token_counts_wherever_it_stands_in_a_long_document(position: int) -> None:
    query = np.repeat(unit_rows(1, 96), 32, axis=0)
    document = np.zeros((5_000, 96), dtype=np.float32)
    document[position] = query[0]

    scores = maxsim(query, [document])

    assert scores == pytest.approx(32.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_dtype_is_taken(dtype: type[np.floating]) -> None:
    query = unit_rows(32, 96).astype(dtype)
    documents = [unit_rows(length, 96, length).astype(dtype) for length in (5, 300)]

    scores = maxsim(query, documents)

    np.testing.assert_allclose(scores, exact(query, documents), atol=1e-4)


def test_scores_are_float32() -> None:
    scores = maxsim(np.eye(2), [np.eye(2), np.eye(2)])

    assert scores.dtype == np.float32


def test_a_negative_best_similarity_stays_negative_beside_a_longer_document() -> None:
    query = np.array([[1.0, 0.0]])
    opposed, longer = np.array([[-0.5, 0.0]]), np.array([[0.0, 1.0], [0.25, 0.0], [0.0, 0.0]])

    scores = maxsim(query, [opposed, longer])

    assert scores.tolist() == [-0.5, 0.25]


def test_a_score_does_not_depend_on_the_other_documents() -> None:
    query = unit_rows(32, 96)
    documents = [unit_rows(length, 96, length) for length in (3, 500, 40)]

    together = maxsim(query, documents)

    assert together.tolist() == [maxsim(query, [document])[0] for document in documents]


def test_documents_may_be_views_into_one_array() -> None:
    query, packed = unit_rows(4, 8), unit_rows(30, 8, seed=1)
    documents = [packed[:3], packed[3:29], packed[29:]]

    scores = maxsim(query, documents)

    np.testing.assert_allclose(scores, exact(query, documents), atol=1e-6)


def test_documents_may_be_stored_column_by_column() -> None:
    query, document = unit_rows(4, 8), unit_rows(30, 8, seed=1)

    scores = maxsim(query, [np.asfortranarray(document)])

    np.testing.assert_allclose(scores, exact(query, [document]), atol=1e-6)


def test_documents_may_come_from_a_generator() -> None:
    query, documents = unit_rows(4, 8), [unit_rows(3, 8, 1), unit_rows(5, 8, 2)]

    scores = maxsim(query, (document for document in documents))

    np.testing.assert_allclose(scores, exact(query, documents), atol=1e-6)


def test_float32_documents_are_not_copied() -> None:
    query, packed = unit_rows(32, 96), unit_rows(50_000, 96, seed=1)
    documents = np.split(packed, 100)

    tracemalloc.start()
    maxsim(query, documents)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < packed.nbytes / 20


def test_a_document_without_tokens_scores_zero() -> None:
    scores = maxsim(unit_rows(4, 8), [np.empty((0, 8)), unit_rows(3, 8, seed=1)])

    assert scores[0] == 0.0


def test_a_query_without_tokens_scores_every_document_zero() -> None:
    scores = maxsim(np.empty((0, 8)), [unit_rows(3, 8), unit_rows(5, 8)])

    assert scores.tolist() == [0.0, 0.0]


def test_no_documents_give_no_scores() -> None:
    scores = maxsim(unit_rows(4, 8), [])

    assert scores.shape == (0,)


def test_a_document_of_another_dimension_is_named() -> None:
    with pytest.raises(InvalidInput, match="document 1 has 9 dimensions and the query 8"):
        maxsim(unit_rows(4, 8), [unit_rows(3, 8), unit_rows(3, 9)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_document_that_is_not_finite_is_named(value: float) -> None:
    broken = unit_rows(5, 8, seed=1)
    broken[2, 0] = value

    with pytest.raises(InvalidInput, match="document 1 holds NaN"):
        maxsim(unit_rows(4, 8), [unit_rows(3, 8), broken])


def test_a_query_that_is_not_finite_is_named() -> None:
    broken = unit_rows(4, 8)
    broken[1, 1] = np.nan

    with pytest.raises(InvalidInput, match="the query holds NaN"):
        maxsim(broken, [unit_rows(3, 8)])


def test_a_query_that_is_one_vector_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"the query has shape \(8,\)"):
        maxsim(np.ones(8), [unit_rows(3, 8)])


def test_one_document_in_place_of_a_list_of_them_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"document 0 has shape \(8,\)"):
        maxsim(unit_rows(4, 8), unit_rows(3, 8))


def test_texts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="document 0 is not an array of numbers"):
        maxsim(unit_rows(4, 8), ["a boy named Kubo"])
