"""Which files of a folder are read, and why the others are not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colbert_qdrant.cli.reading.bytes_of import read_bytes
from colbert_qdrant.cli.reading.corpus import Failed
from colbert_qdrant.cli.reading.patterns import Pattern, Patterns
from colbert_qdrant.errors import InvalidInput

IGNORE_FILE = ".gitignore"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files to read, and how.

    Parameters
    ----------
    include, exclude
        Patterns as in a ``.gitignore``, from the source's folder on: read only these, or all but these.
    hidden
        Read what a ``.gitignore`` names and what begins with a dot, too.
    encoding
        Of files that are not UTF-8; see `decoded`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is not read."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Level:
    """The patterns of a folder's ``.gitignore``; `folder` is its place without links."""

    folder: Path
    patterns: Patterns

    def says(self, place: Path, *, is_folder: bool) -> bool | None:
        """Return whether the patterns name a place below; ``None`` where they have nothing to say."""
        return self.patterns.say(place.relative_to(self.folder), is_folder=is_folder)


def walk(folder: Path, choice: Choice) -> Iterator[Path | Skipped | Failed]:
    """Yield the files below a folder in the order of their names.

    Links are not followed: what they point at is read where it lies if it is part of the folder, and is not the
    folder's if it lies elsewhere, which is a failure. Folders are kept in a list, not on Python's stack, and so may
    be nested as deep as the file system allows. Collections are left out, whatever else lies beside them is not.
    """
    from colbert_qdrant.collection.engines.edge_folder import is_told_by_its_shard

    include, exclude = _patterns(choice.include, "--include"), _patterns(choice.exclude, "--exclude")
    root = Path(os.path.realpath(folder))
    waiting: list[tuple[Path, tuple[_Level, ...]]] = [(folder, () if choice.hidden else _levels_above(root))]
    while waiting:
        here, above = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield Failed(str(here), error.strerror or str(error))
            continue
        levels = above if choice.hidden else (*_level(root / here.relative_to(folder)), *above)
        below = []
        for entry in entries:
            path = here / entry.name
            try:
                is_folder, is_link = entry.is_dir(follow_symlinks=False), entry.is_symlink()
                is_file = entry.is_file(follow_symlinks=False)
            except OSError as error:
                yield Failed(str(path), error.strerror or str(error))
                continue
            relative = path.relative_to(folder)
            if not choice.hidden and entry.name.startswith("."):
                yield Skipped(path, "hidden")
            elif _is_ignored(root / relative, levels, is_folder=is_folder):
                yield Skipped(path, f"named by a {IGNORE_FILE}")
            elif exclude.say(relative, is_folder=is_folder):
                yield Skipped(path, "excluded")
            elif is_folder and is_told_by_its_shard(path):
                yield Skipped(path, "collections")
            elif is_folder:
                below.append((path, levels))
            elif choice.include and not include.name(relative):
                yield Skipped(path, "not included")
            elif is_link:
                yield _link(path, root)
            elif is_file:
                yield path
            else:
                yield Skipped(path, "neither a file nor a folder")
        waiting += reversed(below)


def _link(path: Path, root: Path) -> Skipped | Failed:
    target = Path(os.path.realpath(path))
    if target.is_relative_to(root):
        return Skipped(path, "links")
    return Failed(str(path), f"a link out of the folder, to {target}, which is not followed")


def _levels_above(root: Path) -> tuple[_Level, ...]:
    """Return the patterns of the repository that a folder is part of; none where they name it or one above it."""
    folders = [root, *root.parents]
    top = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), None)
    if top is None:
        return ()
    levels = _level(folders[top], ".git/info/exclude")
    for above, folder in zip(folders[top:0:-1], folders[top - 1 :: -1], strict=False):
        levels = (*_level(above), *levels)
        if _is_ignored(folder, levels, is_folder=True):
            return ()
    return levels


def _level(folder: Path, name: str = IGNORE_FILE) -> tuple[_Level, ...]:
    try:
        data = read_bytes(folder / name, is_packed=False, follow=False)
    except (OSError, InvalidInput):
        return ()
    return (_Level(folder, Patterns.of_file(data)),)


def _patterns(given: Sequence[str], option: str) -> Patterns:
    patterns = [Pattern.of(os.fsencode(each)) for each in given]
    if None in patterns:
        raise InvalidInput(f"{option} {given[patterns.index(None)]!r}: not a pattern as in a .gitignore")
    return Patterns.of(patterns)


def _is_ignored(place: Path, levels: Sequence[_Level], *, is_folder: bool) -> bool:
    """Return what the nearest ``.gitignore`` says that has something to say."""
    said = (level.says(place, is_folder=is_folder) for level in levels)
    return next((named for named in said if named is not None), False)
