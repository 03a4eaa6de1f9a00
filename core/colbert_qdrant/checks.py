"""What counts as text, wherever it comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from colbert_qdrant.errors import InvalidInput


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
