"""One collection of the embedded engine on disk: its lock, its description and its shard.

::

    <path>/<collection>/
        lock              held for as long as the collection is open
        collection.json   the request that made it: `CreateCollection`, metadata included. Written last, removed first
        shard/            what qdrant_edge keeps
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from colbert_qdrant.collection.engines.edge_schema import shard_config
from colbert_qdrant.collection.engines.edge_translate import engine
from colbert_qdrant.errors import (
    ColbertQdrantError,
    CollectionLocked,
    CollectionNotFound,
    EngineError,
    InvalidInput,
)

if TYPE_CHECKING:
    from qdrant_client.http import models

_LOCK, _DESCRIPTION, _SHARD = "lock", "collection.json", "shard"

FLUSH_INTERVAL = 5.0
"""Seconds; Qdrant's default ``flush_interval_sec``. https://qdrant.tech/documentation/guides/configuration/"""

# How the engine's error texts begin when the request is at fault, not the storage (it has no error classes).
_CALLER_ERRORS = (
    "No appropriate index",
    "No point with id",
    "No range index",
    "Not existing vector name",
    "Validation failed",
    "Vector dimension error",
    "Wrong ",
)


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

    Raises
    ------
    CollectionNotFound
        There is no collection to open.
    CollectionLocked
        It is open elsewhere, in this process or in another.
    InvalidInput
        The engine refuses the description.
    EngineError
        There is a collection already, or the engine can't open it.
    """

    def __init__(self, folder: Path, description: models.CreateCollection | None = None) -> None:
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
        from pydantic import ValidationError
        from qdrant_client.http import models

        file = self._folder / _DESCRIPTION
        try:
            self.description = models.CreateCollection.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise EngineError(f"{file} can't be read: {error}") from error
        return engine().EdgeShard.load(str(self._folder / _SHARD))

    def _make(self, description: models.CreateCollection, config: Any) -> Any:
        # Without its description, a shard is what a killed process left of a creation or a deletion.
        shutil.rmtree(self._folder / _SHARD, ignore_errors=True)
        shard = engine().EdgeShard.create(str(self._folder / _SHARD), config)
        shard.flush()
        self.describe(description)
        return shard

    def describe(self, description: models.CreateCollection) -> None:
        """Replace the description, at once and for good."""
        new = self._folder / f"{_DESCRIPTION}.new"
        with new.open("w", encoding="utf-8") as file:
            file.write(description.model_dump_json(exclude_none=True, indent=2))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / _DESCRIPTION)
        self.description = description

    def update(self, operation: Any) -> None:
        """Carry out a write: into the write-ahead log, into the segments, and every few seconds onto the disk.

        As a server does, because a flush costs 20 times as much as a small write (10 ms to 0.5 ms, at 10,000 documents
        on ext4), whereas the log already outlives the process, and is replayed when the collection is opened.
        """
        self.shard.update(operation)
        if time.monotonic() - self._flushed >= FLUSH_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Put every write on disk, and trim the write-ahead log."""
        self.shard.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush, close the shard and give the lock back, whichever of them fails."""
        with self._lock, engine_errors(f"Collection {self._folder.name!r}"):
            try:
                self.flush()
            finally:
                self.shard.close()


def exists(folder: Path) -> bool:
    """Return whether a complete collection is there."""
    return (folder / _DESCRIPTION).is_file()


def delete(folder: Path) -> None:
    """Remove a collection from disk, readable or not.

    Raises
    ------
    CollectionLocked
        It is open, in this process or in another.
    """
    with _lock(folder), engine_errors(f"Collection {folder.name!r}"):
        (folder / _DESCRIPTION).unlink()
        shutil.rmtree(folder / _SHARD)
        with suppress(OSError):  # Windows removes no open file; what is left there is no collection
            (folder / _LOCK).unlink()
            folder.rmdir()


@contextmanager
def engine_errors(subject: str) -> Iterator[None]:
    """Raise what the engine raises as errors of this package."""
    try:
        yield
    except ColbertQdrantError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{subject}: {error}") from error
    except BaseException as error:
        text = str(error)
        panic = type(error).__name__ == "PanicException"  # a BaseException, to pass by every `except Exception`
        if not (panic or isinstance(error, Exception)):
            raise
        if "index for `order_by`" in text or "index for faceting" in text:
            text += " (client.create_payload_index makes one)"
        kind = InvalidInput if text.startswith(_CALLER_ERRORS) else EngineError
        raise kind(f"{subject}: {text}") from error


def _lock(folder: Path) -> IO[str]:
    import portalocker

    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _LOCK).open("a")
    try:
        portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
            raise FileNotFoundError
    except (portalocker.LockException, FileNotFoundError) as error:
        file.close()
        raise CollectionLocked(
            f"Collection {folder.name!r} in {folder.parent} is open elsewhere, in this process or another: only one "
            "client can hold an embedded collection. Close that client, share it, or run a Qdrant server."
        ) from error
    return file
