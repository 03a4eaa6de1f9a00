"""A collection of single vectors, as other programs keep them, given a multivector beside its vectors; and back.

Nothing that it has is touched: no payload, no vector, no point. So the program that made it goes on working, and what
it adds later is found once `upgrade` has run again. What the new vector is made with is remembered first, that it is
complete last; until then the collection is not opened by us, for a part would be searched as the whole.

Operations as those of `operations.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection import copies, foreign, ingest, points, schema
from colbert_qdrant.collection.foreign import Writer
from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.collection.ingest import WINDOW
from colbert_qdrant.collection.operations import Call, Finish, Operation, Start
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import NewRecord, Wire
from colbert_qdrant.collection.reports import AddReport, Failure
from colbert_qdrant.collection.schema import METADATA_KEY, UPGRADED_KEY, Layout
from colbert_qdrant.collection.stages import Dense, Stage
from colbert_qdrant.embedders import embedder_dim, embedder_settings
from colbert_qdrant.errors import CollectionMismatch, InvalidInput, UnsupportedByEngine
from colbert_qdrant.types import Embedder

SAMPLE = 32
"""Points by which a collection is judged before anything is changed."""

LIKE = 0.5
"""The least cosine, in the middle of the sample, of a stored vector and what `dense` makes of its text. Another model's
vectors have about 0; a prompt, or metadata encoded with the text, leaves more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an upgrade is to make; see `MultivectorCollection.upgrade`."""

    layout: Layout
    settings: Mapping[str, Any]
    dense: Dense | None
    content_key: str | None
    metadata_key: str | None


def wanted_of(
    name: str, embedder: Embedder, dense: Any, vector_name: str, content_key: str | None, metadata_key: str | None
) -> Wanted:
    """Return what an upgrade is to make, of what `MultivectorCollection.upgrade` is given."""
    layout = Layout(
        name, vector_name, content_key or "page_content", metadata_key or "metadata", embedder_dim(embedder)
    )
    return Wanted(
        layout=layout,
        settings=embedder_settings(embedder),
        dense=dense if dense is None or isinstance(dense, Dense) else Dense(dense),
        content_key=content_key,
        metadata_key=metadata_key,
    )


def upgrade(
    wanted: Wanted, wire: Wire, *, progress: Callable[[AddReport], None]
) -> Operation[tuple[AddReport, tuple[Stage, ...]]]:
    """Give the collection token vectors, computed from its stored texts, where it has none yet.

    Returns
    -------
    report : AddReport
        `encoded` had none; `unchanged` had them; `failed` have no text, or too much of it.
    stages : tuple of Stage
        What finds the candidates from now on.
    """
    name = {"collection_name": wanted.layout.name}
    info = yield Call("get_collection", name)
    made_with = schema.remembered(info)
    layout, writer = yield from _judged(wanted, info, made_with)
    making = _making(layout, wanted.settings, writer)
    _check_same(layout.name, made_with, making)
    yield from patient(Call("update_collection", {**name, "metadata": {METADATA_KEY: making}}))
    if layout.vector_name not in schema.dense_vectors(info):
        yield from _make_vector(layout)
    report = AddReport()
    if layout.copies == 1:  # of several, each point is looked at anyway
        having = models.Filter(must=[models.HasVectorCondition(has_vector=layout.vector_name)])
        report.unchanged = (yield Call("count", {**name, "count_filter": having, "exact": True})).count
    is_first = True
    while (yield from _fill(layout, wire, report, progress, is_first=is_first)):  # again, for what was added meanwhile
        is_first = False
    done = {**making, UPGRADED_KEY: {**making[UPGRADED_KEY], "complete": True}}
    yield from patient(Call("update_collection", {**name, "metadata": {METADATA_KEY: done}}))
    if report.failed:
        warnings.warn(
            f"{len(report.failed)} records of {layout.name!r} got no token vectors and are not found by them: "
            f"{report.failed[0].id!r} and so on, {report.failed[0].reason}",
            stacklevel=2,
        )
    return report, layout.stages


def downgrade(name: str) -> Operation[None]:
    """Take the multivector away again, and what the collection remembers of it."""
    info = yield Call("get_collection", {"collection_name": name})
    made_with = schema.remembered(info)
    if UPGRADED_KEY not in made_with:
        raise InvalidInput(f"collection {name!r} was not upgraded, there is nothing to take away")
    vector = made_with[UPGRADED_KEY]["vector"]
    # From now on it is nobody's: what stopped here is finished by running it again.
    undone = {**made_with, UPGRADED_KEY: {**made_with[UPGRADED_KEY], "complete": False}}
    yield Call("update_collection", {"collection_name": name, "metadata": {METADATA_KEY: undone}})
    if vector in schema.dense_vectors(info):
        yield Call("delete_vector_name", {"collection_name": name, "vector_name": vector, "wait": True})
    yield Call("update_collection", {"collection_name": name, "metadata": {METADATA_KEY: None}})


def _judged(
    wanted: Wanted, info: models.CollectionInfo, made_with: Mapping[str, Any]
) -> Operation[tuple[Layout, Writer]]:
    """Say where things are in the collection, before anything is changed.

    Raises
    ------
    InvalidInput
        It is none of single vectors, its payload is unknown, or `dense` is not the model that it was made with.
    """
    name, vectors = wanted.layout.name, schema.dense_vectors(info)
    if made_with and UPGRADED_KEY not in made_with:
        raise InvalidInput(f"collection {name!r} has token vectors already: open it")
    if wanted.layout.vector_name in vectors and not made_with:
        raise InvalidInput(
            f"collection {name!r} has a vector {wanted.layout.vector_name!r}: choose another vector_name"
        )
    arguments = {"collection_name": name, "limit": SAMPLE, "with_payload": True, "with_vectors": True}
    sample, _ = yield Call("scroll", arguments)
    writer = _writer(wanted, [point.payload or {} for point in sample], made_with)
    if writer.name == foreign.HAYSTACK and schema.UNNAMED_VECTOR in vectors:
        raise InvalidInput(
            f"collection {name!r} is Haystack's with an unnamed vector, beside which its store bears no other: make it "
            "with use_sparse_embeddings=True, which names its vectors, or upgrade a copy"
        )
    layout = replace(
        wanted.layout,
        content_key=writer.content_key,
        metadata_key=writer.metadata_key,
        written_by=writer.name,
        copies=schema.copies(info),
    )
    if wanted.dense is None:
        return layout, writer
    single = {each: params for each, params in vectors.items() if params.multivector_config is None}
    stage = _stage(name, wanted.dense, single)
    yield from _check_alike(layout, stage, sample)
    return replace(layout, stages=(stage,)), writer


def _writer(wanted: Wanted, payloads: Sequence[Mapping[str, Any]], made_with: Mapping[str, Any]) -> Writer:
    if made_with:
        known = made_with[UPGRADED_KEY]
        return Writer(known["written_by"], known["content_key"], known["metadata_key"])
    if wanted.content_key is not None:
        return Writer("you", wanted.content_key, wanted.metadata_key or "metadata")
    writer = foreign.writer_of(payloads)
    if writer is None:
        keys = sorted({key for payload in payloads for key in payload})
        raise InvalidInput(
            f"collection {wanted.layout.name!r}: the payload has the keys {keys}, which is of no known program: "
            "say where the text is, content_key= and metadata_key="
        )
    return writer


def _stage(name: str, dense: Dense, single: Mapping[str, models.VectorParams]) -> Dense:
    """Return the stage over the vector that the collection has."""
    if dense.name in single:
        found = dense.name
    elif len(single) == 1:
        [found] = single
    else:
        raise InvalidInput(f"collection {name!r} has the vectors {sorted(single)}: say which, dense=Dense(..., name=)")
    stage = replace(dense, name=found)
    size = stage.params().size
    if single[found].size != size:
        raise InvalidInput(
            f"collection {name!r}: its vector {found!r} has {single[found].size} dimensions, dense= makes {size}: "
            "give the model that it was made with"
        )
    return stage


def _check_alike(layout: Layout, stage: Dense, sample: Sequence[models.Record]) -> Operation[None]:
    """Hold stored vectors against those that `dense` makes of their texts: another model's would find anything."""
    pairs = []
    for point in sample:
        vector = point.vector.get(stage.name) if isinstance(point.vector, Mapping) else point.vector
        text = points.to_record(point, layout).text
        if vector is not None and text:
            pairs.append((text, np.asarray(vector, np.float64)))
    if not pairs:
        return
    job = yield Start(lambda _: stage.encode_documents([text for text, _ in pairs], []))
    made = yield Finish(job)
    cosines = [
        float(old @ new / max(np.linalg.norm(old) * np.linalg.norm(new), 1e-12))
        for (_, old), new in zip(pairs, made, strict=True)
    ]
    if np.median(cosines) < LIKE:
        raise InvalidInput(
            f"collection {layout.name!r}: its vectors {stage.name!r} are not what dense= makes of its texts (cosine "
            f"{np.median(cosines):.2f}): give the model that it was made with"
        )


