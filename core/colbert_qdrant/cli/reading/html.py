"""The text of an HTML page, line by line.

Python's own parser takes a minute for 60 kB of ``<a`` without an end. Here each character is passed a bounded number of
times, whatever the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

_UNSEEN = ("template", "svg")
_FOREIGN = ("svg", "math")
_BLOCKS = (
    "address article aside blockquote dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr main nav ol p pre section summary table ul"
)
_PARAGRAPHS = frozenset(_BLOCKS.split())
_LINES = ("br", "li", "option", "tr")

_LONGEST_TAG = 20_000
_NAME = re.compile(r"</?([a-zA-Z][^\s/>]{0,99})")
_ATTRIBUTES = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_CLOSING = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style", "title", "textarea")}


class _Token(NamedTuple):
    """A tag's name (``/name`` where it ends), or a text under an empty name, and its line, counted from 1."""

    tag: str
    text: str
    line: int


def text_lines(page: str, *, is_xml: bool = False) -> tuple[str, list[tuple[int, str]]]:
    """Return a page's title, and its text as numbered lines, with a blank one between paragraphs."""
    reader = _Reader()
    for token in _tokens(page, is_xml=is_xml or page.lstrip().startswith("<?xml")):
        if token.tag:
            reader.pass_tag(token.tag)
        else:
            reader.take(token.text, token.line)
    reader.end_line()
    return " ".join(reader.title.split()), reader.lines


def _tokens(page: str, *, is_xml: bool) -> Iterator[_Token]:
    """Cut a page into tags and texts; comments, declarations, scripts and styles are neither.

    An element that ends in ``/>`` is begun and ended: in XML any, in HTML a drawing or formula and what is within one.
    These end where a paragraph begins.

    References
    ----------
    https://html.spec.whatwg.org/multipage/syntax.html#start-tags and
    https://html.spec.whatwg.org/multipage/parsing.html#parsing-main-inforeign
    """
    at, line, last = 0, 1, page.rfind(">")
    foreign: list[str] = []
    while at < len(page):
        start = page.find("<", at)
        if start < 0 or start > last:
            yield _Token("", _unescaped(page[at:]), line)
            return
        if start > at:
            yield _Token("", _unescaped(page[at:start]), line)
        line += page.count("\n", at, start)
        name = _NAME.match(page, start)
        if name is None:
            at = _behind_other(page, start)
            if at == start + 1:
                yield _Token("", "<", line)
        else:
            ending = page[start + 1] == "/"
            tag = name[1].lower()
            if tag in _PARAGRAPHS and not ending:
                yield from (_Token("/" + each, "", line) for each in foreign)
                foreign.clear()
            if not (ending and tag in _FOREIGN and not foreign):  # a paragraph has ended it already
                yield _Token("/" + tag if ending else tag, "", line)
            at = _behind_tag(page, name.end())
            if ending:
                if foreign and tag in _FOREIGN:
                    foreign.pop()
            elif page.endswith("/>", start, at) and (is_xml or foreign or tag in _FOREIGN):
                yield _Token("/" + tag, "", line)
            elif tag in _FOREIGN:
                foreign.append(tag)
            elif tag in _CLOSING and not foreign:
                closing = _CLOSING[tag].search(page, at)
                end = closing.start() if closing else len(page)
                if tag in ("title", "textarea"):
                    yield _Token("", _unescaped(page[at:end]), line + page.count("\n", start, at))
                at = end
        line += page.count("\n", start, at)


def _behind_tag(page: str, at: int) -> int:
    """Return where a tag ends, whose name ends at `at`: at a ``>`` outside quotes, or at any where it is too long."""
    attributes = _ATTRIBUTES.match(page, at, at + _LONGEST_TAG)
    return attributes.end() if attributes else page.find(">", at) + 1 or len(page)


def _behind_other(page: str, at: int) -> int:
    """Return where a comment or declaration ends; of a ``<`` that is just that, the next character."""
    if page.startswith("<!--", at):
        end = page.find("-->", at + 2)  # <!--> is a whole one
        return len(page) if end < 0 else end + 3
    return page.find(">", at) + 1 if page.startswith(("<!", "<?", "</"), at) else at + 1


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # of a number of more than 4,300 digits
        return text


class _Reader:
    """Gathers the lines that a browser would show."""

    def __init__(self) -> None:
        self.title = ""
        self.lines: list[tuple[int, str]] = []
        self._line = ""
        self._number = 1
        self._unseen = 0
        self._in_title = False
        self._verbatim = 0

    def pass_tag(self, tag: str) -> None:
        """Begin what a tag begins, end what it ends."""
        name, by = (tag[1:], -1) if tag.startswith("/") else (tag, 1)
        self._in_title = tag == "title" and not self._unseen
        if name in _PARAGRAPHS or name in _LINES:
            self.end_line()
        if name in _PARAGRAPHS:
            self.lines.append((self._number, ""))
        self._unseen = max(0, self._unseen + by * (name in _UNSEEN))
        self._verbatim = max(0, self._verbatim + by * (name == "pre"))
        if tag == "li":
            self._line = "- "
        elif name in ("td", "th"):
            self._line += " "

    def take(self, text: str, first: int) -> None:
        """Add a text, which stands on this line of the page and those below."""
        if self._in_title:
            self.title += text
        elif not self._unseen:
            for number, line in enumerate(text.split("\n"), start=first):
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
