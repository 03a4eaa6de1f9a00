"""What hits and reports look like in a notebook.

IPython asks for ``_repr_html_`` of what a cell ends with, and for ``_repr_pretty_`` of what stands in a list.
https://ipython.readthedocs.io/en/stable/config/integrating.html
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from colbert_qdrant.terminal import printable

if TYPE_CHECKING:
    from colbert_qdrant.passages import Passage

_LINE = 88
"""Characters of a hit's text in a list."""


def is_watched() -> bool:
    """Return whether somebody sees a bar move: on a terminal, or in a notebook, whose standard error is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    is_terminal = getattr(sys.stderr, "isatty", lambda: False)()
    return is_terminal or hasattr(shell, "kernel")


class Shown(Protocol):
    """What a hit shows of itself."""

    @property
    def id(self) -> str:
        """Of the record."""
        ...

    @property
    def text(self) -> str:
        """As it is stored."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The caller's own."""
        ...

    @property
    def score(self) -> float:
        """MaxSim."""
        ...

    @property
    def relevance(self) -> float:
        """From 0 to 1."""
        ...

    @property
    def passages(self) -> Sequence[Passage]:
        """What of the text answers."""
        ...


def hit_html(hit: Shown) -> str:
    """Return a hit as a card: relevance as a bar, id, metadata, text with the passages that answer marked."""
    facts = " · ".join(f"{escape(str(key))}: {escape(str(value))}" for key, value in hit.metadata.items())
    width = f"{100 * hit.relevance:.0f}%"
    return (
        '<div style="margin:.5em 0;max-width:48em"><b dir="auto">'
        f"{escape(hit.id)}</b> <small>{hit.relevance:.2f} · MaxSim {hit.score:.3f}{' · ' * bool(facts)}{facts}</small>"
        f'<div style="height:3px;width:{width};background:#d6336c;margin:.2em 0"></div>'
        f'<div dir="auto" style="white-space:pre-wrap">{_marked(hit)}</div></div>'
    )


def hit_line(hit: Shown) -> str:
    """Return a hit as a line: relevance, id, the beginning of its text, or of the passage that answers best."""
    said = " ".join(printable(hit.passages[0].text if hit.passages else hit.text).split())
    return f"{hit.relevance:.2f}  {printable(hit.id)}  {said if len(said) <= _LINE else f'{said[:_LINE].rstrip()}…'}"


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column text and all others numbers."""
    align = ["left", *["right"] * (len(header) - 1)]
    lines = [
        "".join(f'<{kind} style="text-align:{a}">{escape(cell)}</{kind}>' for a, cell in zip(align, row, strict=True))
        for kind, row in (("th", header), *(("td", row) for row in rows))
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def counts_html(counts: Mapping[str, Any]) -> str:
    """Return how many there are of each, as a table of one row."""
    return table_html(list(counts), [[f"{value:,}" for value in counts.values()]])


def _marked(hit: Shown) -> str:
    said, end = [], 0
    for passage in sorted(hit.passages, key=lambda passage: passage.start):
        start = max(end, passage.start)
        said += [escape(hit.text[end:start]), f"<mark>{escape(hit.text[start : passage.end])}</mark>"]
        end = max(end, passage.end)
    return "".join([*said, escape(hit.text[end:])])
