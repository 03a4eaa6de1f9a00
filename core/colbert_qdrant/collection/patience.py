"""How long a call that fails for a passing reason is tried again. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from colbert_qdrant.collection.steps import Call, Finish, Operation, Pause
from colbert_qdrant.errors import EngineUnavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how slowly.

    Parameters
    ----------
    attempts
        Tries in all.
    first_pause, longest_pause
        Seconds between two tries at most: at first, doubled with each, and whatever the server asks for.
    outlasts_timeouts
        Try again also where the whole timeout went by.
    """

    attempts: int
    first_pause: float
    longest_pause: float
    outlasts_timeouts: bool


WRITING = Patience(attempts=6, first_pause=1.0, longest_pause=60.0, outlasts_timeouts=True)
"""For what runs in the background: a node that starts again takes its time."""

READING = Patience(attempts=3, first_pause=0.5, longest_pause=1.0, outlasts_timeouts=False)
"""For whoever waits for an answer: another node takes over within a second or two, or none does."""


def patient(call: Call, patience: Patience = WRITING, begun: Any = None) -> Operation[Any]:
    """Carry out a call, again where it fails for a reason that may pass: exponential back-off with full jitter.

    Parameters
    ----------
    call
        What to carry out.
    patience
        How often and how slowly.
    begun
        The job of the first try, where that is under way already.

    References
    ----------
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    for attempt in range(patience.attempts):
        try:
            return (yield call if begun is None or attempt else Finish(begun))
        except EngineUnavailable as error:
            if error.timed_out and not patience.outlasts_timeouts:
                raise
            if attempt == patience.attempts - 1:
                error.add_note(f"tried {patience.attempts} times")
                raise
            asked = error.retry_after
        jittered = random.uniform(0, min(patience.longest_pause, patience.first_pause * 2**attempt))
        yield Pause(jittered if asked is None else min(max(asked, 0.0), patience.longest_pause))
    raise AssertionError("unreachable: the last attempt returns or raises")
