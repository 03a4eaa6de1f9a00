"""Files whose rows are documents: JSON lines, JSON, CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from colbert_qdrant.cli.reading.bytes_of import decoded
from colbert_qdrant.cli.reading.corpus import Document, Failed, File
from colbert_qdrant.errors import InvalidInput

_WIDEST_FIELD = 2**31 - 1
_WORDS = ("_id", "id", "title")
_INT64 = 2**63


def json_lines(data: bytes, file: File, encoding: str | None) -> Iterator[Document | Failed]:
    """Read JSON lines as BEIR has them: ``{"_id", "title", "text"}``; what else a row holds is its metadata.

    References
    ----------
    https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
    """
    for number, line in enumerate(_lines(data, encoding), start=1):
        if line.strip():
            where = f"{file.where}:{number}"
            try:
                text = line if isinstance(line, str) else decoded(line, encoding)
                row = json.loads(text.removeprefix("\ufeff"))
            except InvalidInput as error:
                yield Failed(where, str(error))
            except (ValueError, RecursionError) as error:
                yield Failed(where, not_json(error))
            else:
                yield _document(where, row, file)


def _lines(data: bytes, encoding: str | None) -> Iterable[str | bytes]:
    try:
        return io.StringIO(decoded(data, encoding), newline="\n")
    except InvalidInput:  # a line of it; the others may be rows
        return io.BytesIO(data)


def json_rows(text: str, file: File) -> Iterator[Document | Failed] | None:
    """Read a JSON file that is a document, or a list of them; ``None`` where it is something else.

    Raises
    ------
    InvalidInput
        It is not JSON.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(not_json(error)) from None
    rows = value if isinstance(value, list) else [value]
    if rows and not any(isinstance(row, dict) and isinstance(row.get("text"), str) for row in rows):
        return None
    return (_document(f"{file.where}[{number}]", row, file) for number, row in enumerate(rows))


def csv_rows(text: str, file: File, delimiters: str) -> Iterator[Document | Failed]:
    """Read a table with a header; without a column ``text`` a document is all that its row says.

    Between fields stands that one of the `delimiters` which makes most columns of the header. A field in quotes may
    go on over lines only if it ends as one should: else it is a quote that was never closed, and holds other rows.
    """
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line
        taken.append("")  # a field that goes on asks for it

    def width(delimiter: str) -> int:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return len(next(filter(any, rows), []))

    before = csv.field_size_limit(_WIDEST_FIELD)
    names: list[str] = []
    end = 0
    try:
        delimiter = max(delimiters, key=width)
        reader = csv.reader(lines(), delimiter=delimiter)
        for cells in reader:
            if len(taken) > 1:
                list(csv.reader(taken, delimiter=delimiter, strict=True))
            taken.clear()
            end = reader.line_num
            if not any(cells):
                continue
            if not names:
                names = [name.strip() for name in cells]
            elif len(cells) > len(names):
                yield Failed(f"{file.where}:{end}", f"has {len(cells)} fields, the header {len(names)}")
            else:
                yield _document(f"{file.where}:{end}", _row(names, cells), file)
    except csv.Error as error:
        reason = f"not CSV: {error}; rows from here on are not read: close the quote, or write two within quotes"
        yield Failed(f"{file.where}:{end + 1}", reason)
    finally:
        csv.field_size_limit(before)


def _row(names: list[str], cells: list[str]) -> dict[str, Any]:
    """Return a row's cells by their names; of columns of one name all."""
    found: dict[str, list[str]] = {}
    for name, cell in zip(names, cells, strict=False):
        if cell:
            found.setdefault(name, []).append(cell)
    if "text" in names:
        said = found.pop("text", [])
    else:
        said = [f"{name}: {cell}" for name, same in found.items() for cell in same]
    row: dict[str, Any] = {"text": "\n".join(said)}
    for name, same in found.items():
        values = [_number(cell) for cell in same]
        row[name] = "\n".join(same) if name in _WORDS else values if len(values) > 1 else values[0]
    return row


def _number(cell: str) -> str | int | float:
    """Return a number where the cell is exactly what that number is written as: 007 and 1.50 stay what they are."""
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if is_stored(value) and str(value) == cell:
            return value
    return cell


def is_stored(number: float) -> bool:
    """Return whether a number can be stored as one: what has more digits than 64 bits hold is text in a table."""
    return -_INT64 <= number < _INT64 if isinstance(number, int) else math.isfinite(number)


def _document(where: str, row: Any, file: File) -> Document | Failed:
    try:
        return document(where, row, file)
    except InvalidInput as error:
        return Failed(where, str(error))


def document(where: str, row: Any, file: File) -> Document:
    """Return a row as a document.

    The title stands above the text, so that it is searched and shown with it, and is kept as metadata too. A row
    without an id of its own has one of its file and of what it says.
    """
    if not isinstance(row, dict):
        raise InvalidInput(f'a {type(row).__name__}, not an object with a "text"')
    others = dict(row)
    text, title = others.pop("text", None), others.get("title")
    if not isinstance(text, str):
        raise InvalidInput('no "text", or one that is not a string')
    if not text.strip():
        raise InvalidInput('"text" is empty')
    record_id = others.pop("_id", None)
    if record_id is None:
        record_id = others.pop("id", None)
    if not isinstance(record_id, str | int | None) or isinstance(record_id, bool):
        raise InvalidInput(f'"_id" is {record_id!r:.40}: an id is a string or a whole number')
    nested = others.pop("metadata", None)
    metadata = nested | others if isinstance(nested, dict) else others | ({"metadata": nested} if nested else {})
    headed = "\n\n".join(filter(None, [title, text])) if isinstance(title, str) else text
    if record_id is not None:
        return Document(where, record_id, headed, metadata, file.place, is_row=True, names_itself=True)
    try:
        said = json.dumps([headed, metadata], sort_keys=True)
    except RecursionError:
        raise InvalidInput("nested too deep") from None
    digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
    return Document(where, f"{file.place}#{digest}", headed, metadata, file.place, is_row=True)


def not_json(error: Exception) -> str:
    """Say what keeps a text from being JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno}"
    if isinstance(error, RecursionError):
        return "JSON that is nested too deep"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else f"not JSON: {error}"
