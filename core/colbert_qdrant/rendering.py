"""An explanation as a page, as a notebook's output and as text for a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import TYPE_CHECKING

from colbert_qdrant.terminal import printable

if TYPE_CHECKING:
    from colbert_qdrant.explanation import Explanation, TokenMatch

WHOLE_TEXT = "the text as a whole"

# Backgrounds of the 256-colour palette, pale to strong; black on the strongest has a contrast of 8:1.
_HEAT_COLORS = (230, 229, 222, 215, 208)
_BAR_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text and the numbers of the matches that it answered; none where it answered nothing."""

    text: str
    matches: tuple[int, ...]
    heat: float


def pieces_of(explanation: Explanation) -> list[Piece]:
    """Cut the whole text where an answering token starts or ends."""
    answered = [(number, match) for number, match in enumerate(explanation.matches) if _in_text(match.span)]
    cuts = {0, len(explanation.text)}.union(*(match.span for _, match in answered))
    pieces = []
    for start, end in pairwise(sorted(cuts)):
        here = [(number, match) for number, match in answered if match.span[0] <= start and end <= match.span[1]]
        heat = sum(max(0.0, match.similarity) for _, match in here)
        pieces.append(Piece(explanation.text[start:end], tuple(number for number, _ in here), heat))
    return pieces


def render_html(explanation: Explanation) -> str:
    """Fill ``explanation.html``; every text of the caller's is escaped."""
    matches = explanation.matches
    pieces = pieces_of(explanation)
    hottest = _hottest(pieces)
    body = "".join(
        f'<mark tabindex="0" style="--heat:{piece.heat / hottest:.3f}" {_linked(explanation, piece.matches)}>'
        f"{escape(piece.text)}</mark>"
        if piece.matches
        else escape(piece.text)
        for piece in pieces
    )
    return _template().substitute(
        title=escape(explanation.query or "(empty query)"),
        model=escape(explanation.model_name or "not named"),
        score=f"{explanation.score:.3f}",
        count=len(matches),
        mean=f"{explanation.score / max(1, len(matches)):.3f}",
        chips=_chips(explanation) or "<em>There is nothing to compare.</em>",
        whole=_whole(explanation),
        text=body or "<em>The text is empty.</em>",
        hottest=f"{hottest:.2f}",
        rows="\n".join(_row(explanation, number) for number in range(len(matches))),
    )


def _chips(explanation: Explanation) -> str:
    words: list[str] = []
    end = 0
    for number, match in enumerate(explanation.matches):
        chip = (
            f'<span class="{"token" if _in_text(match.query_span) else "token marker"}" tabindex="0" '
            f"{_share(explanation, match)} {_linked(explanation, (number,))}>"
            f"{escape(_asked(explanation, match))}<small>{match.similarity:.2f}</small></span>"
        )
        if end and match.query_span[0] == end:
            words[-1] += chip
        else:
            words.append(chip)
        end = match.query_span[1]
    return "".join(f'<span class="word">{word}</span>' for word in words)


def _whole(explanation: Explanation) -> str:
    numbers = tuple(number for number, match in enumerate(explanation.matches) if not _in_text(match.span))
    if not numbers:
        return ""
    heat = sum(explanation.matches[number].similarity for number in numbers)
    said = f"{WHOLE_TEXT} answered {heat:.2f}"
    return f'<p><span class="whole" tabindex="0" {_linked(explanation, numbers)}>{said}</span></p>'


def _row(explanation: Explanation, number: int) -> str:
    match = explanation.matches[number]
    return (
        f'<tr {_linked(explanation, (number,))}><td dir="auto">{escape(_asked(explanation, match))}</td>'
        f'<td dir="auto">{escape(_answer(explanation, match))}</td><td><code>{escape(match.token)}</code></td>'
        f'<td class="number">{match.similarity:.3f}</td><td class="bar" {_share(explanation, match)}><i></i></td></tr>'
    )


def _linked(explanation: Explanation, numbers: tuple[int, ...]) -> str:
    """Attributes by which the page's script finds the other ends of these pairs and says what they are."""
    pairs = (explanation.matches[number] for number in numbers)
    said = " · ".join(
        f"{_asked(explanation, match)} → {_answer(explanation, match)} {match.similarity:.2f}" for match in pairs
    )
    return f'data-m="{" ".join(map(str, numbers))}" data-say="{escape(said)}"'


def _share(explanation: Explanation, match: TokenMatch) -> str:
    return f'style="--share:{_bar_length(explanation, match):.3f}"'


def render_notebook(explanation: Explanation) -> str:
    """Frame the page, so that its styles and a notebook's don't meet."""
    return (
        f'<iframe srcdoc="{escape(render_html(explanation))}" style="width:100%;height:32rem;border:0" '
        "onload=\"this.style.height=this.contentDocument.documentElement.scrollHeight+'px'\"></iframe>"
    )


def render_terminal(explanation: Explanation, *, width: int, color: bool) -> str:
    """Write the pairs as a table, then the text with its answers marked."""
    matches = explanation.matches
    asked = [printable(_asked(explanation, match)) for match in matches]
    column = max(map(_columns, asked), default=0)
    lines = [f"MaxSim {explanation.score:.3f}, the sum over {len(matches)} query tokens"]
    if explanation.model_name:
        lines.append(printable(explanation.model_name))
    lines.append("")
    for token, match in zip(asked, matches, strict=True):
        bar = "█" * round(_bar_length(explanation, match) * _BAR_WIDTH)
        answer = printable(_answer(explanation, match))
        answer = answer if _in_text(match.span) else f"({answer})"
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
    hottest = _hottest(pieces)
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


def _in_text(span: tuple[int, int]) -> bool:
    return span[0] < span[1]


def _asked(explanation: Explanation, match: TokenMatch) -> str:
    return explanation.query[slice(*match.query_span)].strip() or match.query_token


def _answer(explanation: Explanation, match: TokenMatch) -> str:
    if not _in_text(match.span):
        return WHOLE_TEXT
    return explanation.text[slice(*match.span)].strip() or match.token


def _bar_length(explanation: Explanation, match: TokenMatch) -> float:
    # Cosines end at 1; vectors that are not of length 1 may go beyond, and none is drawn below zero.
    longest = max(1.0, *(other.similarity for other in explanation.matches))
    return max(0.0, match.similarity) / longest


def _hottest(pieces: list[Piece]) -> float:
    return max((piece.heat for piece in pieces), default=0.0) or 1.0


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.category(letter) == "Mn" for letter in text)


def _template() -> Template:
    return Template(files("colbert_qdrant").joinpath("explanation.html").read_text(encoding="utf-8"))
