"""Texts that were cut to what the model reads.

Documents are counted where they are encoded, and told of once where that was asked for; queries are told of at once.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType

ADVICE = "ColbertEmbedder(..., long_documents='window') encodes them whole"


@dataclass(slots=True)
class _Count:
    """How many documents of how many were cut, and to how many tokens; taken from several threads."""

    advice: str
    cut: int = 0
    total: int = 0
    limit: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, cut: int, total: int, limit: int) -> None:
        with self._turn:
            self.cut += cut
            self.total += total
            self.limit = max(self.limit, limit)


_counting: ContextVar[_Count | None] = ContextVar("documents cut", default=None)


def tell_of_cuts(cut: int, total: int, limit: int, advice: str = ADVICE) -> None:
    """Say that so many of the documents were cut: to whom it was asked to count, else as a warning.

    Parameters
    ----------
    cut, total
        Documents that were cut, and all that were encoded.
    limit
        The tokens that are left of one.
    advice
        What to write, to have them whole.
    """
    counting = _counting.get()
    if counting is not None:
        counting.take(cut, total, limit)
    elif cut:
        message = f"{cut} of {total} documents were longer than {limit} tokens and were cut: {advice}"
        warnings.warn(message, stacklevel=_level_of_the_caller())


def tell_of_cut_queries(cut: int, total: int, limit: int) -> None:
    """Warn that what stands behind so many tokens of a query is not searched for; see `tell_of_cuts`."""
    if cut:
        message = (
            f"{cut} of {total} queries were longer than {limit} tokens and were cut: ask in fewer words, or give a "
            "longer query_length= where the model reads more"
        )
        warnings.warn(message, stacklevel=_level_of_the_caller())


@contextmanager
def cuts_told_once(advice: str = ADVICE) -> Iterator[None]:
    """Count the documents that are cut within, and say so once, at the end; the outermost says it.

    Threads count too that run in a copy of the context (`asyncio.to_thread`, or `contextvars.copy_context`).

    Parameters
    ----------
    advice
        What to write in the framework at hand, to have them whole.
    """
    count = _Count(advice)
    token = _counting.set(count)
    try:
        yield
    finally:
        _counting.reset(token)
        tell_of_cuts(count.cut, count.total, count.limit, count.advice)


def _level_of_the_caller() -> int:
    """Return the ``stacklevel`` of the nearest line that is neither ours nor a library's: what the user wrote."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and _is_library(frame):
        frame, level = frame.f_back, level + 1
    return level if frame is not None else 2


def _is_library(frame: FrameType) -> bool:
    if str(frame.f_globals.get("__name__")).partition(".")[0].endswith("colbert_qdrant"):
        return True
    file = frame.f_code.co_filename
    return file.startswith(("<frozen", _STANDARD)) or "site-packages" in file or "dist-packages" in file


_STANDARD = sysconfig.get_path("stdlib") + os.sep
