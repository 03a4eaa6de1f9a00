"""Files whose rows are documents: JSON lines, JSON, CSV."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

from colbert_qdrant.cli.reading.corpus import Document, Failed, File
from colbert_qdrant.errors import InvalidInput

_WIDEST_FIELD = 2**31 - 1
_WORDS = ("_id", "id", "title")


def json_lines(data: bytes, file: File) -> Iterator[Document | Failed]:
    """Read JSON lines as BEIR has them: ``{"_id", "title", "text"}``; what else a row holds is its metadata.

    References
    ----------
    https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
    """
    for number, line in enumerate(io.BytesIO(data), start=1):
        if line.strip():
            where = f"{file.where}:{number}"
            try:
                row = json.loads(line.removeprefix(codecs.BOM_UTF8))
            except (ValueError, RecursionError) as error:
                yield Failed(where, not_json(error))
            else:
                yield _document(where, row, file)


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
    if not any(isinstance(row, dict) and isinstance(row.get("text"), str) for row in rows):
        return None
    return (_document(f"{file.where}[{number}]", row, file) for number, row in enumerate(rows))


def csv_rows(text: str, file: File) -> Iterator[Document | Failed]:
    """Read a table with a header; without a column ``text`` a document is all that its row says.

    The header says what stands between fields: comma, semicolon, tab or bar.
    """
    before = csv.field_size_limit(_WIDEST_FIELD)
    header = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=header.count))
    try:
        names = [name.strip() for name in next(reader, [])]
        for cells in reader:
            where = f"{file.where}:{reader.line_num}"
            if len(cells) > len(names):
                yield Failed(where, f"has {len(cells)} fields, the header {len(names)}")
            elif any(cells):
                yield _document(where, _row(names, cells), file)
    except csv.Error as error:
        yield Failed(file.where, f"not CSV: {error}")
    finally:
        csv.field_size_limit(before)


def _row(names: list[str], cells: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    said = row.pop("text", "") if "text" in names else "\n".join(f"{name}: {cell}" for name, cell in row.items())
    return {name: cell if name in _WORDS else _number(cell) for name, cell in row.items()} | {"text": said}


def _number(cell: str) -> str | int | float:
    """Return a number where the cell is exactly what that number is written as: 007 and 1.50 stay what they are."""
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if str(value) == cell and value not in (float("inf"), float("-inf")) and value == value:
            return value
    return cell


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
