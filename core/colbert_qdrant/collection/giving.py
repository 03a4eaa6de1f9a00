"""How points that exist get vectors made of what they hold, while others write to the collection. No I/O.

A point may be replaced or deleted between reading it and giving it a vector. So it is looked at once more afterwards: a
vector of what is no longer there is made anew, or taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from qdrant_client import models

from colbert_qdrant.collection import points, schema
from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.ids import PointId
from colbert_qdrant.collection.operations import Call, Operation, has_id, with_vectors_of
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import Record, Wire
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput

Records: TypeAlias = Mapping[PointId, Record]

Make: TypeAlias = Callable[[Records], Operation[Sequence[Any]]]
"""Makes a vector of each record, or the `InvalidInput` that says why it gets none."""


def create_vector(name: str, vector: str, config: models.VectorNameConfig) -> Operation[None]:
    """Add a vector to a collection, unless somebody else does so just now."""
    arguments = {"collection_name": name, "vector_name": vector, "vector_name_config": config, "wait": True}
    try:
        yield from patient(Call("create_vector_name", arguments))
    except ColbertQdrantError:  # each engine has an error of its own for what exists
        if vector not in schema.vector_names((yield Call("get_collection", {"collection_name": name}))):
            raise


def delete_vector(name: str, vector: str) -> Operation[None]:
    """Take a vector away from a collection, unless somebody else does so just now."""
    arguments = {"collection_name": name, "vector_name": vector, "wait": True}
    try:
        yield from patient(Call("delete_vector_name", arguments))
    except ColbertQdrantError:
        if vector in schema.vector_names((yield Call("get_collection", {"collection_name": name}))):
            raise


def give(
    layout: Layout, wire: Wire, vector: str, made: Sequence[Any], records: Records, make: Make
) -> Operation[dict[PointId, InvalidInput]]:
    """Store vectors of points; make those again whose records others replace meanwhile.

    Parameters
    ----------
    layout
        Names of the token vectors and the payload's keys.
    wire
        How much goes into a request.
    vector
        Its name.
    made, records
        What was made of each record, in their order, and the records by point.
    make
        How to make it of others.

    Returns
    -------
    dict
        Why points have no vector, by point.
    """
    refused: dict[PointId, InvalidInput] = {}
    is_again = False
    while records:
        results = dict(zip(records, made, strict=True))
        without = {key: reason for key, reason in results.items() if isinstance(reason, InvalidInput)}
        refused |= without
        if is_again and without:  # a filter selects no point that is gone, and fails for none
            stale = {"vectors": [vector], "points": models.FilterSelector(filter=has_id(without)), "wait": True}
            yield from patient(Call("delete_vectors", {"collection_name": layout.name, **stale}))
        updates = [
            models.PointVectors.model_construct(id=key, vector={vector: each})
            for key, each in results.items()
            if key not in without
        ]
        failure: ColbertQdrantError | None = None
        try:
            for request in points.cut_by_bytes(updates, wire):
                arguments = {"collection_name": layout.name, "points": request, "wait": True}
                yield from patient(Call("update_vectors", arguments))
        except ColbertQdrantError as error:  # a point that is gone by now fails the others with it
            failure = error
        given = [update.id for update in updates]
        now = (yield from _read(layout, given, vectors=False)) if given else {}
        if failure is not None and len(now) == len(given):
            raise failure
        changed = [
            key for key, record in now.items() if failure is not None or _made_of(record) != _made_of(records[key])
        ]
        records = (yield from _read(layout, changed, vectors=True)) if changed else {}
        made = (yield from make(records)) if records else ()
        is_again = True
    return refused


def _read(layout: Layout, ids: Iterable[PointId], *, vectors: bool) -> Operation[dict[PointId, Record]]:
    arguments = {
        "collection_name": layout.name,
        "ids": list(ids),
        "with_payload": True,
        "with_vectors": with_vectors_of(layout, vectors),
    }
    found = yield from patient(Call("retrieve", arguments))
    return {point.id: points.to_record(point, layout) for point in found}


def _made_of(record: Record) -> tuple[Any, str]:
    return record.payload.get(HASH_KEY), record.text
