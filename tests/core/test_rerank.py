from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import ColbertEmbedder, ColbertReranker, MultivectorCollection
from colbert_qdrant.errors import InvalidInput

CANDIDATES = ["toys are left behind", "a soldier relives the same day", "a rock band on tour"]


def test_candidates_come_back_best_first(offline: ColbertEmbedder) -> None:
    ranked = ColbertReranker(offline).rerank("a time loop, again and again", CANDIDATES)

    assert ranked[0].index == 1
    assert [candidate.score for candidate in ranked] == sorted((c.score for c in ranked), reverse=True)
    assert len(ranked) == 3


def test_top_n_and_threshold_leave_out_the_rest(words: Any) -> None:
    reranker = ColbertReranker(words)

    assert [c.index for c in reranker.rerank("rock band", CANDIDATES, top_n=1)] == [2]
    assert [c.index for c in reranker.rerank("rock band", CANDIDATES, score_threshold=1.99)] == [2]


async def test_the_asynchronous_twin_gives_the_same(words: Any) -> None:
    reranker = ColbertReranker(words)

    assert await reranker.arerank("rock band", CANDIDATES) == reranker.rerank("rock band", CANDIDATES)


def test_no_candidates_give_no_order(words: Any) -> None:
    assert ColbertReranker(words).rerank("rock band", []) == []


def test_stored_candidates_are_scored_without_encoding_them(
    make_collection: Callable[..., MultivectorCollection], words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection()
    collection.add(CANDIDATES, ids=["a", "b", "c"])
    fresh = ColbertReranker(words).rerank("rock band", CANDIDATES)
    monkeypatch.setattr(words, "embed", lambda texts: pytest.fail(f"encoded {texts}"))

    stored = ColbertReranker(words, collection=collection).rerank("rock band", CANDIDATES, ids=["a", "b", "c"])

    assert [c.index for c in stored] == [c.index for c in fresh]
    assert [c.score for c in stored] == pytest.approx([c.score for c in fresh], abs=1e-3)


def test_candidates_that_are_not_stored_are_encoded(
    make_collection: Callable[..., MultivectorCollection], words: Any
) -> None:
    collection = make_collection()
    collection.add(CANDIDATES[:1], ids=["a"])

    ranked = ColbertReranker(words, collection=collection).rerank("rock band", CANDIDATES, ids=["a", None, "gone"])

    expected = ColbertReranker(words).rerank("rock band", CANDIDATES)
    assert [c.index for c in ranked] == [c.index for c in expected]


def test_two_texts_under_one_id_have_a_score_each(
    make_collection: Callable[..., MultivectorCollection], words: Any
) -> None:
    collection = make_collection()
    collection.add(CANDIDATES[:1], ids=["a"])
    reranker = ColbertReranker(words, collection=collection)
    expected = ColbertReranker(words).scores("rock band", CANDIDATES[:2])

    assert reranker.scores("rock band", CANDIDATES[:2], ids=["a", "a"]) == pytest.approx(expected, abs=1e-3)
    assert reranker.scores("rock band", CANDIDATES[1::-1], ids=["a", "a"]) == pytest.approx(expected[::-1], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("q", ["text", None]), "text 1 is None"),
        ((3, ["text"]), "query is 3"),
        (("q", ["text"], 0), "top_n=0"),
        (("q", ["text"], 1, ["a", "b"]), "2 ids for 1 texts"),
        (("q", ["text"], 1, None, float("nan")), "score_threshold=nan"),
        (("q", ["text"], 1, None, None, "0.5"), "min_relevance='0.5'"),
    ],
)
def test_bad_input_is_named(words: Any, arguments: tuple[Any, ...], reason: str) -> None:
    query, texts, *others = arguments
    named = zip(("top_n", "ids", "score_threshold", "min_relevance"), others, strict=False)

    with pytest.raises(InvalidInput, match=reason):
        ColbertReranker(words).rerank(query, texts, **dict(named))


def test_another_text_under_a_stored_id_is_encoded(
    make_collection: Callable[..., MultivectorCollection], words: Any
) -> None:
    collection = make_collection()
    collection.add(["it fell"], ids=["x"])
    text = "in 1969 the moon lander came down"

    [stored] = ColbertReranker(words, collection=collection).rerank("moon lander", [text], ids=["x"])

    assert stored.score == pytest.approx(ColbertReranker(words).rerank("moon lander", [text])[0].score, abs=1e-3)


