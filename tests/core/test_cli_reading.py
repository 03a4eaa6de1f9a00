"""What the command line finds in files: chunks, rows, pages, encodings."""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path

import pytest

pytest.importorskip("click")
from colbert_qdrant.cli.reading import Choice, Corpus, Failed, Source, read
from colbert_qdrant.cli.reading.chunks import CHUNK, chunks
from colbert_qdrant.cli.reading.html import text_lines

PAGE = """<!doctype html>
<html><head><title>The  page</title><style>p { color: red }</style></head>
<body><script>let x = "<p>no</p>";</script>
<h1>Back&shy;up &amp; restore</h1>
<p>First
line <b>bold</b>.</p>
<ul><li>one<li>two</ul>
<pre>def f():
    return 1
</pre></body></html>"""


def read_file(file: Path, content: str | bytes, **choice: object) -> Corpus:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(Source.of(file), Choice(**choice))  # type: ignore[arg-type]


def texts(corpus: Corpus) -> list[str]:
    assert corpus.failed == []
    return [document.text for document in corpus.documents]


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


def test_a_chunk_knows_its_file_and_lines(tmp_path: Path) -> None:
    [document] = read_file(tmp_path / "a.md", "\n\ntext").documents

    assert document.metadata == {"path": f"{tmp_path}/a.md", "first_line": 3, "last_line": 3}
    assert (document.id, document.where) == (f"{tmp_path}/a.md#1", f"{tmp_path}/a.md:3")


def test_a_file_alone_is_the_same_as_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")

    assert read(Source.of(tmp_path / "a.md"), Choice()).documents == read(Source.of(tmp_path), Choice()).documents


def test_code_keeps_its_lines(tmp_path: Path) -> None:
    code = "def f():\n    return 1\n\n\nclass C:\n    pass"

    assert texts(read_file(tmp_path / "a.py", code)) == ["def f():\n    return 1\n\nclass C:\n    pass"]


def test_a_page_is_what_a_browser_shows_of_it(tmp_path: Path) -> None:
    corpus = read_file(tmp_path / "page.html", PAGE)

    assert texts(corpus) == ["Back\xadup & restore\n\nFirst line bold.\n\n- one\n- two\n\ndef f():\n    return 1"]
    assert corpus.documents[0].metadata == {
        "title": "The page",
        "path": f"{tmp_path}/page.html",
        "first_line": 4,
        "last_line": 9,
    }


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a < b <3 & c", "a < b <3 & c"),
        ("<p title='a > b'>x</p>", "x"),
        ("<p>x<!-- > -- no -->y<!doctype z>", "xy"),
        ("<p>x<!-- never closed", "x<!-- never closed"),
        ("<p>x<!-->y<!--->z<!-- --><p>", "xyz"),
        ("<p>x<script>if (a<b) {}", "x"),
        ("<p>x<svg><text>no</text></svg>y", "xy"),
        ("<p>x</p", "x</p"),
        ("<p>x<svg/>y", "xy"),
        ("<p>x<svg width='1' /><math/>y", "xy"),
        ("<p>x<svg><title>no</title><svg/><style/><script/></svg>y", "xy"),
        ("<p>x<math><mi>a</mi><script/></math>y", "xay"),
        ("<p>x<svg><style>a{}</style><script>b</script></svg>y", "xy"),
        ("<p>x<script src='a'/>no</script>y", "xy"),
        ("<p>x<template/>no</template>y", "xy"),
        ("<?xml version='1.0'?><title/><script src='a'/><p>x<template/><textarea/>y", "xy"),
        ("<td>a</td><td>b</td>", "a b"),
        ("<tr><th>a<td>b<tr><td>c", "a b\nc"),
        ("<p>x<svg><path><p>y<style>a{}</style>", "x\n\ny"),
        ("<math><p>x<script>no</script><title/>y", "x"),
        ("<template><math><p>no</template>x", "x"),
        ("<svg><foreignObject><div>x</div></foreignObject></svg></svg>y", "x\n\ny"),
        ("<template><svg><p>no</p></svg>no</template><p>ok", "ok"),
        ("<textarea><b></textarea>", "<b>"),
        ("&#" + "9" * 5000 + ";&lt;", "&#" + "9" * 5000 + ";&lt;"),
    ],
)
def test_a_page_that_is_odd_is_read_as_well_as_it_goes(tmp_path: Path, page: str, text: str) -> None:
    assert "".join(texts(read_file(tmp_path / "page.html", page))) == text


def test_what_ends_itself_in_xml_hides_nothing(tmp_path: Path) -> None:
    page = "<head><title>T</title><script src='a'/><style/></head><p>x<svg/><template/>y</p>"

    corpus = read_file(tmp_path / "page.xhtml", page)

    assert texts(corpus) == ["xy"]
    assert corpus.documents[0].metadata["title"] == "T"


def test_the_title_of_a_drawing_is_not_the_pages(tmp_path: Path) -> None:
    page = "<title>The page</title><p>x<svg><title>Menu</title><path/></svg>y<svg><title>Close</title></svg>"

    [document] = read_file(tmp_path / "page.html", page).documents

    assert (document.text, document.metadata["title"]) == ("xy", "The page")


