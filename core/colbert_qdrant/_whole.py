"""Work that is not to be torn by Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def carried_out_whole(work: Callable[[], T]) -> T:
    """Carry work out to its end, and raise an interrupt only then.

    Python interrupts the main thread alone, so there it is done by another.
    https://docs.python.org/3/library/signal.html#signals-and-threads
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    outcome: list[Any] = []
    failures: list[BaseException] = []
    begun, ended = threading.Lock(), threading.Event()

    def run() -> None:
        if not begun.acquire(blocking=False):
            return
        try:
            outcome.append(work())
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    interrupt: BaseException | None = None
    try:
        threading.Thread(target=run, name="colbert-whole").start()
    except BaseException as error:  # the thread may be there all the same
        if begun.acquire(blocking=False):
            raise  # the work is not begun, and will not be
        interrupt = error
    while not ended.is_set():
        try:
            ended.wait()
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    if failures:
        raise failures[0]
    done: T = outcome[0]
    return done
