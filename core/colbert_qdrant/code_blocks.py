"""Which lines of a text are code: fenced, indented, or by what stands in them. Pure."""

from __future__ import annotations

import re

from colbert_qdrant.sentences import Span

_FENCE = re.compile(r"\s*(```|~~~)")
_INDENTED = re.compile(r"(?:\t| {4,})\S")
_CODE = re.compile(
    r"""
    .*[;{}]\s*(?:(?://|\#|/\*).*)?$                                 # ends a statement or a block
    | \s*(?:@\w+|[)\]}]+[,;]?\s*$)                                   # a decorator; what closes a call
    | \s*(?:def|class|async\ def|for|while|if|elif|with|except)\b.*:\s*(?:\#.*)?$
    | \s*(?:import\s+[\w.]+|from\s+[\w.]+\s+import\b|return\b(?!\s+to\b)|else:|try:|\#include\b|\#!/)
    | \s*(?:public|private|static|const|let|var|func|fn|struct|impl|package|using|namespace)\s+[\w<&*]
    | \s*[\w.\[\]]+\s*(?:[-+*/|&]?=|:=)\s*\S                          # an assignment
    | \s*(?:\$|>>>|\.\.\.)\s+\S                                        # a prompt
    | \s*(?://|/\*|\*/)
    """,
    re.VERBOSE,
)
_CERTAIN, _MOSTLY = 0.2, 0.6
"""The share of a text's lines that must look like code, and look like it or be indented, for all of it to be code."""


def code_spans(text: str) -> list[Span]:
    """Return the stretches of a text that are code, start and end in characters, whole lines each.

    Where most of the lines are, all of the text is, comments in between too. Else those between fences are, and runs
    of at least two lines that look like it, with indented ones and empty ones in between.
    """
    lines, at = [], 0
    in_fence = False
    for line in text.splitlines(keepends=True):
        is_fence = _FENCE.match(line) is not None
        kind = "fence" if in_fence or is_fence else _kind(line)
        in_fence ^= is_fence
        lines.append((at, at + len(line), kind))
        at += len(line)
    told = [kind for _, _, kind in lines if kind not in ("blank", "fence")]
    looks, indented = told.count("code"), told.count("indented")
    if looks >= max(2, _CERTAIN * len(told)) and looks + indented >= _MOSTLY * len(told):
        return [(0, len(text))]
    return _runs(lines)


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    if _CODE.match(line.rstrip()):
        return "code"
    return "indented" if _INDENTED.match(line) else "prose"


def _runs(lines: list[tuple[int, int, str]]) -> list[Span]:
    spans: list[Span] = []
    run: list[tuple[int, int, str]] = []
    for line in [*lines, (0, 0, "prose")]:
        if line[2] != "prose":
            run.append(line)
            continue
        while run and run[-1][2] == "blank":
            run.pop()
        while run and run[0][2] == "blank":
            run.pop(0)
        kinds = [kind for _, _, kind in run]
        if "fence" in kinds or sum(kind in ("code", "indented") for kind in kinds) >= 2:
            spans.append((run[0][0], run[-1][1]))
        run = []
    return spans
