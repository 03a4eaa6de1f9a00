"""``colbert-qdrant evaluate``: questions from files, figures for people and programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from movies import MOVIES

pytest.importorskip("qdrant_edge")
pytest.importorskip("ir_measures")
CliRunner = pytest.importorskip("click.testing").CliRunner
from colbert_qdrant.cli.reading.questions import read_qrels, read_questions  # noqa: E402  # it needs click

QUESTIONS = {
    "q1": ("a young boy in a suit of armour", "Kubo and the Two Strings"),
    "q2": ("the same day again and again", "Edge of Tomorrow"),
}


def run(*arguments: object) -> Any:
    from colbert_qdrant.cli.commands import commands

    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The options that name a collection of movies with two first stages; tests only read it."""
    folder = tmp_path_factory.mktemp("evaluate")
    rows = [{"_id": movie.name, "text": movie.description} for movie in MOVIES]
    where = ["--url", os.environ["QDRANT_URL"]] if os.environ.get("QDRANT_URL") else ["--path", folder / "store"]
    place = [*where, "--collection", folder.name]
    stages = ["--stage", "muvera", "--stage", "bm25"]
    done = run("index", write_rows(folder / "m.jsonl", rows), *place, "--model", OFFLINE_MODEL, *stages)
    assert done.exit_code == 0, done.output
    yield place
    if url := os.environ.get("QDRANT_URL"):
        MultivectorCollection.discard(folder.name, url=url)


def figures(*arguments: object) -> Any:
    done = run("evaluate", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_json_lines_of_questions_and_expected_ids(place: list[Any], tmp_path: Path) -> None:
    rows = [{"question": text, "expected": title} for text, title in QUESTIONS.values()]

    found = figures(write_rows(tmp_path / "asked.jsonl", rows), *place)

    ways = {row["name"]: row for row in found["searches"]}
    assert set(ways) >= {"exact MaxSim", "muvera -> MaxSim", "bm25 alone", "muvera + bm25 -> MaxSim"}
    assert ways["exact MaxSim"]["kept"]["value"] == 1
    assert ways["exact MaxSim"]["mrr"]["value"] > 0.5
    assert found["cheapest"]["kept"]["value"] >= found["share"] == 0.95


@pytest.mark.parametrize("layout", ["qrels.tsv", "qrels/test.tsv"])
def test_a_folder_in_the_layout_of_beir(place: list[Any], tmp_path: Path, layout: str) -> None:
    rows = [{"_id": name, "text": text} for name, (text, _) in QUESTIONS.items()]
    write_rows(tmp_path / "queries.jsonl", [*rows, {"_id": "q3", "text": "nobody judged this"}])
    judged = [f"{name}\t{title}\t1" for name, (_, title) in QUESTIONS.items()]
    (tmp_path / layout).parent.mkdir(exist_ok=True)
    (tmp_path / layout).write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]), encoding="utf-8")

    found = figures(tmp_path, *place)

    assert (found["queries"], found["judged"], found["missing"]) == (2, 2, [])


