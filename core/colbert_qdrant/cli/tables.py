"""What the commands print for people: tables that fit a terminal, or a pipe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from colbert_qdrant import Hit, Record
    from colbert_qdrant.explanation import Highlight

WIDEST = 100
"""Columns; longer lines are read badly."""

SNIPPET_LINES = 3

# Pale to strong, black on each, as in `Explanation.to_terminal`.
_HEAT = ("black on color(230)", "black on color(222)", "black on color(215)")


def console() -> Console:
    """Return standard output, at most `WIDEST` columns of it."""
    out = Console(highlight=False)
    out.width = min(WIDEST, out.width)
    return out


def hits_table(hits: Sequence[Hit], highlights: Sequence[Sequence[Highlight]], out: Console) -> Table:
    """Return hits with the words that answered, marked by colour, or by brackets where there is none."""
    table = _table(rank="right", score="right", document=None)
    table.leading = 1
    brackets = out.no_color or out.color_system is None
    for rank, (hit, words) in enumerate(zip(hits, highlights, strict=True), start=1):
        document = _document(hit, words, SNIPPET_LINES * (out.width - 18), brackets=brackets)
        table.add_row(str(rank), f"{hit.score:.2f}", document)
    return table


def models_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the supported models, as `ColbertEmbedder.list_supported_models` gives them."""
    table = _table(model=None, dim="right", size="right", licence="left")
    for row in rows:
        name = Text.assemble((row["model"], "bold"), (f"\n{row['description']}", "dim"))
        table.add_row(name, str(row["dim"]), f"{row['size_in_GB'] * 1000:,.0f} MB", row["license"])
    return table


def heading(record: Record, name: Text | None = None) -> Text:
    """Return what a document is called, in bold, and its id where that is something else."""
    called = name_of(record)
    head = (name or Text(printable(called))).copy()
    head.stylize("bold")
    return head if called == record.id else head.append(f"  {printable(record.id)}", "dim")


def name_of(record: Record) -> str:
    """Return a document's title, or else its file and line, or else its id."""
    title, path, line = (record.metadata.get(key) for key in ("title", "path", "first_line"))
    if isinstance(title, str) and title:
        return title
    return record.id if path is None or line is None else f"{path}:{line}"


def _document(hit: Hit, words: Sequence[Highlight], length: int, *, brackets: bool) -> Text:
    """Return what a document is called and, below it, the part of its text that answered."""
    # A collection made by hand may keep its text under a key that we don't know.
    text = hit.text or json.dumps(hit.metadata, ensure_ascii=False)
    name = name_of(hit)
    below = len(name) if text.startswith(name) else 0  # a title that heads the text may have answered too
    head = heading(hit, marked(text, words, (0, below), brackets=brackets) if below else None)
    start, end = snippet(text, words, length, begin=below)
    shown = marked(text, words, (start, end), brackets=brackets)
    dots = "… " if start > below else "", " …" if end < len(text) else ""
    return Text.assemble(head, "\n", dots[0], shown, dots[1])


def snippet(text: str, words: Sequence[Highlight], length: int, *, begin: int = 0) -> tuple[int, int]:
    """Return the bounds of the stretch, of about so many characters, that holds most of what answered.

    It starts at `begin` or later, and starts and ends between words where there are any.
    """
    begin += len(text[begin:]) - len(text[begin:].lstrip())
    if len(text) - begin <= length:
        return begin, len(text)
    lead = length // 5
    starts = [begin, *sorted(max(begin, word.span[0] - lead) for word in words if word.span[0] >= begin)]

    def heat(start: int) -> float:
        return sum(word.heat for word in words if start <= word.span[0] and word.span[1] <= start + length)

    start = min(max(starts, key=heat), len(text) - length)  # of equals the first
    if start > begin and (space := re.compile(r"\s+").search(text, start, start + lead)):
        start = space.end()
    end = min(len(text), start + length)
    if end < len(text) and (spaces := list(re.compile(r"\s+").finditer(text, end - lead, end))):
        end = spaces[-1].start()
    return start, end


def marked(text: str, words: Sequence[Highlight], bounds: tuple[int, int], *, brackets: bool) -> Text:
    """Return a stretch of a text with the words that answered marked, the stronger the brighter."""
    at, end = bounds
    hottest = max((word.heat for word in words), default=0.0) or 1.0
    result = Text()
    for word in sorted(words, key=lambda word: word.span):
        if at <= word.span[0] and word.span[1] <= end:
            result.append(printable(text[at : word.span[0]]))
            level = max(0, min(int(word.heat / hottest * len(_HEAT)), len(_HEAT) - 1))
            shown = printable(word.text)
            result.append(f"[{shown}]" if brackets else shown, None if brackets else _HEAT[level])
            at = word.span[1]
    return result.append(printable(text[at:end]))


def printable(text: str) -> str:
    """Keep a text from steering the terminal, and fold its white space."""
    return re.sub(r"\s+", " ", re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", "\ufffd", text))


def _table(**columns: JustifyMethod | None) -> Table:
    """Return an empty table; the column without a side takes the room that the others leave."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", border_style="dim", expand=True)
    for name, side in columns.items():
        if side is None:
            table.add_column(name, ratio=1)
        else:
            table.add_column(name, justify=side, no_wrap=True)
    return table
