"""An explanation as one page, which loads nothing and runs nowhere but in itself, and as a notebook's output."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePosixPath, PureWindowsPath
from string import Template
from urllib.parse import urlsplit

from colbert_qdrant.code_blocks import code_spans
from colbert_qdrant.matches import Matches, Span, TokenMatch
from colbert_qdrant.passages import Passage
from colbert_qdrant.rendering import WHOLE_TEXT, Piece, answer_of, asked_of, bar_length, in_text, most_heat, pieces_of

LONG = 1_500
"""Characters of a text that gets a map: about a screen of it."""

_SNIPPET = 90
"""Characters of a passage in the list of them."""


def render_html(explanation: Matches) -> str:
    """Fill ``explanation.html``; every text of the caller's is escaped."""
    matches = explanation.matches
    passages = _marked_passages(explanation)
    code = code_spans(explanation.text)
    pieces = pieces_of(explanation, [*((each.start, each.end) for each in passages), *code])
    most = most_heat(pieces)
    return _template().substitute(
        title=escape(explanation.query or "(empty query)"),
        model=escape(explanation.model_name or "not named"),
        source=_source(explanation.source),
        score=f"{explanation.score:.3f}",
        count=len(matches),
        mean=f"{explanation.score / max(1, len(matches)):.3f}",
        direction=_direction(explanation.query),
        chips=_chips(explanation) or "<em>There is nothing to compare.</em>",
        whole=_whole(explanation),
        passages=_listed(passages),
        map=_map(explanation, passages, pieces),
        text_direction=_direction(explanation.text),
        text=_body(explanation, pieces, passages, code) or "<em>The text is empty.</em>",
        hottest=f"{most:.2f}",
        rows="\n".join(_row(explanation, number) for number in range(len(matches))),
    )


def render_notebook(explanation: Matches) -> str:
    """Frame the page, so that its styles and a notebook's don't meet."""
    return (
        f'<iframe srcdoc="{escape(render_html(explanation))}" style="width:100%;height:32rem;border:0" '
        "onload=\"this.style.height=this.contentDocument.documentElement.scrollHeight+'px'\"></iframe>"
    )


def _body(explanation: Matches, pieces: Sequence[Piece], passages: Sequence[Passage], code: Sequence[Span]) -> str:
    """Return the text with its answers marked, its best passages to be jumped to, its code in a fixed font."""
    most = most_heat(pieces)
    starts = {each.start: number for number, each in enumerate(passages, start=1)}
    ends = {each.end for each in passages}
    said = []
    for piece in pieces:
        if piece.start in ends:
            said.append("</span>")
        if piece.start in starts:
            said.append(f'<span class="passage" id="passage-{starts[piece.start]}">')
        text = escape(piece.text)
        if piece.matches:
            heat = f'style="--heat:{piece.heat / most:.3f}"'
            text = f'<mark tabindex="0" {heat} {_linked(explanation, piece.matches)}>{text}</mark>'
        is_code = any(start <= piece.start < end for start, end in code)
        said.append(f"<code>{text}</code>" if is_code else text)
    if len(explanation.text) in ends:
        said.append("</span>")
    return "".join(said)


def _marked_passages(explanation: Matches) -> tuple[Passage, ...]:
    """Return the passages worth marking: not where a single one is all of the text."""
    passages = explanation.passages
    is_all = len(passages) == 1 and passages[0].text.strip() == explanation.text.strip()
    return () if is_all else passages


def _listed(passages: Sequence[Passage]) -> str:
    """Return links to the passages, the best first."""
    items = "".join(
        f'<li><a href="#passage-{number}" dir="auto">{escape(_shortened(each.text))}</a> '
        f"<small>{each.share:.0%} of the score</small></li>"
        for number, each in enumerate(passages, start=1)
    )
    return f'<h2>Best passages</h2><ol class="passages">{items}</ol>' if items else ""


