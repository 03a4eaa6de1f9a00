"""The patterns of a ``.gitignore``, as git reads them.

Stars are matched without going back, so that a name costs what it and the pattern are long, whatever the pattern.
"""

from __future__ import annotations

import codecs
import os
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

_ITEM = rb"\[:([^\]]{0,99}):\]|(\\.|[^\\])-(?!\])(\\.|[^\\])|\\(.)|([^\\])"
"""Of a set: a class by name, a range, a character."""

_SET_ITEM = re.compile(_ITEM, re.DOTALL)
_TOKEN = re.compile(
    rb"(?P<folders>(?:(?<=/)|\A)\*\*+(?:/|\Z))|(?P<stars>\*+)|(?P<any>\?)|(?P<slash>\\?/)|\\(?P<escaped>.)"
    rb"|\[(?P<negated>[!^]?)(?P<set>(?>(?:%b)(?:(?!\])(?:%b))*))\]|(?P<broken>[\[\\])|(?P<plain>.)" % (_ITEM, _ITEM),
    re.DOTALL,
)
_CLASSES = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, [*range(32), 127])),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": " \t\n\r",
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


_LONGEST = 2**14
"""Bytes of a pattern: four times those of the longest path that Linux takes."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line of a ``.gitignore``: what it matches, whether only folders, and what it says of them."""

    matching: re.Pattern[bytes]
    only_folders: bool
    says: bool

    @classmethod
    def of(cls, line: bytes) -> Pattern | None:
        """Return a line's pattern; ``None`` where it is a comment, or nothing can match it: no path is so long."""
        text = line.rstrip(b" ")
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            text = line[: len(text) + 1]  # the space behind a backslash is meant
        body = text.removeprefix(b"!").removesuffix(b"/")
        if len(body) > _LONGEST:
            return None
        expression = _expression(body.removeprefix(b"/") if b"/" in body else b"**/" + body)
        if text.startswith(b"#") or not body or expression is None:
            return None
        return cls(re.compile(expression, re.DOTALL), text.endswith(b"/"), not text.startswith(b"!"))


@dataclass(frozen=True, slots=True)
class Patterns:
    """Patterns of which the last that matches decides.

    References
    ----------
    https://git-scm.com/docs/gitignore and, on what that leaves open, https://github.com/git/git/blob/master/wildmatch.c
    """

    patterns: tuple[Pattern, ...]

    @classmethod
    def of_file(cls, data: bytes) -> Patterns:
        """Return the patterns of a file; those that are none are passed over, as git does."""
        lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
        return cls.of(Pattern.of(line.removesuffix(b"\r")) for line in lines)

    @classmethod
    def of(cls, patterns: Iterable[Pattern | None]) -> Patterns:
        """Return patterns in the order in which they stand."""
        return cls(tuple(pattern for pattern in patterns if pattern is not None))

    def say(self, place: PurePath, *, is_folder: bool) -> bool | None:
        """Return whether a place is named, not by what names a folder above it; ``None``: nothing is said of it."""
        name = os.fsencode(place.as_posix())
        for pattern in reversed(self.patterns):
            if (is_folder or not pattern.only_folders) and pattern.matching.match(name):
                return pattern.says
        return None

    def name(self, file: PurePath) -> bool:
        """Return whether a file or a folder above it is named."""
        above = file.parents[:-1]  # the last is "."
        return any(self.say(folder, is_folder=True) for folder in above) or bool(self.say(file, is_folder=False))


def _expression(pattern: bytes) -> bytes | None:
    """Return a pattern as a regular expression; ``None`` where nothing can match it.

    Between two ``**`` there are names, between the stars of a name characters, as many as stand there. So the first
    place where they match is as good as any, and is kept: ``(?>...)``. What stands before the first star is compared
    by itself, as git does: to it the ``**`` of ``a**/b`` begins a name.
    """
    literal = re.split(rb"[*?\[\\]", pattern, maxsplit=1)[0]
    runs: list[list[list[bytes]]] = [[[b""]]]
    for token in _TOKEN.finditer(pattern[len(literal) :]):
        match token.lastgroup:
            case "broken":
                return None
            case "folders":
                runs.append([[b"", b""]] if token[0].endswith(b"*") else [[b""]])
            case "slash":
                runs[-1].append([b""])
            case "stars":
                runs[-1][-1].append(b"")
            case "any":
                runs[-1][-1][-1] += b"[^/]"
            case "set":
                members = _members(token["set"])
                if members is None:
                    return None
                runs[-1][-1][-1] += _set(members, is_negated=bool(token["negated"]))
            case kind:
                runs[-1][-1][-1] += re.escape(token[str(kind)])
    runs[-1][-1][-1] += rb"\Z"
    first, *others = (b"/".join(map(_name, names)) for names in runs)
    return re.escape(literal) + first + b"".join(b"(?>(?:[^/]*/)*?%b)" % names for names in others)


def _name(pieces: list[bytes]) -> bytes:
    first, *others = pieces
    found = b"".join(b"(?>[^/]*?%b)" % piece for piece in others[:-1])
    return first + found + b"".join(b"[^/]*" + last for last in others[-1:])


def _members(text: bytes) -> set[int] | None:
    """Return the bytes that stand in a set; ``None`` where a class has a name that there is not."""
    members: set[int] = set()
    for item in _SET_ITEM.finditer(text):
        if item[1] is not None:
            if item[1] not in _CLASSES:
                return None
            members.update(_CLASSES[item[1]].encode())
        elif item[2]:
            members.update(range(item[2][-1], item[3][-1] + 1))
        else:
            members.update(item[4] or item[5])
    return members


def _set(members: set[int], *, is_negated: bool) -> bytes:
    named = sorted(members | {ord("/")} if is_negated else members - {ord("/")})
    spelled = b""
    for _, run in groupby(enumerate(named), lambda at: at[1] - at[0]):
        bytes_of = [byte for _, byte in run]
        spelled += b"\\x%02x-\\x%02x" % (bytes_of[0], bytes_of[-1])
    return b"[%b%b]" % (b"^" if is_negated else b"", spelled) if spelled else b"(?!)"
