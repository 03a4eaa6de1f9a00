"""How documents get into a collection: checked, encoded and uploaded side by side, what is stored left alone.

No I/O: `add` is an operation as those of `operations.py`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection import administration, copies, foreign, growing, points, stage_vectors
from colbert_qdrant.collection.columns import Source, check_records
from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.ids import TENANT_KEY, PointId, point_id
from colbert_qdrant.collection.operations import Begin, Call, Finish, Operation, Start
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import NewRecord, Wire
from colbert_qdrant.collection.reports import AddReport, Failure, OnError, check_on_error
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.embedders import encoded_all
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput
from colbert_qdrant.types import Embedder

WINDOW = 64
"""Texts that are looked up, encoded and uploaded together. One window is encoded while the one before it is sent; these
two are in memory, and the requests that a server has not acknowledged yet (`Wire.in_flight`)."""

_IDS_AT_ONCE = 1_000


Payload: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class _Upload:
    """Points that wait for the next window's encoding to start, and which of them replace others."""

    points: list[models.PointStruct] = field(default_factory=list)
    known: set[PointId] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that is not acknowledged yet, how much in it is new and replaced, and its job where it was begun."""

    call: Call
    added: int
    replaced: int
    job: Any


def add(
    layout: Layout,
    settings: Mapping[str, Any],
    wire: Wire,
    source: Source,
    *,
    on_error: OnError = "raise",
    progress: Callable[[AddReport], None] | None = None,
) -> Operation[tuple[AddReport, Layout]]:
    """Store records; see `MultivectorCollection.add`. The layout comes back with stages that others have added."""
    foreign.check_writable(layout)
    check_on_error(on_error)
    report = AddReport()
    as_opened = layout
    layout = replace(layout, name=(yield from administration.target(layout)))  # all into one, whatever is published
    unchanged: list[PointId] = []
    first = True
    under_way: deque[_Sent] = deque()
    records = check_records(source, report, on_error, layout.dim, layout.stages)
    if source.is_at_hand:
        records = iter(list(records))  # what is known in full is checked in full before anything is written
    try:
        waiting = _Upload()
        while window := list(islice(records, WINDOW)):
            stored = yield from _look_up(layout, window)
            window = _without_tenants(layout, window, stored, report, on_error)
            changed = yield from _settle_unchanged(layout, settings, window, stored, report)
            known = {point_id(record.id, layout.tenant) for record, _ in changed}
            unchanged += [key for key in stored if key not in known]
            job = yield Start(partial(encode, layout, [record for record, _ in changed]))
            if first and changed:
                layout, first = (yield from growing.current(layout, settings)), False
            yield from _upload(layout, wire, waiting, under_way, report)
            encoded = yield Finish(job)
            waiting = _Upload(_to_points(layout, changed, encoded, report, on_error), set(stored))
            if progress is not None:
                progress(report)
        yield from _upload(layout, wire, waiting, under_way, report)
        yield from _acknowledged(under_way, report)
        layout = yield from _complete(as_opened, layout, settings, wire, unchanged, report)
        if progress is not None:
            progress(report)
    except ColbertQdrantError as error:
        yield from _salvaged(under_way, report)
        error.add_note(f"{report.stored} texts were stored before; what is stored is not encoded again in a second run")
        raise
    done = f"these {report.stored} texts are in"
    yield from administration.check_still(as_opened, layout.name, done, "add them again")
    return report, replace(layout, name=as_opened.name)


def refusals(layout: Layout, texts: Sequence[str]) -> Operation[list[Failure]]:
    """Return the texts that can't be stored, and why."""
    report = AddReport()
    records = list(check_records(Source(texts=texts), report, "skip", layout.dim))
    for at in range(0, len(records), WINDOW):
        window = records[at : at + WINDOW]
        job = yield Start(partial(encode, replace(layout, stages=()), window))
        for record, result in zip(window, (yield Finish(job)), strict=True):
            if isinstance(result, InvalidInput):
                report.leave_out(record.id, record.position, str(result))
    return sorted(report.failed, key=lambda failure: failure.position)


