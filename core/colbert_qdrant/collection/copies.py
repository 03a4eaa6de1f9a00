"""What all copies agree on, where a cluster keeps several: which records are stored, and with which vectors. No I/O.

A write that too few copies took is refused, and stays where it was taken: that copy and one that missed it both go on
answering. Whoever then asks one of them whether a record is stored may be told so, and the other is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.ids import PointId
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.steps import Call, Operation
from colbert_qdrant.errors import EngineUnavailable

_KNOWN_TO_BE_AWAY = "does not have enough active replicas"
"""What a server says where fewer copies are whole than are to answer: the others are made anew from those that are.
https://github.com/qdrant/qdrant/blob/v1.19.0/lib/collection/src/shards/replica_set/execute_read_operation.rs
"""


_MOST_IDS = 1_000
"""Points whose copies are compared by one request; fewer where some of the last ones lacked what was looked for."""

_IDS_ALONE = {"with_payload": False, "with_vectors": False}


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the points, in the order of their ids.

    Parameters
    ----------
    lacking
        Those of them that lack the vector in some copy.
    following
        Where the next one begins; ``None`` behind the last.
    held
        How many have it in all copies. Where there is one copy, these are not looked at.
    is_known
        Whether the copies answered; else all are taken to lack it.
    """

    lacking: list[models.Record]
    following: PointId | None
    held: int = 0
    is_known: bool = True


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
    found, is_known = yield from _of_all(layout, "retrieve", arguments)
    return {record.id: record if is_known else _without_hash(record) for record in found}


def common(
    layout: Layout, found: Sequence[models.Record], arguments: Mapping[str, Any]
) -> Operation[list[models.Record]]:
    """Return those of the records of one copy that all copies hold alike; none where one of these does not answer.

    Parameters
    ----------
    layout
        How many copies there are.
    found
        Records of one copy.
    arguments
        What they were asked for by: ``with_payload`` and ``with_vectors``.
    """
    if layout.copies == 1 or not found:
        return list(found)
    wanted = {name: arguments[name] for name in _IDS_ALONE}
    these = {"collection_name": layout.name, "ids": [record.id for record in found], **wanted}
    answer, is_known = yield from _of_all(layout, "retrieve", these)
    held = {record.id: record for record in answer} if is_known else {}
    return [held[record.id] for record in found if record.id in held]


def lacking(layout: Layout, vector: str, arguments: Mapping[str, Any]) -> Operation[Page]:
    """Fetch some of the points that lack a vector in one copy or another, by the same rules as `agreed`.

    Copies that are asked together answer with what they have in common. So it is the points *with* the vector that
    they are asked for: what else there is lacks it somewhere.
    https://github.com/qdrant/qdrant/blob/v1.19.0/lib/collection/src/shards/resolve.rs

    Parameters
    ----------
    layout
        How many copies there are.
    vector
        Its name.
    arguments
        Of ``scroll``: which points, how many at most, and what is wanted of them.
    """
    if layout.copies == 1:
        without = models.Filter(must_not=[models.HasVectorCondition(has_vector=vector)])
        narrowed = {**arguments, "scroll_filter": _both(arguments.get("scroll_filter"), without)}
        found, following = yield from patient(Call("scroll", narrowed))
        return Page(found, following)
    limit, offset, held = arguments["limit"], arguments.get("offset"), 0
    size = limit
    while True:
        stretch = {**arguments, **_IDS_ALONE, "limit": size, "offset": offset}
        found, following = yield from patient(Call("scroll", stretch))
        ids = [point.id for point in found]
        having, is_known = yield from _having(layout, vector, ids)
        missing = [point_id for point_id in ids if point_id not in having]
        if missing or following is None:
            break
        held += len(ids)
        offset, size = following, min(2 * size, _MOST_IDS)
    if len(missing) > limit:
        following = missing[limit]
        ids, missing = ids[: ids.index(following)], missing[:limit]
    wanted = {name: arguments[name] for name in ("collection_name", *_IDS_ALONE)}
    records = (yield from patient(Call("retrieve", {**wanted, "ids": missing}))) if missing else []
    return Page(records, following, held + len(ids) - len(missing), is_known)


def _having(layout: Layout, vector: str, ids: Sequence[PointId]) -> Operation[tuple[set[PointId], bool]]:
    """Return which of the points have the vector in all copies, and whether these answered."""
    if not ids:
        return set(), True
    these = models.Filter(must=[models.HasIdCondition(has_id=list(ids)), models.HasVectorCondition(has_vector=vector)])
    having = {"scroll_filter": these, "limit": len(ids), **_IDS_ALONE}
    answer, is_known = yield from _of_all(layout, "scroll", {"collection_name": layout.name, **having})
    return {point.id for point in answer[0]} if is_known else set(), is_known


def _of_all(layout: Layout, method: str, arguments: Mapping[str, Any]) -> Operation[tuple[Any, bool]]:
    """Ask all copies that are whole; where one of them does not answer, one, and say that nobody knows."""
    is_known = True
    for copies in range(layout.copies, 1, -1):
        try:
            return (yield Call(method, {**arguments, "consistency": copies})), True
        except EngineUnavailable as error:
            is_known = _KNOWN_TO_BE_AWAY in str(error)
        if not is_known:
            break
    return (yield from patient(Call(method, dict(arguments)))), is_known


def _both(first: models.Filter | None, second: models.Filter) -> models.Filter:
    return second if first is None else models.Filter(must=[first, second])


def _without_hash(record: models.Record) -> models.Record:
    payload = {key: value for key, value in (record.payload or {}).items() if key != HASH_KEY}
    return record.model_copy(update={"payload": payload})
