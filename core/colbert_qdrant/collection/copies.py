"""What all copies of a record agree on, where a cluster keeps several. No I/O.

A write that too few copies took is refused, and stays where it was taken: that copy and one that missed it both go on
answering. Whoever then asks one of them whether a record is stored may be told so, and the other is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import HASH_KEY, PointId
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.steps import Call, Operation
from colbert_qdrant.errors import EngineUnavailable

_KNOWN_TO_BE_AWAY = "does not have enough active replicas"
"""What a server says where fewer copies are whole than are to answer: the others are made anew from those that are.
https://github.com/qdrant/qdrant/blob/v1.19.0/lib/collection/src/shards/replica_set/execute_read_operation.rs
"""


def agreed(layout: Layout, arguments: Mapping[str, Any]) -> Operation[dict[PointId, models.Record]]:
    """Retrieve records as all copies that are whole hold them.

    Where a copy does not answer that the others still count on, nobody can say what it holds: records come without
    the hash that tells that they are stored, and are written again. That write tells whether they may do without it.

    Parameters
    ----------
    layout
        How many copies there are.
    arguments
        Of ``retrieve``.
    """
    is_known = True
    for copies in range(layout.copies, 1, -1):
        try:
            found = yield Call("retrieve", {**arguments, "consistency": copies})
            return {record.id: record for record in found}
        except EngineUnavailable as error:
            is_known = _KNOWN_TO_BE_AWAY in str(error)
        if not is_known:
            break
    found = yield from patient(Call("retrieve", dict(arguments)))
    return {record.id: record if is_known else _without_hash(record) for record in found}


def _without_hash(record: models.Record) -> models.Record:
    payload = {key: value for key, value in (record.payload or {}).items() if key != HASH_KEY}
    return record.model_copy(update={"payload": payload})
