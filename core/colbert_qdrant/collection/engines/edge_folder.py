"""One collection of the embedded engine on disk: its lock, its description and its shard.

::

    <path>/<collection>/
        lock              held for as long as the collection is open
        collection.json   the request that made it: `CreateCollection`, metadata included
        unfinished        the same while the collection is made or deleted: what lies beside it is worth nothing
        points            how many it had when it was closed; gone from the next write on
        shard/            what qdrant_edge keeps
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from colbert_qdrant.collection.engines import edge_space as space
from colbert_qdrant.collection.engines.edge_errors import engine_errors
from colbert_qdrant.collection.engines.edge_schema import recovered, shard_config
from colbert_qdrant.collection.engines.edge_translate import engine
from colbert_qdrant.errors import CollectionLocked, CollectionNotFound, EngineError
from colbert_qdrant.telemetry import logger

if TYPE_CHECKING:
    from qdrant_client.http import models

_LOCK, _DESCRIPTION, _UNFINISHED, _POINTS, _SHARD = "lock", "collection.json", "unfinished", "points", "shard"
_SHARD_CONFIG = f"{_SHARD}/edge_config.json"

FLUSH_INTERVAL = 5.0
"""Seconds; Qdrant's default ``flush_interval_sec``. https://qdrant.tech/documentation/guides/configuration/"""


