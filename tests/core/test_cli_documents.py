from __future__ import annotations

from pathlib import Path

import pytest

from colbert_qdrant.cli.documents import CHUNK, Document, Failed, chunks, read
from colbert_qdrant.errors import InvalidInput


def test_a_text_is_cut_into_whole_paragraphs() -> None:
    text = "\n".join(["# One", "", "first", "line two", "", "", "x" * 900, "", "y" * 900])

    found = [(chunk.text, chunk.first_line, chunk.last_line) for chunk in chunks(text)]

    assert found == [("# One\n\nfirst\nline two\n\n" + "x" * 900, 1, 7), ("y" * 900, 9, 9)]


@pytest.mark.parametrize("text", ["A sentence of words. " * 300, "word " * 1000, "x" * 5000, "一句话。" * 900])
def test_a_paragraph_that_is_too_long_is_cut_and_nothing_lost(text: str) -> None:
    found = [chunk.text for chunk in chunks(text)]

    assert all(len(part) <= CHUNK for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())


@pytest.mark.parametrize("sentence", ["A sentence of words. ", "一句话。"])
def test_long_paragraphs_are_cut_at_sentences(sentence: str) -> None:
    found = [chunk.text for chunk in chunks(sentence * 300)]

    assert len(found) > 1
    assert all(part == (sentence * part.count(sentence.strip())).strip() for part in found)


def test_a_folder_is_read_below_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b.md", "deep/a.txt", "c.py", ".git/x.txt"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text("\n\ntext of " + name)

    found = [(document.id, document.metadata) for document in read(tmp_path / "docs").documents]

    assert found == [
        ("docs/b.md#1", {"path": "docs/b.md", "first_line": 3, "last_line": 3}),
        ("docs/deep/a.txt#1", {"path": "docs/deep/a.txt", "first_line": 3, "last_line": 3}),
    ]


def test_a_file_alone_is_the_same_as_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")

    assert read(tmp_path / "a.md").documents == read(tmp_path).documents


def test_a_file_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff\xfe")

    assert read(tmp_path).failed == [Failed(f"{tmp_path.name}/a.md", "not UTF-8")]


def test_nested_metadata_is_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "t", "metadata": {"year": 1999}, "lang": "en"}')

    assert read(tmp_path / "a.jsonl").documents == [Document("a.jsonl:1", None, "t", {"year": 1999, "lang": "en"})]


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").touch()

    with pytest.raises(InvalidInput, match=r"give JSON lines \(.jsonl"):
        read(tmp_path / "a.pdf")
