"""The bytes of a file, unpacked, and the text that they are."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from pathlib import Path

from colbert_qdrant.errors import InvalidInput

_SMALL = 64 * 2**20
_RATIO = 200
"""Text packs to a twentieth; a file that unpacks to more than this many times its size is made to fill a memory."""

_STEP = 2**20

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HTML_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]{1,40})", re.IGNORECASE)


def read_bytes(path: Path, *, is_packed: bool, follow: bool) -> bytes:
    """Return what a regular file holds.

    Parameters
    ----------
    path
        Of the file.
    is_packed
        Unpack it by gzip.
    follow
        Whether it may be a link: only what the user named may.

    Raises
    ------
    InvalidInput
        Not a regular file, or one that unpacks beyond all measure.
    OSError
        It can't be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidInput("not a regular file")
        return unpacked(file, os.fstat(file.fileno()).st_size) if is_packed else file.read()


def unpacked(file: io.BufferedReader, size: int) -> bytes:
    """Return what a gzip file holds.

    Raises
    ------
    InvalidInput
        It is damaged, or unpacks to more than `_RATIO` times its size.
    """
    parts: list[bytes] = []
    length = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacking:
            while part := unpacking.read(_STEP):
                parts.append(part)
                length += len(part)
                if length > max(_SMALL, size * _RATIO):
                    raise InvalidInput(f"unpacks to more than {_RATIO} times its size")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInput(f"not a whole gzip file: {error}") from None
    return b"".join(parts)


def decoded(data: bytes, otherwise: str | None = None, *, is_html: bool = False) -> str:
    """Return bytes as text: by their byte order mark, else as UTF-8, as a page's own head says, or as `otherwise`.

    UTF-8 goes before what is said, as a folder holds files of both, unless the bytes would be UTF-8 by chance: where
    an encoding was said that writes all text in ASCII, as ISO-2022-JP does, and where zeros stand, as in UTF-16.

    Raises
    ------
    InvalidInput
        It is not text in any of these.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    stated = _HTML_CHARSET.search(data[:4096]) if is_html and not marked else None
    said = [name for name in (stated and stated[1].decode(), otherwise) if name]
    in_ascii = [name for name in said if data.isascii() and _writes_in_ascii(name)]
    for name in [marked] if marked else [*in_ascii, "utf-8", *said]:
        try:
            text = data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
        if "\0" not in text[:8192]:
            return text
    if b"\0" in data[:8192]:
        raise InvalidInput("not text")
    tried = f" and not {otherwise}" if otherwise else ""
    raise InvalidInput(f"not UTF-8{tried}; --encoding names what it is, such as --encoding cp1252")


def _writes_in_ascii(name: str) -> bool:
    """Return whether an encoding's bytes are ASCII, whatever the text."""
    try:
        known = codecs.lookup(name).name
    except LookupError:
        return False
    return known.startswith("iso2022") or known in ("hz", "utf-7")
