"""What counts as text, as a number and as a threshold, wherever it comes in."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client import models

QUOTED = "put a key in quotes that is more than letters, digits, - and _ ('\"a key\"')"
"""What to do about a path into a payload that is none."""

_ROUNDED = 1e-6
"""What a sum of similarities may lack, for each 1 of it: a few units in the last place."""


def check_text(text: object, what: str = "text") -> str:
    """Return the text if the tokenizer can take it.

    Raises
    ------
    InvalidInput
        Not a string, or one with a lone surrogate, which no UTF-8 can hold.
    """
    if not isinstance(text, str):
        hint = "; decode it first" if isinstance(text, bytes | bytearray) else ""
        raise InvalidInput(f"{what} is {_shorten(text)} of type {type(text).__name__}, not a string{hint}")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{what} has the lone surrogate {text[error.start]!r} at character {error.start}, which is not text; "
                "repair it with text.encode('utf-8', 'replace').decode()"
            ) from None
    return text


def check_query(query: object) -> str:
    """Return the query if there is something to look for in it.

    Raises
    ------
    InvalidInput
        Not a string, or an empty one: the markers around it would be answered, by whatever they resemble.
    """
    text = check_text(query, "query")
    if not text.strip():
        raise InvalidInput(f"the query is {text!r}: give the words to look for; scroll() lists records without one")
    return text


def check_texts(texts: str | Iterable[str], what: str = "text") -> Iterator[str]:
    """Yield the texts one by one, each checked; a single string is one text."""
    if isinstance(texts, str):
        yield check_text(texts, what)
        return
    if isinstance(texts, bytes | bytearray) or not isinstance(texts, Iterable):
        raise InvalidInput(
            f"{what}s: got {_shorten(texts)} of type {type(texts).__name__}; give a string or an iterable of strings"
        )
    for position, text in enumerate(texts):
        yield check_text(text, f"{what} {position}")


def _shorten(value: object, width: int = 40) -> str:
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def check_thresholds(score_threshold: float | None, min_relevance: float | None) -> None:
    """Refuse thresholds that nothing can pass, or that are none.

    Raises
    ------
    InvalidInput
        A score that is no finite number, or what is no relevance, such as a MaxSim given in its place.
    """
    if score_threshold is not None and not _is_finite(score_threshold):
        raise InvalidInput(f"score_threshold={score_threshold!r}: give a finite number")
    if min_relevance is not None and not is_share(min_relevance):
        raise InvalidInput(f"min_relevance={min_relevance!r}: give 0 to 1; score_threshold= takes a MaxSim")


def reaches(score: float, threshold: float) -> bool:
    """Return whether a score is as high as a threshold, for all that 32 bits tell, in which sums are rounded."""
    return score >= threshold - _ROUNDED * max(1.0, abs(threshold))


def is_share(number: Any) -> bool:
    """Return whether this is a number from 0 to 1."""
    return _is_finite(number) and 0 <= number <= 1


def as_whole(number: Any) -> int | None:
    """Return a whole number, NumPy's among them, as Python's; ``None`` for what is none, as a truth value is not."""
    try:
        return None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return None


def says_nothing(filter: models.Filter) -> bool:
    """Return whether a filter, or one within it, is without a condition, and so may let everything pass.

    Nobody means to say nothing in the midst of a filter: it is left of a condition that got lost, and where things are
    deleted by it all of them go.
    """
    from qdrant_client import models

    counted = filter.min_should.conditions if filter.min_should else None
    conditions: list[Any] = []
    for clause in (filter.must, filter.should, filter.must_not, counted):
        conditions += clause if isinstance(clause, list) else [clause] if clause is not None else []
    inner = (each.nested.filter if isinstance(each, models.NestedCondition) else each for each in conditions)
    return not conditions or any(says_nothing(each) for each in inner if isinstance(each, models.Filter))


def _is_finite(number: Any) -> bool:
    """Tell a number of 32 bits, numpy's among them: no engine counts in more."""
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    return is_number and bool(-3e38 < number < 3e38)