def _making(layout: Layout, settings: Mapping[str, Any], writer: Writer) -> dict[str, Any]:
    about = {
        "vector": layout.vector_name,
        "written_by": writer.name,
        "content_key": writer.content_key,
        "metadata_key": writer.metadata_key,
        "complete": False,
    }
    return {**schema.making(layout, settings), UPGRADED_KEY: about}


def _check_same(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than an upgrade was begun with."""
    plain = [{key: value for key, value in made.items() if key != UPGRADED_KEY} for made in (before, now)]
    vectors = [made.get(UPGRADED_KEY, {}).get("vector") for made in (before, now)]
    if before and (plain[0] != plain[1] or vectors[0] != vectors[1]):
        raise CollectionMismatch(
            f"collection {name!r} was upgraded with {plain[0]}, this is {plain[1]}: go on as it was begun, or "
            "`downgrade` it first"
        )


def _make_vector(layout: Layout) -> Operation[None]:
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    dense = models.DenseVectorConfig(
        size=layout.dim,
        distance=models.Distance.COSINE,
        multivector_config=multi,
        datatype=models.VectorStorageDatatype.FLOAT16,
    )
    config = models.DenseVectorNameConfig(dense=dense)
    name = {"collection_name": layout.name}
    arguments = {**name, "vector_name": layout.vector_name, "vector_name_config": config, "wait": True}
    yield from patient(Call("create_vector_name", arguments))
    if layout.stages:  # behind a first stage it only rescores, and needs no graph
        unindexed = models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=0))
        try:
            yield Call("update_collection", {**name, "vectors_config": {layout.vector_name: unindexed}})
        except UnsupportedByEngine:
            return  # the embedded engine builds graphs only when it is told to


def _fill(
    layout: Layout, wire: Wire, report: AddReport, progress: Callable[[AddReport], None], *, is_first: bool
) -> Operation[int]:
    """Go through the points that lack token vectors once, a window encoded while the one before is uploaded.

    Returns how many there were. Those that a copy does not answer for are written as well, but counted by the first
    pass alone: in each they may be the same.
    """
    done, known = 0, {failure.id for failure in report.failed}
    waiting: list[models.PointVectors] = []
    wanted = {"collection_name": layout.name, "limit": WINDOW, "with_payload": True, "with_vectors": False}
    offset = None
    while True:
        page = yield from copies.lacking(layout, layout.vector_name, {**wanted, "offset": offset})
        offset = page.following
        first = report.updated + len(report.failed)
        read = [_to_encode(layout, first + number, point) for number, point in enumerate(page.lacking)]
        records = [record for record in read if record.id not in known]
        for record in [record for record in records if not record.text.strip()]:
            report.failed.append(Failure(record.position, record.id, "the payload has no text"))
        texts = [record for record in records if record.text.strip()]
        job = yield Start(partial(_encoded, layout, texts))
        yield from _upload(layout, wire, waiting)
        waiting = []
        for record, vectors in zip(texts, (yield Finish(job)), strict=True):
            if isinstance(vectors, InvalidInput):
                report.failed.append(Failure(record.position, record.id, str(vectors)))
                continue
            waiting.append(models.PointVectors.model_construct(id=point_id(record.id), vector=vectors))
        report.encoded += len(waiting)
        if page.is_known or is_first:
            done += len(waiting)
            report.updated += len(waiting)
        if is_first:
            report.unchanged += page.held
        progress(report)
        if offset is None:
            break
    yield from _upload(layout, wire, waiting)
    return done


def _to_encode(layout: Layout, position: int, point: models.Record) -> NewRecord:
    text = points.to_record(point, layout).text
    return NewRecord(position=position, id=str(point.id), text=text, encoded_as=text, metadata={}, extra={})


def _encoded(layout: Layout, records: Sequence[NewRecord], embedder: Embedder) -> list[dict[str, Any] | InvalidInput]:
    return ingest.encode(replace(layout, stages=()), records, embedder)


def _upload(layout: Layout, wire: Wire, waiting: Sequence[models.PointVectors]) -> Operation[None]:
    for request in points.cut_by_bytes(waiting, wire):
        arguments = {"collection_name": layout.name, "points": request, "wait": True}
        yield from patient(Call("update_vectors", arguments))
