"""Token vectors computed elsewhere: checked, fingerprinted, and stored in place of encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from colbert_qdrant import AsyncMultivectorCollection, MultivectorCollection, Muvera
from colbert_qdrant.errors import CollectionMismatch, InvalidInput, PointTooLarge
from conftest import WordEmbedder

Make = Callable[..., MultivectorCollection]

TEXTS = ["red apple", "green apple pie", "blue sky"]


@pytest.fixture
def vectors(words: WordEmbedder) -> list[np.ndarray]:
    return list(words.embed(TEXTS))


def test_given_vectors_are_stored_in_place_of_encoding(collection: MultivectorCollection, vectors: Any) -> None:
    swapped = [vectors[2], vectors[1], vectors[0]]

    report = collection.add(TEXTS, ids=["a", "b", "c"], vectors=swapped)

    assert (report.added, report.encoded) == (3, 0)
    assert [hit.id for hit in collection.search("red apple", 1)] == ["c"]
    stored = collection.get(["a"], with_vectors=True)[0].vectors
    np.testing.assert_allclose(stored, vectors[2], atol=1e-3)  # type: ignore[arg-type]


def test_the_same_vectors_again_are_unchanged_and_others_replace_them(
    collection: MultivectorCollection, vectors: Any
) -> None:
    collection.add(TEXTS, ids=["a", "b", "c"], vectors=vectors)

    assert collection.add(TEXTS, ids=["a", "b", "c"], vectors=[v.tolist() for v in vectors]).unchanged == 3
    other = [vectors[0] * 0.5 + 0.1, *vectors[1:]]
    report = collection.add(TEXTS, ids=["a", "b", "c"], vectors=other)
    assert (report.updated, report.unchanged) == (1, 2)
    again = collection.add(TEXTS, ids=["a", "b", "c"])
    assert (again.updated, again.encoded) == (3, 3)  # what the model says of the texts is something else


def test_some_may_be_given_and_others_encoded(collection: MultivectorCollection, vectors: Any) -> None:
    report = collection.add(TEXTS, vectors=(v for v in [vectors[0], None, vectors[2]]))

    assert (report.added, report.encoded) == (3, 1)
    assert collection.search("green pie", 1)[0].text == TEXTS[1]


def test_a_generator_may_fill_one_buffer_again_and_again(collection: MultivectorCollection) -> None:
    buffer = np.zeros((1, 16), np.float32)

    def filled() -> Iterator[np.ndarray]:
        for place in range(3):
            buffer[:] = np.eye(16)[place]
            yield buffer

    collection.add(TEXTS, ids=["a", "b", "c"], vectors=filled())

    stored = [record.vectors for record in collection.get(["a", "b", "c"], with_vectors=True)]
    np.testing.assert_allclose(np.concatenate(stored), np.eye(16)[:3])  # type: ignore[arg-type]


def test_given_vectors_never_stand_for_the_text(collection: MultivectorCollection, vectors: Any) -> None:
    collection.add(TEXTS[:1], ids=["a"], vectors=vectors[:1])

    assert collection.score("red", ["a"]) != {}
    assert collection.score("red", ["a"], texts=TEXTS[:1]) == {}


def test_a_collection_without_an_embedder_takes_and_gives_vectors(make_collection: Make, vectors: Any) -> None:
    pages = make_collection(embedder=None, dim=16, stages=[Muvera(16, k_sim=3, dim_proj=8, r_reps=10)])

    report = pages.add(vectors=vectors, metadatas=[{"page": number} for number in range(3)])

    assert report.added == 3
    assert pages.add(vectors=iter(vectors), metadatas=[{"page": number} for number in range(3)]).unchanged == 3
    [hit] = pages.search(vectors[2], 1, with_vectors=True)
    assert (hit.metadata, hit.text) == ({"page": 2}, "")
    np.testing.assert_allclose(hit.vectors, vectors[2], atol=1e-3)  # type: ignore[arg-type]
    assert set(pages.score(vectors[0], report.ids)) == set(report.ids)


def test_without_an_embedder_texts_are_refused(make_collection: Make) -> None:
    pages = make_collection(embedder=None, dim=16)

    with pytest.raises(InvalidInput, match="vectors="):
        pages.add(["a text"])
    with pytest.raises(InvalidInput, match="search with the query's"):
        pages.search("a text")
    with pytest.raises(InvalidInput, match="neither texts nor vectors"):
        pages.add()
    assert pages.count() == 0


def test_what_a_model_made_is_read_without_it(make_collection: Make, vectors: Any, place: dict[str, Any]) -> None:
    made = make_collection()
    made.add(TEXTS, ids=["a", "b", "c"])

    reader = make_collection(embedder=None, dim=16, name=made.name)

    assert reader.search(vectors[2], 1)[0].id == "c"
    with pytest.raises(CollectionMismatch, match="8"):
        make_collection(embedder=None, dim=8, name=made.name)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.ones((2, 8)), r"vectors 1: .*\(2, 8\)"),
        (np.ones(16), r"vectors 1: .*\(16,\)"),
        (np.ones((0, 16)), "vectors 1"),
        (np.full((2, 16), np.nan), "vectors 1: vector 0"),
        ("text", "vectors 1"),
    ],
)
def test_bad_vectors_are_named_and_nothing_is_stored(
    collection: MultivectorCollection, vectors: Any, bad: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        collection.add(TEXTS, vectors=[vectors[0], bad, vectors[2]])
    assert collection.count() == 0

    report = collection.add(TEXTS, vectors=[vectors[0], bad, vectors[2]], on_error="skip")
    assert (report.added, len(report.failed)) == (2, 1)


def test_vectors_beyond_a_points_limit_are_refused(collection: MultivectorCollection) -> None:
    with pytest.raises(PointTooLarge):
        collection.add(["long"], vectors=[np.ones((70_000, 16), np.float32)])


@pytest.mark.parametrize("number", [2, 4])
def test_there_is_one_for_each_text(collection: MultivectorCollection, vectors: Any, number: int) -> None:
    with pytest.raises(InvalidInput, match="vectors"):
        collection.add(TEXTS, vectors=[*vectors, *vectors][:number])
    assert collection.count() == 0


@pytest.mark.parametrize("dim", [None, 0, "16"])
def test_without_an_embedder_the_dimension_is_said(dim: Any) -> None:
    with pytest.raises(InvalidInput, match="dim="):
        MultivectorCollection("pages", None, dim=dim)


def test_an_embedder_says_its_dimension_itself(words: WordEmbedder) -> None:
    with pytest.raises(InvalidInput, match="embedder=None"):
        MultivectorCollection("pages", words, dim=16)


async def test_an_asynchronous_collection_takes_them_too(vectors: Any) -> None:
    async with AsyncMultivectorCollection("pages", None, dim=16) as pages:
        await pages.add(vectors=vectors, ids=["a", "b", "c"])

        assert [hit.id for hit in await pages.search(vectors[1], 1)] == ["b"]
