"""What was read, and what it is called: sources, files, documents, ids."""

from __future__ import annotations

import os
import platform
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from colbert_qdrant.checks import check_text
from colbert_qdrant.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Document:
    """What becomes one record.

    Parameters
    ----------
    where
        It was read, for people: ``file:line``, the file as the user named it.
    id
        Its own, or made of its file's place.
    text, metadata
        As they are stored.
    file
        The place of the file that it was read from; see `Source`.
    is_row
        Whether it is a row of its file, not a chunk.
    names_itself
        Whether it brought its id along, which another file's document may bear as well.
    """

    where: str
    id: str | int
    text: str
    metadata: dict[str, Any]
    file: str
    is_row: bool = False
    names_itself: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """What could not be indexed, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was read.

    Parameters
    ----------
    documents, failed
        In the order they were read.
    skipped
        How many files were left out, by the reason.
    whole
        Places of the files that were read from end to end.
    chunked
        Those of them that were cut into chunks: what is stored of them beside the `documents` is of a longer form
        that they had.
    """

    documents: list[Document] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    whole: set[str] = field(default_factory=set)
    chunked: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a source.

    Parameters
    ----------
    path
        On disk.
    where
        What messages call it: the path as the user would type it.
    place
        What it is remembered by; see `Source`.
    shown
        Its place without the machine: the metadata ``path`` of its documents.
    """

    path: Path
    where: str
    place: str
    shown: str

    def chunk_id(self, number: int | str) -> str:
        """Return the id of a chunk, counted from 1 (of a page as 3.1): a file that changed replaces what it was."""
        return f"{self.place}#{number}"


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder, and what its documents are remembered by.

    Ids are made of a file's place, which no other file has: its absolute path, before which stands the machine's name
    (``machine:/path``, as scp writes it) where others can reach the collection too. Under a name of the user's own
    the places are ``name:path/in/the/folder``.

    Parameters
    ----------
    path
        What is read.
    name
        What all of it is remembered by.
    machine
        The part of `name` that is a machine's.
    """

    path: Path
    name: str
    machine: str = ""

    @classmethod
    def of(cls, path: Path, name: str | None = None, *, is_shared: bool = False) -> Source:
        """Return a source by its absolute place, or by a name.

        Parameters
        ----------
        path
            A file or folder.
        name
            A name that the user gave: any without a colon, or the absolute place that another source has, whose
            newer form this one then is.
        is_shared
            Whether other machines can fill the collection too.
        """
        if name is not None:
            return cls(path, checked_name(name))
        place = Path(os.path.realpath(path)).as_posix()  # Path.resolve would follow a folder 1,500 deep by recursion
        try:
            check_text(place, "its place")
        except InvalidInput:
            raise InvalidInput(
                f"{path}: a folder above it has a name that is not text; name it: --source NAME"
            ) from None
        machine = f"{platform.node() or 'localhost'}:" if is_shared else ""
        return cls(path, machine + place, machine)

    def file(self, path: Path) -> File:
        """Return a file at or below the source's path."""
        where = self.name if str(path) == "-" else path.as_posix()
        if path == self.path:
            place = self.name
        else:
            between = "/" if is_absolute(self.name) else ":"
            place = self.name.removesuffix("/") + between + path.relative_to(self.path).as_posix()
        return File(path, where, place, place.removeprefix(self.machine))

    def holds(self, place: str) -> bool:
        """Return whether a place is this source's, or below it."""
        between = "/" if is_absolute(self.name) else ":"
        return place == self.name or place.startswith(self.name.removesuffix("/") + between)

    def path_of(self, place: str) -> Path:
        """Return where a file of this source lies, or lay."""
        return self.path / place[len(self.name.removesuffix("/")) + 1 :] if place != self.name else self.path


def checked_name(name: str) -> str:
    """Return a source's name if no place of another source can begin like it."""
    check_text(name, "--source")
    if not name.strip() or not name.isprintable() or (":" in name and not is_absolute(name)):
        raise InvalidInput(f"--source {name!r}: give a name without a colon, or the absolute place of another source")
    return name


def is_absolute(name: str) -> bool:
    """Return whether a source's name is an absolute place, on this or another machine."""
    _, colon, path = name.partition(":")
    return PurePath(name).is_absolute() or PureWindowsPath(name).is_absolute() or (bool(colon) and path[:1] == "/")
