"""Where the sentences of a text begin and end, in any script; code, tables and lists break at their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

LONGEST = 600
"""Characters of a sentence, after which it is cut at a space: what has no full stop is still to be cited in parts."""

# Sentence_Terminal of https://www.unicode.org/reports/tr29/, as far as it stands in running text. Behind an ideographic
# stop the next sentence needs no space.
_END = re.compile(
    r"""
    (?: [.!?…‼⁇⁈⁉؟۔।॥։።᙮။។؝܀]+ ["'”’»)\]}*_]* (?=\s)   # then closing quotes, brackets, emphasis, and a space
      | [。！？｡．]+ ["'”’」』）】]*                        # full-width: a space or none
    )""",
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“])(?:[A-Za-z]|(?:[A-Za-z]\.)+[A-Za-z]?|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|al|approx|ca|cf|"
    r"Fig|fig|Eq|No|no|Nr|Vol|vol|pp|ed|eds|Inc|Ltd|Co|Corp|Gen|Sen|Rep|Gov|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\.$"
)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_OWN_LINE = re.compile(r"(?:\t| {4,}|\s*(?:[#>|+]|[-*•‣–]\s|\(?\d{1,3}[.)]\s|\(?[a-z][.)]\s|[=\-~_*]{3,}|@|//|/\*))")
_TABULAR = re.compile(r"\t|\s\|\s|,\S*,\S*,\S| {3,}\S|[;{}]$")
_WRAPPED = 40
"""A line shorter than this was not broken because it was full."""


def sentences(text: str) -> list[Span]:
    """Return the sentences of a text, start and end in characters, in their order.

    A sentence ends at a full stop, question or exclamation mark of any script, if what follows looks like another one;
    at an empty line; and at the end of a line that is one of code, a table, a list or a heading. Lines of running
    text that were broken to a width are read on. What is longer than `LONGEST` is cut at a space. White space
    belongs to none.

    References
    ----------
    https://www.unicode.org/reports/tr29/#Sentence_Boundaries, whose rules on what follows a full stop are these.
    """
    return [
        part for start, end in _blocks(text) for sentence in _ended(text, start, end) for part in _cut(text, *sentence)
    ]


def _blocks(text: str) -> Iterator[Span]:
    """Yield stretches of text between line ends that mean something."""
    start: int | None = None
    at = 0
    previous = ""
    in_fence = False
    for line in text.splitlines(keepends=True):
        content = line.strip()
        is_fence = _FENCE.match(line) is not None
        alone = in_fence or is_fence or _stands_alone(line)
        in_fence ^= is_fence
        if start is not None and (not content or alone or not _reads_on(previous, content)):
            yield start, at
            start = None
        if content and start is None:
            start = at
        if content and alone:
            yield at, at + len(line)
            start = None
        previous = "" if alone else content
        at += len(line)
    if start is not None:
        yield start, at


def _stands_alone(line: str) -> bool:
    body = line.rstrip()
    if not _OWN_LINE.match(body):
        return _TABULAR.search(body) is not None
    return not re.match(
        r"\s*(?:[-*•‣–]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s", body
    )  # a list's item may go on in the next line


def _reads_on(previous: str, content: str) -> bool:
    """Return whether a line goes on with the one before, which was broken to a width."""
    if not previous or _OWN_LINE.match(content):
        return False
    return len(previous) >= _WRAPPED or content[0].islower()


def _ended(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _END.finditer(text, start, end):
        following = text[found.end() : end].lstrip()[:1]
        is_plain = found[0][0] == "."
        if is_plain and (following.islower() or _ABBREVIATION.search(text, max(start, found.end() - 12), found.end())):
            continue
        yield start, found.end()
        start = found.end()
    yield start, end


def _cut(text: str, start: int, end: int) -> Iterator[Span]:
    """Leave out white space, and cut what is too long."""
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    end -= len(body) - len(body.rstrip())
    while end - start > LONGEST:
        space = max(text.rfind(mark, start + LONGEST // 2, start + LONGEST) for mark in "; ,\n\u3000、，")
        cut = space + 1 if space > 0 else start + LONGEST
        yield start, cut
        start = cut + len(text[cut:end]) - len(text[cut:end].lstrip())
    if start < end:
        yield start, end
