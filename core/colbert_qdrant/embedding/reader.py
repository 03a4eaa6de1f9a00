"""The one way in for a checkpoint's files: what is read leaves as data of the type asked for, or as `InvalidModel`.

A model's folder comes from anywhere. Nothing in it is trusted: not the names in it, not the sizes, not the types.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from colbert_qdrant.errors import InvalidModel

T = TypeVar("T")

_LONGEST_CONFIG = 64 * 2**20
"""A ``tokenizer_config.json`` that lists 250,000 added tokens is of a few MB."""


def read_bytes(path: Path, most: int = _LONGEST_CONFIG) -> bytes:
    """Return a file's content.

    Parameters
    ----------
    path
        A file; a pipe or a device has no end, and is refused.
    most
        The longest that such a file can be, in bytes.

    Raises
    ------
    InvalidModel
        It is missing, can't be read, is no file, or is longer.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidModel(f"{path} is no file; fetch the model's files again")
        if found.st_size > most:
            raise InvalidModel(f"{path} has {found.st_size:,} bytes, more than such a file can have ({most:,})")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidModel):
            raise
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({reason_of(error)})"
        raise InvalidModel(f"{path} {reason}; fetch the model's files again") from error


def is_file(path: Path) -> bool:
    """Tell whether there is a file of that name, one that may be read or not."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or that no file system takes
        return False


def is_plain(name: str) -> bool:
    """Tell whether a name that a model's file states leads to a place inside the model's folder, by its spelling."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.anchor or ".." in path.parts or not path.parts:
            return False
    return name.isprintable()


def reason_of(error: BaseException) -> str:
    """Return an error's first line, short enough for a message."""
    text = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "") or type(error).__name__
    return str(text)[:200]


@dataclass(frozen=True, slots=True)
class Config:
    """A JSON object of a checkpoint: each value is asked for by its type, and ``null`` is not stated.

    Parameters
    ----------
    place
        For messages: the file, and the key in it.
    values
        The object.
    """

    place: str
    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, default: T) -> str | T:
        """Return a string."""
        value: str | T = self._typed(name, str, "a text", default)
        return value

    def flag(self, name: str, default: T) -> bool | T:
        """Return a truth value."""
        value: bool | T = self._typed(name, bool, "true or false", default)
        return value

    def count(self, name: str, default: T, *, most: int = 2**20) -> int | T:
        """Return a whole number from 0 to `most`."""
        value: int | T = self._typed(name, int, "a whole number", default)
        if name in self and not (type(value) is int and 0 <= value <= most):
            raise self.wrong(name, f"a whole number from 0 to {most:,}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number; one of these files may be infinite, and none may be NaN."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise self.wrong(name, "a number")
        return float(value) if abs(value) < 2**63 else math.copysign(math.inf, value)

    def words(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return a list of strings."""
        found = self._typed(name, list, "a list of texts", default)
        if not all(isinstance(word, str) for word in found):
            raise self.wrong(name, "a list of texts")
        return tuple(found)

    def section(self, name: str) -> Config:
        """Return an object inside; one without values where there is none."""
        return Config(f"{self.place}: {name}", self._typed(name, dict, "an object", {}))

    def wrong(self, name: str, wanted: str) -> InvalidModel:
        """Return the error that says what a value should have been."""
        value = self.values.get(name)
        shown = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
        return InvalidModel(
            f"{self.place}: {name} is {shown[:60]}, and should be {wanted}; fetch the model's files again, or mend it"
        )

    def _typed(self, name: str, kind: type[Any], wanted: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(name, wanted)
        return value


def read_config(path: Path) -> Config:
    """Read a JSON object.

    Raises
    ------
    InvalidModel
        The file can't be read, or holds something else.
    """
    content = parse_json(read_bytes(path), path)
    if not isinstance(content, dict):
        raise InvalidModel(f"{path} holds {type(content).__name__}, not an object; fetch the model's files again")
    return Config(str(path), content)


def read_config_if_there(path: Path) -> Config:
    """Read a JSON object; one without values where there is no such file."""
    return read_config(path) if is_file(path) else Config(str(path), {})


def parse_json(raw: bytes, path: Path) -> Any:
    """Parse JSON of any depth and kind; `InvalidModel` where it is none."""
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # RecursionError: nested 1,000 deep, as no config is
        raise InvalidModel(f"{path} is not JSON ({reason_of(error)}); fetch the model's files again") from error


@dataclass(frozen=True, slots=True)
class Module:
    """One of the modules a checkpoint is made of.

    Parameters
    ----------
    kind
        The name of its class, such as ``"Dense"``; its package differs between libraries and versions.
    folder
        Where its files are.
    """

    kind: str
    folder: Path


def read_modules(folder: Path) -> list[Module]:
    """Read ``modules.json``: the modules in their order; empty where there is no such file.

    Raises
    ------
    InvalidModel
        It is no such list, or a module lies outside of the checkpoint.
    """
    path = folder / "modules.json"
    stated = parse_json(read_bytes(path), path) if is_file(path) else []
    if not isinstance(stated, list) or not all(isinstance(module, dict) for module in stated) or len(stated) > _MODULES:
        raise InvalidModel(f"{path} is no list of modules; fetch the model's files again")
    modules = []
    for number, content in enumerate(stated):
        config = Config(f"{path}: module {number}", content)
        kind, place = config.text("type", None), config.text("path", None)
        if kind is None or place is None:
            raise InvalidModel(f"{path}: module {number} has no type or no path; fetch the model's files again")
        if place and not is_plain(place):
            raise config.wrong("path", "a folder inside the model's")
        modules.append(Module(re.split(r"[.\s]", kind)[-1], folder / place))
    return modules


_MODULES = 64
