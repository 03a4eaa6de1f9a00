"""Sources of the command line: no folder's or file's documents are taken for another's."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.errors import InvalidInput

pytest.importorskip("qdrant_edge")
CliRunner = pytest.importorskip("click.testing").CliRunner
from colbert_qdrant.cli import target as targets  # noqa: E402  # it needs click
from colbert_qdrant.cli.reading import Source  # noqa: E402

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="links and permissions as POSIX has them")

Shell = Callable[..., Any]
Stored = Callable[[], dict[str, str]]


@pytest.fixture
def shell(tmp_path: Path, words: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """Run commands on the folder "store", in the test's folder, with an embedder that takes no time."""
    from colbert_qdrant.cli.commands import commands

    def open_store(target: targets.Target, *_: object, **__: object) -> MultivectorCollection:
        return MultivectorCollection(target.name, words, path=target.path, url=target.url)

    monkeypatch.setattr(targets.Target, "to_fill", open_store)
    monkeypatch.setattr(targets.Target, "to_search", open_store)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, **options: Any) -> Any:
        return CliRunner().invoke(commands, [*map(str, arguments), "--path", "store"], **options)

    return run


@pytest.fixture
def stored(words: Any) -> Stored:
    """Return what the store holds: texts by their ids."""

    def look() -> dict[str, str]:
        with MultivectorCollection("documents", words, path="store") as collection:
            return {record.id: record.text for record in collection.scroll()}

    return look


def write(file: str, text: str | list[dict[str, Any]]) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text if isinstance(text, str) else "\n".join(map(json.dumps, text)))


def test_two_folders_of_one_name_stand_side_by_side(shell: Shell, tmp_path: Path, stored: Stored) -> None:
    write("p1/docs/README.md", "one")
    write("p2/docs/README.md", "two")

    shell("index", "p1/docs")
    second = shell("index", "p2/docs")

    assert second.stdout.startswith("1 added\n2 documents")
    assert stored() == {f"{tmp_path}/p1/docs/README.md#1": "one", f"{tmp_path}/p2/docs/README.md#1": "two"}


def test_a_folder_and_the_one_above_it_are_the_same_files(shell: Shell, stored: Stored) -> None:
    write("p1/docs/README.md", "one")

    shell("index", "p1/docs")
    shell("index", "p1/docs/README.md")
    shell("index", "p1")

    assert list(stored().values()) == ["one"]


def test_a_source_with_a_name_may_move(shell: Shell, stored: Stored) -> None:
    write("old/sub/a.md", "text")
    shell("index", "old", "--source", "handbook")
    Path("old").rename("new")

    again = shell("index", "new", "--source", "handbook")

    assert again.stdout.startswith("1 unchanged\n")
    assert list(stored()) == ["handbook:sub/a.md#1"]


def test_a_folder_that_moved_may_be_said_to_be_the_old_one(shell: Shell, tmp_path: Path) -> None:
    write("old/a.md", "text")
    shell("index", "old")
    Path("old").rename("new")

    again = shell("index", "new", "--source", tmp_path / "old")

    assert again.stdout.startswith("1 unchanged\n")


@pytest.mark.parametrize("name", ["", " ", "a:b", "\x1b]0;x", "\udcff"])
def test_a_name_that_could_be_taken_for_another_place_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        Source.of(Path("docs"), name)


def test_where_others_can_fill_the_collection_the_machine_is_part_of_the_place(tmp_path: Path) -> None:
    source = Source.of(tmp_path, is_shared=True)

    assert source.file(tmp_path / "a.md").place == f"{platform.node()}:{tmp_path}/a.md"
    assert source.file(tmp_path / "a.md").shown == f"{tmp_path}/a.md"
    assert source.path_of(source.file(tmp_path / "b" / "a.md").place) == tmp_path / "b" / "a.md"


