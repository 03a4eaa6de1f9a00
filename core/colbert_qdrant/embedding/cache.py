"""Folders of our own: nothing is written, and nothing that was written is trusted, in any other."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from colbert_qdrant.embedding.graph.wire import Chunk

FileVersion: TypeAlias = tuple[str, int, int, int]
"""Which file it is, as it is now; see `file_version`."""

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def own_folder(cache_dir: str | Path | None) -> Path:
    """Return a folder that this user alone can write to, made when missing.

    Parameters
    ----------
    cache_dir
        Where the caller keeps downloads; ``None``: the user's cache (``XDG_CACHE_HOME``, else ``~/.cache``).

    Returns
    -------
    pathlib.Path
        ``colbert-qdrant`` in there. Where that can't be made, or others could write to it, a temporary folder that goes
        with this process.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else _user_cache()
    return private(folder / "colbert-qdrant") or _temporary_folder()


def private(place: Path) -> Path | None:
    """Return `place` as a folder that this user alone can write to, made where it is missing.

    Somebody else's folder, one that others may write to, a link, and one whose parent lets others put another in its
    place are not taken: what lies there could be anybody's.

    Returns
    -------
    pathlib.Path or None
        ``None``: it can't be made, or it is not ours alone.
    """
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place if _is_ours(place) and _keeps_names(place.parent.stat()) else None
    except OSError:
        return None


def write_whole(target: Path, chunks: Iterable[Chunk], check: Callable[[Path], object] | None = None) -> None:
    """Write a file that is either there with all its bytes or not at all, whoever else writes it meanwhile.

    Parameters
    ----------
    target
        The file; one that is there is replaced.
    chunks
        What to write.
    check
        Looks at the file before it takes its place, and raises to keep it from there.
    """
    partial = tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False)  # noqa: SIM115
    try:
        with partial:
            partial.writelines(chunks)
            partial.flush()
            os.fsync(partial.fileno())
        if check is not None:
            check(Path(partial.name))
        os.replace(partial.name, target)
    except BaseException:
        Path(partial.name).unlink(missing_ok=True)
        raise


def _is_ours(folder: Path) -> bool:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not hasattr(os, "getuid"):  # Windows: a user's own folders are closed to others
        return True
    return found.st_uid == os.getuid() and not found.st_mode & _OTHERS_MAY_WRITE


def _keeps_names(parent: os.stat_result) -> bool:
    """Tell whether nobody else can rename or remove what is in a folder, but its owner who may be root."""
    if not hasattr(os, "getuid"):
        return True
    is_guarded = not parent.st_mode & _OTHERS_MAY_WRITE or bool(parent.st_mode & stat.S_ISVTX)
    return is_guarded and parent.st_uid in (0, os.getuid())


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def _temporary_folder() -> Path:

    folder = Path(tempfile.mkdtemp(prefix="colbert-qdrant-"))
    maker = os.getpid()  # not a child of it, whose end is not this process's
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == maker else None)
    return folder


def file_version(path: Path) -> FileVersion:
    """Return what tells a file from what may lie in its place later, without reading it.

    Archives, Nix and Bazel give all files one time of writing, and two models of one shape are of one size: the time of
    change, which nobody can set, tells them apart (https://man7.org/linux/man-pages/man7/inode.7.html). Where a file
    has several names, as conda and uv give them out, that time moves with every name, and the file's number counts in
    its place: what is shared is replaced, not written to. Elsewhere a number says little. It is given out again at
    once, and a network drive may make up another one at each start.
    """
    found = FileState.of(path)
    return str(found.place), found.size, found.written, found.number if found.names > 1 else found.changed


@dataclass(frozen=True, slots=True, eq=False)
class FileState:
    """What is known of a file without reading it: it compares by whether it is the same file; see `file_version`."""

    place: Path
    size: int
    written: int
    changed: int
    number: int
    names: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Return a file's state as it is now."""
        found = path.stat()
        return cls(path.resolve(), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_nlink)

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same file: a name more or less, of a backup or a cache, moves the time of change."""
        if not isinstance(other, FileState):
            return NotImplemented
        is_alike = (self.place, self.size, self.written) == (other.place, other.size, other.written)
        has_other_names = self.number == other.number and self.names != other.names
        return is_alike and (self.changed == other.changed or has_other_names)


def digest_of(path: Path, part: Callable[[bytes], bytes] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal: the hub's own name for it, what we remember, or computed.

    A file of 440 MB is read for this once, and not at each start. The hub keeps large files under their SHA-256:
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache

    Parameters
    ----------
    path
        The file.
    part
        What of its content counts; ``None``: all.
    """
    real = path.resolve()
    is_blob = real.parent.name == "blobs" and real.parent.parent.name.startswith("models--")
    if part is None and is_blob and _is_sha256(real.name):
        return real.name
    return _remembered(file_version(real), part)


@cache
def _remembered(file: FileVersion, part: Callable[[bytes], bytes] | None) -> str:
    folder = private(own_folder(None) / "digests")
    name, *moment = file
    about = f"{name} {part.__name__ if part else ''}"
    note = folder and folder / hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()
    version = "".join(f"{number} " for number in moment)
    kept = ""
    if note:
        with contextlib.suppress(OSError, ValueError):
            kept = note.read_text(encoding="ascii")
    if kept.startswith(version) and _is_sha256(kept.removeprefix(version)):
        return kept.removeprefix(version)
    with open(name, "rb") as content:
        digest = (hashlib.sha256(part(content.read())) if part else hashlib.file_digest(content, "sha256")).hexdigest()
    if note:
        with contextlib.suppress(OSError):  # a full disk costs the next start its time, and nothing else
            write_whole(note, [f"{version}{digest}".encode("ascii")])
    return digest


def _is_sha256(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
