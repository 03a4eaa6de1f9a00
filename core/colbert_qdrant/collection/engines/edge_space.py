"""Room on the disk: what a write will take, and what deleted documents keep.

The engine writes into memory-mapped files that are larger than what is in them. Where the disk has no block left for a
page of such a file, the kernel ends the process by SIGBUS, without a word; so room is looked for before each write.
And it only ever appends: what is deleted or replaced keeps its place until `EdgeClient.optimize`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from colbert_qdrant.collection.engines.edge_translate import engine
from colbert_qdrant.errors import EngineError

MARGIN = 8 * 2**20
"""Bytes that stay free: for flushing and closing, for indexes of the payload, for a neighbour who writes as well."""

PLENTY = 2**30
"""Free bytes above which nobody asks what a write takes: a request is of 64 MB at most."""

SWOLLEN = 128 * 2**20
"""Bytes on disk below which nobody asks what deleted documents keep."""

SMALL = 32 * 2**20
"""Bytes of documents that are written anew, beside a write, to give back what deleted ones keep: less than a second."""

WASTE = 3
"""How many times what its documents take a collection may take on disk."""

_LOG, _FLOAT = 5, 4  # bytes of a float: in the log (CBOR), in the storage
_ID, _POINT = 50, 200  # bytes of all else: an id in the log and in the tracker; a whole point
_JSON = 3  # the payload: as CBOR in the log, as JSON in its storage, and whole blocks of that
_SAMPLE = 32
_CHUNK = 32 * 2**20  # the engine's files of vectors (qdrant-edge-py 0.9.0)


def check_room(folder: Path, need: Callable[[], int], doing: str, *, margin: int = MARGIN) -> None:
    """Refuse what the disk has no room for.

    Parameters
    ----------
    folder
        Of the collection.
    need
        Returns the bytes; it is asked when room is short.
    doing
        What needs them, for the message.
    margin
        Bytes to be left.

    Raises
    ------
    EngineError
        Names the folder, the free bytes and the need.
    """
    disk = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if disk is None:  # Windows has no memory-mapped files beyond the room there is
        return
    free = disk.f_bavail * disk.f_frsize
    if free > PLENTY:
        return
    wanted = need() + margin
    if free < wanted:
        raise EngineError(
            f"The disk of {folder} has {_megabytes(free)} free, and {doing} needs about {_megabytes(wanted)}. "
            "Nothing was written, and nothing that was stored before is lost: free some space, and repeat"
        )


def points_need(points: Iterable[Any]) -> int:
    """Return how many bytes points take on disk, the log included."""
    return sum(
        _POINT + (_LOG + _FLOAT) * _numbers(point.vector) + _JSON * _text(getattr(point, "payload", None))
        for point in points
    )


def changes_need(points: int, payload: object) -> int:
    """Return how many bytes a change of so many stored points takes on disk, the log included."""
    return points * (_ID + _JSON * _text(payload))


def unmapped_need(segments: Path, *, more_files: int = 0) -> int:
    """Return how many bytes are still to be taken by files that are there: none, but where they live in memory (tmpfs).

    There a page takes room when it is first read, and opening a shard reads all of its vectors' files: 64 MB and more
    that are empty yet, and so many files that a write may begin. What a killed process left in the log needs no room,
    it is stored again where it was.
    """
    if not _is_in_memory(segments):
        return 0
    empty = sum(max(0, status.st_size - status.st_blocks * 512) for status in _statuses(segments, ".mmap"))
    return empty + more_files * _CHUNK


def allocated(folder: Path) -> int:
    """Return how many bytes a folder takes on disk."""
    return sum(status.st_blocks * 512 for status in _statuses(folder))


def live_bytes(shard: Any, count: int) -> int:
    """Estimate what a shard's documents take in its storage, by the first of them."""
    if not count:
        return 0
    request = engine().ScrollRequest(
        offset=None, limit=_SAMPLE, filter=None, with_payload=True, with_vector=True, order_by=None
    )
    found, _ = shard.scroll(request)
    sampled = sum(_FLOAT * _numbers(point.vector) + _text(point.payload) for point in found)
    return count * (sampled // max(1, len(found)) + _POINT)


def _numbers(vector: Any) -> int:
    if isinstance(vector, dict):
        return sum(map(_numbers, vector.values()))
    if hasattr(vector, "indices"):
        return 2 * len(vector.indices)
    if isinstance(vector, np.ndarray):
        return vector.size
    if isinstance(vector, list | tuple) and vector:
        return len(vector) * (len(vector[0]) if hasattr(vector[0], "__len__") else 1)
    return 0


def _text(payload: object) -> int:
    return len(json.dumps(payload, default=str)) if payload else 0


def _statuses(folder: Path, suffix: str = "") -> list[os.stat_result]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(suffix):
                with suppress(OSError):  # deleted meanwhile
                    found.append(os.stat(os.path.join(parent, name)))
    return found


def _is_in_memory(folder: Path) -> bool:
    """Tell tmpfs from a disk. https://www.kernel.org/doc/html/latest/filesystems/proc.html (mountinfo)."""
    try:
        device = os.stat(folder).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no such folder, or not Linux
        return False
    here = f"{os.major(device)}:{os.minor(device)}"
    return any(
        line.split()[2:3] == [here] and line.partition(" - ")[2].startswith(("tmpfs ", "ramfs "))
        for line in mounts.split("\n")
    )


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MB ({count:,} bytes)"