def encode(layout: Layout, records: Sequence[NewRecord], embedder: Embedder) -> list[dict[str, Any] | InvalidInput]:
    """Return all vectors of each record by name, or what keeps it from being stored."""
    results: list[dict[str, Any] | InvalidInput] = []
    encoded = iter(_encoded(layout, [record for record in records if record.vectors is None], embedder))
    for record in records:
        vectors = next(encoded) if record.vectors is None else record.vectors
        try:
            if isinstance(vectors, InvalidInput):
                raise vectors
            if record.vectors is None and not record.encoded_as.strip():
                # Its markers alone would rank it before texts on another subject.
                vectors = np.zeros((1, layout.dim), np.float32)
            checked = points.check_multivector(vectors, layout.dim, _named(record), layout.largest)
            results.append({layout.vector_name: checked})
        except InvalidInput as error:
            results.append(error)
    good = [number for number, result in enumerate(results) if isinstance(result, dict)]
    multivectors = [results[number][layout.vector_name] for number in good]  # type: ignore[index]  # they are dicts
    for stage in layout.stages if good else ():
        made = stage_vectors.made_or_given(stage, [records[number] for number in good], multivectors)
        for number, vector in zip(good, made, strict=True):
            result = results[number]
            if isinstance(result, InvalidInput):  # another stage's vector can't be stored
                continue
            if stage_vectors.is_finite(vector):
                result[stage.name] = vector
            else:
                results[number] = InvalidInput(
                    f"{_named(records[number])}: the vector of stage {stage.name!r} has a value that is NaN or infinite"
                )
    return results


def _encoded(layout: Layout, records: Sequence[NewRecord], embedder: Embedder) -> list[Any]:
    """Return the token vectors of each record, or why it has none; those that would be too many are not computed."""
    refused = [points.too_many_vectors(embedder, record.encoded_as, layout.dim, _named(record)) for record in records]
    texts = [record.encoded_as for record, refusal in zip(records, refused, strict=True) if refusal is None]
    made = iter(_made(texts, embedder))
    return [next(made) if refusal is None else refusal for refusal in refused]


def _made(texts: Sequence[str], embedder: Embedder) -> list[Any]:
    """Encode together; where a text is refused, each by itself: it is not everybody's failure."""
    try:
        made = list(islice(embedder.embed(texts), len(texts) + 1)) if texts else []  # one more tells of too many
    except InvalidInput as error:
        return [error] if len(texts) == 1 else [found for text in texts for found in _made([text], embedder)]
    return list(encoded_all(made, len(texts), type(embedder).__name__))


def _named(record: NewRecord) -> str:
    return f"text {record.position} (id {record.id!r})"


def _look_up(layout: Layout, window: Sequence[NewRecord]) -> Operation[dict[PointId, models.Record]]:
    """Fetch those records that are stored, with the vectors of stages that are given anew."""
    ids = [point_id(record.id, layout.tenant) for record in window]
    given = sorted({name for record in window for name in record.stage_vectors})
    wanted: bool | list[str] = given if all(given) else True  # the unnamed one has no name to ask for it by
    arguments = {"collection_name": layout.name, "ids": ids, "with_payload": True, "with_vectors": wanted or False}
    return (yield from copies.agreed(layout, arguments))


def _without_tenants(
    layout: Layout,
    window: Sequence[NewRecord],
    stored: Mapping[PointId, models.Record],
    report: AddReport,
    on_error: OnError,
) -> list[NewRecord]:
    """Leave out what would replace a tenant's record, which without a tenant is seen under its point's id.

    Raises
    ------
    InvalidInput
        With ``on_error="raise"``, the first of them.
    """
    if layout.tenant is not None:
        return list(window)
    left = []
    for record in window:
        point = stored.get(point_id(record.id))
        tenant = None if point is None else (point.payload or {}).get(TENANT_KEY)
        if tenant is None:
            left.append(record)
            continue
        reason = f"{_named(record)} is of the tenant {tenant!r}, who would lose it: open with tenant= to replace it"
        if on_error == "raise":
            raise InvalidInput(reason)
        report.leave_out(record.id, record.position, reason)
    return left


