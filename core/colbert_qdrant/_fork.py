"""What does not come along into a forked process is made again there: locks that are held, threads, connections.

A fork copies memory and the one thread that asked for it. A lock that another thread held stays locked in the child
for ever, and a pool waits for threads that are not there. ``multiprocessing`` on Linux and servers that load the
program before they fork (gunicorn's ``preload_app``) do exactly this. https://docs.python.org/3/library/os.html#os.fork
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Renewable(Protocol):
    """Holds something that a forked process has to make again."""

    def _renew_after_fork(self) -> None:
        """Replace it, without waiting for anything and without touching what the parent still uses."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_first: list[Callable[[], None]] = []


def renewed_after_fork(holder: Renewable) -> None:
    """Have an object renewed in every child, as long as it lives."""
    _renewables.add(holder)


def first_after_fork(renew: Callable[[], None]) -> None:
    """Have a module renewed in every child, before the objects."""
    _first.append(renew)


def _renew() -> None:
    for renew in _first:
        renew()
    for holder in list(_renewables):
        holder._renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
