"""Of each document what answers, under one budget, with its places in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from colbert_qdrant import ColbertEmbedder, ColbertExtractor, MultivectorCollection
from colbert_qdrant.errors import InvalidInput

MUSEUM = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
TOYS = "Toys are left at a day-care center. They are unhappy there."
QUESTION = "When did people land on the moon?"
ANSWER = "A lander set two men down on the Moon in 1969."


def test_what_answers_is_kept_and_the_rest_is_not(offline: ColbertEmbedder) -> None:
    [museum, toys] = ColbertExtractor(offline).extract(QUESTION, [MUSEUM, TOYS], max_tokens=14)

    assert [passage.text for passage in museum] == [ANSWER]
    assert MUSEUM[museum[0].start : museum[0].end] == ANSWER
    assert toys == []


def test_a_budget_for_everything_keeps_everything_in_order(offline: ColbertEmbedder) -> None:
    kept = ColbertExtractor(offline).extract(QUESTION, [TOYS, MUSEUM], max_tokens=1000)

    assert [[passage.text for passage in passages] for passages in kept] == [[TOYS], [MUSEUM]]


def test_what_is_stored_with_this_text_is_not_encoded_again(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection(offline)
    collection.add([MUSEUM, "Another text."], ids=["museum", "toys"])
    extractor = ColbertExtractor(offline, collection=collection)
    fresh = extractor.extract(QUESTION, [MUSEUM, TOYS], max_tokens=14)
    encoded: list[Any] = []
    original = ColbertEmbedder.token_vectors
    monkeypatch.setattr(
        ColbertEmbedder, "token_vectors", lambda self, texts: encoded.extend(texts) or original(self, texts)
    )

    stored = extractor.extract(QUESTION, [MUSEUM, TOYS], ids=["museum", "toys"], max_tokens=14)

    assert [[each.text for each in passages] for passages in stored] == [
        [each.text for each in passages] for passages in fresh
    ]
    assert encoded == [TOYS]


async def test_the_asynchronous_twin_gives_the_same(offline: ColbertEmbedder) -> None:
    extractor = ColbertExtractor(offline)

    assert await extractor.aextract(QUESTION, [MUSEUM]) == extractor.extract(QUESTION, [MUSEUM])


def test_bad_input_is_named(offline: ColbertEmbedder, words: Any) -> None:
    with pytest.raises(InvalidInput, match="max_tokens=0"):
        ColbertExtractor(offline).extract(QUESTION, [MUSEUM], max_tokens=0)
    with pytest.raises(InvalidInput, match="2 ids for 1 texts"):
        ColbertExtractor(offline).extract(QUESTION, [MUSEUM], ids=["a", "b"])
    with pytest.raises(InvalidInput, match="no token_vectors"):
        ColbertExtractor(words)
    assert ColbertExtractor(offline).extract(QUESTION, []) == []