def _map(explanation: Matches, passages: Sequence[Passage], pieces: Sequence[Piece]) -> str:
    """Return where in a long text the answers lie: a strip from its first character to its last."""
    length = len(explanation.text)
    if length < LONG:
        return ""
    most = most_heat(pieces)
    ticks = "".join(
        f'<i style="--at:{piece.start / length:.4f};--heat:{piece.heat / most:.3f}"></i>'
        for piece in pieces
        if piece.matches
    )
    links = "".join(
        f'<a href="#passage-{number}" title="passage {number}" '
        f'style="--at:{each.start / length:.4f};--wide:{(each.end - each.start) / length:.4f}"></a>'
        for number, each in enumerate(passages, start=1)
    )
    return f'<div class="map" aria-label="where in the text the answers lie">{links}{ticks}</div>'


def _source(source: str) -> str:
    """Return where the text is from, as a link if a browser may open it: the web or an absolute path, no other."""
    if not source:
        return ""
    link, shown = _link_of(source), escape(source)
    if link is not None:
        shown = f'<a class="source" href="{escape(link)}" target="_blank" rel="noopener noreferrer">{shown}</a>'
    return f"<br>Source: <b>{shown}</b>"


def _link_of(source: str) -> str | None:
    try:
        parts = urlsplit(source)
    except ValueError:
        return None
    if parts.scheme in ("http", "https"):
        return source if parts.netloc else None
    path, _, place = source.partition("#")  # a page of a PDF
    without_line, _, line = path.rpartition(":")
    path = without_line if line.isdigit() and without_line else path
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).as_uri() + (f"#{place}" if place else "")
    return None


def _direction(text: str) -> str:
    """Return the direction of a text: that of its first letter, which says more than ``[CLS]`` in front of it.

    https://www.unicode.org/reports/tr9/#P2
    """
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    return "rtl" if next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L" else "ltr"


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SNIPPET else f"{flat[:_SNIPPET].rstrip()}…"


def _chips(explanation: Matches) -> str:
    words: list[str] = []
    end = 0
    for number, match in enumerate(explanation.matches):
        chip = (
            f'<span class="{"token" if in_text(match.query_span) else "token marker"}" tabindex="0" '
            f"{_share(explanation, match)} {_linked(explanation, (number,))}>"
            f"{escape(asked_of(explanation, match))}<small>{match.similarity:.2f}</small></span>"
        )
        if end and match.query_span[0] == end:
            words[-1] += chip
        else:
            words.append(chip)
        end = match.query_span[1]
    return "".join(f'<span class="word">{word}</span>' for word in words)


def _whole(explanation: Matches) -> str:
    numbers = tuple(number for number, match in enumerate(explanation.matches) if not in_text(match.span))
    if not numbers:
        return ""
    heat = sum(explanation.matches[number].similarity for number in numbers)
    said = f"{WHOLE_TEXT} answered {heat:.2f}"
    return f'<p><span class="whole" tabindex="0" {_linked(explanation, numbers)}>{said}</span></p>'


def _row(explanation: Matches, number: int) -> str:
    match = explanation.matches[number]
    return (
        f'<tr {_linked(explanation, (number,))}><td dir="auto">{escape(asked_of(explanation, match))}</td>'
        f'<td dir="auto">{escape(answer_of(explanation, match))}</td><td><code>{escape(match.token)}</code></td>'
        f'<td class="number">{match.similarity:.3f}</td><td class="bar" {_share(explanation, match)}><i></i></td></tr>'
    )


def _linked(explanation: Matches, numbers: tuple[int, ...]) -> str:
    """Attributes by which the page's script finds the other ends of these pairs and says what they are."""
    pairs = (explanation.matches[number] for number in numbers)
    said = " · ".join(
        f"{asked_of(explanation, match)} → {answer_of(explanation, match)} {match.similarity:.2f}" for match in pairs
    )
    return f'data-m="{" ".join(map(str, numbers))}" data-say="{escape(said)}"'


def _share(explanation: Matches, match: TokenMatch) -> str:
    return f'style="--share:{bar_length(explanation, match):.3f}"'


def _template() -> Template:
    return Template(files("colbert_qdrant").joinpath("explanation.html").read_text(encoding="utf-8"))
