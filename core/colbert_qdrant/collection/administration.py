"""What is done with whole collections: opening, listing and dropping one, letting one take another's name.

Operations as those of `operations.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection import indexes, schema, tenants
from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.operations import Call, Compute, Operation
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.storage import Storage
from colbert_qdrant.errors import (
    AccessDenied,
    CollectionMismatch,
    CollectionNotFound,
    EngineError,
    InvalidInput,
    UnsupportedByEngine,
)


def open_collection(
    layout: Layout,
    settings: Mapping[str, Any],
    storage: Storage,
    wanted_indexes: Mapping[str, Index],
    *,
    create: bool,
    restore: bool,
) -> Operation[Layout]:
    """Attach to the collection, or create it; returns where things are in it."""
    name = {"collection_name": layout.name}
    if not (yield Call("collection_exists", name)):
        if not create:
            raise CollectionNotFound(f"there is no collection {layout.name!r}; create=True makes it")
        arguments = yield Compute(lambda _: schema.creation(layout, settings, storage))  # which may train centroids
        try:
            yield Call("create_collection", arguments)
        except EngineError:  # somebody else may have been faster
            if not (yield Call("collection_exists", name)):
                raise
    info = yield Call("get_collection", name)
    attached: Layout = yield Compute(lambda _: schema.attach(layout, info, settings, storage, restore=restore))
    attached = replace(attached, is_alias=layout.name in (yield from _aliases()))
    if layout.shard_key is not None:
        yield from _make_shard(layout.name, layout.shard_key)
    own = {} if layout.tenant is None else {tenants.INDEX_KEY: tenants.INDEX}
    yield from indexes.create_missing(attached, {**own, **wanted_indexes})
    return attached


def names() -> Operation[list[str]]:
    """Return the names of all collections of a place, in order."""
    return sorted(collection.name for collection in (yield Call("get_collections", {})).collections)


def drop(layout: Layout) -> Operation[None]:
    """Remove the collection with all that it holds, and its aliases."""
    if not (yield from discard(layout.name)):
        raise CollectionNotFound(f"there is no collection {layout.name!r} (any more)")


def discard(name: str) -> Operation[bool]:
    """Remove a collection by its name or alias; returns whether there was one."""
    return bool((yield Call("delete_collection", {"collection_name": (yield from behind(name))})))


def publish(layout: Layout, alias: str) -> Operation[str | None]:
    """Let an alias stand for the collection, in one step; returns what it stood for before."""
    if not isinstance(alias, str) or not alias:
        raise InvalidInput(f"alias {alias!r}: give a non-empty string")
    taken = yield from names()
    aliases = yield from _aliases(required=True)
    name = aliases.get(layout.name, layout.name)
    before: str | None = aliases.get(alias)
    if alias in taken:
        raise InvalidInput(
            f"{alias!r} is a collection, and an alias can't share its name. Fill collections under names of their own "
            "('docs-1', 'docs-2') and let programs open the alias"
        )
    steps: list[Any] = [
        models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
    ]
    if before is not None:
        steps.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    yield Call("update_collection_aliases", {"change_aliases_operations": steps})
    return before


def target(layout: Layout) -> Operation[str]:
    """Return the name of the collection that the layout's name stands for now."""
    return (yield from behind(layout.name)) if layout.is_alias else layout.name


def behind(name: str) -> Operation[str]:
    """Return the collection that a name stands for now: of an alias another one, else itself."""
    return (yield from _aliases()).get(name, name)


def check_still(layout: Layout, name: str, done: str, again: str) -> Operation[None]:
    """Say so where an alias has come to stand for another collection than the one that was worked on.

    Parameters
    ----------
    layout
        As it was opened.
    name
        Of the collection that was worked on.
    done, again
        What was done to it, up to its name, and what is to be done.

    Raises
    ------
    CollectionMismatch
        Names both.
    """
    if (now := (yield from target(layout))) != name:
        raise CollectionMismatch(
            f"{layout.name!r} stands for the collection {now!r} by now, and {done} {name!r}: {again}, for whoever asks "
            f"{layout.name!r}"
        )


def _make_shard(name: str, shard_key: str | int) -> Operation[None]:
    there = yield Call("list_shard_keys", {"collection_name": name})
    if shard_key not in [shard.key for shard in there.shard_keys or ()]:
        yield Call("create_shard_key", {"collection_name": name, "shard_key": shard_key})


def _aliases(*, required: bool = False) -> Operation[dict[str, str]]:
    """Return the collection of each alias; none where the engine knows no aliases, or the key opens no list of them."""
    try:
        response = yield Call("get_aliases", {})
    except (UnsupportedByEngine, AccessDenied):
        if required:
            raise
        return {}
    return {alias.alias_name: alias.collection_name for alias in response.aliases}
