"""``--filter``: conditions on metadata, as people type them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from colbert_qdrant.checks import says_nothing
from colbert_qdrant.cli.reading.rows import is_stored
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client import models

    from colbert_qdrant.collection.schema import Layout

_CONDITION = re.compile(r"\s*([^=<>!]*[^=<>!\s])\s*(!=|>=|<=|=|>|<)(?![=<>])\s*(.*?)\s*", re.DOTALL)
_BOUNDS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}

filtered = click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only documents whose metadata says so: year>=1999, lang=en, tag!=old. Or Qdrant's own filter as JSON.",
)


def parsed(conditions: Sequence[str], layout: Layout) -> models.Filter | None:
    """Return the filter that passes what meets all conditions; ``None`` where there are none.

    Parameters
    ----------
    conditions
        ``key=value``, ``key!=value``, ``key>value``, ``key>=value``, ``key<value``, ``key<=value``, or a
        `qdrant_client.models.Filter` as JSON, whose keys are those of the payload. A dot in a key leads into nested
        metadata. A value that reads as a number meets the number and its spelling; in quotes only the spelling.
        Bounds are numbers or ISO dates. ``key=null`` meets what has no such key.
    layout
        Where the payload keeps the metadata.

    Raises
    ------
    InvalidInput
        Says which condition can't be read.
    UnsupportedByEngine
        Qdrant has no such comparison.
    """
    from qdrant_client import models

    must: list[models.Condition] = [_parsed(condition, layout) for condition in conditions]
    return models.Filter(must=must) if must else None


def _parsed(condition: str, layout: Layout) -> models.Condition:
    from qdrant_client import models

    from colbert_qdrant.collection.conditions import in_metadata, ordered

    if condition.lstrip().startswith("{"):
        try:
            chosen = models.Filter.model_validate(json.loads(condition))
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"--filter {condition!r} is not a filter of Qdrant's: {error}") from None
        if says_nothing(chosen):
            raise InvalidInput(f"--filter {condition!r} has no condition, or a part without one: leave that out")
        return chosen
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise InvalidInput(f"--filter {condition!r}: write key=value, key!=value, key>=value, key>value, <= or <")
    name, sign, value = match.groups()
    keys = name.split(".")
    if not all(keys):
        raise InvalidInput(f"--filter {condition!r}: {name!r} has a dot with nothing beside it")
    if sign in _BOUNDS:
        return in_metadata(layout, keys, lambda path: ordered(path, **{_BOUNDS[sign]: _meant(value)}))
    equal = in_metadata(layout, keys, lambda path: _equal(path, value))
    return equal if sign == "=" else models.Filter(must_not=[equal])


def _equal(path: str, value: str) -> models.Condition:
    from qdrant_client import models

    from colbert_qdrant.collection.conditions import empty, equal

    meant = _meant(value)
    if meant is None:
        return empty(path)
    if isinstance(meant, str):
        return equal(path, meant)
    if not is_stored(meant):
        return equal(path, value)
    return models.Filter(should=[equal(path, meant), equal(path, value)])  # 1999 as well as "1999"


def _meant(value: str) -> Any:
    """Return a value as JSON has it; what is no value of JSON's is a string."""
    try:
        meant = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if isinstance(meant, dict | list) or meant != meant else meant
