"""What the commands print for people: hits, and tables that fit a terminal, or a pipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from colbert_qdrant.cli.terminal import shown

if TYPE_CHECKING:
    from colbert_qdrant import Hit, Record
    from colbert_qdrant.explanation import Highlight

SNIPPET_LINES = 3
"""Full lines of a document that a hit shows; of short ones twice as many."""

INDENT = 4

# Pale to strong, black on each, as in `Explanation.to_terminal`.
_HEAT = ("black on color(230)", "black on color(222)", "black on color(215)")


def hit_lines(
    rank: int, hit: Hit, words: Sequence[Highlight], out: Console, *, with_id: bool = False
) -> tuple[Text, Text]:
    """Return a hit's line, and the part of its text that answered, with the words that did so marked.

    They are marked by colour, or by brackets where there is none.
    """
    # A collection made by hand may keep its text under a key that we don't know.
    text = hit.text or json.dumps(hit.metadata, ensure_ascii=False)
    head = Text.assemble((f"{rank:>2}  ", "dim"), f"{hit.relevance:.2f}  ", heading(hit, with_id=with_id))
    bounds = snippet(text, words, SNIPPET_LINES * (out.width - INDENT), begin=_below_title(hit, text))
    start, end = fewer_lines(text, words, bounds, 2 * SNIPPET_LINES)
    body = marked(text, words, (start, end), brackets=out.no_color or out.color_system is None)
    dots = ("… " if text[bounds[0] : start].strip() or start > bounds[0] else "", " …" if text[end:].strip() else "")
    return head, Text.assemble(dots[0], body, dots[1])


def _below_title(hit: Record, text: str) -> int:
    """Return where the text begins that is not the title, which heads it and is shown already."""
    title = hit.metadata.get("title")
    return len(title) if isinstance(title, str) and title and text.startswith(f"{title}\n") else 0


def rows(columns: Mapping[str, JustifyMethod | None], lines: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table; the column without a side takes the room that the others leave."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", border_style="dim", expand=True)
    for name, side in columns.items():
        if side is None:
            table.add_column(name, ratio=1, overflow="fold")
        else:
            table.add_column(name, justify=side, no_wrap=True)
    for line in lines:
        table.add_row(*(shown(cell if isinstance(cell, Text) else Text(cell)) for cell in line))
    return table


def models_table(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return the supported models, as `ColbertEmbedder.list_supported_models` gives them."""
    return rows(
        {"model": None, "dim": "right", "size": "right", "licence": "left"},
        (
            (
                Text.assemble((row["model"], "bold"), (f"\n{_described(row)}", "dim")),
                str(row["dim"]),
                f"{row['size_in_GB'] * 1000:,.0f} MB",
                row["license"],
            )
            for row in models
        ),
    )


def _described(row: Mapping[str, Any]) -> str:
    figures = [f"nDCG@10 {figure:.2f} on {benchmark}" for benchmark, figure in row["ndcg@10"].items()]
    return "; ".join([row["description"], *figures])


def heading(record: Record, *, with_id: bool = False) -> Text:
    """Return what a document is called, in bold, and what tells it from others where that is something else.

    Its id does so of chunks that stand in one place.
    """
    place, title = location(record), record.metadata.get("title")
    named = title if isinstance(title, str) and title else None
    called = place or named or record.id
    others = [named, record.id if with_id else None] if place else [record.id]
    beside = "".join(f"  {name}" for name in others if name and name != called)
    return Text.assemble((called, "bold"), (beside, "dim"))


def location(record: Record) -> str | None:
    """Return where a chunk stands, as editors and browsers open it; ``None`` for what is no chunk of a file."""
    path, line, page = (record.metadata.get(key) for key in ("path", "first_line", "page"))
    if not isinstance(path, str) or (line is None and page is None):
        return None
    return f"{shortened(path)}:{line}" if page is None else f"{shortened(path)}#page={page}"


def shortened(path: str) -> str:
    """Return a path as it is typed where we are, if it is below."""
    try:
        return Path(path).relative_to(os.getcwd()).as_posix()
    except (ValueError, OSError):
        return path


def snippet(text: str, words: Sequence[Highlight], length: int, *, begin: int = 0) -> tuple[int, int]:
    """Return the bounds of the stretch, of about so many characters, that holds most of what answered.

    It starts at `begin` or later, and starts and ends between words where there are any.
    """
    begin += len(text[begin:]) - len(text[begin:].lstrip("\r\n"))
    if len(text) - begin <= length:
        return begin, len(text)
    lead = length // 5
    starts = [begin, *sorted(max(begin, word.span[0] - lead) for word in words if word.span[0] >= begin)]
    start = min(max(starts, key=lambda start: _heat(words, start, start + length)), len(text) - length)
    if start > begin and (space := re.compile(r"\s+").search(text, start, start + lead)):
        start = space.end()
    end = min(len(text), start + length)
    if end < len(text) and (spaces := list(re.compile(r"\s+").finditer(text, end - lead, end))):
        end = spaces[-1].start()
    return start, end


def fewer_lines(text: str, words: Sequence[Highlight], bounds: tuple[int, int], limit: int) -> tuple[int, int]:
    """Return the bounds of the so many lines, of a stretch of a text, that hold most of what answered."""
    start, end = bounds
    breaks = [match.start() for match in re.compile(r"\n").finditer(text, start, end)]
    if len(breaks) < limit:
        return bounds
    starts, ends = [start, *(at + 1 for at in breaks)], [*breaks, end]
    windows = [(starts[at], ends[at + limit - 1]) for at in range(len(starts) - limit + 1)]
    return max(windows, key=lambda window: _heat(words, *window))  # of equals the first


def _heat(words: Sequence[Highlight], start: int, end: int) -> float:
    return sum(word.heat for word in words if start <= word.span[0] and word.span[1] <= end)


def marked(text: str, words: Sequence[Highlight], bounds: tuple[int, int], *, brackets: bool) -> Text:
    """Return a stretch of a text with the words that answered marked, the stronger the brighter."""
    at, end = bounds
    hottest = max((word.heat for word in words), default=0.0) or 1.0
    result = Text()
    for word in sorted(words, key=lambda word: word.span):
        if at <= word.span[0] and word.span[1] <= end:
            result.append(text[at : word.span[0]])
            level = max(0, min(int(word.heat / hottest * len(_HEAT)), len(_HEAT) - 1))
            result.append(f"[{word.text}]" if brackets else word.text, None if brackets else _HEAT[level])
            at = word.span[1]
    return result.append(text[at:end])


def in_bytes(number: float) -> str:
    """Say a number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:,.0f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"
