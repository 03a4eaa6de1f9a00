"""What the command line takes the bytes of a file for: UTF-8, and what the file or the user says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("click")
from colbert_qdrant.cli.reading import Choice, Corpus, Failed, Source, read


def read_file(file: Path, content: str | bytes, **choice: object) -> Corpus:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(Source.of(file), Choice(**choice))  # type: ignore[arg-type]


def texts(corpus: Corpus) -> list[str]:
    assert corpus.failed == []
    return [document.text for document in corpus.documents]


def test_a_page_says_itself_what_its_bytes_are(tmp_path: Path) -> None:
    page = '<meta charset="windows-1252"><p>na\xefve \x93quoted\x94'.encode("latin-1")

    assert texts(read_file(tmp_path / "page.html", page)) == ["naïve “quoted”"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_understood(tmp_path: Path, encoding: str) -> None:
    assert texts(read_file(tmp_path / "a.txt", "naïve".encode(encoding))) == ["naïve"]
    assert texts(read_file(tmp_path / "a.jsonl", '{"text": "\u0a0a"}\n'.encode(encoding))) == ["\u0a0a"]


def test_a_text_that_is_not_utf_8_says_the_way_out_and_the_way_out_works(tmp_path: Path) -> None:
    latin = "naïve".encode("latin-1")

    [failed] = read_file(tmp_path / "a.md", latin).failed

    assert failed == Failed(f"{tmp_path}/a.md", "not UTF-8; --encoding names what it is, such as --encoding cp1252")
    assert texts(read_file(tmp_path / "a.md", latin, encoding="latin-1")) == ["naïve"]
    assert texts(read_file(tmp_path / "b.md", "naïve", encoding="latin-1")) == ["naïve"]


@pytest.mark.parametrize("encoding", ["iso-2022-jp", "hz", "utf-7", "utf-16-le", "utf-16-be"])
def test_text_that_is_utf_8_by_chance_is_read_as_what_is_said(tmp_path: Path, encoding: str) -> None:
    plain = {"a.txt": "cafés: naïve", "b.txt": "plain, of an even length"}
    other = "all of it ASCII" if encoding.startswith("utf-16") else "A 日本, B"

    assert texts(read_file(tmp_path / "o.txt", other.encode(encoding), encoding=encoding)) == [other]
    for name, text in plain.items():
        assert texts(read_file(tmp_path / name, text, encoding=encoding)) == [text]


def test_escapes_that_are_not_of_the_encoding_that_is_said_are_utf_8(tmp_path: Path) -> None:
    coloured = "\x1b[0mlog"

    assert texts(read_file(tmp_path / "a.txt", coloured, encoding="iso-2022-jp")) == [coloured]


def test_a_page_in_an_encoding_of_ascii_says_itself_what_its_bytes_are(tmp_path: Path) -> None:
    page = '<meta charset="iso-2022-jp"><p>自転車'.encode("iso-2022-jp")

    assert texts(read_file(tmp_path / "page.html", page)) == ["自転車"]


def test_a_page_that_is_utf_8_and_says_otherwise_is_utf_8(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "page.html", '<meta charset="iso-8859-1"><p>naïve')) == ["naïve"]
    assert texts(read_file(tmp_path / "page.html", '<meta charset="no-such-thing"><p>plain')) == ["plain"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", '\n{"text": "naïve “x”"}'), ("a.json", '[{"text": "naïve “x”"}]'), ("a.csv", "text\nnaïve “x”")],
)
def test_rows_are_read_in_the_encoding_that_was_named(tmp_path: Path, name: str, content: str) -> None:
    assert texts(read_file(tmp_path / name, content.encode("cp1252"), encoding="cp1252")) == ["naïve “x”"]


def test_a_line_that_is_not_utf_8_says_the_way_out(tmp_path: Path) -> None:
    [failed] = read_file(tmp_path / "a.jsonl", '{"text": "ok"}\n{"text": "naïve"}'.encode("latin-1")).failed

    assert failed.where == f"{tmp_path}/a.jsonl:2"
    assert failed.reason.startswith("not UTF-8; --encoding names what it is")


@pytest.mark.parametrize("encoding", [None, "latin-1"])
def test_what_is_no_text_is_not_read_as_one(tmp_path: Path, encoding: str | None) -> None:
    [failed] = read_file(tmp_path / "a.txt", b"\x7fELF\x00\xff" * 9, encoding=encoding).failed

    assert failed.reason == "not text"
