from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colbert_qdrant import AsyncMultivectorCollection, ColbertEmbedder, MultivectorCollection, maxsim
from colbert_qdrant.cuts import cuts_told_once
from colbert_qdrant.embedders import windowed
from colbert_qdrant.embedding.tokens import TokenizedText, cut_into_windows
from colbert_qdrant.errors import InvalidInput, PointTooLarge
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
    assert caught[0].filename == __file__
    assert [len(vectors) for vectors in encoded] == [32, 4, 32, 4, 4]


TEXTS = [f"{LONG if number % 10 == 0 else 'short'} {number}" for number in range(200)]
"""More than are encoded together; 20 of them are long."""


def test_add_counts_all_that_it_cut_in_one_warning_at_the_callers_line(
    tiny_folder: Path, make_collection: Callable[..., MultivectorCollection]
) -> None:
    collection = make_collection(ColbertEmbedder(tiny_folder, document_length=32))

    with pytest.warns(UserWarning, match="were cut") as caught:
        collection.add(TEXTS)
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]

    [said] = caught
    assert str(said.message) == (
        "20 of 200 documents were longer than 32 tokens and were cut: ColbertEmbedder(..., long_documents='window') "
        "encodes them whole"
    )
    assert (said.filename, said.lineno) == (__file__, line)


async def test_it_is_one_warning_at_the_callers_line_on_an_event_loop(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=32)

    async with AsyncMultivectorCollection("cut", embedder) as collection:
        with pytest.warns(UserWarning, match="20 of 200 documents") as caught:
            await collection.add(TEXTS)

    assert [warning.filename for warning in caught] == [__file__]


def test_a_library_between_is_not_the_caller(tiny_folder: Path) -> None:
    langchain = pytest.importorskip("langchain_colbert_qdrant")
    from langchain_core.documents import Document

    embedder = ColbertEmbedder(tiny_folder, document_length=32, long_documents="truncate")
    store = langchain.ColbertQdrantVectorStore("cut", embedder)

    with pytest.warns(UserWarning, match="20 of 200 documents") as caught:
        store.add_documents([Document(text) for text in TEXTS])  # LangChain's, which calls ours

    assert [warning.filename for warning in caught] == [__file__]


def test_whoever_calls_may_count_and_say_what_to_write(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=32)

    @cuts_told_once("use a splitter")
    def in_parts(collection: MultivectorCollection) -> None:
        collection.add(TEXTS[:100])
        collection.add(TEXTS[100:])
        list(embedder.embed(TEXTS[:100]))

    with pytest.warns(UserWarning, match="30 of 300 .* cut: use a splitter") as caught:
        in_parts(MultivectorCollection("cut", embedder))

    assert len(caught) == 1


def test_plan_and_footprint_count_in_one_warning_too(tiny_folder: Path) -> None:
    embedder = ColbertEmbedder(tiny_folder, document_length=32)

    with MultivectorCollection("cut", embedder) as collection:
        for act in (lambda: collection.plan(TEXTS), lambda: collection.footprint(TEXTS, 1_000)):
            with pytest.warns(UserWarning, match="20 of 200 documents") as caught:
                act()
            assert len(caught) == 1


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
    filler = "The committee met again and nothing of note was decided on that day. " * 120
    planted = "The treasure of the pirates is buried under the old lighthouse. "
    text = filler + planted + filler
    question = "Where did the pirates bury their treasure?"
    truncating = ColbertEmbedder("all-MiniLM-L6-v2-int8")
    windowing = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    assert truncating.token_count(filler) == 512  # counted as it is cut
    assert windowing.token_count(filler) > 1_500

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


def test_what_no_point_can_hold_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    monkeypatch.setattr("colbert_qdrant.embedding.encoder.Encoder.encode", lambda *_: pytest.fail("it was encoded"))
    collection = MultivectorCollection("long", embedder)

    with pytest.raises(PointTooLarge, match="3002 vectors of 384"):
        collection.add(["word " * 3000])
    assert collection.count() == 0


def test_vectors_are_counted_without_the_model(offline: ColbertEmbedder) -> None:
    [vectors] = offline.embed(["Toys, at a day-care center."])

    assert offline.vector_count("Toys, at a day-care center.") == len(vectors)
