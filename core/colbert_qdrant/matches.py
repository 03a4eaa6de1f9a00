"""What an explanation is made of: pairs of tokens, the words and the passages that answered. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

from colbert_qdrant.passages import Passage

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
class Matches:
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
    passages
        The sentences of the text that answer best, the best first; see `colbert_qdrant.passages`.
    source
        Where the text is from, a URL or a path; empty where nobody knows.
    """

    query: str
    text: str
    matches: tuple[TokenMatch, ...]
    score: float
    model_name: str = ""
    passages: tuple[Passage, ...] = ()
    source: str = ""

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