def _settle_unchanged(
    layout: Layout,
    settings: Mapping[str, Any],
    window: Sequence[NewRecord],
    stored: Mapping[PointId, models.Record],
    report: AddReport,
) -> Operation[list[tuple[NewRecord, Payload]]]:
    """Deal with the records whose vectors are stored already; returns the others with their payloads."""
    changed = []
    for record in window:
        payload = points.to_payload(record, layout, settings)
        point = stored.get(point_id(record.id, layout.tenant))
        before = {} if point is None or point.payload is None else point.payload
        # What others put beside our keys, by hand, stays; a key of ours that is no longer there goes.
        after = {**{key: value for key, value in before.items() if not key.startswith("_")}, **payload}
        # A stage that was added later was made of the text as it is stored, of which the hash of what was encoded may
        # know nothing.
        is_encoded = all(before.get(key) == payload[key] for key in (HASH_KEY, layout.content_key))
        if not (point and is_encoded and stage_vectors.agree(record.stage_vectors, point.vector)):
            changed.append((record, payload))
        elif _as_json(before) == _as_json(after):
            report.unchanged += 1
        else:
            arguments = {
                "collection_name": layout.name,
                "payload": after,
                "points": [point_id(record.id, layout.tenant)],
                "wait": True,
            }
            try:
                yield from patient(Call("overwrite_payload", arguments))
            except ColbertQdrantError:
                if (yield from _look_up(layout, [record])):
                    raise
                changed.append((record, payload))  # deleted meanwhile
            else:
                report.updated += 1
    return changed


def _as_json(payload: Payload) -> str:
    """Return what tells payloads apart: Python holds 1, 1.0 and True equal, JSON does not."""
    return json.dumps(payload, sort_keys=True)


def _to_points(
    layout: Layout,
    records: Sequence[tuple[NewRecord, Payload]],
    encoded: Sequence[Mapping[str, Any] | InvalidInput],
    report: AddReport,
    on_error: OnError,
) -> list[models.PointStruct]:
    ready = []
    for (record, payload), vectors in zip(records, encoded, strict=True):
        try:
            if isinstance(vectors, InvalidInput):
                raise vectors
            point = points.to_point(record, payload, vectors, layout)
            points.check_size(point, _named(record))
        except InvalidInput as error:
            if on_error == "raise":
                raise
            report.leave_out(record.id, record.position, str(error))
            continue
        report.encoded += record.vectors is None
        ready.append(point)
    return ready


def _complete(
    as_opened: Layout,
    layout: Layout,
    settings: Mapping[str, Any],
    wire: Wire,
    unchanged: Sequence[PointId],
    report: AddReport,
) -> Operation[Layout]:
    """Give the points of this call the vectors of stages that others have added meanwhile; see `growing`.

    Those that are unchanged as well: the call that stored them may have stopped before it came to this.
    """
    if report.stored:
        layout = yield from growing.current(layout, settings)
    for at in range(0, len(unchanged) if layout.stages else 0, _IDS_AT_ONCE):
        yield from growing.fill(layout, wire, layout.stages, among=unchanged[at : at + _IDS_AT_ONCE])
    if report.stored > report.unchanged:
        known = [stage.name for stage in as_opened.stages]
        yield from growing.fill(layout, wire, [stage for stage in layout.stages if stage.name not in known])
    return layout


def _upload(
    layout: Layout, wire: Wire, waiting: _Upload, under_way: deque[_Sent], report: AddReport
) -> Operation[None]:
    """Send points, as many requests at once as the engine takes.

    No two requests of a call hold the same point, as no id stands twice in it: in which order they are carried out
    does not matter.
    """
    for request in points.cut_by_bytes(waiting.points, wire):
        call = Call("upsert", {"collection_name": layout.name, "points": request, "wait": True})
        replaced = sum(point.id in waiting.known for point in request)
        job = (yield Begin(call)) if wire.in_flight > 1 else None
        under_way.append(_Sent(call, len(request) - replaced, replaced, job))
        yield from _acknowledged(under_way, report, leave=wire.in_flight - 1)


def _acknowledged(under_way: deque[_Sent], report: AddReport, leave: int = 0) -> Operation[None]:
    """Wait for requests, the oldest first, until so many are left; one that fails is tried again meanwhile."""
    while len(under_way) > leave:
        sent = under_way.popleft()
        yield from patient(sent.call, begun=sent.job)
        _count(sent, report)


def _salvaged(under_way: deque[_Sent], report: AddReport) -> Operation[None]:
    """Count what is acknowledged of the requests that were begun before another failed; none is tried again."""
    while under_way:
        sent = under_way.popleft()
        if sent.job is not None:
            with suppress(ColbertQdrantError):
                yield Finish(sent.job)
                _count(sent, report)


def _count(sent: _Sent, report: AddReport) -> None:
    report.added += sent.added
    report.updated += sent.replaced
