from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, maxsim
from colbert_qdrant.embedders import windowed
from colbert_qdrant.embedding.tokens import TokenizedText, cut_into_windows
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder

LONG = " ".join(f"word{number}" for number in range(400))


def document(count: int, lead: int = 2, tail: int = 1) -> TokenizedText:
    ids = np.arange(lead + count + tail)
    return TokenizedText(ids, len(ids), np.ones(len(ids), dtype=np.bool_))


@pytest.mark.parametrize("count", [1, 17, 18, 29, 30, 31, 47, 100, 1000])
def test_windows_keep_each_token_once_and_in_order(count: int) -> None:
    windows = cut_into_windows(document(count), limit=20, lead=2, tail=1)

    kept = np.concatenate([window.ids[window.keep] for window in windows])
    assert kept.tolist() == list(range(count + 3))
    assert all(len(window.ids) <= 20 for window in windows)


def test_a_token_is_kept_where_it_has_most_context() -> None:
    windows = cut_into_windows(document(1000), limit=103, lead=2, tail=1)

    for number, window in enumerate(windows):
        kept = np.flatnonzero(window.keep)
        inner_start, inner_end = number > 0, number < len(windows) - 1
        assert not inner_start or kept[0] - 2 >= 12  # half of the quarter that overlaps
        assert not inner_end or 102 - kept[-1] > 12


def test_a_short_document_is_one_window() -> None:
    whole = document(17)

    assert cut_into_windows(whole, limit=20, lead=2, tail=1) == [whole]


def test_dropped_rows_stay_dropped() -> None:
    whole = document(100)
    whole.keep[[0, 5, 50, 102]] = False

    windows = cut_into_windows(whole, limit=20, lead=2, tail=1)

    kept = np.concatenate([window.ids[window.keep] for window in windows])
    assert set(range(103)) - set(kept.tolist()) == {0, 5, 50, 102}


def test_truncation_warns_once_and_counts(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=32)

    with pytest.warns(UserWarning, match="2 of 5 documents were longer than 32 tokens") as caught:
        encoded = list(embedder.embed([LONG, "short", LONG, "short", "short"], batch_size=2))

    assert len(caught) == 1
    assert [len(vectors) for vectors in encoded] == [32, 4, 32, 4, 4]


def test_a_document_of_exactly_the_limit_is_not_cut(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=8)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [vectors] = embedder.embed("one two three four five")

    assert len(vectors) == 8


def test_window_mode_gives_one_multivector_with_a_row_for_every_token(tiny_folder: Path) -> None:
    windowed = ColbertEmbedder(tiny_folder, long_documents="window", document_length=64)

    long, short = windowed.embed([LONG, "short"])

    assert len(long) == windowed.token_count(LONG, include_extension=True)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), 1, atol=1e-5)
    [plain] = ColbertEmbedder(tiny_folder).embed("short")
    np.testing.assert_allclose(short, plain, atol=1e-6)


def test_window_mode_says_where_each_row_comes_from(tiny_folder: Path) -> None:
    windowed = ColbertEmbedder(tiny_folder, long_documents="window", document_length=64)

    [tokens] = windowed.token_vectors([LONG])

    assert len(tokens.vectors) == len(tokens.spans)
    assert tokens.spans[:, 1].max() == len(LONG)


def test_an_adapter_cuts_nothing_unless_it_was_said(tiny_folder: Path) -> None:
    unsaid = ColbertEmbedder(tiny_folder, document_length=64)
    said = ColbertEmbedder(tiny_folder, document_length=64, long_documents="truncate")
    [whole] = ColbertEmbedder(tiny_folder, document_length=64, long_documents="window").embed(LONG)

    [encoded] = windowed(unsaid).embed(LONG)

    np.testing.assert_array_equal(encoded, whole)
    assert windowed(said) is said
    assert windowed(unsaid).settings["long_documents"] == "window"
    assert unsaid.settings["long_documents"] == "truncate"


def test_an_adapter_takes_a_loaded_model_as_it_is(tiny_folder: Path) -> None:
    loaded = ColbertEmbedder(tiny_folder)
    list(loaded.embed("load"))

    assert windowed(loaded)._document_encoder is loaded._document_encoder  # type: ignore[attr-defined]


def test_an_embedder_of_ones_own_stays_as_it_is(words: Embedder) -> None:
    assert windowed(words) is words


def test_error_mode_names_the_document_and_its_length(tiny_folder: Path) -> None:
    strict = ColbertEmbedder(tiny_folder, long_documents="error", document_length=32)

    with pytest.raises(InvalidInput, match=r"document 3 has \d+ tokens, the limit is 32"):
        list(strict.embed(["a", "b", "c", LONG], batch_size=2))


def test_window_mode_finds_what_truncation_misses() -> None:
    filler = "The committee met again and nothing of note was decided on that day. " * 360
    planted = "The treasure of the pirates is buried under the old lighthouse. "
    text = filler + planted + filler
    question = "Where did the pirates bury their treasure?"
    truncating = ColbertEmbedder("all-MiniLM-L6-v2-int8")
    windowing = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    assert truncating.token_count(filler) == 512  # counted as it is cut
    assert windowing.token_count(filler) > 5_000

    def gain(embedder: ColbertEmbedder) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            documents = list(embedder.embed([text, filler + filler]))
        [query] = embedder.query_embed(question)
        with_it, without = maxsim(query, documents)
        return float(with_it - without)

    assert gain(truncating) == 0
    assert gain(windowing) > 1


def test_pooling_halves_the_vectors(tiny_folder: Path) -> None:
    [plain] = ColbertEmbedder(tiny_folder).embed(LONG[:400])
    [pooled] = ColbertEmbedder(tiny_folder, pool_factor=2).embed(LONG[:400])

    assert len(pooled) == 1 + (len(plain) - 1) // 2
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)


def test_queries_are_not_pooled(tiny_folder: Path) -> None:
    [query] = ColbertEmbedder(tiny_folder, pool_factor=4).query_embed("what?")

    assert len(query) == 32


def test_max_vectors_fits_a_document_into_qdrant(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, long_documents="window", document_length=64, max_vectors=100)

    long, short = embedder.embed([LONG, "short"])

    assert (len(long), len(short)) == (100, 4)


def test_half_precision_changes_no_score_by_more_than_a_thousandth(tiny_folder: Path) -> None:
    [half] = ColbertEmbedder(tiny_folder, dtype="float16").embed("Hello World")
    [full] = ColbertEmbedder(tiny_folder).embed("Hello World")

    assert half.dtype == np.float16
    np.testing.assert_allclose(half.astype(np.float32), full, atol=1e-3)


def test_half_precision_vectors_are_stored(tiny_folder: Path) -> None:
    with MultivectorCollection("half", ColbertEmbedder(tiny_folder, dtype="float16")) as collection:
        collection.add(["Hello World"], ids=["x"])

        assert [hit.id for hit in collection.search("Hello")] == ["x"]


def test_pooled_vectors_have_no_tokens_to_name(tiny_folder: Path) -> None:
    with pytest.raises(InvalidInput, match="stand for several tokens"):
        list(ColbertEmbedder(tiny_folder, pool_factor=2).token_vectors(["text"]))
