"""A score that can be cut at: relevance, from 0 to 1, the same for one pair wherever it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from colbert_qdrant import ColbertEmbedder, ColbertReranker, MultivectorCollection, Muvera, Storage
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import relevance, unit_rows

TEXTS = ["toys are left behind", "a soldier relives the same day", "a rock band on tour"]


def test_it_is_the_mean_over_the_query_s_vectors_within_0_and_1() -> None:
    assert relevance(3.0, 4) == 0.75
    assert relevance(-0.5, 4) == 0.0
    assert relevance(4.0000003, 4) == 1.0


def test_a_hit_has_it_beside_maxsim(collection: MultivectorCollection) -> None:
    collection.add(TEXTS)

    [hit] = collection.search("rock band", limit=1)

    assert hit.score == pytest.approx(2, abs=1e-3)
    assert hit.relevance == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("stages", [(), (Muvera(16, k_sim=2, dim_proj=8, r_reps=4),)], ids=["exact", "staged"])
def test_the_lowest_relevance_cuts_every_search(make_collection: Callable[..., Any], stages: Any) -> None:
    collection = make_collection(stages=stages)
    collection.add(TEXTS)

    assert [hit.text for hit in collection.search("rock band", min_relevance=0.9)] == [TEXTS[2]]
    assert [[hit.text for hit in hits] for hits in collection.search_batch(["rock band"], min_relevance=0.9)] == [
        [TEXTS[2]]
    ]
    assert len(collection.search("rock band", min_relevance=0)) == 3
    assert len(collection.search("rock band", min_relevance=0.1, score_threshold=1.9)) == 1


def test_what_is_equal_reaches_1(make_collection: Callable[..., MultivectorCollection], words: Any) -> None:
    """Though a cosine of 32 bits is often a hair below."""
    texts = [
        " ".join("ab"[one % 2] * (1 + one) for one in range(at, at + many)) for at in range(9) for many in (1, 7, 20)
    ]
    collection = make_collection(storage=Storage(datatype="float32"))
    collection.add(texts, ids=texts)
    reranker = ColbertReranker(words, collection=collection)

    for lowest in ({"min_relevance": 1}, {"score_threshold": 1}):
        assert [text for text in texts if not collection.search(text, 1, **lowest)] == []
        assert [text for text in texts if not reranker.rerank(text, [text], ids=[text], **lowest)] == []


async def test_the_asynchronous_face_cuts_as_well(collection: MultivectorCollection) -> None:
    collection.add(TEXTS)

    hits = await collection.as_async().search("rock band", min_relevance=0.9)

    assert [hit.text for hit in hits] == [TEXTS[2]]


def test_the_reranker_gives_one_pair_the_number_that_the_search_gives(
    make_collection: Callable[..., MultivectorCollection], tiny: ColbertEmbedder
) -> None:
    collection = make_collection(tiny)  # with expansion: its [MASK] rows count
    collection.add(TEXTS, ids=["a", "b", "c"])
    found = {hit.text: hit.relevance for hit in collection.search("a rock band")}

    fresh = ColbertReranker(tiny).rerank("a rock band", TEXTS)
    stored = ColbertReranker(tiny, collection=collection).rerank("a rock band", TEXTS, ids=["a", "b", "c"])

    for ranked in (fresh, stored):
        assert {TEXTS[each.index]: each.relevance for each in ranked} == pytest.approx(found, abs=1e-3)


class LongRows:
    """An embedder whose vectors are not of length 1."""

    model_name = "long rows"
    dim = 16

    def __init__(self, words: Any) -> None:
        self.words = words

    def embed(self, texts: Any) -> Iterator[np.ndarray]:
        return (7 * vectors for vectors in self.words.embed(texts))

    query_embed = embed


def test_an_embedder_that_does_not_normalise_is_scored_by_cosine_everywhere(
    make_collection: Callable[..., MultivectorCollection], words: Any
) -> None:
    collection = make_collection(LongRows(words))
    collection.add(TEXTS)

    [best] = ColbertReranker(LongRows(words)).rerank("rock band", TEXTS, top_n=1)

    assert best.score == pytest.approx(collection.search("rock band")[0].score, abs=1e-3)
    assert best.relevance == pytest.approx(1, abs=1e-3)


def test_the_reranker_cuts_by_it(words: Any) -> None:
    assert [c.index for c in ColbertReranker(words).rerank("rock band", TEXTS, min_relevance=0.9)] == [2]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_what_is_no_relevance_is_refused(collection: MultivectorCollection, words: Any, wrong: float) -> None:
    with pytest.raises(InvalidInput, match="min_relevance"):
        collection.search("rock band", min_relevance=wrong)
    with pytest.raises(InvalidInput, match="min_relevance"):
        ColbertReranker(words).rerank("rock band", TEXTS, min_relevance=wrong)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_text_without_a_word_is_never_first(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder, blank: str
) -> None:
    collection = make_collection(offline)
    texts = [blank, "The parliament voted on the budget."]
    collection.add(texts, ids=["blank", "budget"])

    hits = collection.search("cats")

    assert [hit.id for hit in hits] == ["budget", "blank"]
    assert hits[1].score == 0
    assert [ranked.index for ranked in ColbertReranker(offline).rerank("cats", texts)] == [1, 0]


def test_rows_of_length_1_come_as_they_are() -> None:
    rows = np.eye(3, dtype=np.float32)

    assert unit_rows(rows) is rows
    assert np.linalg.norm(unit_rows(5 * rows), axis=1) == pytest.approx(1)
    assert unit_rows(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
