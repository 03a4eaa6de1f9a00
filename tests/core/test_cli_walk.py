"""Which files of a folder the command line reads, and what it says of the others."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("click")
from colbert_qdrant.cli.reading import Choice, Corpus, Failed, Source, read, said_of
from colbert_qdrant.errors import InvalidInput

on_posix = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names and links as Linux has them")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}")


def read_folder(folder: Path, **choice: object) -> Corpus:
    return read(Source.of(folder), Choice(**choice))  # type: ignore[arg-type]


def found(folder: Path, **choice: object) -> list[str]:
    documents = read_folder(folder, **choice).documents
    return [Path(document.metadata["path"]).relative_to(folder).as_posix() for document in documents]


def test_a_folder_is_read_below_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, "b.md", "a/z.txt", "a/b/c.rst", "a.md")

    assert found(tmp_path) == ["a.md", "b.md", "a/z.txt", "a/b/c.rst"]


def test_what_is_skipped_is_counted_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b.png", "c.png", "d", ".hidden.md", ".git/x.txt")
    (tmp_path / "empty.md").touch()

    corpus = read_folder(tmp_path)

    assert len(corpus.documents) == 1
    assert said_of(corpus.skipped) == "skipped: 2 hidden, 2 .png, 1 without a suffix, 1 empty"


def test_a_gitignore_is_respected_and_the_nearest_one_wins(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "a.log", "build/x.md", "sub/keep.log", "sub/b.md", "sub/deep/c.log")
    (tmp_path / ".gitignore").write_text("*.log\n/build/\n\n# a comment\n")
    (tmp_path / "sub" / ".gitignore").write_text("!keep.log\nb.md\n")

    assert found(tmp_path, encoding=None) == ["a.md"]
    assert read_folder(tmp_path).skipped["named by a .gitignore"] == 4


def test_the_gitignore_of_the_repository_counts_below_it(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "docs/a.md", "docs/drafts/b.md", "docs/c.md")
    (tmp_path / ".gitignore").write_text("drafts/\n")
    (tmp_path / ".git" / "info").mkdir()
    (tmp_path / ".git" / "info" / "exclude").write_text("/docs/c.md\n")

    assert found(tmp_path / "docs") == ["a.md"]


def test_a_folder_that_is_named_is_read_though_it_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/a.md")
    (tmp_path / ".gitignore").write_text("build/\n")

    assert found(tmp_path / "build") == ["a.md"]


def test_a_folder_within_one_that_is_ignored_is_read(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/docs/a.md")
    (tmp_path / ".gitignore").write_text("build/\n*.md\n")

    assert found(tmp_path / "build" / "docs") == ["a.md"]


@pytest.mark.parametrize(
    ("ignored", "read"),
    [
        ({".gitignore": "*\n!*/\n!*.md"}, ["a.md", "certs/a.md", "certs/deep/a.md"]),
        ({".gitignore": "**\n!**/\n!*.md"}, ["a.md", "certs/a.md", "certs/deep/a.md"]),
        ({".gitignore": "*\n!certs\n!certs/*.md"}, ["certs/a.md"]),
        ({".gitignore": "/certs/*\n!/certs/deep/"}, ["a.md", "b.txt", "certs/deep/a.md", "certs/deep/b.txt"]),
        ({".gitignore": "*.txt", "certs/.gitignore": "!deep/"}, ["a.md", "certs/a.md", "certs/deep/a.md"]),
        ({".gitignore": "certs/a.md\ncerts/deep\n!/certs/"}, ["a.md", "b.txt", "certs/b.txt"]),
        ({".gitignore": "\ufeffcerts\n*.txt"}, ["a.md"]),
        ({".gitignore": "certs/**/"}, ["a.md", "b.txt", "certs/a.md", "certs/b.txt"]),
        ({".gitignore": "*.m[[:alpha:]]\n[!a-z]*"}, ["b.txt", "certs/b.txt", "certs/deep/b.txt"]),
        ({".gitignore": "*c*e*r*t*s*\n*.txt\r\n"}, ["a.md"]),
        ({".gitignore": "a.md\x0cb.txt\ncerts"}, ["a.md", "b.txt"]),
    ],
)
def test_a_gitignore_says_what_it_says_to_git(tmp_path: Path, ignored: dict[str, str], read: list[str]) -> None:
    write(tmp_path, *(f"{folder}{name}" for folder in ("", "certs/", "certs/deep/") for name in ("a.md", "b.txt")))
    for name, lines in ignored.items():
        (tmp_path / name).write_text(lines, encoding="utf-8", newline="")

    assert found(tmp_path) == read


NAMES = ["a", "b", "ab", "a-b", "Foo", "x]y", "c.txt", "d.md", "é.md"]
LINES = (
    "a a/ /a !a !a/ *.txt !c.txt b/* !b/c.txt a/** ** * !*/ !** !/* /* /** !*.md b/a **/b/*.md a/**/c.txt Fo? [ab] "
    "[!a]* [^a]* \\!a #c a/*/b ?? *.t[xy]t [a-c]* *** a*b !**/d.md [[:alpha:]] [[:x:]] [a b/**/ /**/a !b/** a**/b "
    "*?* x[]]y x[]-a]y a[+--]b a\\ \\a / // ! **/**/a *[.]* !/*/ b//a a/b/ d.md\\  c.txt\r é* ?.md *-*"
)


@on_posix
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to compare with")
def test_any_gitignore_says_what_it_says_to_git(tmp_path: Path) -> None:
    chance = random.Random(20)

    def fill(folder: Path, depth: int) -> None:
        folder.mkdir()
        lines = chance.choices(LINES.split(" "), k=chance.randint(1, 4)) if depth == 0 or chance.random() < 0.3 else []
        (folder / ".gitignore").write_text("\n".join(lines), encoding="utf-8", newline="")
        for name in NAMES:
            if "." not in name and depth < 2 and chance.random() < 0.5:
                fill(folder / name, depth + 1)
            elif chance.random() < 0.6:
                (folder / f"{name}.md" if "." not in name else folder / name).write_text("text")

    for number in range(25):
        fill(tmp_path / str(number), 0)
    subprocess.run(["git", "init", "-q", "--template=", tmp_path], check=True)
    settings = ["-c", "core.excludesFile=", "-c", "core.ignoreCase=false"]
    listing = ["git", "-C", tmp_path, *settings, "ls-files", "-oz", "--exclude-standard"]
    listed = subprocess.run(listing, check=True, capture_output=True).stdout.decode().split("\0")

    assert sorted(found(tmp_path)) == sorted(name for name in listed if name and not name.endswith(".gitignore"))


def test_collections_are_left_out_and_documents_beside_them_are_not(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "notes/documents/collection.json", "notes/documents/shard/edge_config.json", "notes/b.md")
    write(tmp_path, "store/begun/unfinished", "store/begun/shard/edge_config.json", "store/lost/shard/edge_config.json")

    assert found(tmp_path, hidden=True) == ["a.md", "notes/b.md"]
    assert said_of(read_folder(tmp_path, hidden=True).skipped) == "skipped: 3 collections"


def test_all_is_read_when_told_so(tmp_path: Path) -> None:
    write(tmp_path, "a.md", ".b.md", "c.md")
    (tmp_path / ".gitignore").write_text("c.md\n")

    assert found(tmp_path, hidden=True) == [".b.md", "a.md", "c.md"]


def test_files_are_chosen_by_patterns(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "a.py", "tests/b.md", "docs/c.md")

    assert found(tmp_path, include=("*.md",)) == ["a.md", "docs/c.md", "tests/b.md"]
    assert found(tmp_path, include=("*.md",), exclude=("tests/",)) == ["a.md", "docs/c.md"]
    assert found(tmp_path, include=("/docs/**",)) == ["docs/c.md"]
    assert found(tmp_path, include=("docs/",)) == ["docs/c.md"]
    assert found(tmp_path, include=("?",)) == []


@pytest.mark.parametrize("pattern", ["!", "", "# a", "[a", "a\\"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"--exclude {pattern!r}: not a pattern")):
        read_folder(tmp_path, exclude=("*.md", pattern))


def test_a_gitignore_that_is_made_to_take_long_does_not(tmp_path: Path) -> None:
    write(tmp_path, "a" * 100 + ".md")
    (tmp_path / ".gitignore").write_text("a*" * 20 + "b\n" + "**/a*" * 20 + "/b\n" + "[[:" * 10_000)
    before = time.process_time()

    assert len(found(tmp_path)) == 1
    assert time.process_time() - before < 2


@on_posix
def test_links_out_of_the_folder_are_failures_and_those_within_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, "secret.txt", "docs/a.md", "docs/sub/b.md")
    (tmp_path / "docs" / "out.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "docs" / "within.md").symlink_to("a.md")
    (tmp_path / "docs" / "folder").symlink_to("sub")

    corpus = read_folder(tmp_path / "docs")

    assert [document.text for document in corpus.documents] == ["text of docs/a.md", "text of docs/sub/b.md"]
    reason = f"a link out of the folder, to {tmp_path}/secret.txt, which is not followed"
    assert corpus.failed == [Failed(f"{tmp_path}/docs/out.txt", reason)]
    assert said_of(corpus.skipped) == "skipped: 2 links"


@on_posix
def test_what_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md")
    (tmp_path / "link").symlink_to("docs")
    (tmp_path / "link.md").symlink_to("docs/a.md")

    assert len(read_folder(tmp_path / "link").documents) == 1
    assert len(read(Source.of(tmp_path / "link.md"), Choice()).documents) == 1


@on_posix
def test_a_name_that_is_not_utf_8_is_a_failure_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.md"))).write_text("text")

    corpus = read_folder(tmp_path)

    assert len(corpus.documents) == 1
    assert corpus.failed == [Failed(f"{tmp_path}/\\xff.md", "its name is not UTF-8: rename it")]


@on_posix
def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "b.md")

    assert said_of(read_folder(tmp_path).skipped) == "skipped: 1 neither a file nor a folder"


@on_posix
@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_read_is_a_failure_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "closed/b.md")
    (tmp_path / "closed").chmod(0)

    corpus = read_folder(tmp_path)

    (tmp_path / "closed").chmod(0o700)
    assert len(corpus.documents) == 1
    assert corpus.failed == [Failed(f"{tmp_path}/closed", "Permission denied")]


@on_posix
def test_a_folder_1500_deep_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("b.md", os.O_CREAT, dir_fd=here))
    os.close(here)

    corpus = read_folder(tmp_path)

    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest's own cleaning recurses
    assert [document.text for document in corpus.documents] == ["text of a.md"]
    assert corpus.failed == []


@on_posix
def test_a_folder_deeper_than_paths_may_be_is_a_failure_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    corpus = read_folder(tmp_path)

    subprocess.run(["rm", "-r", tmp_path / ("d" * 200)], check=True)
    assert len(corpus.documents) == 1
    assert [failed.reason for failed in corpus.failed] == ["File name too long"]
