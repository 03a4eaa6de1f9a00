"""The text of an HTML page, line by line."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_UNSEEN = ("script", "style", "template", "svg")
_BLOCKS = (
    "address article aside blockquote dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr main nav ol p pre section summary table ul"
)
_PARAGRAPHS = frozenset(_BLOCKS.split())
_LINES = ("br", "li", "option", "tr")


def text_lines(page: str) -> tuple[str, list[tuple[int, str]]]:
    """Return a page's title, and its text as numbered lines, with a blank one between paragraphs."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    reader.end_line()
    return " ".join(reader.title.split()), reader.lines


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.lines: list[tuple[int, str]] = []
        self._line = ""
        self._number = 1
        self._unseen = 0
        self._in_title = False
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        self._in_title = tag == "title"
        self._break(tag)
        self._verbatim += tag == "pre"
        if tag == "li":
            self._line = "- "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        self._in_title = False
        self._break(tag)
        self._verbatim = max(0, self._verbatim - (tag == "pre"))
        if tag in ("td", "th"):
            self._line += " "

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._unseen:
            first = self.getpos()[0]
            for number, line in enumerate(data.split("\n"), start=first):
                if number > first and self._verbatim:
                    self.end_line()
                if not self._line.strip(" -"):
                    self._number = number
                joint = " " if number > first and not self._verbatim else ""
                self._line += joint + (line if self._verbatim else re.sub(r"\s+", " ", line))

    def end_line(self) -> None:
        """Begin a new line."""
        line = self._line.rstrip() if self._verbatim else re.sub(r" {2,}", " ", self._line.strip())
        if line not in ("", "-"):
            self.lines.append((self._number, line))
        self._line = ""

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS or tag in _LINES:
            self.end_line()
        if tag in _PARAGRAPHS:
            self.lines.append((self._number, ""))
