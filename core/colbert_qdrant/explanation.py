"""Why a document has the score it has: which of its tokens answered which token of the query."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rendering import render_html, render_notebook, render_terminal
from colbert_qdrant.scoring import maxsim
from colbert_qdrant.types import TokenEmbedder, TokenVectors

Span: TypeAlias = tuple[int, int]
"""Start and end in a text, in characters; ``(0, 0)`` for a token that the text does not hold."""


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """A token of the query and the token of the text that answered it best.

    Parameters
    ----------
    query_token, token
        As the tokenizer spells them: ``wonder``, ``##s``, ``[CLS]``, ``[MASK]``.
    query_span, span
        Where they stand in the query and in the text, in characters; ``(0, 0)`` for markers, ``[CLS]``, ``[SEP]``
        and the ``[MASK]`` of query expansion, which stand for a text as a whole.
    similarity
        Dot product of their vectors: what this pair adds to the score.
    """

    query_token: str
    query_span: Span
    token: str
    span: Span
    similarity: float


@dataclass(frozen=True, slots=True)
class Highlight:
    """A word of the text, where it stands, and the sum of the similarities that it answered."""

    text: str
    span: Span
    heat: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A MaxSim score taken apart.

    Parameters
    ----------
    query, text
        What was compared.
    matches
        One a query vector, in the query's order. Empty when either side has no vectors.
    score
        MaxSim of the two; the sum of the similarities in `matches`.
    model_name
        What encoded them; empty when the embedder does not say.
    """

    query: str
    text: str
    matches: tuple[TokenMatch, ...]
    score: float
    model_name: str = ""

    def highlights(self, limit: int = 5) -> tuple[Highlight, ...]:
        """Return the words of the text that answered most of the query, the strongest first.

        A word piece counts for its whole word. In scripts written without spaces, neighbouring characters that
        answered are one highlight.
        """
        words = sorted(
            (_widened_to_word(self.text, match.span), match.similarity)
            for match in self.matches
            if match.span[0] < match.span[1]
        )
        joined: list[Highlight] = []
        for (start, end), heat in words:
            if joined and start <= joined[-1].span[1]:
                last = joined.pop()
                start, end, heat = last.span[0], max(end, last.span[1]), heat + last.heat
            joined.append(Highlight(self.text[start:end], (start, end), heat))
        return tuple(sorted(joined, key=lambda word: (-word.heat, word.span))[:limit])

    def to_html(self) -> str:
        """Return one page that needs nothing else: no script, style or font is loaded from elsewhere.

        Pointing at a token of the query, a word of the text or a row of the table shows the pairs it is part of.
        """
        return render_html(self)

    def to_terminal(self, width: int | None = None, *, color: bool | None = None) -> str:
        """Return the pairs as a table and the text with its answers marked.

        Parameters
        ----------
        width
            Columns to fill. The terminal's, at most 100, when None.
        color
            Mark with ANSI colours rather than brackets. When None: if standard output is a terminal and ``NO_COLOR``
            is not set (https://no-color.org).
        """
        if width is None:
            width = min(100, shutil.get_terminal_size().columns)
        if color is None:
            color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        return render_terminal(self, width=width, color=color)

    def _repr_html_(self) -> str:
        return render_notebook(self)


def explain(query: str, text: str, *, embedder: TokenEmbedder) -> Explanation:
    """Say which token of the text answered each token of the query, and how well.

    Parameters
    ----------
    query, text
        Encoded as a query and as a document.
    embedder
        Something with ``token_vectors``, as `ColbertEmbedder` has.

    Returns
    -------
    The pairs whose similarities add up to ``maxsim`` of the two texts.

    Raises
    ------
    InvalidInput
        The embedder has no ``token_vectors``, or its vectors can't be scored.
    """
    if not hasattr(embedder, "token_vectors"):
        raise InvalidInput(
            f"{type(embedder).__name__} has no token_vectors() and so can't say which part of a text a vector "
            "stands for; use ColbertEmbedder"
        )
    (asked,) = embedder.token_vectors([query], is_query=True)
    (answering,) = embedder.token_vectors([text])
    return explained(query, text, asked, answering, embedder)


def explained(
    query: str, text: str, asked: TokenVectors, answering: TokenVectors, embedder: TokenEmbedder
) -> Explanation:
    """Say the same of vectors that are there already.

    Parameters
    ----------
    query, text
        What was compared.
    asked, answering
        Their vectors.
    embedder
        What made them.
    """
    (score,) = maxsim(asked.vectors, [answering.vectors])
    matches: list[TokenMatch] = []
    if len(answering.vectors):
        similarities = answering.vectors @ asked.vectors.T
        matches = [
            TokenMatch(
                query_token=asked.tokens[row],
                query_span=_span(query, asked.spans[row].tolist()),
                token=answering.tokens[best],
                span=_span(text, answering.spans[best].tolist()),
                similarity=float(similarities[best, row]),
            )
            for row, best in enumerate(similarities.argmax(axis=0).tolist())
        ]
    # Not every TokenEmbedder has a name, and none is needed.
    return Explanation(query, text, tuple(matches), float(score), getattr(embedder, "model_name", ""))


def _span(text: str, bounds: list[int]) -> Span:
    # Byte-level BPE and SentencePiece count the space before a word as part of its token.
    start, end = bounds
    if word := text[start:end].strip():
        start = text.index(word, start)
        end = start + len(word)
    return start, end


def _widened_to_word(text: str, span: Span) -> Span:
    start, end = span
    if any(_in_word(letter) for letter in text[start:end]):
        while start > 0 and _in_word(text[start - 1]):
            start -= 1
        while end < len(text) and _in_word(text[end]):
            end += 1
    return start, end


def _in_word(letter: str) -> bool:
    # Ideographs, kana and hangul ("W", "F") are not widened over: a whole sentence may hold no space.
    is_letter = letter.isalnum() or unicodedata.category(letter).startswith("M")
    return is_letter and unicodedata.east_asian_width(letter) not in "WF"
