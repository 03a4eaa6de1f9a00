"""A text cut into chunks that a model reads whole and that know their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHUNK = 1000
"""Characters of a chunk at most: in English some 230 tokens, which every supported model reads whole."""

_STRETCH = re.compile(rf".{{1,{CHUNK}}}(?:(?<=[.!?])(?!\S)|(?<=[。！？]))|.{{1,{CHUNK}}}(?!\S)|.{{1,{CHUNK}}}")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a text and the lines that it stands on, counted from 1."""

    text: str
    first_line: int
    last_line: int


def chunks(text: str) -> Iterator[Chunk]:
    """Cut a text into chunks of whole paragraphs, as many as fit."""
    return chunks_of_lines(enumerate(text.split("\n"), start=1))


def chunks_of_lines(lines: Iterable[tuple[int, str]]) -> Iterator[Chunk]:
    """Cut numbered lines into chunks of whole paragraphs; blank lines stand between those."""
    return _packed(_paragraphs(lines), "\n\n")


def _paragraphs(text: Iterable[tuple[int, str]]) -> Iterator[Chunk]:
    """Cut at blank lines; a paragraph that is too long also at its lines."""
    lines: list[Chunk] = []
    for number, line in text:
        if line.strip():
            lines += _stretches(line, number) if len(line) > CHUNK else [Chunk(line.rstrip(), number, number)]
        else:
            yield from _packed(lines, "\n")
            lines = []
    yield from _packed(lines, "\n")


def _stretches(line: str, number: int) -> list[Chunk]:
    """Cut a line that is too long where a sentence ends, else between words, else anywhere."""
    return [Chunk(part.strip(), number, number) for part in _STRETCH.findall(line) if part.strip()]


def _packed(parts: Iterable[Chunk], between: str) -> Iterator[Chunk]:
    """Join neighbours for as long as they fit into a chunk."""
    waiting: list[Chunk] = []
    length = 0
    for part in parts:
        if waiting and length + len(part.text) > CHUNK:
            yield _joined(waiting, between)
            waiting, length = [], 0
        waiting.append(part)
        length += len(part.text) + len(between)
    if waiting:
        yield _joined(waiting, between)


def _joined(parts: list[Chunk], between: str) -> Chunk:
    return Chunk(between.join(part.text for part in parts), parts[0].first_line, parts[-1].last_line)
