"""Which texts a graph runs over together, and how far ahead they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one run.

    Parameters
    ----------
    positions
        Of the texts.
    width
        Tokens that each takes, padding included.
    """

    positions: list[int]
    width: int


@dataclass(frozen=True, slots=True)
class Planning:
    """How texts become batches.

    Parameters
    ----------
    budget
        Most tokens of a batch, padding included; a text longer than that is a batch of its own, and with 0 every
        text is.
    step
        Widths are multiples of it, so that a device sees few shapes and whole tiles.
    growth
        A batch is at most that many times as wide as its shortest text, rounded up to `step`, needs.
    read_ahead
        Texts that are sorted by length together, at least.
    overlaps
        Whether the processor is idle while the graph runs, and can prepare the next texts.
    """

    budget: int
    step: int = 1
    growth: float = float("inf")
    read_ahead: int = 1
    overlaps: bool = False

    def batches(self, lengths: Sequence[int], longest: int | None = None) -> list[Batch]:
        """Group texts of similar length so that little of a batch is padding.

        Parameters
        ----------
        lengths
            Tokens of each text.
        longest
            Tokens that the encoder reads, where known: no text is padded beyond them.

        Returns
        -------
        list of Batch
            The longest texts first, so that no thread is left with a long one at the end.
        """
        batches: list[Batch] = []
        for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
            length = lengths[position]
            needed = -(-length // self.step) * self.step
            if longest is not None:
                needed = max(min(needed, longest), length)
            last = batches[-1] if batches else None
            if (
                last is not None
                and (len(last.positions) + 1) * last.width <= self.budget
                and last.width <= self.growth * needed
            ):
                last.positions.append(position)
            else:
                batches.append(Batch([position], needed))
        return batches


ONE_BY_ONE = Planning(budget=0)
"""For graphs whose results depend on what else is in a batch, its padding included."""


MOST_CHARACTERS = 2**23
"""Of texts that are read ahead for an accelerator: their token vectors take about a gigabyte."""


def windows(texts: Iterator[str], size: int, planning: Planning) -> Iterator[list[str]]:
    """Cut texts, endless or not, into lists of `size`, or of as many as the planning reads ahead if those are more.

    In lists longer than `size` there are no more than `MOST_CHARACTERS`, but for the last text's.
    """
    window: list[str] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text)
        if len(window) >= max(size, planning.read_ahead) or (len(window) >= size and characters >= MOST_CHARACTERS):
            yield window
            window, characters = [], 0
    if window:
        yield window


def one_ahead(items: Iterator[S], work: Callable[[S], T]) -> Iterator[tuple[S, T]]:
    """Yield each item with what is made of it, which is made by a thread while the caller is busy with the one before.

    Items are taken in the caller's thread, as what gives them may belong to it. Where that or the work fails, what was
    made before comes first.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="colbert-ahead") as thread:
        waiting: tuple[S, Future[T]] | None = None
        failure: Exception | None = None
        while failure is None:
            following: tuple[S, Future[T]] | None = None
            try:
                item = next(items)
                following = item, thread.submit(work, item)
            except StopIteration:
                pass
            except Exception as error:
                failure = error
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
            if waiting is None:
                break
        if failure is not None:
            raise failure
