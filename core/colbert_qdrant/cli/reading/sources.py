"""A source read: each of its files by the reader of its format."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from colbert_qdrant.cli.reading.bytes_of import decoded, read_bytes
from colbert_qdrant.cli.reading.chunks import Chunk, chunks, chunks_of_lines
from colbert_qdrant.cli.reading.corpus import Corpus, Document, Failed, File, Source
from colbert_qdrant.cli.reading.html import text_lines
from colbert_qdrant.cli.reading.pdf import page_texts
from colbert_qdrant.cli.reading.rows import csv_rows, json_lines, json_rows
from colbert_qdrant.cli.reading.walk import Choice, Skipped, walk
from colbert_qdrant.errors import InvalidInput, MissingExtra

STDIN = Path("-")

_JSON_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{.*\}\s*?$", re.MULTILINE)
"""A whole object on the first line; of JSON that was set out for people it goes on."""

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{")

Items: TypeAlias = Iterator[Document | Failed]


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is read.

    Parameters
    ----------
    read
        Yields what it holds.
    has_rows
        Its documents are rows, of which the next form of the file may hold others; else they are chunks of the file,
        and those that it no longer has are gone.
    """

    read: Callable[[bytes, File, Choice], Items]
    has_rows: bool = False


def read(source: Source, choice: Choice) -> Corpus:
    """Read all documents of a source: a file, a folder and the folders below it, or standard input (``-``).

    What can't be read is left out and reported, item by item.

    Raises
    ------
    MissingExtra
        What reads the file that was named is not installed.
    """
    corpus = Corpus()
    if source.path == STDIN:
        data = sys.stdin.buffer.read()
        _read_file(corpus, source.file(STDIN), format_of(source.name) or _sniffed(data), choice, lambda: data)
    elif source.path.is_dir():
        _read_folder(corpus, source, choice)
    else:
        file, known = source.file(source.path), format_of(source.path.name)
        data = read_bytes(source.path, is_packed=_is_packed(source.path.name), follow=True)
        _read_file(corpus, file, known or _sniffed(data), choice, lambda: data)
    return corpus


def said_of(skipped: Counter[str]) -> str:
    """Say how many files were left out, and why."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"skipped: {counts}" if counts else ""


def _read_folder(corpus: Corpus, source: Source, choice: Choice) -> None:
    for found in walk(source.path, choice):
        if isinstance(found, Skipped):
            corpus.skipped[found.reason] += 1
        elif isinstance(found, Failed):
            corpus.failed.append(Failed(_as_text(found.where), found.reason))
        elif (known := format_of(found.name)) is None:
            corpus.skipped[found.suffix.lower() or "without a suffix"] += 1
        elif _as_text(str(found)) != str(found):
            corpus.failed.append(Failed(_as_text(str(found)), "its name is not UTF-8: rename it"))
        else:
            try:
                is_empty = not _read_file(corpus, source.file(found), known, choice, partial(_bytes, found))
                corpus.skipped.update(["empty"] * is_empty)
            except MissingExtra as error:
                corpus.skipped[f"{found.suffix.lower()} ({error})"] += 1


def _bytes(path: Path) -> bytes:
    return read_bytes(path, is_packed=_is_packed(path.name), follow=False)


def _read_file(corpus: Corpus, file: File, known: Format, choice: Choice, data: Callable[[], bytes]) -> bool:
    """Read a file into the corpus, one that can't be read as a failure; returns whether there was anything in it."""
    documents = len(corpus.documents)
    failed = len(corpus.failed)
    seen: set[str | int] = set()
    try:
        for item in known.read(data(), file, choice):
            if isinstance(item, Failed):
                corpus.failed.append(item)
            elif item.names_itself or item.id not in seen:  # the same row without an id is the same document
                seen.add(item.id)
                corpus.documents.append(item)
    except (OSError, InvalidInput) as error:
        if isinstance(error, MissingExtra):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        corpus.failed.append(Failed(file.where, reason))
    if len(corpus.failed) == failed:
        read = corpus.documents[documents:]
        corpus.whole.add(file.place)
        if not (any(document.is_row for document in read) if read else known.has_rows):
            corpus.chunked.add(file.place)
    return len(corpus.documents) > documents or len(corpus.failed) > failed


