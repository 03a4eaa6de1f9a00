"""A property computed once, whatever the number of threads that ask first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from colbert_qdrant._fork import renewed_after_fork

T = TypeVar("T")


class once(cached_property[T]):  # noqa: N801  # read as a decorator
    """`functools.cached_property` with the lock that Python 3.12 took from it.

    https://docs.python.org/3/library/functools.html#functools.cached_property
    """

    def __init__(self, func: Callable[[Any], T]) -> None:
        super().__init__(func)
        self._computing = threading.RLock()
        renewed_after_fork(self)

    def _renew_after_fork(self) -> None:
        """Forget that another thread was computing."""
        self._computing = threading.RLock()

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:  # type: ignore[override]  # not read from a class
        with self._computing:
            value: T = super().__get__(instance, owner)
        return value
