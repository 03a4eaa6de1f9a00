"""How long work shows where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from colbert_qdrant.collection.ingest import AddReport

_PATIENCE = 0.5
"""Seconds of work before a bar appears: less is over before it was read."""


@contextmanager
def progress_bar(
    texts: Iterable[Any] | None, *, show: bool | None, also: Callable[[AddReport], None] | None
) -> Iterator[Callable[[AddReport], None]]:
    """Give a function that takes running reports and draws them as a bar on standard error.

    Parameters
    ----------
    texts
        What is added; its length, where it has one, gives the time left.
    show
        ``None``: where standard error is a terminal.
    also
        Called with each report as well.
    """
    from tqdm import tqdm

    total = len(texts) if isinstance(texts, Sized) else None
    disable = None if show is None else not show
    with tqdm(total=total, unit="text", desc="add", disable=disable, delay=_PATIENCE) as bar:

        def advance(report: AddReport) -> None:
            bar.update(report.stored + len(report.failed) - bar.n)
            if also is not None:
                also(report)

        yield advance
