"""Why a document has the score it has: which of its tokens answered which token of the query."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.matches import Highlight as Highlight
from colbert_qdrant.matches import Matches, Span, TokenMatch
from colbert_qdrant.page import render_html, render_notebook
from colbert_qdrant.passages import EncodedText, best_passages
from colbert_qdrant.rendering import render_terminal
from colbert_qdrant.scoring import maxsim
from colbert_qdrant.types import TokenEmbedder, TokenVectors

PASSAGES = 3
"""How many of a text's sentences are marked."""


@dataclass(frozen=True, slots=True)
class Explanation(Matches):
    """A MaxSim score taken apart, for a terminal, a notebook or a browser; its fields are those of `Matches`."""

    def to_html(self) -> str:
        """Return one page that needs nothing else: no script, style or font is loaded from elsewhere.

        Pointing at a token of the query, a word of the text or a row of the table shows the pairs it is part of. The
        best passages are listed and can be jumped to; a long text has a map of where its answers lie.
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

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.to_terminal())


def explain(query: str, text: str, *, embedder: TokenEmbedder | str, source: str = "") -> Explanation:
    """Say which token of the text answered each token of the query, and how well.

    Parameters
    ----------
    query, text
        Encoded as a query and as a document.
    embedder
        A model's name, or something with ``token_vectors``, as `ColbertEmbedder` has.
    source
        Where the text is from, a URL or a path: the page links to it.

    Returns
    -------
    The pairs whose similarities add up to ``maxsim`` of the two texts.

    Raises
    ------
    InvalidInput
        The embedder has no ``token_vectors``, or its vectors can't be scored.
    """
    if isinstance(embedder, str):
        from colbert_qdrant.embedding.embedder import ColbertEmbedder

        embedder = ColbertEmbedder(embedder)
    check_explains(embedder)
    (asked,) = embedder.token_vectors([query], is_query=True)
    (answering,) = embedder.token_vectors([text])
    return explained(query, text, asked, answering, embedder, source)


def check_explains(embedder: object) -> None:
    """Refuse an embedder that can't say what the vectors of a text stand for.

    Raises
    ------
    InvalidInput
        It has no ``token_vectors``.
    """
    if not hasattr(embedder, "token_vectors"):
        raise InvalidInput(
            f"{type(embedder).__name__} has no token_vectors() and so can't say which part of a text a vector "
            "stands for; use ColbertEmbedder"
        )


def explained(
    query: str, text: str, asked: TokenVectors, answering: TokenVectors, embedder: TokenEmbedder, source: str = ""
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
    source
        Where the text is from.
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
    passages = best_passages(asked.vectors, EncodedText(text, answering.vectors, answering.spans), PASSAGES)
    name = getattr(embedder, "model_name", "")  # not every TokenEmbedder has one, and none is needed
    return Explanation(query, text, tuple(matches), float(score), name, tuple(passages), source)


def _span(text: str, bounds: list[int]) -> Span:
    # Byte-level BPE and SentencePiece count the space before a word as part of its token.
    start, end = bounds
    if word := text[start:end].strip():
        start = text.index(word, start)
        end = start + len(word)
    return start, end