def test_a_record_encoded_as_another_text_stands_for_that_text(
    make_collection: Callable[..., MultivectorCollection], words: Any
) -> None:
    collection = make_collection()
    collection.add(["it fell"], ids=["x"], encoded_as=["moon lander"])

    scores = collection.score("moon lander", ["x"], texts=["moon lander"])

    assert scores == pytest.approx({"x": 2}, abs=1e-3)
    assert collection.score("moon lander", ["x"], texts=["it fell"]) == {}


def test_what_was_made_by_hand_stands_for_its_text(words: Any) -> None:
    client = QdrantClient(":memory:")
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=16, distance=models.Distance.COSINE, multivector_config=comparator)
    client.create_collection("hand", vectors_config=params)
    [vectors] = words.embed(["rock band"])
    client.upsert("hand", [models.PointStruct(id=1, vector=vectors.tolist(), payload={"page_content": "rock band"})])
    collection = MultivectorCollection("hand", words, client=client)

    assert collection.score("rock band", [1], texts=["rock band"]) == pytest.approx({"1": 2}, abs=1e-3)
    assert collection.score("rock band", [1], texts=["toys"]) == {}


def test_a_collection_of_another_model_is_refused(
    make_collection: Callable[..., MultivectorCollection], words: Any, offline: ColbertEmbedder
) -> None:
    with pytest.raises(InvalidInput, match=r"'words'.*'all-MiniLM-L6-v2-int8'"):
        ColbertReranker(offline, collection=make_collection())
    with pytest.raises(InvalidInput, match="give a MultivectorCollection"):
        ColbertReranker(words, collection="movies")  # type: ignore[arg-type]


class Counting:
    """Passes on to an embedder, and notes each document that is encoded."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.model_name, self.dim = embedder.model_name, embedder.dim
        self.encoded: list[str] = []

    def embed(self, documents: Any) -> Any:
        self.encoded += documents
        return self._embedder.embed(documents)

    def query_embed(self, query: Any) -> Any:
        return self._embedder.query_embed(query)


def test_a_candidate_seen_before_is_not_encoded_again(words: Any) -> None:
    counting = Counting(words)
    first = ColbertReranker(counting).rerank("rock band", CANDIDATES)
    again = ColbertReranker(counting).rerank("rock band", [*CANDIDATES, "a new one"])

    assert counting.encoded == [*CANDIDATES, "a new one"]
    assert [c for c in again if c.index < 3] == first


def test_equal_candidates_are_encoded_once(words: Any) -> None:
    counting = Counting(words)
    ranked = ColbertReranker(counting, cache_bytes=0).rerank("rock band", [CANDIDATES[2]] * 3)

    assert counting.encoded == [CANDIDATES[2]]
    assert len({candidate.score for candidate in ranked}) == 1


def test_nothing_is_remembered_where_that_is_asked_for(words: Any) -> None:
    counting = Counting(words)
    remembering, forgetting = ColbertReranker(counting), ColbertReranker(counting, cache_bytes=0)

    assert forgetting.scores("rock", CANDIDATES) == remembering.scores("rock", CANDIDATES)
    assert forgetting.scores("rock", CANDIDATES) == remembering.scores("rock", CANDIDATES)
    assert len(counting.encoded) == 9  # three times by the one, once by the other


def test_what_was_used_longest_ago_is_forgotten_first(words: Any) -> None:
    counting = Counting(words)
    reranker = ColbertReranker(counting, cache_bytes=1200)  # two texts of seven words fit
    one, two, three = ("one two three four five six " + last for last in ("x", "y", "z"))
    for text in (one, two, one, three, one, two):
        reranker.scores("one", [text])

    assert counting.encoded == [one, two, three, two]


@pytest.mark.parametrize("length", [1e-9, 1e6])
def test_how_long_an_embedders_vectors_are_changes_no_score(words: Any, length: float) -> None:
    class Scaled(Counting):
        def embed(self, documents: Any) -> Any:
            return (length * vectors for vectors in super().embed(documents))

    expected = ColbertReranker(words).scores("rock band", CANDIDATES)
    assert ColbertReranker(Scaled(words)).scores("rock band", CANDIDATES) == pytest.approx(expected, abs=1e-3)


def test_a_cache_below_nothing_is_refused(words: Any) -> None:
    with pytest.raises(InvalidInput, match="cache_bytes=-1"):
        ColbertReranker(words, cache_bytes=-1)


def test_an_empty_query_is_refused(words: Any) -> None:
    with pytest.raises(InvalidInput, match="words to look for"):
        ColbertReranker(words).rerank(" ", ["red apple"])