def test_rows_of_another_file_are_not_overwritten(shell: Shell, tmp_path: Path, stored: Stored) -> None:
    write("a.jsonl", [{"_id": "1", "text": "from a"}])
    write("b.jsonl", [{"_id": "1", "text": "from b"}, {"_id": "2", "text": "good"}])
    shell("index", "a.jsonl")

    second = shell("index", "b.jsonl")

    assert second.exit_code == 1
    assert second.stderr == (
        f"Failed: b.jsonl:1: the id '1' is that of a document of {tmp_path}/a.jsonl: give it another id or, where this "
        f"is that file's newer form, say --source {tmp_path}/a.jsonl\n"
    )
    assert stored() == {"1": "from a", "2": "good"}
    assert shell("index", "b.jsonl", "--source", tmp_path / "a.jsonl").exit_code == 0
    assert stored() == {"1": "from b", "2": "good"}


def test_a_document_that_another_program_stored_is_not_overwritten(shell: Shell, words: Any, stored: Stored) -> None:
    with MultivectorCollection("documents", words, path="store") as collection:
        collection.add(["by hand", "the same"], ids=["1", "2"])
    write("a.jsonl", [{"_id": "1", "text": "from a"}, {"_id": "2", "text": "the same"}])

    result = shell("index", "a.jsonl")

    assert "the id '1' is another document's, which was stored by other means" in result.stderr
    assert stored() == {"1": "by hand", "2": "the same"}


def test_a_row_may_spell_its_uuid_as_it_is_not_stored(shell: Shell, words: Any, stored: Stored) -> None:
    one, other = "01234567-89ab-cdef-0123-456789abcdef", "11234567-89ab-cdef-0123-456789abcdef"
    with MultivectorCollection("documents", words, path="store") as collection:
        collection.add(["by hand"], ids=[one])
    write("a.jsonl", [{"_id": one.replace("-", ""), "text": "from a"}, {"_id": other, "text": "stays"}])

    result = shell("index", "a.jsonl")
    write("a.jsonl", [{"_id": other.replace("-", ""), "text": "stays"}])
    shell("prune", "a.jsonl", "--yes")

    assert f"the id '{one}' is another document's" in result.stderr
    assert stored() == {one: "by hand", other: "stays"}


def test_equal_rows_of_two_files_are_two_documents(shell: Shell, stored: Stored) -> None:
    write("a.jsonl", [{"text": "same"}])
    write("b.jsonl", [{"text": "same"}])
    shell("index", "a.jsonl")
    shell("index", "b.jsonl")

    shell("delete", "--source", "b.jsonl", "--yes")

    assert list(stored().values()) == ["same"]


def test_a_name_that_is_also_a_folder_here_deletes_neither(shell: Shell, tmp_path: Path, stored: Stored) -> None:
    write("docs/a.md", "of the folder")
    write("moved/b.md", "of the name")
    shell("index", "docs")
    shell("index", "moved", "--source", "docs")

    both = shell("delete", "--source", "docs", "--yes")

    assert f"--source 'docs' is what a source was named, and also {tmp_path}/docs from here" in both.stderr
    assert len(stored()) == 2
    shell("delete", "--source", f"{tmp_path}/docs", "--yes")
    assert list(stored().values()) == ["of the name"]
    shell("delete", "--source", "docs", "--yes")
    assert stored() == {}


@pytest.mark.parametrize(
    "command", ["delete --yes --source=", "delete --yes --id=", "delete --yes --filter=", "index . --exclude="]
)
def test_an_empty_value_of_a_variable_that_is_not_set_is_refused(shell: Shell, stored: Stored, command: str) -> None:
    write("docs/a.md", "text")
    shell("index", "docs")

    result = shell(*command.split())

    assert result.exit_code != 0
    assert list(stored().values()) == ["text"]


def test_an_empty_path_is_not_the_current_folder(shell: Shell, tmp_path: Path) -> None:
    write("docs/a.md", "text")

    for command in (["index", "docs", "--path", ""], ["list", "--path="], ["export", ""]):
        result = CliRunner().invoke(commands(), command)
        assert "'' is empty: is the variable unset?" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]


