"""How long work shows where it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from colbert_qdrant.collection.reports import AddReport
from colbert_qdrant.notebook import is_watched

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
        ``None``: where standard error is a terminal or a notebook's.
    also
        Called with each report as well.
    """
    from tqdm import tqdm

    total = len(texts) if isinstance(texts, Sized) else None
    disable = not is_watched() if show is None else not show
    # Without smoothing the rate is that of all the work, and `initial` is left out of it.
    with (
        tqdm(total=total, unit="text", desc="add", disable=disable, delay=_PATIENCE, smoothing=0) as bar,
        _ticking(bar),
    ):

        def advance(report: AddReport) -> None:
            done = report.stored + len(report.failed)
            bar.initial = max(0, done - report.encoded)  # what was only looked up says nothing of the time left
            bar.update(done - bar.n)
            if also is not None:
                also(report)

        yield advance


@contextmanager
def _ticking(bar: Any) -> Iterator[None]:
    """Draw a bar every second, also while the first texts are encoded and there is no report yet."""
    over = threading.Event()

    def tick() -> None:
        pause = _PATIENCE
        while not over.wait(pause):
            bar.refresh()
            pause = 1.0

    ticker = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        ticker.start()
    try:
        yield
    finally:
        over.set()
        if not bar.disable:
            ticker.join()
