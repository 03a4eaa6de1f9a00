"""What there is to index in a file or a folder: documents with ids, texts and metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colbert_qdrant.errors import InvalidInput

ROWS = (".jsonl", ".ndjson")
TEXTS = (".txt", ".md", ".rst")

CHUNK = 1000
"""Characters of a chunk at most: in English some 230 tokens, which every supported model reads whole."""

_STRETCH = re.compile(rf".{{1,{CHUNK}}}(?:(?<=[.!?])(?!\S)|(?<=[。！？]))|.{{1,{CHUNK}}}(?!\S)|.{{1,{CHUNK}}}")


@dataclass(frozen=True, slots=True)
class Document:
    """What becomes one record; `where` it was read, as ``file:line``."""

    where: str
    id: str | int | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """What could not be indexed, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was read.

    Parameters
    ----------
    documents, failed
        In the order they were read.
    chunks
        How many chunks each text file has, by its path.
    """

    documents: list[Document] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    chunks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a text and the lines that it stands on, counted from 1."""

    text: str
    first_line: int
    last_line: int


def read(source: Path) -> Corpus:
    """Read JSON lines, a text file, or the text files of a folder and the folders below it.

    Raises
    ------
    InvalidInput
        Neither of these, or nothing in it.
    """
    if source.is_dir():
        folder = source.resolve()
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in TEXTS and file.is_file())
        visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
        corpus = read_texts(visible, folder.parent)
    elif source.suffix.lower() in ROWS:
        corpus = read_rows(source)
    elif source.suffix.lower() in TEXTS:
        file = source.resolve()
        corpus = read_texts([file], file.parent.parent)
    else:
        raise InvalidInput(f"{source}: give JSON lines ({_listed(ROWS)}), a text file ({_listed(TEXTS)}) or a folder")
    if not (corpus.documents or corpus.failed):
        holds = f"no text in {_listed(TEXTS)}" if source.is_dir() else "nothing"
        raise InvalidInput(f"{source} holds {holds} to index")
    return corpus


def read_rows(file: Path) -> Corpus:
    """Read JSON lines as BEIR has them: ``{"_id", "title", "text"}``; what else a row holds is its metadata.

    The title stands above the text, so that it is searched and shown with it, and is kept as metadata too.

    References
    ----------
    https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
    """
    corpus = Corpus()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file.name}:{number}"
            if not line.strip():
                continue
            try:
                corpus.documents.append(_row(where, json.loads(line)))
            except (ValueError, RecursionError) as error:
                corpus.failed.append(Failed(where, str(error) if isinstance(error, InvalidInput) else _not_json(error)))
    return corpus


def _row(where: str, row: Any) -> Document:
    if not isinstance(row, dict):
        raise InvalidInput(f'a {type(row).__name__}, not an object with a "text"')
    others = dict(row)
    text, title = others.pop("text", None), others.get("title")
    if not isinstance(text, str):
        raise InvalidInput('no "text", or one that is not a string')
    record_id = others.pop("_id", None)
    if record_id is None:
        record_id = others.pop("id", None)
    nested = others.pop("metadata", None)
    metadata = nested | others if isinstance(nested, dict) else others | ({"metadata": nested} if nested else {})
    headed = "\n\n".join(filter(None, [title, text])) if isinstance(title, str) else text
    return Document(where, record_id, headed, metadata)


def _not_json(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno}"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else f"not JSON: {error}"


def read_texts(files: Iterable[Path], root: Path) -> Corpus:
    """Read text files, each cut into chunks that know their file and lines; paths are relative to `root`."""
    corpus = Corpus()
    for file in files:
        path = file.relative_to(root).as_posix()
        try:
            found = list(chunks(file.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            corpus.failed.append(Failed(path, "not UTF-8" if isinstance(error, ValueError) else str(error)))
            continue
        corpus.chunks[path] = len(found)
        for number, chunk in enumerate(found, start=1):
            lines = {"path": path, "first_line": chunk.first_line, "last_line": chunk.last_line}
            where = f"{path}:{chunk.first_line}"
            corpus.documents.append(Document(where, chunk_id(path, number), chunk.text, lines))
    return corpus


def chunk_id(path: str, number: int) -> str:
    """Return the id of a file's chunk, counted from 1: a file that changed replaces what it was."""
    return f"{path}#{number}"


def chunks(text: str) -> Iterator[Chunk]:
    """Cut a text into chunks of whole paragraphs, as many as fit."""
    return _packed(_paragraphs(text), "\n\n")


def _paragraphs(text: str) -> Iterator[Chunk]:
    """Cut at blank lines; a paragraph that is too long also at its lines."""
    lines: list[Chunk] = []
    for number, line in enumerate(text.split("\n"), start=1):
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


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(suffixes)
