"""The text of a PDF, page by page."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from colbert_qdrant.errors import InvalidInput, MissingExtra


def page_texts(data: bytes) -> Iterator[tuple[int, str | InvalidInput]]:
    """Yield the text of each page, counted from 1, or what keeps a page from being read.

    Raises
    ------
    MissingExtra
        pypdf is not installed.
    InvalidInput
        It is no PDF that can be read, or holds no text.
    """
    try:
        from pypdf import PdfReader
    except ModuleNotFoundError:
        raise MissingExtra('reading PDF takes pypdf: pip install "colbert-qdrant[pdf]"') from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it says of every oddity that it was odd
    try:
        pages = PdfReader(io.BytesIO(data)).pages
        count = len(pages)
    except Exception as error:  # of a damaged file whatever its parsing stumbles over
        raise InvalidInput(f"not a PDF that can be read: {_said(error)}") from None
    is_empty = True
    for number in range(count):
        try:
            text = pages[number].extract_text()
        except Exception as error:
            is_empty = False
            yield number + 1, InvalidInput(f"a page that can't be read: {_said(error)}")
            continue
        is_empty = is_empty and not text.strip()
        yield number + 1, text.encode("utf-8", "replace").decode()
    if is_empty:
        raise InvalidInput("holds no text; pages that are pictures need OCR first")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
