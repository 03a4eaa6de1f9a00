"""What the command line says there is, makes new collections with, and takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

pytest.importorskip("qdrant_edge")
CliRunner = pytest.importorskip("click.testing").CliRunner


def run(*arguments: object, **options: Any) -> Any:
    from colbert_qdrant.cli.commands import commands

    return CliRunner().invoke(commands, [str(argument) for argument in arguments], **options)


def answer(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two files, and a current folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "backup.md").write_text("# Backups\n\nRestore one with `restore`:\n\n    restore --all\n    done\n")
    (docs / "rows.jsonl").write_text('{"_id": "a", "text": "a rock band", "year": 1999}\n{"_id": "b", "text": "toys"}')
    return docs


@pytest.fixture
def store(docs: Path) -> Path:
    indexed = answer("index", "docs", "--path", "store", "--model", OFFLINE_MODEL)
    assert (indexed["added"], indexed["source"]) == (3, str(docs))
    return docs.parent / "store"


def test_a_collection_is_listed_and_described(store: Path, docs: Path) -> None:
    [listed] = answer("list", "--path", store)
    about = answer("info", "--path", store)

    assert (listed["collection"], listed["documents"], listed["model"]) == ("documents", 3, OFFLINE_MODEL)
    assert 10_000 < listed["bytes"] < 2_000_000
    assert about["sources"] == [{"source": str(docs), "files": 2, "documents": 3}]
    assert (about["dim"], about["storage"], about["stages"]) == (384, "float16", [])
    assert OFFLINE_MODEL in run("list", "--path", store).stdout
    assert str(docs) in run("info", "--path", store).stdout


@pytest.mark.parametrize("command", [["list"], ["info"], ["search", "x"], ["delete", "--id", "a"]])
def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, command: list[str]) -> None:
    result = run(*command, "--path", tmp_path / "none")

    assert result.exit_code == 1
    assert result.stderr == f"Error: there is no folder {tmp_path}/none; `colbert-qdrant index` makes one\n"
    assert not (tmp_path / "none").exists()


def test_a_hit_is_one_line_that_can_be_pasted_and_keeps_its_lines(store: Path) -> None:
    found = run("search", "restore", "--path", store, "-k", 1).stdout.splitlines()

    relevance, place = found[0].split()[1:]
    assert 0 < float(relevance) <= 1
    assert place == "docs/backup.md:1"
    assert found[5:7] == ["        [restore] --all", "        done"]
    explained = answer("explain", "restore", "--path", store, "--id", place)
    assert explained["id"] == f"{store.parent}/docs/backup.md#1"


def test_a_place_where_several_chunks_stand_names_none_of_them(store: Path, docs: Path) -> None:
    (docs / "long.md").write_text(f"{'A baker bakes. ' * 60}A penguin swims. {'A miller mills. ' * 60}")
    run("index", "docs", "--path", store)

    heading = run("search", "penguin", "--path", store, "-k", 1).stdout.splitlines()[0]
    place, record_id = heading.split()[2:]
    explained = run("explain", "penguin", "--path", store, "--id", place)
    deleted = run("delete", "--path", store, "--id", place, "--yes")

    assert (place, record_id) == ("docs/long.md:1", f"{docs}/long.md#1")
    for refused in (explained, deleted):
        assert refused.stderr == (
            "Error: 'docs/long.md:1' is where 2 chunks stand: give the id of one of them: "
            f"{docs}/long.md#1, {docs}/long.md#2\n"
        )
    assert answer("explain", "penguin", "--path", store, "--id", record_id)["id"] == record_id
    assert run("explain", "penguin", "--path", store).stdout.startswith(f"docs/long.md:1  {record_id}\n")
    assert answer("info", "--path", store)["documents"] == 5


def test_a_line_that_no_file_has_is_not_there(store: Path) -> None:
    for line in ("7", "9" * 23, "9" * 5000):
        result = run("explain", "restore", "--path", store, "--id", f"docs/backup.md:{line}")
        assert result.stderr == f"Error: collection 'documents' has no document with the id 'docs/backup.md:{line}'\n"


def test_a_long_place_is_not_cut(store: Path, docs: Path) -> None:
    deep = docs / ("a" * 60) / ("b" * 60) / "c.md"
    deep.parent.mkdir(parents=True)
    deep.write_text("a penguin")
    run("index", "docs", "--path", store)

    shown = run("search", "penguin", "--path", store, "-k", 1, env={"COLUMNS": "50"}).stdout.splitlines()[0]

    assert shown.endswith(f"{deep.relative_to(docs.parent)}:1")


def test_hits_are_filtered_and_may_be_too_weak(store: Path) -> None:
    assert [hit["id"] for hit in answer("search", "music", "--path", store, "--filter", "year>=1990")["hits"]] == ["a"]
    assert answer("search", "music", "--path", store, "--min-relevance", 0.99)["hits"] == []
    assert "has nothing that fits" in run("search", "music", "--path", store, "--filter", "year<1990").stdout


@pytest.mark.parametrize("command", ["search", "explain"])
def test_an_empty_question_is_refused(store: Path, command: str) -> None:
    assert "the question is empty" in run(command, " ", "--path", store).stderr


def test_documents_are_deleted_by_id_place_and_filter(store: Path) -> None:
    assert answer("delete", "--path", store, "--id", "docs/backup.md:1", "--yes")["deleted"] == 1
    assert answer("delete", "--path", store, "--filter", "year=1999", "--yes")["documents"] == 1
    assert "has no document with the id 'none'" in run("delete", "--path", store, "--id", "none", "--yes").stderr


def test_a_document_that_is_named_twice_is_deleted_once(store: Path) -> None:
    [place, record_id] = ["docs/backup.md:1", f"{store.parent}/docs/backup.md#1"]

    assert answer("delete", "--path", store, "--id", place, "--id", record_id, "--yes")["deleted"] == 1


def test_a_source_that_nothing_is_of_is_an_error(store: Path) -> None:
    refused = run("delete", "--path", store, "--source", "docs", "--source", "typo", "--yes")

    assert refused.exit_code == 1
    assert "has nothing of --source 'typo'; nothing was deleted" in refused.stderr
    assert answer("delete", "--path", store, "--source", "docs", "--filter", "year=1", "--yes")["deleted"] == 0


def test_nothing_is_deleted_without_a_yes(store: Path) -> None:
    unanswered = run("delete", "--path", store, "--source", "docs")

    assert unanswered.exit_code == 1
    assert unanswered.stderr.endswith("3 documents would be deleted; --yes does so. Nothing was deleted\n")
    assert answer("info", "--path", store)["documents"] == 3
    assert run("delete", "--path", store).exit_code == 2


def test_a_new_collection_is_made_as_told_and_an_old_one_is_given_what_it_lacks(docs: Path) -> None:
    new = ["index", "docs", "--path", "store", "--model", OFFLINE_MODEL, "--full", "--pool", 2, "--stage", "bm25"]
    assert run(*new).exit_code == 0
    again = run("index", "docs", "--path", "store", "--stage", "muvera")
    about = answer("info", "--path", "store")

    assert again.stdout.startswith("3 unchanged\n")
    assert (about["storage"], about["stages"]) == ("float32", ["bm25", "muvera"])
    assert about["vectors_a_document"] < 12
    assert "--pool 3 is for a new collection" in run("index", "docs", "--path", "store", "--pool", 3).stderr
    assert "is stored in full precision" in run("index", "docs", "--path", "store", "--half").stderr


def test_a_size_is_estimated_and_nothing_stored(docs: Path) -> None:
    size = answer("index", "docs", "--path", "store", "--model", OFFLINE_MODEL, "--size")
    pooled = answer("index", "docs", "--path", "store", "--model", OFFLINE_MODEL, "--size", "--pool", 2)

    assert size["documents"] == 3
    assert pooled["disk"] < size["disk"] < 100_000
    assert not (docs.parent / "store").exists()


def test_a_model_that_an_answer_names_opens_no_folder(
    tmp_path: Path, tiny_folder: Path, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words.model_name = tiny_folder.name
    MultivectorCollection("documents", words, path=tmp_path / "store").close()
    monkeypatch.chdir(tiny_folder.parent)

    result = run("search", "x", "--path", tmp_path / "store")

    assert "was made with 'tiny-colbert', which is no model known by name" in result.stderr


def test_a_command_that_is_nearly_known_is_suggested() -> None:
    assert "Did you mean 'search'?" in run("serch", "x").stderr


def test_what_is_skipped_is_said(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (docs / "picture.png").touch()

    result = run("index", "docs", "--path", "store", "--model", OFFLINE_MODEL)

    assert result.stdout.splitlines()[:2] == ["3 added", "skipped: 1 .png"]
