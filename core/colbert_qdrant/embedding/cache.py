"""A folder of our own for what is made once and used again; nobody else can put a file there."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from colbert_qdrant.embedding.graph.wire import Chunk

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
    try:
        folder = folder / "colbert-qdrant"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_ours(folder) else _temporary_folder()
    except OSError:
        return _temporary_folder()


def write_whole(target: Path, chunks: Iterable[Chunk]) -> None:
    """Write a file that is either there with all its bytes or not at all, whoever else writes it meanwhile."""
    partial = tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False)  # noqa: SIM115
    try:
        with partial:
            partial.writelines(chunks)
            partial.flush()
            os.fsync(partial.fileno())
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


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def _temporary_folder() -> Path:
    import atexit
    import shutil

    folder = tempfile.mkdtemp(prefix="colbert-qdrant-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