class CollectionFolder:
    """A collection held open.

    The lock is taken before the engine sees the folder. The engine's own refusal of a second opener (by its write-ahead
    log) comes too late: the first one's ``flush`` fails from then on when the collection has a payload index
    (qdrant-edge-py 0.9.0).

    Parameters
    ----------
    folder
        Where the collection is, or shall be.
    description
        The request to make it with; None to open one that exists.

    Attributes
    ----------
    turn
        Held by whoever calls the shard: closing it during a call would leave it open for good ("Already borrowed").
        Nothing is lost by taking turns, the engine holds the global interpreter lock during a call anyway.
    users
        Who holds the collection; see `edge_sharing`.

    Raises
    ------
    CollectionNotFound
        There is no collection to open.
    CollectionLocked
        It is open in another process.
    InvalidInput
        The engine refuses the description.
    EngineError
        There is a collection already, or the engine can't open it.
    """

    def __init__(self, folder: Path, description: models.CreateCollection | None = None) -> None:
        self.shard: Any = None  # before the lock, so that it goes before the lock when nobody closes either
        self.turn = threading.RLock()
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        self.closed = False
        self._is_counted = True
        self._looked_at = 0
        self._folder = folder
        self._flushed = time.monotonic()
        make = None if description is None else (description, shard_config(description))
        self._check(make is not None)
        self._lock = _lock(folder)
        try:
            with engine_errors(f"Collection {folder.name!r} in {folder.parent} can't be opened"):
                self._check(make is not None)  # again, now that nobody else can change it
                self.shard = self._open() if make is None else self._make(*make)
        except BaseException:
            self._lock.close()
            raise

    def _check(self, make: bool) -> None:
        if make and exists(self._folder):
            raise EngineError(f"Collection {self._folder.name!r} already exists in {self._folder.parent}.")
        if not make and not exists(self._folder):
            raise CollectionNotFound(f"There is no collection {self._folder.name!r} in {self._folder.parent}.")

    def _open(self) -> Any:
        # With half the margin, so that what was filled up to it can be opened again.
        need = partial(space.unmapped_need, self._segments)
        space.check_room(self._folder, need, "opening it", margin=space.MARGIN // 2)
        if (self._folder / _DESCRIPTION).exists():
            self.description = self._read_description()
            shard = engine().EdgeShard.load(str(self._folder / _SHARD))
        else:
            shard = engine().EdgeShard.load(str(self._folder / _SHARD))
            self.describe(recovered((self._folder / _SHARD_CONFIG).read_bytes()))
            warnings.warn(
                f"{self._folder / _DESCRIPTION} was gone. The {_count(shard):,} documents are there, and their vectors "
                "are described again as the shard has them; which model made them, and with which first stages, is not "
                "known any more and can't be checked: put the file back from a copy if there is one",
                stacklevel=2,
            )
        self._compare_count(shard)
        return shard

    def _read_description(self) -> models.CreateCollection:
        from pydantic import ValidationError
        from qdrant_client.http import models

        file = self._folder / _DESCRIPTION
        try:
            return models.CreateCollection.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise EngineError(f"{file} can't be read: {error}") from error

    def _compare_count(self, shard: Any) -> None:
        """Say when points are missing: the engine has no checksums, and reads what is left of damaged files."""
        try:
            before = int(json.loads((self._folder / _POINTS).read_bytes()))
        except (OSError, ValueError, TypeError):  # it was killed, or never closed
            return
        if (now := _count(shard)) != before:
            warnings.warn(
                f"collection {self._folder.name!r} in {self._folder.parent} held {before:,} documents when it was "
                f"closed and holds {now:,} now: its files were damaged since. Put the folder back from a copy, or add "
                "all documents again (those that are there are not encoded again)",
                stacklevel=2,
            )

    def _make(self, description: models.CreateCollection, config: Any) -> Any:
        if (self._folder / _UNFINISHED).exists():
            shutil.rmtree(self._folder / _SHARD, ignore_errors=True)
        elif (self._folder / _SHARD).exists():
            raise EngineError(
                f"{self._folder} has a shard, perhaps with documents, and nothing that describes it: put "
                "collection.json back from a copy, or move the folder away to begin anew"
            )
        space.check_room(self._folder, lambda: 0, "making a collection")
        self._write(_UNFINISHED, _as_json(description))
        shard = engine().EdgeShard.create(str(self._folder / _SHARD), config)
        shard.flush()
        (self._folder / _UNFINISHED).replace(self._folder / _DESCRIPTION)
        self.description = description
        return shard

    def describe(self, description: models.CreateCollection) -> None:
        """Replace the description, at once and for good."""
        self._write(_DESCRIPTION, _as_json(description))
        self.description = description

    def _write(self, name: str, text: str) -> None:
        new = self._folder / f"{name}.new"
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / name)

    def update(self, operation: Any, need: Callable[[], int] = lambda: 0) -> None:
        """Carry out a write: into the write-ahead log, into the segments, and every few seconds onto the disk.

        As a server does, because a flush costs 20 times as much as a small write (10 ms to 0.5 ms, at 10,000 documents
        on ext4), whereas the log already outlives the process, and is replayed when the collection is opened.

        Parameters
        ----------
        operation
            Of the engine.
        need
            Returns the bytes that it will take on the disk; asked where room is short.
        """
        space.check_room(self._folder, lambda: need() + space.unmapped_need(self._segments, more_files=2), "this write")
        if self._is_counted:
            (self._folder / _POINTS).unlink(missing_ok=True)
            self._is_counted = False
        self.shard.update(operation)
        if time.monotonic() - self._flushed >= FLUSH_INTERVAL:
            self.flush()
            self._give_back()

    def flush(self) -> None:
        """Put every write on disk, and trim the write-ahead log."""
        self.shard.flush()
        self._flushed = time.monotonic()

    def count(self) -> int:
        """Return how many points there are."""
        return _count(self.shard)

    def optimize(self) -> bool:
        """Build indexes, merge segments and give back what deleted points keep; return whether there was any of it.

        Raises
        ------
        EngineError
            There is no room for what is written anew before the old is deleted (the engine asks for twice its size).
        """
        before = space.allocated(self._segments)
        built = bool(self.shard.optimize())
        self.flush()
        freed = before - space.allocated(self._segments)
        self._looked_at = 0
        logger.info("%s: optimize gave back %.1f MB of %.1f MB", self._folder.name, freed / 2**20, before / 2**20)
        return built or freed > before // 10

    def _give_back(self) -> None:
        """Give back what deleted points keep, where that is most of it: at once if it is done quickly, else say how."""
        used = space.allocated(self._segments)
        if used < max(space.SWOLLEN, self._looked_at * 5 // 4):
            return
        self._looked_at = used
        live = space.live_bytes(self.shard, self.count())
        if used < space.WASTE * live:
            return
        if live <= space.SMALL:
            with suppress(EngineError):  # no room for it: the write that came before has been carried out
                self.optimize()
        else:
            warnings.warn(
                f"collection {self._folder.name!r} in {self._folder.parent} takes {used / 2**20:,.0f} MB on disk, of "
                f"which its documents need about {live / 2**20:,.0f} MB: the rest was deleted or replaced, and "
                "optimize() gives it back",
                stacklevel=2,
            )

    @property
    def _segments(self) -> Path:
        return self._folder / _SHARD / "segments"

    def close(self) -> None:
        """Flush, close the shard and give the lock back, whichever of them fails; wait for the call that runs."""
        with self.turn:
            if self.closed:
                return
            self.closed = True
            with self._lock, engine_errors(f"Collection {self._folder.name!r}"):
                try:
                    self.flush()
                    self._write(_POINTS, str(self.count()))
                finally:
                    self.shard.close()

    def is_in_place(self) -> bool:
        """Return whether the folder on disk is still the one that is open."""
        try:
            return self.closed or os.path.samestat(os.fstat(self._lock.fileno()), (self._folder / _LOCK).stat())
        except OSError:
            return False

    def let_go(self) -> None:
        """Be closed without a write: the files are not this process's any more, or others stand in their place.

        The engine flushes a shard when it is dropped, so it never is: its memory is the price.
        """
        self.closed = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.shard))
        self._lock.close()

    def leave_to_parent(self) -> None:
        """Let go of what a fork copied, so that the child neither overwrites the parent's writes nor keeps its locks.

        Files that the child kept open would keep the parent, and whoever comes after it, from opening the collection
        again for as long as the child lives.
        """
        self.let_go()
        folder = os.path.realpath(self._folder) + os.sep
        with suppress(OSError):  # there is no /proc but on Linux
            for number in os.listdir("/proc/self/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/self/fd/{number}").startswith(folder):
                        os.close(int(number))


