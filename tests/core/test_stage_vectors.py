"""Vectors of first stages that were computed elsewhere: checked, and stored in place of their encoder's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from colbert_qdrant import AsyncMultivectorCollection, Dense, MultivectorCollection, Sparse
from colbert_qdrant.errors import InvalidInput

Make = Callable[..., MultivectorCollection]

TEXTS = ["red apple", "green apple pie", "blue sky"]
IDS = ["a", "b", "c"]
GIVEN = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]
WEIGHTS = [{1: 0.5}, {2: 1.0, 3: 0.25}, {4: 2.0}]


class Encoder:
    """Notes what it encodes."""

    def __init__(self, vector: Any) -> None:
        self.vector, self.texts = vector, []  # type: ignore[var-annotated]

    def __call__(self, texts: list[str]) -> list[Any]:
        self.texts += texts
        return [self.vector for _ in texts]


@pytest.fixture
def dense() -> Encoder:
    return Encoder([1.0, 1.0, 1.0])


@pytest.fixture
def sparse() -> Encoder:
    return Encoder({9: 1.0})


@pytest.fixture
def docs(make_collection: Make, dense: Encoder, sparse: Encoder) -> MultivectorCollection:
    return make_collection(stages=[Dense(dense, dim=3, model="three"), Sparse(sparse, model="some")])


def stored(docs: MultivectorCollection, name: str) -> dict[str, Any]:
    arguments = {"collection_name": docs.name, "with_payload": True, "with_vectors": [name]}
    points, _ = docs.engine.call("scroll", arguments)
    ids = {record.text: record.id for record in docs.scroll()}
    return {ids[point.payload["page_content"]]: point.vector[name] for point in points}


def test_given_vectors_are_stored_and_the_encoders_are_not_asked(
    docs: MultivectorCollection, dense: Encoder, sparse: Encoder
) -> None:
    docs.add(TEXTS, ids=IDS, stage_vectors={"dense": GIVEN, "sparse": WEIGHTS})

    assert dense.texts == sparse.texts == []
    np.testing.assert_allclose([stored(docs, "dense")[each] for each in IDS], np.eye(3), atol=1e-3)
    found = stored(docs, "sparse")
    assert [dict(zip(found[i].indices, found[i].values, strict=True)) for i in IDS] == WEIGHTS
    assert {hit.id for hit in docs.search("blue sky", 3)} == set(IDS)


def test_some_may_be_given_and_others_encoded(docs: MultivectorCollection, dense: Encoder) -> None:
    docs.add(TEXTS, ids=IDS, stage_vectors={"dense": (vector for vector in [GIVEN[0], None, GIVEN[2]])})

    assert dense.texts == [TEXTS[1]]
    np.testing.assert_allclose(stored(docs, "dense")["a"], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(stored(docs, "dense")["b"], np.full(3, 3**-0.5), atol=1e-3)


def test_the_same_again_are_unchanged_and_others_replace_them(docs: MultivectorCollection) -> None:
    docs.add(TEXTS, ids=IDS, stage_vectors={"dense": GIVEN, "sparse": WEIGHTS})

    assert docs.add(TEXTS, ids=IDS, stage_vectors={"dense": GIVEN, "sparse": WEIGHTS}).unchanged == 3
    assert docs.add(TEXTS, ids=IDS).unchanged == 3
    report = docs.add(TEXTS, ids=IDS, stage_vectors={"dense": [[0.0, 1.0, 0.0], *GIVEN[1:]]})
    assert (report.updated, report.unchanged) == (1, 2)
    np.testing.assert_allclose(stored(docs, "dense")["a"], [0, 1, 0], atol=1e-3)


def test_a_generator_may_fill_one_buffer_again_and_again(docs: MultivectorCollection) -> None:
    buffer = np.zeros(3, np.float32)

    def filled() -> Iterator[np.ndarray]:
        for vector in GIVEN:
            buffer[:] = vector
            yield buffer

    docs.add(TEXTS, ids=IDS, stage_vectors={"dense": filled()})

    np.testing.assert_allclose([stored(docs, "dense")[each] for each in IDS], np.eye(3), atol=1e-3)


def test_the_largest_index_of_a_sparse_vector_is_taken(docs: MultivectorCollection) -> None:
    docs.add(TEXTS[:1], ids=IDS[:1], stage_vectors={"sparse": [{2**32 - 1: 1.0}]})

    assert stored(docs, "sparse")["a"].indices == [2**32 - 1]


async def test_given_asynchronously(make_collection: Make, place: dict[str, Any], words: Any, dense: Encoder) -> None:
    stages = [Dense(dense, dim=3, model="three")]
    docs = make_collection(stages=stages)

    report = await docs.as_async().add(TEXTS, ids=IDS, stage_vectors={"dense": GIVEN})

    assert isinstance(docs.as_async(), AsyncMultivectorCollection)
    assert (report.added, dense.texts) == (3, [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"other": GIVEN}, "'other' is no first stage .* 'dense', 'sparse'"),
        ({"dense": GIVEN[:2]}, "stage_vectors"),
        ({"dense": [*GIVEN, GIVEN[0]]}, "stage_vectors"),
        ({"dense": [[1.0], *GIVEN[1:]]}, r"text 0: .*shape \(1,\); expected \(3,\)"),
        ({"dense": [[1.0, 2.0, float("nan")], *GIVEN[1:]]}, "text 0: .*NaN"),
        ({"dense": ["x", *GIVEN[1:]]}, "no vector of numbers"),
        ({"sparse": [GIVEN[0], *WEIGHTS[1:]]}, "no sparse vector"),
        ({"sparse": [{0: 5.0, 2**32: 1.0}, *WEIGHTS[1:]]}, "text 0: .*index 4294967296"),
        ({"sparse": [{-1: 1.0}, *WEIGHTS[1:]]}, "text 0: .*index -1"),
    ],
)
def test_what_is_no_vector_of_the_stage_is_refused(
    docs: MultivectorCollection, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        docs.add(TEXTS, ids=IDS, stage_vectors=given)
    assert list(docs.scroll()) == []


def test_vectors_that_no_stage_is_named_for_are_refused(docs: MultivectorCollection) -> None:
    with pytest.raises(InvalidInput, match="stage_vectors is a list; give the vectors by stage"):
        docs.add(["a cat"], stage_vectors=[[1.0, 0.0]])  # type: ignore[arg-type]


def test_a_bad_one_does_not_keep_the_others_out(docs: MultivectorCollection) -> None:
    report = docs.add(TEXTS, ids=IDS, stage_vectors={"dense": [[1.0], *GIVEN[1:]]}, on_error="skip")

    assert (report.added, [failure.id for failure in report.failed]) == (2, ["a"])
