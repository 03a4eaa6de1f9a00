"""Small disks to fill: a tmpfs, and an ext4 in a file. Only root may mount; elsewhere the tests that need one skip."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KINDS = {"tmpfs": 200, "ext4": 40}
"""Megabytes with which an embedded collection has some to write: on tmpfs, empty pages of its files take room too."""


def can_mount() -> bool:
    """Return whether this process may mount at all."""
    return sys.platform == "linux" and os.getuid() == 0


@contextmanager
def disk(kind: str, megabytes: int, at: Path) -> Iterator[Path]:
    """Mount a disk of its own at a folder that is made for it."""
    if not can_mount():
        pytest.skip("only root mounts a disk, and this one is made for Linux")
    at.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)]
    else:
        image = at.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(megabytes * 2**20)
        if subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True).returncode:
            pytest.skip("no mkfs.ext4 here")
        command = ["mount", "-o", "loop", str(image), str(at)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"this machine lets nobody mount a {kind}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill_with(file: Path) -> None:
    """Take all the room that is left."""
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    for size in (2**20, 2**12, 1):
        try:
            while os.write(descriptor, b"x" * size):
                pass
        except OSError:
            continue
    os.close(descriptor)
