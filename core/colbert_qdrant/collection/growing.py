"""How a collection gets another first stage while others write to it: no point is left without a vector. No I/O.

Whoever adds a stage first says so in the collection's metadata and then looks for points without its vector; whoever
adds documents first stores them and then looks at the metadata. So of two at the same time one sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection import copies, points, schema, stage_vectors
from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.ids import PointId
from colbert_qdrant.collection.operations import (
    SCROLL_PAGE,
    Call,
    Compute,
    Operation,
    has_id,
    with_vectors_of,
)
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import Record
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.stages import Stage, as_stages
from colbert_qdrant.errors import ColbertQdrantError, CollectionMismatch, EngineError, InvalidInput, UnsupportedByEngine
from colbert_qdrant.telemetry import logger
from colbert_qdrant.types import Embedder

_TRIES = 5
"""To write what a collection remembers, while others do so too: the last of two writers wins."""


def add_stage(layout: Layout, settings: Mapping[str, Any], stage: Stage) -> Operation[Layout]:
    """Give the collection another first stage, computed from what it stores; returns the new layout.

    One that is there and equal is completed: whatever point lacks its vector in any copy gets it.
    """
    info = yield Call("get_collection", {"collection_name": layout.name})
    layout = schema.learnt(layout, info)[0]  # what others have added since
    there = schema.remembered_stages(info).get(stage.name)
    if there is None and stage.name not in [known.name for known in layout.stages]:
        grown = replace(layout, stages=as_stages([*layout.stages, stage]))
        yield from _make_vector(layout, info, stage)
        yield from fill(grown, [stage], lacking=False)  # a run that was stopped may have been with other settings
        yield from _remember(grown, settings, stage)
        yield from fill(grown, [stage])
        return grown
    if there != stage.settings:
        raise InvalidInput(
            f"the collection has a first stage {stage.name!r} that was made with {there}, this is {stage.settings}: "
            "give this one a name of its own"
        )
    others = [known for known in layout.stages if known.name != stage.name]
    yield from fill(layout, [stage])
    return replace(layout, stages=(*others, stage))


def current(layout: Layout, settings: Mapping[str, Any]) -> Operation[Layout]:
    """Return the layout with the stages that the collection was given since it was opened.

    Raises
    ------
    CollectionMismatch
        One of them needs an encoder, which only the caller has; or it is another collection, of another model.
    """
    info = yield from patient(Call("get_collection", {"collection_name": layout.name}))
    schema.check_model(layout, info, settings)
    grown, missing = schema.learnt(layout, info)
    if missing:
        names = " and ".join(map(repr, missing))
        raise CollectionMismatch(
            f"collection {layout.name!r} was given the first stage {names} since it was opened here, which needs its "
            "encoder: open it again with stages=[Dense(...)], and add_stage of the same stage completes what lacks it"
        )
    return grown


def fill(
    layout: Layout, stages: Sequence[Stage], *, among: Sequence[PointId] | None = None, lacking: bool = True
) -> Operation[None]:
    """Give points the vectors of stages.

    Parameters
    ----------
    layout
        Names of the token vectors and the payload's keys.
    stages
        Whose vectors.
    among
        Only these points; ``None``: all.
    lacking
        Only points that lack the vector, in one copy or another.
    """
    for stage in stages:
        arguments = {
            "collection_name": layout.name,
            "scroll_filter": None if among is None else has_id(among),
            "limit": SCROLL_PAGE,
            "with_payload": True,
            "with_vectors": with_vectors_of(layout, True),
        }
        offset = None
        while True:
            stretch = {**arguments, "offset": offset}
            if lacking:
                page = yield from copies.lacking(layout, stage.name, stretch)
                found, offset = page.lacking, page.following
            else:
                found, offset = yield from patient(Call("scroll", stretch))
            yield from _give(layout, stage, {point.id: points.to_record(point, layout) for point in found})
            if offset is None:
                break


def _give(layout: Layout, stage: Stage, wanted: Mapping[PointId, Record]) -> Operation[None]:
    """Compute the vectors of some points; again for those that others replace meanwhile."""
    while True:
        pending = {point_id: record for point_id, record in wanted.items() if record.vectors is not None}
        if not pending:
            return
        made = yield Compute(partial(_stage_vectors, stage, list(pending.values())))
        updates = [
            models.PointVectors.model_construct(id=point_id, vector={stage.name: vector})
            for point_id, vector in zip(pending, made, strict=True)
        ]
        failure: ColbertQdrantError | None = None
        try:
            yield from patient(
                Call("update_vectors", {"collection_name": layout.name, "points": updates, "wait": True})
            )
        except ColbertQdrantError as error:  # a point that is gone by now fails the others with it
            failure = error
        now = yield from _read(layout, pending, vectors=False)
        if failure is not None and len(now) == len(pending):
            raise failure
        changed = [
            key for key, record in now.items() if failure is not None or _made_of(record) != _made_of(pending[key])
        ]
        wanted = (yield from _read(layout, changed, vectors=True)) if changed else {}


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


def _stage_vectors(stage: Stage, records: Sequence[Record], _: Embedder) -> list[Any]:
    multivectors = [record.vectors for record in records if record.vectors is not None]
    made = stage_vectors.made(stage, [record.text for record in records], multivectors)
    for record, vector in zip(records, made, strict=True):
        if not stage_vectors.is_finite(vector):
            raise InvalidInput(
                f"id {record.id!r}: the vector of stage {stage.name!r} has a value that is NaN or infinite"
            )
    return made


def _make_vector(layout: Layout, info: models.CollectionInfo, stage: Stage) -> Operation[None]:
    """Make the stage's vector, unless a run that was stopped did."""
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, Mapping) else {}
    if stage.name in {**dense, **(params.sparse_vectors or {})}:
        return
    config = {"vector_name": stage.name, "vector_name_config": _name_config(stage), "wait": True}
    try:
        yield Call("create_vector_name", {"collection_name": layout.name, **config})
    except EngineError:  # somebody else may have been faster
        now = (yield Call("get_collection", {"collection_name": layout.name})).config.params
        if stage.name not in {**(now.vectors or {}), **(now.sparse_vectors or {})}:
            raise
    yield from _store_as_stated(layout, stage)