def test_questions_alone_tell_what_is_kept(place: list[Any], tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("thieves and the police\n\na rock band\n", encoding="utf-8")

    done = run("evaluate", asked, *place, "--candidates", 10, "--candidates", 15)

    assert "20 documents, 2 questions, all-MiniLM-L6-v2-int8" in done.stdout
    assert "nDCG" not in done.stdout
    handed_on = [line for line in done.stdout.splitlines() if line.startswith("bm25 -> MaxSim")]
    assert {line.replace("*", "").split()[3] for line in handed_on} == {"10", "15"}
    assert "keeps 95% of the exact ten best" in done.stdout


def test_the_plot_is_written(place: list[Any], tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("a rock band", encoding="utf-8")

    run("evaluate", asked, *place, "--plot", tmp_path / "plot.svg")

    assert "<svg" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("asked.jsonl", '{"question": "a"}\n{"id": 1}', 'asked.jsonl:2: no "question"'),
        ("asked.jsonl", '["a"]', "asked.jsonl:1: a list, not an object"),
        ("asked.jsonl", '{"question"', "asked.jsonl:1: not JSON"),
        ("asked.jsonl", '{"question": "a", "expected": 1.5}', '"expected" is an id'),
        ("asked.jsonl", '{"question": "a", "expected": false}', '"expected" is an id'),
        ("asked.jsonl", '{"_id": 1, "question": "a"}\n{"_id": "1", "question": "b"}', "asked.jsonl:2: \"_id\" '1'"),
        ("asked.jsonl", '{"question": "a", "expected": {"x": 5000000000}}', "a whole number of at most 1,000,000"),
        ("asked.txt", " \n", "there are no questions"),
        ("asked.txt", b"\xff\xfe\xff", "is not UTF-8"),
    ],
)
def test_a_file_that_is_none_is_one_line(
    place: list[Any], tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    done = run("evaluate", tmp_path / name, *place)

    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no"),
        ({"queries.jsonl": '{"_id": "q1", "text": "a"}'}, "--qrels names the file"),
        ({"queries.jsonl": '{"_id": "q1", "text": "a"}', "qrels.tsv": "q1\td\t1.5"}, "qrels.tsv:1: expected"),
        ({"queries.jsonl": '{"_id": "q1", "text": "a"}', "qrels.tsv": "q1\td\t--1"}, "qrels.tsv:1: expected"),
        ({"queries.jsonl": '{"_id": "q1", "text": "a"}', "qrels.tsv": "q1\td\t" + "9" * 5000}, "qrels.tsv:1: expected"),
        ({"queries.jsonl": '{"_id": 1, "text": "a"}\n{"_id": 1, "text": "b"}', "qrels.tsv": ""}, "another question"),
    ],
)
def test_a_folder_that_lacks_something_is_one_line(
    place: list[Any], tmp_path: Path, files: Mapping[str, str], said: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    if not files:
        (tmp_path / "qrels.tsv").write_text("q1\td\t1")

    done = run("evaluate", tmp_path, *place)

    assert done.exit_code == 1
    assert said in done.stderr


def test_qrels_of_trec_have_four_columns(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d3 -1\n")

    assert read_qrels(tmp_path / "qrels.txt") == {"q1": {"d1": 2}}


def test_a_quote_in_qrels_ends_with_its_line(tmp_path: Path) -> None:
    lines = ["query-id\tcorpus-id\tscore", '1\t"open\t1', '1\t"a ""b"" c"\t1', '1\t"Heroes" live\t1', "1\td\u2028x\t1"]
    (tmp_path / "qrels.tsv").write_text("\r\n".join(lines), encoding="utf-8", newline="")

    assert list(read_qrels(tmp_path / "qrels.tsv")["1"]) == ['"open', 'a "b" c', '"Heroes" live', "d\u2028x"]


def test_each_question_is_judged_by_all_that_is_said_of_it(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "expected": 0},
        {"_id": None, "question": "b", "expected": "x"},
        {"_id": None, "question": "b", "expected": {"y": 2}},
        {"question": "c", "expected": []},
    ]

    questions, expected = read_questions(write_rows(tmp_path / "asked.jsonl", rows), None)

    assert list(questions) == ["a", "b", "c"]
    assert expected == {"a": {"0": 1}, "b": {"x": 1, "y": 2}}


def test_only_a_line_end_ends_a_question(tmp_path: Path) -> None:
    asked = ["one\u2028line", "one\x85line", "one\x0cline"]
    (tmp_path / "asked.txt").write_text("\ufeff" + "\r\n".join(asked), encoding="utf-8", newline="")
    rows = [json.dumps({"question": each}, ensure_ascii=False) for each in asked]
    (tmp_path / "asked.jsonl").write_text("\n".join(rows), encoding="utf-8")

    assert list(read_questions(tmp_path / "asked.txt", None)[0]) == asked
    assert list(read_questions(tmp_path / "asked.jsonl", None)[0]) == asked
