"""Payload indexes: which there are to be, which there are. No I/O but by the steps of operations.

A key is one of the user's metadata: ``"year"``, or ``"place.city"`` for what lies deeper. ``"$."`` before it begins at
the payload itself, for collections that others made: ``"$.title"``. Qdrant's own spelling of metadata, as filters have
it (``"metadata.year"``), is understood too.

https://qdrant.tech/documentation/concepts/indexing/#payload-index
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from qdrant_client import models

from colbert_qdrant.collection import conditions
from colbert_qdrant.collection.operations import Call, Operation
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput

IndexType: TypeAlias = Literal["keyword", "integer", "float", "bool", "geo", "datetime", "text", "uuid"]
Index: TypeAlias = (
    IndexType
    | models.KeywordIndexParams
    | models.IntegerIndexParams
    | models.FloatIndexParams
    | models.BoolIndexParams
    | models.GeoIndexParams
    | models.DatetimeIndexParams
    | models.TextIndexParams
    | models.UuidIndexParams
)
"""What an index is of, by its type's name or by Qdrant's parameters, such as ``KeywordIndexParams(is_tenant=True)``."""

ROOT = "$."


def payload_path(key: str, layout: Layout) -> str:
    """Return where in the payload a key is, as Qdrant's filters and indexes spell it."""
    if not isinstance(key, str) or key in ("", ROOT):
        raise InvalidInput(f"key {key!r}: give the name of a metadata key, such as 'year'")
    if key.startswith(ROOT):
        return key.removeprefix(ROOT)
    spelled = (_below(layout), f"{layout.metadata_key}.")  # where it needs quotes, either way
    below = next((key.removeprefix(each) for each in spelled if key.startswith(each)), key)
    return f"{_below(layout)}{below}"


def key_of(path: str, layout: Layout) -> str:
    """Return the key that `payload_path` makes this path of."""
    return path.removeprefix(_below(layout)) if path.startswith(_below(layout)) else f"{ROOT}{path}"


def _below(layout: Layout) -> str:
    return f"{conditions.path(layout.metadata_key)}."


def check_index(key: str, index: Index) -> Any:
    """Return an index as Qdrant takes it.

    Raises
    ------
    InvalidInput
        It is of no type that Qdrant has.
    """
    if isinstance(index, str) and index in get_args(IndexType):
        return models.PayloadSchemaType(index)
    if isinstance(index, get_args(Index)[1:]):
        return index
    raise InvalidInput(
        f"index of {key!r} is {index!r:.60}; give one of {', '.join(get_args(IndexType))}, or Qdrant's parameters, "
        "such as models.KeywordIndexParams(type='keyword', is_tenant=True)"
    )


def create_missing(layout: Layout, wanted: Mapping[str, Index]) -> Operation[None]:
    """Index what is not indexed yet.

    Raises
    ------
    InvalidInput
        There is an index of another type.
    """
    checked = {payload_path(key, layout): check_index(key, index) for key, index in wanted.items()}
    if not checked:
        return
    info = yield Call("get_collection", {"collection_name": layout.name})
    there = {path: index.data_type.value for path, index in (info.payload_schema or {}).items()}
    for path, index in checked.items():
        if path not in there:
            yield _creation(layout, path, index)
        elif there[path] != (asked := _type_of(index)):
            raise InvalidInput(
                f"{layout.name!r} indexes {key_of(path, layout)!r} as {there[path]}, not as {asked}: drop_index first"
            )


def create(layout: Layout, key: str, index: Index) -> Operation[None]:
    """Index a payload key; over an index of the key that is there already, with the new parameters."""
    yield _creation(layout, payload_path(key, layout), check_index(key, index))


def drop(layout: Layout, key: str) -> Operation[None]:
    """Index a payload key no longer; one that is not indexed is no error."""
    arguments = {"collection_name": layout.name, "field_name": payload_path(key, layout), "wait": True}
    yield Call("delete_payload_index", arguments)


def existing(layout: Layout) -> Operation[dict[str, str]]:
    """Return the type of each index by its key; none in local mode, which has no indexes."""
    info = yield Call("get_collection", {"collection_name": layout.name})
    return {key_of(path, layout): index.data_type.value for path, index in (info.payload_schema or {}).items()}


def _creation(layout: Layout, path: str, index: Any) -> Call:
    arguments = {"collection_name": layout.name, "field_name": path, "field_schema": index, "wait": True}
    return Call("create_payload_index", arguments)


def _type_of(index: Any) -> str:
    return str(getattr(index, "type", index).value)