def test_a_file_that_became_shorter_leaves_nothing_behind_even_after_a_gap(
    shell: Shell, words: Any, stored: Stored
) -> None:
    paragraphs = [f"Paragraph {number}. " + "words " * 150 for number in range(5)]
    write("notes/long.md", "\n\n".join(paragraphs))
    shell("index", "notes")
    place = next(iter(stored())).rpartition("#")[0]
    with MultivectorCollection("documents", words, path="store") as collection:
        collection.delete([f"{place}#3"])  # as after a run that was killed while it removed
    write("notes/long.md", paragraphs[0])

    assert shell("index", "notes").stdout.startswith("1 unchanged, 3 removed\n1 documents")


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("a.csv", "text,year\none,1\ntwo,2\n", "text,year\none,1\ntwo,3\n"),
        ("a.tsv", "name\tyear\none\t1\ntwo\t2\n", "name\tyear\none\t1\n"),
        ("a.jsonl", '{"text": "one"}\n{"text": "two"}', '{"text": "one"}\n{"text": "three"}'),
        ("a.json", '[{"text": "one"}, {"text": "two"}]', '[{"text": "one"}]'),
    ],
    ids=["csv", "tsv", "jsonl", "json"],
)
def test_a_row_without_an_id_that_changed_replaces_what_it_was(
    shell: Shell, stored: Stored, file: str, before: str, after: str
) -> None:
    write("docs/b.jsonl", [{"text": "of another file"}, {"_id": "7", "text": "with an id"}])
    write(f"docs/{file}", before)
    shell("index", "docs")
    write(f"docs/{file}", after)
    write("docs/b.jsonl", [{"text": "of another file"}])

    again = shell("index", "docs")

    found = stored()
    assert "1 removed" in again.stdout
    assert found["7"] == "with an id"
    assert shell("index", "docs").stdout.startswith(f"{len(found) - 1} unchanged\n")


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("a.csv", "text,year\none,1\n", "text,year\n"),
        ("a.jsonl", '{"text": "one"}', ""),
        ("a.json", '[{"text": "one"}]', "[]"),
        ("a.txt", "one", ""),
    ],
)
@pytest.mark.parametrize("is_alone", [False, True])
def test_a_file_that_was_emptied_leaves_nothing_behind(
    shell: Shell, stored: Stored, file: str, before: str, after: str, is_alone: bool
) -> None:
    write("docs/b.jsonl", [{"text": "of another file"}])
    write(f"docs/{file}", before)
    shell("index", "docs")
    write(f"docs/{file}", after)

    again = shell("index", f"docs/{file}" if is_alone else "docs")

    assert again.exit_code == 0
    assert list(stored().values()) == ["of another file"]


def test_rows_without_an_id_are_gone_where_all_have_one_now(shell: Shell, stored: Stored) -> None:
    write("a.jsonl", [{"text": "one"}])
    shell("index", "a.jsonl")
    write("a.jsonl", [{"_id": "1", "text": "one"}])

    shell("index", "a.jsonl")

    assert list(stored()) == ["1"]


def test_rows_from_standard_input_stay_beside_those_that_come_next(shell: Shell, stored: Stored) -> None:
    for text in ("monday", "tuesday"):
        shell("index", "-", "--source", "feed.jsonl", input=json.dumps({"text": text}))

    assert sorted(stored().values()) == ["monday", "tuesday"]


def test_a_row_stays_where_what_would_replace_it_can_not_be_stored(shell: Shell, stored: Stored) -> None:
    write("a.jsonl", [{"text": "a row", "v": 2}])
    shell("index", "a.jsonl")
    write("a.jsonl", '{"text": "a row", "v": 1' + "0" * 30 + "}")

    assert "1 failed" in shell("index", "a.jsonl").output
    assert list(stored().values()) == ["a row"]


def test_rows_of_a_file_that_was_not_read_whole_stay(shell: Shell, stored: Stored) -> None:
    write("a.jsonl", '{"text": "one"}\n{"text": "two"}')
    shell("index", "a.jsonl")
    write("a.jsonl", '{"text": "one"}\n{broken')

    shell("index", "a.jsonl")

    assert sorted(stored().values()) == ["one", "two"]


def test_leftovers_of_another_source_stay(shell: Shell, stored: Stored) -> None:
    write("a/long.md", "\n\n".join("words " * 150 for _ in range(3)))
    write("b/long.md", "short")
    shell("index", "a")

    shell("index", "b")

    assert len(stored()) == 4


