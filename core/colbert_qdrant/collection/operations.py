"""What each operation of a collection asks for, step by step. No I/O: `sync.py` and `aio.py` carry the steps out.

An operation is a generator: it yields a `Step`, is sent what came of it, and returns the operation's answer. So a
decision is written once, for blocking and for asynchronous callers alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from pydantic import BaseModel
from qdrant_client import models

from colbert_qdrant.checks import check_query, check_texts
from colbert_qdrant.collection import conditions, copies, foreign, numbers, points
from colbert_qdrant.collection.ids import ID_KEY, PointId, RecordId, check_ids, id_text, point_id
from colbert_qdrant.collection.json_values import MAX_DEPTH, check_metadata
from colbert_qdrant.collection.patience import READING, patient
from colbert_qdrant.collection.points import Record
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.stages import stage_bytes
from colbert_qdrant.collection.steps import Begin as Begin
from colbert_qdrant.collection.steps import Call as Call
from colbert_qdrant.collection.steps import Compute as Compute
from colbert_qdrant.collection.steps import EncodeQueries as EncodeQueries
from colbert_qdrant.collection.steps import Finish as Finish
from colbert_qdrant.collection.steps import Operation as Operation
from colbert_qdrant.collection.steps import Pause as Pause
from colbert_qdrant.collection.steps import Start as Start
from colbert_qdrant.collection.steps import Step as Step
from colbert_qdrant.collection.storage import Footprint, Storage, footprint
from colbert_qdrant.errors import EngineUnavailable, InvalidInput
from colbert_qdrant.types import Multivector

T = TypeVar("T")
Condition = TypeVar("Condition", bound=BaseModel)

Query: TypeAlias = str | Multivector

SCROLL_PAGE = 256


def attributes(step: Step) -> dict[str, Any] | None:
    """Return what a span says of a step; ``None`` for steps that deserve none."""
    match step:
        case Call(method, arguments):
            prefetch = arguments.get("prefetch")
            return {
                "db.system.name": "qdrant",
                "db.operation.name": method,
                "db.collection.name": arguments.get("collection_name"),
                "colbert.limit": arguments.get("limit"),
                "colbert.candidates": prefetch[0].limit if prefetch else None,
                "colbert.points": len(arguments["points"]) if method == "upsert" else None,
            }
        case EncodeQueries(texts):
            return {"colbert.queries": len(texts)}
        case _:
            return None


def get(layout: Layout, ids: Sequence[RecordId], *, with_vectors: bool) -> Operation[list[Record]]:
    """Fetch records in the order of their ids; ids that are not stored are left out."""
    return [record for _, record in (yield from asked_for(layout, ids, with_vectors=with_vectors))]


def asked_for(layout: Layout, ids: Sequence[RecordId], *, with_vectors: bool) -> Operation[list[tuple[str, Record]]]:
    """Fetch records as `get` does, each behind the id that asked for it, which may be stored in another spelling."""
    wanted = [(id_text(record_id), point_id(record_id, layout.tenant)) for record_id in check_ids(ids)]
    if not wanted:
        return []
    arguments = {
        "collection_name": layout.name,
        "ids": list(dict.fromkeys(qdrant_id for _, qdrant_id in wanted)),
        "with_payload": True,
        "with_vectors": with_vectors_of(layout, with_vectors),
    }
    found = {point.id: point for point in (yield from patient(Call("retrieve", arguments), READING))}
    return [(asked, points.to_record(found[qdrant_id], layout)) for asked, qdrant_id in wanted if qdrant_id in found]


def delete(layout: Layout, ids: Iterable[RecordId] | None, filter: models.Filter | None) -> Operation[None]:
    """Delete records by id, by filter, or those of the ids that pass the filter."""
    filter = check_filter(filter)
    if ids is None:
        if filter is None:
            raise InvalidInput("delete needs ids or a filter; to empty a collection delete with models.Filter()")
        selector: models.PointsSelector = models.FilterSelector(filter=filter)
    else:
        wanted = [point_id(record_id, layout.tenant) for record_id in check_ids(ids)]
        if not wanted:
            return
        selector = (
            models.PointIdsList(points=wanted)
            if filter is None
            else models.FilterSelector(filter=models.Filter(must=[has_id(wanted), filter]))
        )
    try:
        yield Call("delete", {"collection_name": layout.name, "points_selector": selector, "wait": True})
    except EngineUnavailable as error:
        if layout.copies > 1:
            error.add_note(
                "a copy that did not carry it out has the records still, and goes on answering; those that did can't "
                "tell: delete the same ids, or by the same filter, again"
            )
        raise


def set_metadata(layout: Layout, ids: Iterable[RecordId], metadata: Mapping[str, Any]) -> Operation[int]:
    """Set these keys in the metadata of records, leaving their other keys and their vectors; returns how many."""
    foreign.check_writable(layout)
    values = check_metadata(metadata)
    wanted = list(dict.fromkeys(point_id(record_id, layout.tenant) for record_id in check_ids(ids)))
    nested: list[_Point] = []
    flat: list[_Point] = []  # made by hand, metadata from top to bottom
    for at in range(0, len(wanted) if values else 0, SCROLL_PAGE):
        asked = {"ids": wanted[at : at + SCROLL_PAGE], "with_payload": True, "with_vectors": False}
        for point in (yield Call("retrieve", {"collection_name": layout.name, **asked})):
            payload = point.payload or {}
            there = nested if points.has_metadata(payload, layout) else flat
            there.append((point.id, payload.get(numbers.EXACT_KEY)))
    if flat:
        _check_flat(layout, values, flat[0][0])
    below = conditions.path(layout.metadata_key) if nested else None
    for those, above, under in ((nested, (layout.metadata_key,), below), (flat, (), None)):
        surviving, exact = numbers.surviving(values, above)
        paths = [(*above, key) for key in values]
        for at in range(0, len(those), SCROLL_PAGE):
            page = those[at : at + SCROLL_PAGE]
            # The values last: of a call that stops between, what is there tells numbers that nobody set from its own.
            for payload, key, ids in [*_exact(page, paths, exact), (surviving, under, [point for point, _ in page])]:
                # By a filter, which leaves out what was deleted meanwhile: of ids, one that is gone is an error.
                selected = models.FilterSelector(filter=has_id(ids))
                arguments = {"collection_name": layout.name, "payload": payload, "points": selected, "wait": True}
                yield Call("set_payload", arguments if key is None else {**arguments, "key": key})
    return len(nested) + len(flat)


_Point: TypeAlias = tuple[PointId, Any]
"""A point, and what stands under `numbers.EXACT_KEY` in its payload."""


def _exact(
    page: Sequence[_Point], paths: Sequence[numbers.Path], exact: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], str | None, list[PointId]]]:
    """Yield what to set below which key of which points, so that exact numbers are those of what will be at the paths.

    Where none is left, the key goes: the next `add` would take an empty one for a change.
    """
    stale = {point: numbers.below(kept, paths) for point, kept in page}
    emptied = [] if exact else [point for point, kept in page if stale[point] and len(stale[point]) == len(kept)]
    changed = [point for point in stale if (exact or stale[point]) and point not in emptied]
    if emptied:
        yield {numbers.EXACT_KEY: None}, None, emptied
    if changed:
        gone = dict.fromkeys(name for point in changed for name in stale[point])
        yield {**gone, **exact}, numbers.EXACT_KEY, changed


def _check_flat(layout: Layout, values: Mapping[str, Any], qdrant_id: PointId) -> None:
    """Refuse metadata that would be something else in a payload that is metadata from top to bottom.

    Raises
    ------
    InvalidInput
        Names the key.
    """
    for key in values:
        if key in (layout.content_key, layout.metadata_key, *points.OWN_KEYS):
            raise InvalidInput(
                f"set_metadata: {key!r} is no metadata of point {qdrant_id!r}, which another program made with its "
                "metadata at the top of the payload: there it is the text, all of the metadata or something of ours"
            )


def count(layout: Layout, filter: models.Filter | None) -> Operation[int]:
    """Count the records that pass a filter, exactly."""
    filter = check_filter(filter)
    arguments = {"collection_name": layout.name, "count_filter": filter, "exact": True}
    result = yield from patient(Call("count", arguments), READING)
    return int(result.count)


def scroll_page(
    layout: Layout, filter: models.Filter | None, offset: Any, *, with_vectors: bool, agreed: bool
) -> Operation[tuple[list[Record], Any]]:
    """Fetch a page of all records and the offset of the next one, ``None`` behind the last."""
    arguments = {
        "collection_name": layout.name,
        "scroll_filter": check_filter(filter),
        "limit": SCROLL_PAGE,
        "offset": offset,
        "with_payload": True,
        "with_vectors": with_vectors_of(layout, with_vectors),
    }
    found, following = yield from patient(Call("scroll", arguments), READING)
    if agreed:
        found = yield from copies.common(layout, found, arguments)
    return [points.to_record(point, layout) for point in found], following


def estimate(layout: Layout, storage: Storage, texts: Sequence[str], documents: int) -> Operation[Footprint]:
    """Estimate what documents like these will take."""
    texts = list(check_texts(texts))
    if not texts or documents < 1:
        raise InvalidInput(f"{len(texts)} texts for {documents} documents: give at least one of each")
    encoded: list[Multivector] = yield Compute(lambda embedder: list(embedder.embed(texts)))
    of_stages = yield Compute(lambda _: [stage_bytes(stage, texts, encoded) for stage in layout.stages])
    return footprint(
        storage,
        documents=documents,
        tokens=sum(map(len, encoded)) / len(texts),
        dim=layout.dim,
        stages=of_stages,
        text=sum(len(text.encode()) for text in texts) / len(texts),
    )


def optimize(layout: Layout) -> Operation[bool]:
    """Build the indexes where nothing does so by itself; returns whether there was anything to build."""
    return bool((yield Call("optimize", {"collection_name": layout.name})))


def encoded(layout: Layout, queries: Sequence[Query]) -> Operation[list[Multivector]]:
    """Encode those queries that are texts, all in one step; check those that are vectors."""
    texts = [check_query(query) for query in queries if isinstance(query, str)]
    fresh: Iterator[Any] = iter((yield EncodeQueries(texts))) if texts else iter(())
    return [
        points.check_multivector(next(fresh) if isinstance(query, str) else query, layout.dim, "query", layout.largest)
        for query in queries
    ]


def check_filter(filter: models.Filter | None) -> models.Filter | None:
    """Return a filter that asks for numbers as they are stored; see `check_condition` for what it may not have.

    Refused is what is no Qdrant filter, as a dict would be dropped or misread further down.
    """
    if filter is None:
        return None
    if not isinstance(filter, models.Filter):
        raise InvalidInput(f"filter is a {type(filter).__name__}; give a qdrant_client.models.Filter")
    return check_condition(filter)


def check_condition(asked: Condition) -> Condition:
    """Return a condition, such as a filter, that asks for numbers as they are stored.

    Refused is one nested too deep. A filter in a filter takes two levels of the request, as a dict of metadata does
    (`MAX_DEPTH`); a nested one takes four. The embedded engine writes a delete's filter to its log, and could not read
    it again. Refused, too, is what a server refuses and one of the other engines answers: ids that are none of
    Qdrant's, and conditions of which no one is to hold.
    """
    inside: list[tuple[Any, int]] = [(asked, 1)]
    while inside:
        condition, depth = inside.pop()
        if depth > MAX_DEPTH:
            raise InvalidInput(
                f"the filter is nested deeper than {MAX_DEPTH} levels (or holds itself), which a server would refuse: "
                "flatten it; conditions that are all to hold can stand side by side in one must"
            )
        if isinstance(condition, models.NestedCondition):
            inside.append((condition.nested.filter, depth + 1))
        elif isinstance(condition, models.HasIdCondition):
            for qdrant_id in condition.has_id:
                _check_qdrant_id(qdrant_id)
        elif isinstance(condition, models.Filter):
            if condition.min_should is not None and condition.min_should.min_count < 1:
                raise InvalidInput(f"min_count={condition.min_should.min_count}: give 1 or more")
            for conditions in (condition.must, condition.should, condition.must_not, _at_least(condition)):
                beneath = conditions if isinstance(conditions, list) else [conditions]
                inside.extend((one, depth + 1) for one in beneath if isinstance(one, _LOOKED_INTO))
    return numbers.in_filter(asked)


_LOOKED_INTO = (models.Filter, models.NestedCondition, models.HasIdCondition)


def _check_qdrant_id(qdrant_id: Any) -> None:
    try:
        known = 0 <= qdrant_id < 2**64 if isinstance(qdrant_id, int) else bool(UUID(str(qdrant_id)))
    except ValueError:
        known = False
    if not known:
        raise InvalidInput(
            f"has_id: {qdrant_id!r:.60} is no id of Qdrant's, a whole number or a UUID; any other id of a record "
            f"stands in its payload: FieldCondition(key={ID_KEY!r}, match=MatchValue(value=...))"
        )


def _at_least(filter: models.Filter) -> list[models.Condition] | None:
    return filter.min_should.conditions if filter.min_should else None


def has_id(ids: Iterable[PointId]) -> models.Filter:
    """Return the filter that only these points pass."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])


def with_vectors_of(layout: Layout, wanted: bool) -> bool | list[str]:
    """Say which vectors to return: the token vectors only, where they have a name to ask for them by."""
    return [layout.vector_name] if wanted and layout.vector_name else wanted