def exists(folder: Path) -> bool:
    """Return whether a complete collection is there, or one that lost nothing but its description."""
    if (folder / _DESCRIPTION).is_file():
        return True
    return (folder / _SHARD_CONFIG).is_file() and not (folder / _UNFINISHED).exists()


def is_told_by_its_shard(folder: Path) -> bool:
    """Return whether a folder is surely a collection, or one being made: others write a ``collection.json`` too."""
    with suppress(OSError):  # whoever may not look inside finds none
        return os.path.isdir(folder / _SHARD) and (exists(folder) or (folder / _UNFINISHED).is_file())
    return False


def delete(folder: Path) -> None:
    """Remove a collection from disk, readable or not.

    Raises
    ------
    CollectionLocked
        It is open in another process.
    """
    with _lock(folder), engine_errors(f"Collection {folder.name!r}"):
        if (folder / _DESCRIPTION).exists():
            (folder / _DESCRIPTION).replace(folder / _UNFINISHED)
        else:
            (folder / _UNFINISHED).touch()
        shutil.rmtree(folder / _SHARD, ignore_errors=not (folder / _SHARD).exists())
        (folder / _POINTS).unlink(missing_ok=True)
        (folder / _UNFINISHED).unlink()
        with suppress(OSError):  # Windows removes no open file; what is left there is no collection
            (folder / _LOCK).unlink()
            folder.rmdir()


def _count(shard: Any) -> int:
    return int(shard.count(engine().CountRequest(exact=True, filter=None)))


def _as_json(description: models.CreateCollection) -> str:
    return description.model_dump_json(exclude_none=True, indent=2)


def _lock(folder: Path) -> IO[str]:
    import portalocker

    with engine_errors(f"Collection {folder.name!r} in {folder.parent}"):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a")
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
                raise FileNotFoundError
        except (portalocker.AlreadyLocked, FileNotFoundError) as error:
            file.close()
            raise CollectionLocked(
                f"Collection {folder.name!r} in {folder.parent} is open in another process: only one can hold an "
                "embedded collection. Close it there, or run a Qdrant server."
            ) from error
        except BaseException:
            file.close()
            raise
        return file