def test_files_that_are_gone_are_said_and_pruned_when_asked(shell: Shell, stored: Stored) -> None:
    write("docs/a.md", "stays")
    write("docs/b.md", "goes")
    shell("index", "docs")
    Path("docs/b.md").unlink()

    again = shell("index", "docs")
    asked = shell("prune", "docs")
    pruned = shell("prune", "docs", "--yes")

    assert "1 files that were indexed are gone; `colbert-qdrant prune docs --path store` removes" in again.stderr
    assert asked.exit_code == 1
    assert "Nothing was deleted" in asked.stderr
    assert pruned.stdout.startswith("1 deleted\n1 documents")
    assert list(stored().values()) == ["stays"]


@on_posix
def test_a_file_that_became_a_folder_or_a_link_to_another_is_gone(shell: Shell, stored: Stored) -> None:
    for name in ("a.md", "b.md", "sub/c.md", "old/d.md", "e.md"):
        write(f"docs/{name}", name)
    shell("index", "docs")
    for name in ("a.md", "sub/c.md", "old/d.md"):
        Path("docs", name).unlink()
    write("docs/a.md/f.md", "f")
    Path("docs/sub/c.md").symlink_to("../b.md")
    Path("docs/old").rmdir()
    Path("docs/old").symlink_to("new")
    write("docs/new/d.md", "moved")

    again = shell("index", "docs")
    shell("prune", "docs", "--yes")

    assert "3 files that were indexed are gone" in again.stderr
    assert sorted(stored().values()) == ["b.md", "e.md", "f", "moved"]


