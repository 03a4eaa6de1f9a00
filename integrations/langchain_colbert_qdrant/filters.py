"""What may stand where a filter is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from qdrant_client import models

from colbert_qdrant.collection.points import check_metadata
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

FilterLike: TypeAlias = models.Filter | Mapping[str, Any]

_EXACT_IN_FLOAT64 = 2**53


def to_qdrant_filter(filter: FilterLike | None, *, metadata_key: str = "metadata") -> models.Filter | None:
    """Translate equalities on the metadata.

    Parameters
    ----------
    filter
        A Qdrant filter, which is taken as it is, or a mapping of metadata keys to the values that all of them must
        have: a string, boolean or number; ``None`` for a stored null; a list for any one of its values (so that an
        empty list selects nothing); a mapping for equalities one level down. A stored list has a value when one of
        its elements is equal to it. ``{}`` is no filter.
    metadata_key
        The payload key under which the metadata is stored.

    Returns
    -------
    qdrant_client.models.Filter or None
        ``None`` when there is nothing to filter by.

    Raises
    ------
    InvalidInput
        The filter is neither, or a value is none of the above.
    UnsupportedByEngine
        A key holds a quote or a backslash.

    Examples
    --------
    >>> to_qdrant_filter({"lang": ["en", "de"]}).must[0].should[0].key
    'metadata.lang'
    """
    if filter is None or isinstance(filter, models.Filter):
        return filter
    if not isinstance(filter, Mapping):
        raise InvalidInput(
            f"filter is a {type(filter).__name__}; give a qdrant_client.models.Filter or a dict of equalities, "
            'such as {"lang": "en"}'
        )
    equalities = check_metadata(filter, "filter")
    return models.Filter(must=list(_all_of(equalities, _step(metadata_key)))) if equalities else None


def _all_of(equalities: Mapping[str, Any], root: str) -> Iterator[models.Condition]:
    for key, value in equalities.items():
        path = f"{root}.{_step(key)}"
        if isinstance(value, dict) and value:
            yield from _all_of(value, path)
        elif isinstance(value, list):
            yield _any_of(value, path)
        else:
            yield _equal(value, path)


def _any_of(values: list[Any], path: str) -> models.Condition:
    if not values:  # a `should` without conditions would let everything through
        return models.FieldCondition(key=path, match=models.MatchAny(any=[]))
    return models.Filter(should=[_equal(value, path) for value in values])


def _equal(value: Any, path: str) -> models.Condition:
    """Compare numbers by a range: Qdrant's exact match tells 1 from 1.0 and takes no float."""
    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=path))
    if isinstance(value, str | bool) or (isinstance(value, int) and abs(value) >= _EXACT_IN_FLOAT64):
        return models.FieldCondition(key=path, match=models.MatchValue(value=value))
    if isinstance(value, int | float):
        return models.FieldCondition(key=path, range=models.Range(gte=value, lte=value))
    raise InvalidInput(
        f"filter on {path}: {value!r:.60} is no value to be equal to; give a string, a number, a boolean, None, a list "
        "of these or a dict with keys, or for anything else a qdrant_client.models.Filter"
    )


def _step(key: str) -> str:
    """Return one step of Qdrant's JSON path: a key with other characters is quoted.

    https://qdrant.tech/documentation/concepts/filtering/#nested-key
    """
    if re.search(r'["\\]', key):
        raise UnsupportedByEngine(f"metadata key {key!r}: Qdrant's paths can't hold a quote or a backslash")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
