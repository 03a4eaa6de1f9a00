"""The part of a record that answers, from its stored vectors, with its place in the text."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, explain
from colbert_qdrant.collection.citing import of_own_text
from colbert_qdrant.embedding.spec import ColbertSpec
from colbert_qdrant.embedding.tokens import TextTokenizer
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.passages import EncodedText, best_passages, extracted

MOON = (
    "The museum opens at nine and closes at five. In 1969 a lunar lander set two men down on the Moon. "
    "The cafe on the second floor serves tea and cake. Groups pay half."
)
QUESTION = "When did people land on the moon?"
ANSWER = "In 1969 a lunar lander set two men down on the Moon."


@pytest.fixture
def museum(make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder) -> MultivectorCollection:
    collection = make_collection(offline)
    collection.add([MOON, "Toys are left at a day-care center."], ids=["museum", "toys"])
    return collection


def test_the_best_sentence_of_each_hit_comes_with_it(museum: MultivectorCollection) -> None:
    [hit] = museum.search(QUESTION, limit=1, passages=2)

    assert hit.passages[0].text == ANSWER
    assert MOON[hit.passages[0].start : hit.passages[0].end] == ANSWER
    assert len(hit.passages) == 2
    assert hit.vectors is None


def test_no_document_is_encoded_for_it(museum: MultivectorCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ColbertEmbedder, "embed", lambda self, texts: pytest.fail(f"encoded {texts}"))

    found = museum.passages(QUESTION, ["museum", "gone"], limit=1)

    assert [passage.text for passage in found["museum"]] == [ANSWER]
    assert list(found) == ["museum"]


async def test_the_asynchronous_face_finds_the_same(museum: MultivectorCollection) -> None:
    face = museum.as_async()

    assert _texts(await face.passages(QUESTION, ["museum"])) == _texts(museum.passages(QUESTION, ["museum"]))
    [[passage]] = [hit.passages for hit in await face.search(QUESTION, limit=1, passages=1)]
    assert passage.text == ANSWER
    spans = [match.span for match in (await face.explain(QUESTION, "museum")).matches]
    assert spans == [match.span for match in museum.explain(QUESTION, "museum").matches]


def test_what_is_asked_for_by_another_spelling_of_an_id_comes_under_it(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    unique = uuid.uuid4()
    collection = make_collection(offline)
    collection.add([ANSWER], ids=[unique])

    assert list(collection.passages(QUESTION, [unique.hex])) == [unique.hex]
    assert list(collection.encoded([unique.hex, str(unique)])) == [unique.hex, str(unique)]


def _texts(found: dict[str, tuple[Any, ...]]) -> dict[str, list[str]]:
    return {record_id: [passage.text for passage in passages] for record_id, passages in found.items()}


def test_shares_of_all_sentences_add_up_to_the_part_of_the_score_that_they_hold(museum: MultivectorCollection) -> None:
    [hit] = museum.search(QUESTION, limit=1, passages=10)

    assert 0.5 < sum(passage.share for passage in hit.passages) <= 1 + 1e-6
    assert max(hit.passages, key=lambda passage: passage.share).text == ANSWER
    assert all(passage.score <= hit.score + 1e-4 for passage in hit.passages)


def test_every_search_has_them(museum: MultivectorCollection) -> None:
    from qdrant_client import models

    assert museum.search_batch([QUESTION], limit=1, passages=1)[0][0].passages[0].text == ANSWER
    assert museum.search(QUESTION, limit=1, passages=1, mmr=models.Mmr())[0].passages[0].text == ANSWER


def test_a_needle_in_a_document_of_many_windows_is_placed(
    make_collection: Callable[..., MultivectorCollection],
) -> None:
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    hay = " ".join(f"Paragraph {number} speaks of bread and of butter." for number in range(150))
    needle = "The code of the vault is zanzibar forty-two."
    collection = make_collection(embedder)
    collection.add([f"{hay} {needle} {hay}"], ids=["hay"])

    [[best]] = collection.passages("What is the secret code of the vault?", ["hay"], limit=1).values()

    assert best.text == needle
    assert best.start == len(hay) + 1


def test_what_was_encoded_around_the_text_is_no_part_of_it(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    collection = make_collection(offline)
    collection.add([MOON], ids=["x"], encoded_as=[f"title: Museum of the Moon landing\n\n{MOON}\n\nsource: a"])

    [[best]] = collection.passages(QUESTION, ["x"], limit=1).values()

    assert (best.text, MOON[best.start : best.end]) == (ANSWER, ANSWER)
    assert collection.add(
        [MOON], ids=["x"], encoded_as=[f"title: Museum of the Moon landing\n\n{MOON}\n\nsource: a"]
    ).unchanged


def test_what_was_encoded_before_the_text_may_hold_it_within_a_word(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    collection = make_collection(offline)
    collection.add(["art"], ids=["x"], encoded_as=["A party. art"])

    [[best]] = collection.passages("art", ["x"], limit=1).values()

    assert (best.text, best.start) == ("art", 0)
    assert collection.encoded(["x"])["x"].spans.tolist()[-2] == [0, 3]


def test_vectors_of_quite_another_text_cite_no_word_of_this_one(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    collection = make_collection(offline)
    said, meant = "the cat sat here. nothing else.", "the dog ran away. nobody cares."  # as many tokens
    collection.add([said, said], ids=["other", "same"], encoded_as=[meant, said])

    assert list(collection.encoded(["other", "same"])) == ["same"]
    for ask in (collection.explain, lambda query, record: collection.passages(query, [record])):
        with pytest.raises(InvalidInput, match="'other' was encoded as another text"):
            ask("dog", "other")
    assert collection.search("dog", limit=1)[0].id == "other"


@pytest.mark.parametrize("limit", [0, -1])
def test_no_passage_at_all_is_nothing_to_ask_for(museum: MultivectorCollection, limit: int) -> None:
    with pytest.raises(InvalidInput, match=f"limit={limit}"):
        museum.passages(QUESTION, ["museum"], limit)


def test_an_explanation_is_of_all_that_was_encoded_and_can_be_had_of_the_text_alone(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    collection = make_collection(offline)
    collection.add([MOON], ids=["x"], encoded_as=[f"title: people\n\n{MOON}\n\nsource: a"])

    whole = collection.explain(QUESTION, "x")
    own = of_own_text(whole, collection.get(["x"])[0])

    assert "people" in [whole.text[slice(*match.span)] for match in whole.matches]
    assert "people" not in [own.text[slice(*match.span)] for match in own.matches]
    assert "Moon" in [own.text[slice(*match.span)] for match in own.matches]
    assert (own.text, own.score) == (MOON, whole.score)


def test_pooled_vectors_stand_for_several_places(make_collection: Callable[..., MultivectorCollection]) -> None:
    collection = make_collection(ColbertEmbedder("all-MiniLM-L6-v2-int8", pool_factor=2))
    collection.add([MOON], ids=["x"])

    with pytest.raises(InvalidInput, match="pooled"):
        collection.passages(QUESTION, ["x"])


def test_an_embedder_that_knows_no_places_is_named(collection: MultivectorCollection) -> None:
    collection.add(["rock band"], ids=["x"])

    with pytest.raises(InvalidInput, match="WordEmbedder has no token_spans"):
        collection.search("rock", passages=1)
    with pytest.raises(InvalidInput, match="WordEmbedder has no token_vectors"):
        collection.explain("rock", "x")


def test_vectors_of_another_text_are_not_placed_in_this_one(museum: MultivectorCollection) -> None:
    museum.engine.call(
        "set_payload",
        {"collection_name": museum.name, "payload": {"page_content": "Another text."}, "points": models_id(museum)},
    )

    with pytest.raises(InvalidInput, match="not made of this text"):
        museum.passages(QUESTION, ["museum"])


def models_id(collection: MultivectorCollection) -> list[Any]:
    from colbert_qdrant.collection.ids import point_id

    return [point_id("museum")]


def test_explaining_a_record_takes_its_stored_vectors(museum: MultivectorCollection, offline: ColbertEmbedder) -> None:
    stored = museum.explain(QUESTION, "museum")
    fresh = explain(QUESTION, MOON, embedder=offline)

    assert [match.span for match in stored.matches] == [match.span for match in fresh.matches]
    assert stored.score == pytest.approx(fresh.score, abs=0.02)
    with pytest.raises(InvalidInput, match="no record 'gone'"):
        museum.explain(QUESTION, "gone")


def test_an_explained_record_knows_its_source_and_its_passages(
    make_collection: Callable[..., MultivectorCollection], offline: ColbertEmbedder
) -> None:
    collection = make_collection(offline)
    sources = [{"source": "https://example.org/moon"}, {"path": "/docs/moon.md", "first_line": 7}, {"year": 1969}]
    collection.add([MOON] * 3, sources, ids=["web", "file", "none"])

    explanations = {name: collection.explain(QUESTION, name) for name in ("web", "file", "none")}

    assert {name: each.source for name, each in explanations.items()} == {
        "web": "https://example.org/moon",
        "file": "/docs/moon.md:7",
        "none": "",
    }
    assert explanations["web"].passages[0].text == ANSWER


def test_a_budget_over_documents_keeps_the_sentences_that_answer(offline: ColbertEmbedder) -> None:
    texts = [MOON, "Toys are left at a day-care center. They are unhappy there."]
    encoded = [
        EncodedText(text, each.vectors, each.spans)
        for text, each in zip(texts, offline.token_vectors(texts), strict=True)
    ]
    [query] = offline.query_embed([QUESTION])

    kept = extracted(query, encoded, max_tokens=15)
    everything = extracted(query, encoded, max_tokens=1000)

    assert [[passage.text for passage in passages] for passages in kept] == [[ANSWER], []]
    assert [[passage.text for passage in passages] for passages in everything] == [[MOON], [texts[1]]]
    assert extracted(query, [], 100) == []


def test_a_text_without_a_token_has_no_passage() -> None:
    nothing = EncodedText("", np.zeros((0, 4), np.float32), np.zeros((0, 2), np.int64))

    assert best_passages(np.ones((1, 4), np.float32), nothing, 3) == []


LEAKS = "The roof leaks here. Yes! Landlords mend it. Stop. Groups pay half."
SPACES_BELONG_TO_TOKENS = {
    "byte-level BPE": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "SentencePiece": pre_tokenizers.Metaspace(),
}


@pytest.mark.parametrize("prompt", ["", "passage: "])
@pytest.mark.parametrize("kind", SPACES_BELONG_TO_TOKENS)
def test_no_word_is_lost_where_the_space_before_it_is_part_of_its_token(tmp_path: Path, kind: str, prompt: str) -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = SPACES_BELONG_TO_TOKENS[kind]
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.train_from_iterator(
        [f"passage: {LEAKS}"] * 5, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))

    tokens, spans = TextTokenizer(tmp_path, ColbertSpec(document_prompt=prompt)).spans(LEAKS, is_query=False)
    standing = [LEAKS[slice(*span)] for span in spans.tolist()]
    rows = np.eye(len(tokens), dtype=np.float32)
    encoded = EncodedText(LEAKS, rows, spans)

    assert "".join(standing) == LEAKS.replace(" ", "")
    for passage in best_passages(rows[:1], encoded, 9):
        first_word = passage.text.split()[0].strip(".!")
        [asked] = [row for row, text in enumerate(standing) if text.strip(".!") == first_word]
        [best] = best_passages(rows[asked : asked + 1], encoded, 1)
        assert (best.text, best.score, best.share) == (passage.text, 1.0, 1.0)
    assert len(best_passages(rows[:1], encoded, 9)) == 5