@on_posix
def test_what_cannot_be_looked_at_is_not_gone(
    shell: Shell, stored: Stored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("docs/locked/a.md", "of a folder without permission")
    write("docs/b.md", "moved away, and a link left")
    shell("index", "docs")
    Path("docs/b.md").rename("b.md")
    Path("docs/b.md").symlink_to(tmp_path / "b.md")
    refuse(monkeypatch, "docs/locked")

    shell("prune", "docs", "--yes")

    assert len(stored()) == 2


def refuse(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Let nobody look into a folder; its mode would not keep root out."""
    look, list_folder = os.lstat, os.scandir

    def checked(path: Any, *arguments: Any, **options: Any) -> Any:
        if f"{folder}/" in f"{os.fspath(path)}/" and not os.fspath(path).endswith(folder):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return look(path, *arguments, **options)

    def listed(path: Any) -> Any:
        if os.fspath(path).endswith(folder):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return list_folder(path)

    monkeypatch.setattr(os, "lstat", checked)
    monkeypatch.setattr(os, "scandir", listed)


def test_rows_that_are_gone_from_their_file_are_pruned_and_what_cannot_be_read_stays(
    shell: Shell, stored: Stored
) -> None:
    write("docs/a.jsonl", [{"_id": "1", "text": "stays"}, {"_id": "2", "text": "goes"}])
    write("docs/b.jsonl", [{"_id": "3", "text": "unsure"}])
    shell("index", "docs")
    write("docs/a.jsonl", [{"_id": "1", "text": "stays"}])
    write("docs/b.jsonl", "{broken")

    shell("index", "docs")
    assert len(stored()) == 3
    shell("prune", "docs", "--yes")

    assert stored() == {"1": "stays", "3": "unsure"}


def test_rows_behind_a_quote_that_never_closes_are_not_pruned(shell: Shell, stored: Stored) -> None:
    write("docs/a.csv", 'id,text\n1,"one"\n2,two\n3,three\n')
    shell("index", "docs")
    write("docs/a.csv", 'id,text\n1,"one\n2,two\n3,three\n')

    again = shell("index", "docs")
    shell("prune", "docs", "--yes")

    assert "docs/a.csv:2: not CSV" in again.output
    assert stored() == {"1": "one", "2": "two", "3": "three"}


def test_what_is_ignored_by_now_is_not_pruned(shell: Shell) -> None:
    write("docs/a.md", "text")
    shell("index", "docs")
    write("docs/.gitignore", "*.md")

    assert shell("prune", "docs", "--yes").stdout.startswith("0 deleted\n")


def test_a_source_that_is_not_there_is_not_pruned(shell: Shell, stored: Stored) -> None:
    write("disk/a.md", "text")
    shell("index", "disk")
    Path("disk").rename("elsewhere")

    assert shell("prune", "disk", "--yes").exit_code == 2
    assert len(stored()) == 1


def test_a_store_written_before_is_read_and_said_so(shell: Shell, words: Any) -> None:
    with MultivectorCollection("documents", words, path="store") as collection:
        collection.add(["old"], [{"path": "docs/a.md", "first_line": 1, "last_line": 1}], ["docs/a.md#1"])
    write("docs/a.md", "new")

    result = shell("index", "docs")

    assert result.stdout.startswith("1 added\n2 documents")
    assert "1 chunks were stored by a version that did not remember where from" in result.stderr
    assert shell("delete", "--without-source", "--yes").stdout.startswith("1 deleted\n1 documents")
    assert "version that did not remember" not in shell("index", "docs").stderr


def test_standard_input_needs_a_name_and_has_a_format(shell: Shell, stored: Stored) -> None:
    rows = json.dumps({"_id": "7", "text": "a row"})

    unnamed = shell("index", "-", input=rows)
    shell("index", "-", "--source", "feed", input=rows)
    shell("index", "-", "--source", "notes", input="some words")
    shell("index", "-", "--source", "page.html", input="<p>a page")

    assert unnamed.exit_code == 2
    assert stored() == {"7": "a row", "notes#1": "some words", "page.html#1": "a page"}


def test_a_row_that_is_nested_too_deep_leaves_the_others(shell: Shell) -> None:
    write("a.jsonl", '{"text": "deep", "m": ' + '{"k":' * 500 + "1" + "}" * 500 + '}\n{"text": "good"}')

    result = shell("index", "a.jsonl")

    assert result.stdout.startswith("1 added, 1 failed\n")
    assert result.stderr.startswith("Failed: a.jsonl:1: ")


def test_arguments_in_the_wrong_order_are_seen(shell: Shell) -> None:
    write("docs/a.md", "text")
    shell("index", "docs")

    index = CliRunner().invoke(commands(), ["index", "store", "--path", "docs"])
    search = CliRunner().invoke(commands(), ["search", "store", "--path", "my question"])

    assert "store holds collections, not documents; did you mean `index docs --path store`?" in index.stderr
    assert "'store' is a folder of collections, not a question; did you mean" in search.stderr
    assert '`search "my question" --path store`' in search.stderr


def test_a_collection_itself_is_no_folder_of_documents(shell: Shell) -> None:
    write("docs/a.md", "text")
    shell("index", "docs")

    assert "store/documents holds collections, not documents" in shell("index", "store/documents").stderr


def test_documents_beside_a_collection_are_indexed(shell: Shell, words: Any, stored: Stored) -> None:
    write("notes/a.md", "text")
    MultivectorCollection("documents", words, path="notes").close()

    above = shell("index", ".")
    write("notes/b.md", "more")
    itself = shell("index", "notes")

    assert above.stdout.startswith("1 added\nskipped: 1 collections\n")
    assert itself.stdout.startswith("1 added, 1 updated\n")
    assert sorted(stored().values()) == ["more", "text"]


def test_what_was_indexed_of_a_collections_own_files_is_gone(shell: Shell, words: Any, stored: Stored) -> None:
    write("docs/a.md", "text")
    write("docs/old/documents/collection.json", [{"text": "of the engine's"}])
    shell("index", "docs")
    Path("docs/old/documents/collection.json").unlink()
    MultivectorCollection("documents", words, path="docs/old").close()

    again = shell("index", "docs")
    shell("prune", "docs", "--yes")

    assert "1 files that were indexed are gone" in again.stderr
    assert list(stored().values()) == ["text"]


def test_the_store_within_the_folder_that_is_indexed_is_not_read(shell: Shell, stored: Stored) -> None:
    write("a.md", "text")
    shell("index", ".")

    again = shell("index", ".")

    assert again.stdout.startswith("1 unchanged\nskipped: 1 collections\n")
    assert list(stored().values()) == ["text"]


def test_a_folder_of_another_programs_collections_is_indexed(shell: Shell, stored: Stored) -> None:
    write("docs/api/collection.json", '{"info": {"name": "Postman\'s"}}')

    indexed = shell("index", "docs")
    found = shell("search", "docs")

    assert indexed.stdout.startswith("1 added\n")
    assert "is a folder of collections" not in found.stderr


def commands() -> Any:
    from colbert_qdrant.cli.commands import commands

    return commands
