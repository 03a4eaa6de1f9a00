"""What a collection is told to remember, while others tell it something too. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection import schema
from colbert_qdrant.collection.operations import Call, Operation
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.schema import BEGUN, METADATA_KEY
from colbert_qdrant.errors import EngineError

_TRIES = 5


def remember(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Operation[None]:
    """Change what a collection remembers of its making, beside what others change there.

    Parameters
    ----------
    name
        The collection's.
    change
        Of what is remembered; it changes nothing the second time. The last of two writers wins, and the other one
        writes again.

    Raises
    ------
    EngineError
        Others go on winning.
    """
    for _ in range(_TRIES):
        before = schema.remembered((yield from patient(Call("get_collection", {"collection_name": name}))))
        after = change(before)
        if after == before:
            return
        yield from _write(name, {METADATA_KEY: after})
    raise EngineError(f"collection {name!r} does not remember what it was told {_TRIES} times; try it again")


def forget(name: str, info: models.CollectionInfo) -> Operation[None]:
    """Let a collection remember nothing of ours any longer."""
    yield from _write(name, dict.fromkeys((METADATA_KEY, *(BEGUN + stage for stage in schema.begun(info)))))


def begin(name: str, stage: str) -> Operation[None]:
    """Say that a stage's vector is about to be made: if this stops, whoever goes on knows that the vector is ours."""
    yield from _write(name, {BEGUN + stage: True})


def end(name: str, stage: str) -> Operation[None]:
    """Say that the stage is remembered as one of the collection."""
    yield from _write(name, {BEGUN + stage: None})


def _write(name: str, metadata: dict[str, Any]) -> Operation[None]:
    yield from patient(Call("update_collection", {"collection_name": name, "metadata": metadata}))
