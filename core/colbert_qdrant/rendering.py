"""An explanation as text for a terminal, and what its page shares with that."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from colbert_qdrant.matches import Matches, Span, TokenMatch
from colbert_qdrant.terminal import printable

WHOLE_TEXT = "the text as a whole"

# Backgrounds of the 256-colour palette, pale to strong; black on the strongest has a contrast of 8:1.
_HEAT_COLORS = (230, 229, 222, 215, 208)
_BAR_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text and the numbers of the matches that it answered; none where it answered nothing."""

    text: str
    start: int
    matches: tuple[int, ...]
    heat: float


def pieces_of(explanation: Matches, at: Sequence[Span] = ()) -> list[Piece]:
    """Cut the whole text where an answering token starts or ends, and where one of these stretches does."""
    answered = [(number, match) for number, match in enumerate(explanation.matches) if in_text(match.span)]
    cuts = {0, len(explanation.text)}.union(*(match.span for _, match in answered), *at)
    pieces = []
    for start, end in pairwise(sorted(cuts)):
        here = [(number, match) for number, match in answered if match.span[0] <= start and end <= match.span[1]]
        heat = sum(max(0.0, match.similarity) for _, match in here)
        pieces.append(Piece(explanation.text[start:end], start, tuple(number for number, _ in here), heat))
    return pieces


def render_terminal(explanation: Matches, *, width: int, color: bool) -> str:
    """Write the pairs as a table, then the text with its answers marked."""
    matches = explanation.matches
    asked = [printable(asked_of(explanation, match)) for match in matches]
    column = max(map(_columns, asked), default=0)
    lines = [f"MaxSim {explanation.score:.3f}, the sum over {len(matches)} query tokens"]
    if explanation.model_name:
        lines.append(printable(explanation.model_name))
    lines.append("")
    for token, match in zip(asked, matches, strict=True):
        bar = "█" * round(bar_length(explanation, match) * _BAR_WIDTH)
        answer = printable(answer_of(explanation, match))
        answer = answer if in_text(match.span) else f"({answer})"
        padding = " " * (column - _columns(token))
        lines.append(f"  {token}{padding} {match.similarity:6.3f} {bar:{_BAR_WIDTH}} {answer}")
    lines += ["", *_marked_lines(pieces_of(explanation), width=width, color=color)]
    return "\n".join(lines)


def _marked_lines(pieces: list[Piece], *, width: int, color: bool) -> list[str]:
    lines, line, used = [], "", 0
    for word, columns in _marked_words(pieces, color=color):
        if line and used + 1 + columns > width:
            lines.append(line)
            line, used = "", 0
        line += f" {word}" if line else word
        used += columns + bool(used)
    return [*lines, line]


def _marked_words(pieces: list[Piece], *, color: bool) -> Iterator[tuple[str, int]]:
    """Yield each word, which several pieces may share, as it is written and the columns that it takes."""
    hottest = most_heat(pieces)
    word, columns = "", 0
    for piece in pieces:
        for part in re.findall(r"\s+|\S+", printable(piece.text)):
            if part.isspace():
                if word:
                    yield word, columns
                word, columns = "", 0
            else:
                word += _marked(part, piece.heat / hottest, color=color) if piece.matches else part
                columns += _columns(part) + (2 if piece.matches and not color else 0)
    if word:
        yield word, columns


def _marked(word: str, heat: float, *, color: bool) -> str:
    if not color:
        return f"[{word}]"
    background = _HEAT_COLORS[min(int(heat * len(_HEAT_COLORS)), len(_HEAT_COLORS) - 1)]
    return f"\x1b[38;5;16;48;5;{background}m{word}\x1b[0m"


def in_text(span: tuple[int, int]) -> bool:
    """Return whether a token stands in its text, or stands for the whole of it."""
    return span[0] < span[1]


def asked_of(explanation: Matches, match: TokenMatch) -> str:
    """Return what a pair asks, as the query spells it."""
    return explanation.query[slice(*match.query_span)].strip() or match.query_token


def answer_of(explanation: Matches, match: TokenMatch) -> str:
    """Return what answers it, as the text spells it."""
    if not in_text(match.span):
        return WHOLE_TEXT
    return explanation.text[slice(*match.span)].strip() or match.token


def bar_length(explanation: Matches, match: TokenMatch) -> float:
    """Return how long a pair's bar is, from 0 to 1."""
    # Cosines end at 1; vectors that are not of length 1 may go beyond, and none is drawn below zero.
    longest = max(1.0, *(other.similarity for other in explanation.matches))
    return max(0.0, match.similarity) / longest


def most_heat(pieces: Sequence[Piece]) -> float:
    """Return the heat of the hottest piece, which has the strongest colour."""
    return max((piece.heat for piece in pieces), default=0.0) or 1.0


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.category(letter) == "Mn" for letter in text)