@pytest.mark.parametrize(
    "part",
    [
        *("<!", "<![CDATA[", "<a ", "<a b='", "<a '\"", "<a '>", "&#", "<!--", "</", "<script>", "<p>", "<?"),
        *("<title>", "<svg>", "<svg><p>", "<svg><title>", "<a/>"),
    ],
)
@pytest.mark.parametrize("end", ["", ">", "'>"])
def test_a_page_that_is_made_to_take_long_does_not(part: str, end: str) -> None:
    before = time.process_time()

    text_lines(part * 20_000 + end)

    assert time.process_time() - before < 2


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "a.md.gz", gzip.compress(b"packed"))) == ["packed"]
    assert texts(read_file(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "row"}'))) == ["row"]


def test_a_file_that_unpacks_beyond_all_measure_is_not(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\n" * (65 * 2**20))

    with pytest.raises(ValueError, match="unpacks to more than 200 times its size"):
        read_file(tmp_path / "a.txt.gz", bomb)


def test_a_packed_file_that_was_cut_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"packed " * 99)[:-9])

    [failed] = read(Source.of(tmp_path), Choice()).failed

    assert failed.reason.startswith("not a whole gzip file")


def test_rows_of_json(tmp_path: Path) -> None:
    rows = '[{"_id": "a", "text": "one"}, {"title": "T", "text": "two", "year": 1}, {"title": "no text"}]'

    corpus = read_file(tmp_path / "rows.json", rows)

    assert [(it.id, it.text, it.metadata) for it in corpus.documents[:1]] == [("a", "one", {})]
    assert [(it.text, it.metadata) for it in corpus.documents[1:]] == [("T\n\ntwo", {"title": "T", "year": 1})]
    assert corpus.failed == [Failed(f"{tmp_path}/rows.json[2]", 'no "text", or one that is not a string')]


def test_json_without_texts_is_text(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "package.json", '{"name": "x"}')) == ['{"name": "x"}']


def test_nested_metadata_is_the_metadata(tmp_path: Path) -> None:
    [row] = read_file(tmp_path / "a.jsonl", '{"text": "t", "metadata": {"year": 1999}, "lang": "en"}').documents

    assert row.metadata == {"year": 1999, "lang": "en"}


def test_a_row_without_an_id_has_one_of_its_file_and_its_words(tmp_path: Path) -> None:
    one = read_file(tmp_path / "a.jsonl", '{"text": "t"}\n{"text": "t"}').documents
    other = read_file(tmp_path / "b.jsonl", '\n{"text": "new"}\n{"text": "t"}').documents

    assert len(one) == 1
    assert one[0].id == str(other[1].id).replace("b.jsonl", "a.jsonl")


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_a_table_with_a_column_of_texts(tmp_path: Path, between: str) -> None:
    table = [["id", "text", "year", "code"], ["7", '"a ""quoted""\nline"', "1999", "007"], ["8", "", "", ""]]

    corpus = read_file(tmp_path / "a.csv", "\n".join(between.join(row) for row in table))

    assert [(it.id, it.text, it.metadata) for it in corpus.documents] == [
        ("7", 'a "quoted"\nline', {"year": 1999, "code": "007"})
    ]
    assert corpus.failed == [Failed(f"{tmp_path}/a.csv:4", '"text" is empty')]


def test_a_table_without_one_is_read_row_by_row(tmp_path: Path) -> None:
    corpus = read_file(tmp_path / "a.tsv", "city\tcountry\nOslo\tNorway\nA\tB\tC\n")

    assert [(it.text, it.metadata) for it in corpus.documents] == [
        ("city: Oslo\ncountry: Norway", {"city": "Oslo", "country": "Norway"})
    ]
    assert corpus.failed == [Failed(f"{tmp_path}/a.tsv:3", "has 3 fields, the header 2")]


@pytest.mark.parametrize("rest", ['2,"open\n3,three\n', '2,"open\n3,three\n4,"four"\n5,five\n', '2,"open'])
def test_a_quote_that_never_closes_is_a_failure_where_it_opens(tmp_path: Path, rest: str) -> None:
    corpus = read_file(tmp_path / "a.csv", "id,text\n1,one\n" + rest)

    assert [document.id for document in corpus.documents] == ["1"]
    [failed] = corpus.failed
    assert failed.where == f"{tmp_path}/a.csv:3"
    assert failed.reason.startswith("not CSV: ")
    assert failed.reason.endswith("rows from here on are not read: close the quote, or write two within quotes")
    assert corpus.whole == set()


@pytest.mark.parametrize(
    ("cell", "text"),
    [('"a"b', "ab"), ('5" pipe', '5" pipe'), ('a "b', 'a "b'), ('"a\r\nb"', "a\r\nb"), ('"5" pipe"', '5 pipe"')],
)
def test_quotes_that_do_no_harm_are_read_as_well_as_it_goes(tmp_path: Path, cell: str, text: str) -> None:
    assert texts(read_file(tmp_path / "a.csv", f"id,text\r\n1,{cell}\r\n2,two")) == [text, "two"]