def _remember(layout: Layout, settings: Mapping[str, Any], stage: Stage) -> Operation[None]:
    """Write the stage into the collection's metadata, beside what others write there."""
    name = {"collection_name": layout.name}
    for _ in range(_TRIES):
        info = yield Call("get_collection", name)
        there = schema.remembered_stages(info)
        if there.get(stage.name) == stage.settings:
            return
        making = {**(schema.remembered(info) or settings), "stages": {**there, stage.name: stage.settings}}
        yield Call("update_collection", {**name, "metadata": {schema.METADATA_KEY: making}})
    raise EngineError(f"add_stage on {layout.name!r}: the collection does not remember {stage.name!r}; try it again")


def _name_config(stage: Stage) -> models.VectorNameConfig:
    params = stage.params()
    if isinstance(params, models.SparseVectorParams):
        return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=params.modifier))
    dense = models.DenseVectorConfig(
        size=params.size,
        distance=params.distance,
        datatype=None if params.datatype is None else models.VectorStorageDatatype(params.datatype.value),
    )
    return models.DenseVectorNameConfig(dense=dense)


def _store_as_stated(layout: Layout, stage: Stage) -> Operation[None]:
    """Quantise a vector that was just made, and give it its graph; the embedded engine leaves it as it is."""
    params = stage.params()
    if isinstance(params, models.VectorParams) and params.quantization_config is not None:
        stored = models.VectorParamsDiff(
            quantization_config=params.quantization_config, memory=params.memory, hnsw_config=params.hnsw_config
        )
        try:
            yield Call("update_collection", {"collection_name": layout.name, "vectors_config": {stage.name: stored}})
        except UnsupportedByEngine:
            logger.info("%s: the stage %r is searched in full precision on this engine", layout.name, stage.name)
