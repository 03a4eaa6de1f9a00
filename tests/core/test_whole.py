"""Work that Ctrl-C does not tear: it is done, or it is not begun, whenever the interrupt comes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from colbert_qdrant._whole import carried_out_whole

START = threading.Thread.start


def interrupted_before(thread: threading.Thread) -> None:
    raise KeyboardInterrupt


def interrupted_after(thread: threading.Thread) -> None:
    START(thread)
    raise KeyboardInterrupt


def test_its_answer_and_its_error_come_back() -> None:
    assert carried_out_whole(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        carried_out_whole(lambda: 1 / 0)


def interrupted_between(thread: threading.Thread) -> None:
    """The system has made the thread, which has not yet said that it runs."""
    START(threading.Thread(target=thread.run))  # `thread` itself is never told
    raise KeyboardInterrupt


@pytest.mark.parametrize("start", [interrupted_before, interrupted_after, interrupted_between])
def test_an_interrupt_while_its_thread_starts_leaves_all_or_nothing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def work() -> None:
        done.append("begun")
        time.sleep(0.1)
        done.append("ended")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            carried_out_whole(work)

    assert done in ([], ["begun", "ended"])
    time.sleep(0.15)
    assert done in ([], ["begun", "ended"]), "it was begun after its caller had been told that it was not"
