"""What goes on inside, for those who watch: a standard logger, and OpenTelemetry spans where its API is installed."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger("colbert_qdrant")

_NO_SPAN: AbstractContextManager[None] = nullcontext()


def span(name: str, attributes: Mapping[str, Any]) -> AbstractContextManager[Span | None]:
    """Open a span, or nothing at all where OpenTelemetry is not installed.

    Parameters
    ----------
    name
        What is being done.
    attributes
        Strings and numbers; never texts or keys, which belong to the user. ``None`` values are left out.

    References
    ----------
    https://opentelemetry.io/docs/specs/semconv/database/ (names of attributes)
    """
    tracer = _tracer()
    if tracer is None:
        return _NO_SPAN
    known = {key: value for key, value in attributes.items() if value is not None}
    return tracer.start_as_current_span(f"colbert_qdrant.{name}", attributes=known)


@cache
def _tracer() -> Tracer | None:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer("colbert_qdrant")
