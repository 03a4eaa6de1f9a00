from __future__ import annotations

import itertools
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from colbert_qdrant import ColbertEmbedder, LateInteractionTextEmbedding

TEXTS = ["Hello World", "", "a much longer text about nothing in particular, it just goes on", "short"]


def test_one_float32_array_a_text_in_input_order(tiny: ColbertEmbedder) -> None:
    encoded = list(tiny.embed(TEXTS))

    assert [vectors.shape for vectors in encoded] == [(5, 128), (3, 128), (15, 128), (4, 128)]
    assert {vectors.dtype for vectors in encoded} == {np.dtype(np.float32)}


def test_rows_have_length_one(tiny: ColbertEmbedder) -> None:
    [vectors] = tiny.embed("Hello World")

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_graph_that_does_not_normalise_gives_the_same(tiny: ColbertEmbedder, tmp_path: Path) -> None:
    raw = ColbertEmbedder(tiny_models.build_colbert(tmp_path / "raw", normalize=False))

    for ours, theirs in zip(raw.query_embed(TEXTS), tiny.query_embed(TEXTS), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_token_type_ids_are_fed_when_the_graph_wants_them_and_the_output_may_have_any_name(
    tiny: ColbertEmbedder, tmp_path: Path
) -> None:
    folder = tiny_models.build_colbert(tmp_path / "typed", token_type_ids=True, output_name="embeddings")

    for ours, theirs in zip(ColbertEmbedder(folder).embed(TEXTS), tiny.embed(TEXTS), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_text_has_the_same_vectors_alone_and_in_company(tiny: ColbertEmbedder) -> None:
    together = list(tiny.embed(TEXTS))

    for text, vectors in zip(TEXTS, together, strict=True):
        [alone] = tiny.embed(text)
        np.testing.assert_allclose(alone, vectors, atol=1e-6)


def test_a_quantised_graph_gives_exactly_the_same_alone_and_in_company(offline: ColbertEmbedder) -> None:
    together = list(offline.embed(TEXTS))

    for text, vectors in zip(TEXTS, together, strict=True):
        [alone] = offline.embed(text)
        np.testing.assert_array_equal(alone, vectors)


def test_an_endless_iterable_is_read_a_window_at_a_time(tiny: ColbertEmbedder) -> None:
    read = itertools.count()
    endless = (f"text {next(read)}" for _ in itertools.repeat(None))

    first = list(itertools.islice(tiny.embed(endless, batch_size=8), 10))

    assert len(first) == 10
    assert next(read) == 16


def test_no_texts_give_no_vectors(tiny: ColbertEmbedder) -> None:
    assert list(tiny.embed([])) == []
    assert list(tiny.query_embed([])) == []


def test_punctuation_leaves_no_rows_in_documents(tiny: ColbertEmbedder) -> None:
    [vectors] = tiny.embed(string.punctuation)

    assert len(vectors) == 3  # [CLS], the marker, [SEP]


def test_queries_are_padded_to_32_and_longer_ones_pass_whole(tiny: ColbertEmbedder) -> None:
    short, long = tiny.query_embed(["what?", "word " * 60])

    assert (len(short), len(long)) == (32, 63)


def test_a_query_length_cuts_and_says_so(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, query_length=16)

    with pytest.warns(UserWarning, match="1 of 2 queries were longer than 16 tokens and were cut: ask in") as caught:
        queries = list(embedder.query_embed(["what?", "word " * 60]))

    assert [len(query) for query in queries] == [16, 16]
    assert [warning.filename for warning in caught] == [__file__]


def test_a_query_without_expansion_has_its_own_length(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, query_expansion="none")

    assert [len(query) for query in embedder.query_embed(["what?", "word " * 60])] == [5, 63]


def test_truncation_keeps_the_separator(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=8)

    [tokens] = embedder.token_vectors(["one two three four five six seven eight nine"])

    assert list(tokens.tokens) == ["[CLS]", "[unused1]", "one", "two", "three", "four", "five", "[SEP]"]


def test_markers_stand_at_position_one(tiny: ColbertEmbedder) -> None:
    [document] = tiny.token_vectors(["word"])
    [query] = tiny.token_vectors(["word"], is_query=True)

    assert list(document.tokens) == ["[CLS]", "[unused1]", "word", "[SEP]"]
    assert list(query.tokens) == ["[CLS]", "[unused0]", "word", "[SEP]", *["[MASK]"] * 28]


def test_spans_point_into_the_text(tiny: ColbertEmbedder) -> None:
    text = "Héllo 🎬, wörlds!"

    [tokens] = tiny.token_vectors([text])

    words = [text[start:end] for start, end in tokens.spans if end]
    assert words[:2] == ["Héllo", "🎬"]
    assert "".join(words[2:]) == "wörlds"
    assert len(tokens.vectors) == len(tokens.tokens) == len(tokens.spans)


def test_spans_hold_when_letters_lower_case_to_two_and_a_prompt_goes_before(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_qdrant.embedding import registry

    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    spec = {**registry.COLBERT, "lowercase": True, "strip": True, "document_prompt": "passage: "}
    ColbertEmbedder.add_custom_model("me/prompted", dim=128, spec=spec)
    text = "  İİ İstanbul  "

    [tokens] = ColbertEmbedder("me/prompted", model_path=tiny_folder).token_vectors([text])

    pieces = [text[start:end] for start, end in tokens.spans if end]
    assert "passage" in tokens.tokens
    assert "".join(pieces).replace(" ", "")[-8:] == "İstanbul"
    assert "passage" not in "".join(pieces)


def test_a_sentence_encoder_has_neither_markers_nor_expansion(offline: ColbertEmbedder) -> None:
    [document] = offline.token_vectors(["Hello, world!"])
    [query] = offline.token_vectors(["Hello, world!"], is_query=True)

    assert list(document.tokens) == list(query.tokens) == ["[CLS]", "hello", ",", "world", "!", "[SEP]"]


def test_token_count_counts_what_fastembed_counts(tiny: ColbertEmbedder) -> None:
    assert tiny.token_count("Hello, World") == 5
    assert tiny.token_count(["Hello, World", "x"], include_extension=True) == 5 + 3 + 2
    assert tiny.token_count("x", is_doc=False) == 3
    assert tiny.token_count("x", is_doc=False, include_extension=True) == 32


def test_sixteen_threads_share_an_embedder(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, threads=2)  # not loaded yet: they race for that too
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    [expected] = [list(ColbertEmbedder(tiny_folder).embed(texts))]
    start = threading.Barrier(16)

    def work(_: int) -> list[np.ndarray]:
        start.wait()
        return list(embedder.embed(texts))

    with ThreadPoolExecutor(16) as pool:
        for encoded in pool.map(work, range(16)):
            for ours, theirs in zip(encoded, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_drop_in_takes_fastembeds_constructor(tiny_folder: Path) -> None:
    model = LateInteractionTextEmbedding(
        "Colbert-IR/colbertv2.0",
        cache_dir=None,
        threads=1,
        providers=None,
        cuda=False,
        lazy_load=True,
        specific_model_path=str(tiny_folder),
    )

    assert model.embedding_size == 128
    assert LateInteractionTextEmbedding.get_embedding_size("COLBERT-ir/colbertv2.0") == 128
    assert [len(passage) for passage in model.passage_embed(["Hello World"], batch_size=1)] == [5]
    assert len(next(iter(model.embed("Hello World", parallel=None)))) == 5