@pytest.mark.parametrize("header", ['"a,b,c";text', '\n\n"x,y";text'])
def test_what_is_quoted_is_not_between_fields(tmp_path: Path, header: str) -> None:
    assert texts(read_file(tmp_path / "a.csv", f"{header}\n1;one, two, three")) == ["one, two, three"]


def test_between_the_fields_of_a_tsv_is_a_tab(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "a.tsv", "text\tof, by, or, at\none\ttwo")) == ["one"]


@pytest.mark.parametrize("cell", [str(2**63), str(-(2**63) - 1), "9400110200881234567890"])
def test_a_cell_of_more_digits_than_a_number_may_have_is_text(tmp_path: Path, cell: str) -> None:
    [document] = read_file(tmp_path / "a.csv", f"text,code,most\nx,{cell},{2**63 - 1}\n").documents

    assert document.metadata == {"code": cell, "most": 2**63 - 1}


def test_of_columns_of_one_name_all_are_kept(tmp_path: Path) -> None:
    header = "text,title,text,title,tag,tag,,\n"

    corpus = read_file(tmp_path / "a.csv", header + "one,T,two,U,1,x,y,z\none,T,,,1,,,")

    assert [(it.text, it.metadata) for it in corpus.documents] == [
        ("T\nU\n\none\ntwo", {"title": "T\nU", "tag": [1, "x"], "": ["y", "z"]}),
        ("T\n\none", {"title": "T", "tag": 1}),
    ]


def test_columns_of_one_name_are_all_read_where_none_is_the_text(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "a.csv", "city,city\nOslo,Bergen")) == ["city: Oslo\ncity: Bergen"]


@pytest.mark.parametrize(
    "line",
    [
        "{" * 10,
        '{"text": ' + "[" * 200_000,
        "[1]",
        "\udcff",
        '{"text": "x", "n": ' + "9" * 9000 + "}",
        '{"text": "x", "_id": [1]}',
        '{"text": "x", "id": true}',
    ],
)
def test_a_line_that_is_no_row_leaves_the_others(tmp_path: Path, line: str) -> None:
    content = line.encode("utf-8", "surrogateescape") + b'\n{"text": "good"}'

    corpus = read_file(tmp_path / "a.jsonl", content)

    assert [document.text for document in corpus.documents] == ["good"]
    assert [failed.where for failed in corpus.failed] == [f"{tmp_path}/a.jsonl:1"]


def test_the_pages_of_a_pdf(tmp_path: Path) -> None:
    corpus = read_file(tmp_path / "a.pdf", pdf("A text of its own", "Page two"))

    assert texts(corpus) == ["A text of its own", "Page two"]
    assert [it.metadata for it in corpus.documents] == [
        {"path": f"{tmp_path}/a.pdf", "page": 1},
        {"path": f"{tmp_path}/a.pdf", "page": 2},
    ]
    assert corpus.documents[1].where == f"{tmp_path}/a.pdf#page=2"


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4\nno more", b"\x00\xff" * 99])
def test_a_damaged_pdf_is_a_failure(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pypdf")

    [failed] = read_file(tmp_path / "a.pdf", content).failed

    assert failed.reason.startswith("not a PDF that can be read: ")


def test_a_pdf_of_pictures_is_a_failure(tmp_path: Path) -> None:
    assert read_file(tmp_path / "a.pdf", pdf("")).failed == [
        Failed(f"{tmp_path}/a.pdf", "holds no text; pages that are pictures need OCR first")
    ]


def test_without_pypdf_a_pdf_in_a_folder_is_skipped_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "a.md").write_text("text")

    corpus = read(Source.of(tmp_path), Choice())

    assert dict(corpus.skipped) == {'.pdf (reading PDF takes pypdf: pip install "colbert-qdrant[pdf]")': 1}


def test_a_file_that_is_named_is_what_it_looks_like(tmp_path: Path) -> None:
    assert texts(read_file(tmp_path / "notes.xyz", "text")) == ["text"]
    assert texts(read_file(tmp_path / "rows", json.dumps({"text": "row"}))) == ["row"]
    assert texts(read_file(tmp_path / "page", PAGE))[0].startswith("Back")
    assert texts(read_file(tmp_path / "list", "[link](a.md)")) == ["[link](a.md)"]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n "])
def test_json_that_is_named_or_piped_is_read_however_it_is_set_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, start: str
) -> None:
    row = {"text": "row", "n": {"m": 1}}
    for number, value in enumerate((row, [row])):
        content = start + json.dumps(value, indent=indent)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))

        assert texts(read_file(tmp_path / str(number), content)) == ["row"]
        assert texts(read(Source.of(Path("-"), "piped"), Choice())) == ["row"]


def pdf(*pages: str) -> bytes:
    """Write a PDF whose pages say this, in a font that every reader has."""
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    for said in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({said}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()
