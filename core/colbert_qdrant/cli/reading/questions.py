"""Questions and what answers them, from files: BEIR's, JSON lines, or a question a line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from colbert_qdrant.cli.reading.rows import not_json
from colbert_qdrant.errors import InvalidInput

Judgements: TypeAlias = dict[str, dict[str, int]]

_GRADE = re.compile(r"-?[0-9]{1,18}")


def read_questions(source: Path, qrels: Path | None) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Read questions by name, and by name what answers them; ``None`` where nothing says so.

    Of a folder, or with `qrels`, the questions are those that something was judged for.

    Raises
    ------
    InvalidInput
        A file or a line is not what it should be; says which.
    """
    if source.is_dir():
        return _judged(_named(source / "queries.jsonl"), qrels or _qrels_of(source))
    if source.suffix != ".jsonl":
        if qrels is not None:
            raise InvalidInput(f"--qrels names questions by their _id; {source} has none: give a queries.jsonl")
        lines = [line.strip() for line in _lines(source)]
        return {line: line for line in lines if line}, None
    if qrels is not None:
        return _judged(_named(source), qrels)
    questions: dict[str, str] = {}
    expected: dict[str, dict[str, Any]] = {}
    for where, row in _rows(source):
        name = _add(questions, where, row, _question(where, row))
        if row.get("expected") not in (None, "", [], {}):
            expected.setdefault(name, {}).update(_grades(where, row["expected"]))
    return questions, expected or None


def _judged(questions: dict[str, str], file: Path) -> tuple[dict[str, str], Judgements]:
    judgements = read_qrels(file)
    return {name: text for name, text in questions.items() if name in judgements}, judgements


def read_qrels(file: Path) -> Judgements:
    """Read what was judged: BEIR's three columns under a header, or TREC's four; grades of 0 and less are none.

    References
    ----------
    https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset and https://trec.nist.gov/data/qrels_eng/
    """
    judgements: Judgements = {}
    for number, line in enumerate(_lines(file), start=1):
        fields = _cells(line) if "\t" in line else line.split()
        if not fields or (number == 1 and fields[-1].isidentifier()):  # a header
            continue
        if len(fields) not in (3, 4) or not _GRADE.fullmatch(fields[-1]):
            raise InvalidInput(f"{file}:{number}: expected a question's id, a document's and a whole number as grade")
        if int(fields[-1]) > 0:
            judgements.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    return judgements


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:  # a quote that is part of an id
        return line.split("\t")


def _qrels_of(folder: Path) -> Path:
    found = [folder / "qrels.tsv", folder / "qrels" / "test.tsv"]
    for file in found:
        if file.is_file():
            return file
    raise InvalidInput(f"{folder} has neither qrels.tsv nor qrels/test.tsv: --qrels names the file of judgements")


def _named(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise InvalidInput(f"there is no {file}; a folder in BEIR's layout has queries.jsonl and qrels/test.tsv")
    questions: dict[str, str] = {}
    for where, row in _rows(file):
        _add(questions, where, row, where)
    return questions


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{where}: {not_json(error)}") from None
        if not isinstance(row, dict):
            raise InvalidInput(f'{where}: a {type(row).__name__}, not an object with a "question"')
        yield where, row


def _add(questions: dict[str, str], where: str, row: Mapping[str, Any], otherwise: str) -> str:
    """Add a row's question under its ``_id``, or else another name; returns it."""
    text = _question(where, row)
    name = otherwise if row.get("_id") is None else str(row["_id"])
    if questions.setdefault(name, text) != text:
        raise InvalidInput(f'{where}: "_id" {name!r:.60} is another question\'s already; give each its own')
    return name


def _question(where: str, row: Mapping[str, Any]) -> str:
    text = row.get("question", row.get("text"))
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f'{where}: no "question" (or "text"), or an empty one')
    return text


def _grades(where: str, expected: Any) -> dict[str, Any]:
    if isinstance(expected, dict):
        return expected
    ids = expected if isinstance(expected, list) else [expected]
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in ids):
        raise InvalidInput(f'{where}: "expected" is an id, a list of ids, or an object of grades by id')
    return {str(each): 1 for each in ids}


def _lines(file: Path) -> list[str]:
    """Return a file's lines, which other characters than line ends do not end: they may stand in a question."""
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 ({error.reason} at byte {error.start})") from None
