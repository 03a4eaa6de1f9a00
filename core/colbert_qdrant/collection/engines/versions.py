"""What a server is too old for.

A request that asks for more than a server knows is not refused by it, but understood in part: REST leaves out a field
that it does not know, gRPC a condition. So it is refused here. No I/O.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel
from qdrant_client import models

from colbert_qdrant.collection.tiers import TIERS, as_flags
from colbert_qdrant.errors import UnsupportedByEngine

Version: TypeAlias = tuple[int, int, int]

OLDEST: Version = (1, 16, 0)
"""A collection's metadata, in which its model and its stages are remembered, came shortly before."""

NEWEST: Version = (1, 20, 0)
"""The first that lacks nothing of what is asked of it here."""

# From docs/redoc/master/openapi.json of each release of https://github.com/qdrant/qdrant.
_METHODS: dict[str, tuple[Version, str]] = {
    "create_vector_name": ((1, 18, 0), "a vector added to a collection that exists"),
    "delete_vector_name": ((1, 18, 0), "a vector taken from a collection that exists"),
}
# https://github.com/qdrant/qdrant/pull/10341
_WORDS = (
    "before 1.19.1 a full-text match of a key that has no full-text index looks for the text as it stands, with its "
    "case; create_index(key, 'text') makes it look for words"
)
_MODELS: dict[type, tuple[Version, str]] = {
    models.MatchPrefix: ((1, 19, 0), "a filter for how a string begins (MatchPrefix)"),
    models.MatchSubstring: ((1, 20, 0), "a filter for a part of a string (MatchSubstring)"),
    models.MatchText: ((1, 19, 1), _WORDS),
    models.TurboQuantization: ((1, 18, 0), "turbo quantisation"),
}
_DATATYPES: dict[models.Datatype, Version] = {
    models.Datatype.TURBO4: (1, 18, 2),
    models.Datatype.TURBO8: (1, 20, 0),
    models.Datatype.TURBO16: (1, 20, 0),
}


def parsed(stated: str) -> Version | None:
    """Read a version as a server states it, "1.19.0" or "1.20.0-dev"; ``None`` where it states none."""
    numbers = re.match(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})", stated)
    return (int(numbers[1]), int(numbers[2]), int(numbers[3])) if numbers else None


def warn_of_age(version: Version) -> None:
    """Say so where a server is older than all that this package is tested with."""
    if version < OLDEST:
        warnings.warn(
            f"the Qdrant server is {_shown(version)}, and this package is written for {_shown(OLDEST)} and newer: "
            "it may lose what is asked of it without a word; upgrade the server",
            stacklevel=2,
        )


def is_particular(method: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether some version of a server lacks what a call asks for, or is to be asked in other words."""
    return any(True for _ in _asked_for(method, arguments)) or _says_tiers(arguments)


def in_words_of(version: Version | None, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a call as a server of this version understands them; ``None``: as any does."""
    return arguments if version is None or version >= TIERS or not _says_tiers(arguments) else as_flags(arguments)


def check_call(version: Version, method: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a call that a server of this version would carry out in part, and warn of what it takes otherwise.

    Raises
    ------
    UnsupportedByEngine
        Names what it asks for, and the version that has it.
    """
    if version >= NEWEST:
        return
    for since, what in _asked_for(method, arguments):
        if version < since and what is _WORDS:
            warnings.warn(f"the Qdrant server is {_shown(version)}: {_WORDS}", stacklevel=3)
        elif version < since:
            raise UnsupportedByEngine(
                f"{method} on {arguments.get('collection_name')!r}: {what} needs Qdrant {_shown(since)}, and this "
                f"server is {_shown(version)}: upgrade it, or do without"
            )


def _asked_for(method: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Version, str]]:
    if method in _METHODS:
        yield _METHODS[method]
    for part in _parts_of(arguments):
        if type(part) in _MODELS:
            yield _MODELS[type(part)]
        elif isinstance(part, models.Rrf) and part.weights is not None:
            yield (1, 17, 0), "fusion by ranks with weights"
        elif isinstance(part, models.Datatype) and part in _DATATYPES:
            yield _DATATYPES[part], f"the datatype {part.value}"
        elif part is models.TurboQuantBitSize.BITS8:
            yield (1, 20, 0), "turbo quantisation with 8 bits"


def _says_tiers(arguments: Mapping[str, Any]) -> bool:
    return any(isinstance(part, models.Memory) for part in _parts_of(arguments))


def _parts_of(arguments: Mapping[str, Any]) -> Iterator[Any]:
    return _parts({name: value for name, value in arguments.items() if name != "points"})


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a value is made of, without the numbers of vectors and the ids of points."""
    yield value
    inside: Any = ()
    if isinstance(value, BaseModel):
        inside = value.__dict__.values()
    elif isinstance(value, Mapping):
        inside = value.values()
    elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
        inside = value
    for part in inside:
        yield from _parts(part)


def _shown(version: Version) -> str:
    return ".".join(map(str, version))