def _as_text(path: str) -> str:
    """Return a path as text: bytes of a name that is not UTF-8 are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def format_of(name: str) -> Format | None:
    """Return how a file of that name is read; ``None``: it is not."""
    lowered = name.lower().removesuffix(".gz")
    suffix = Path(lowered).suffix
    return _FORMATS.get(suffix) or (_TEXT if suffix in _TEXTS or Path(lowered).stem in _TEXT_NAMES else None)


def _is_packed(name: str) -> bool:
    return name.lower().endswith(".gz")


def _sniffed(data: bytes) -> Format:
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"%pdf-"):
        return _FORMATS[".pdf"]
    if start.startswith((b"<!doctype html", b"<html")):
        return _FORMATS[".html"]
    if _JSON_LINE.match(data):
        return _FORMATS[".jsonl"]
    return _FORMATS[".json"] if _JSON.match(data) else _TEXT


def _text(data: bytes, file: File, choice: Choice) -> Items:
    yield from _chunked(chunks(decoded(data, choice.encoding)), file)


def _html(data: bytes, file: File, choice: Choice, *, is_xml: bool = False) -> Items:
    title, lines = text_lines(decoded(data, choice.encoding, is_html=True), is_xml=is_xml)
    yield from _chunked(chunks_of_lines(lines), file, {"title": title} if title else {})


def _pdf(data: bytes, file: File, choice: Choice) -> Items:
    for page, text in page_texts(data):
        where = f"{file.where}#page={page}"  # as browsers open it: RFC 8118
        if isinstance(text, InvalidInput):
            yield Failed(where, str(text))
            continue
        for number, chunk in enumerate(chunks(text), start=1):
            metadata = {"path": file.shown, "page": page}
            yield Document(where, file.chunk_id(f"{page}.{number}"), chunk.text, metadata, file.place)


def _json_lines(data: bytes, file: File, choice: Choice) -> Items:
    yield from json_lines(data, file, choice.encoding)


def _json(data: bytes, file: File, choice: Choice) -> Items:
    text = decoded(data, choice.encoding)
    yield from json_rows(text, file) or _chunked(chunks(text), file)


def _csv(data: bytes, file: File, choice: Choice) -> Items:
    yield from csv_rows(decoded(data, choice.encoding), file, ",;\t|")


def _tsv(data: bytes, file: File, choice: Choice) -> Items:
    yield from csv_rows(decoded(data, choice.encoding), file, "\t")


def _chunked(found: Iterable[Chunk], file: File, about: dict[str, str] | None = None) -> Items:
    for number, chunk in enumerate(found, start=1):
        lines = {"path": file.shown, "first_line": chunk.first_line, "last_line": chunk.last_line}
        where = f"{file.where}:{chunk.first_line}"
        yield Document(where, file.chunk_id(number), chunk.text, {**(about or {}), **lines}, file.place)


_TEXT = Format(_text)

_FORMATS = {
    ".csv": Format(_csv, has_rows=True),
    ".htm": Format(_html),
    ".html": Format(_html),
    ".json": Format(_json, has_rows=True),
    ".jsonl": Format(_json_lines, has_rows=True),
    ".ndjson": Format(_json_lines, has_rows=True),
    ".pdf": Format(_pdf),
    ".tsv": Format(_tsv, has_rows=True),
    ".xhtml": Format(partial(_html, is_xml=True)),
}

_WORDS = ".adoc .asciidoc .markdown .md .mdx .org .qmd .rmd .rst .srt .tex .text .textile .txt .vtt"
_CODE = (
    ".asm .bash .bat .c .cc .cjs .clj .cljs .cmake .coffee .cpp .cs .css .cu .cxx .d .dart .el .elm .erl .ex .exs .f90 "
    ".fish .fs .go .gradle .graphql .groovy .h .hh .hpp .hs .hxx .idl .java .jl .js .jsx .kt .kts .less .lisp .lua .m "
    ".mjs .ml .mli .mm .nim .nix .pas .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rkt .rs .s .sass .scala .scm "
    ".scss .sh .sol .sql .svelte .swift .tcl .tf .ts .tsx .v .vb .vhd .vhdl .vim .vue .zig .zsh"
)
_SETTINGS = ".cfg .conf .ini .properties .toml .xml .yaml .yml"
_NAMES = "authors changelog changes contributing copying dockerfile license makefile notice news readme todo"

_TEXTS = frozenset([*_WORDS.split(), *_CODE.split(), *_SETTINGS.split()])
_TEXT_NAMES = frozenset(_NAMES.split())
