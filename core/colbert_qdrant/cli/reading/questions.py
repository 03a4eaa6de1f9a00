"""Questions and what answers them, from files: BEIR's, JSON lines, or a question a line."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from colbert_qdrant.cli.reading.rows import not_json
from colbert_qdrant.errors import InvalidInput

Judgements: TypeAlias = dict[str, dict[str, int]]


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
        lines = [line.strip() for line in _text(source).splitlines()]
        return {line: line for line in lines if line}, None
    if qrels is not None:
        return _judged(_named(source), qrels)
    questions, expected = {}, {}
    for where, row in _rows(source):
        text = _question(where, row)
        name = str(row.get("_id", text))
        questions[name] = text
        if row.get("expected"):
            expected[name] = _ids(where, row["expected"])
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
    for number, cells in enumerate(csv.reader(_text(file).splitlines(), delimiter="\t"), start=1):
        fields = cells if len(cells) > 1 else "".join(cells).split()
        if not fields or (number == 1 and fields[-1].isidentifier()):  # a header
            continue
        if len(fields) not in (3, 4) or not _is_number(fields[-1]):
            raise InvalidInput(f"{file}:{number}: expected a question's id, a document's and a whole number as grade")
        if int(fields[-1]) > 0:
            judgements.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    return judgements


def _qrels_of(folder: Path) -> Path:
    found = [folder / "qrels.tsv", folder / "qrels" / "test.tsv"]
    for file in found:
        if file.is_file():
            return file
    raise InvalidInput(f"{folder} has neither qrels.tsv nor qrels/test.tsv: --qrels names the file of judgements")


def _named(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise InvalidInput(f"there is no {file}; a folder in BEIR's layout has queries.jsonl and qrels/test.tsv")
    return {str(row.get("_id", where)): _question(where, row) for where, row in _rows(file)}


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_text(file).splitlines(), start=1):
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


def _question(where: str, row: Mapping[str, Any]) -> str:
    text = row.get("question", row.get("text"))
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f'{where}: no "question" (or "text"), or an empty one')
    return text


def _ids(where: str, expected: Any) -> list[str] | dict[str, int]:
    if isinstance(expected, dict):
        return expected
    ids = expected if isinstance(expected, list) else [expected]
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in ids):
        raise InvalidInput(f'{where}: "expected" is an id, a list of ids, or an object of grades by id')
    return [str(each) for each in ids]


def _text(file: Path) -> str:
    try:
        return file.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 ({error.reason} at byte {error.start})") from None


def _is_number(text: str) -> bool:
    return text.lstrip("-").isascii() and text.lstrip("-").isdigit()
