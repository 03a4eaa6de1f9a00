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

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="colbert-whole")
    interrupt: BaseException | None = None
    try:
        thread.start()
    except BaseException as error:
        interrupt = error
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    if failures:
        raise failures[0]
    done: T = outcome[0]
    return done
