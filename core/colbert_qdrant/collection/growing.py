"""How a collection gets another first stage while others write to it: no point is left without a vector. No I/O.

Whoever adds a stage first says so in the collection's metadata and then looks for points without its vector; whoever
adds documents first stores them and then looks at the metadata. So of two at the same time one sees the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection import administration, copies, giving, points, remembering, schema, stage_vectors
from colbert_qdrant.collection.giving import Records
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
from colbert_qdrant.collection.points import Record, Wire
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.stages import Stage, as_stages, kept, shown
from colbert_qdrant.errors import CollectionMismatch, InvalidInput, UnsupportedByEngine
from colbert_qdrant.telemetry import logger
from colbert_qdrant.types import Embedder


def add_stage(layout: Layout, settings: Mapping[str, Any], wire: Wire, stage: Stage) -> Operation[Layout]:
    """Give the collection another first stage, computed from what it stores; returns the new layout.

    One that is there and equal is completed: whatever point lacks its vector in any copy gets it.
    """
    as_opened = layout
    layout = replace(layout, name=(yield from administration.target(layout)))  # all in one, whatever is published
    info = yield Call("get_collection", {"collection_name": layout.name})
    schema.check_model(as_opened, info, settings)
    stage = kept(stage, schema.remembered_stages(info))
    yield Compute(lambda _: stage.name)  # trains what is not trained, before anything is made
    grown = yield from _grown(layout, info, settings, wire, stage)
    yield from administration.check_still(as_opened, layout.name, f"the stage {stage.name!r} is in", "add it again")
    return replace(grown, name=as_opened.name)


def _grown(
    layout: Layout, info: models.CollectionInfo, settings: Mapping[str, Any], wire: Wire, stage: Stage
) -> Operation[Layout]:
    layout = schema.learnt(layout, info)[0]  # what others have added since
    there = schema.remembered_stages(info).get(stage.name)
    if there is None and stage.name not in [known.name for known in layout.stages]:
        grown = replace(layout, stages=as_stages([*layout.stages, stage]))
        schema.check_dims(grown)
        yield from _make_vector(layout, info, stage)
        yield from fill(grown, wire, [stage], lacking=False)  # a run that was stopped may have been with other settings
        yield from _remember(grown, settings, stage)
        yield from fill(grown, wire, [stage])
        return grown
    if there != stage.settings:
        raise InvalidInput(
            f"the collection has a first stage {stage.name!r} that was made with {shown(there or {})}; this is "
            f"{shown(stage.settings)}: give this one a name of its own"
        )
    others = [known for known in layout.stages if known.name != stage.name]
    yield from fill(layout, wire, [stage])
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
    check_encoders(layout, missing, "since it was opened here")
    return grown


def check_encoders(layout: Layout, missing: Sequence[str], when: str) -> None:
    """Refuse to go on without the encoders of stages that the collection was given.

    Raises
    ------
    CollectionMismatch
        Names them.
    """
    if missing:
        names = " and ".join(map(repr, missing))
        raise CollectionMismatch(
            f"collection {layout.name!r} was given the first stage {names} {when}, which needs its encoder: open it "
            "again with stages=[Dense(...)], and add_stage of the same stage completes what lacks it"
        )


def fill(
    layout: Layout,
    wire: Wire,
    stages: Sequence[Stage],
    *,
    among: Sequence[PointId] | None = None,
    lacking: bool = True,
) -> Operation[None]:
    """Give points the vectors of stages.

    Parameters
    ----------
    layout
        Names of the token vectors and the payload's keys.
    wire
        How much goes into a request.
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
            records = {point.id: points.to_record(point, layout) for point in found}
            make = partial(_made, stage)
            if records:
                yield from giving.give(layout, wire, stage.name, (yield from make(records)), records, make)
            if offset is None:
                break


def _made(stage: Stage, records: Records) -> Operation[list[Any]]:
    made: list[Any] = yield Compute(partial(_stage_vectors, stage, list(records.values())))
    return made


def _stage_vectors(stage: Stage, records: Sequence[Record], _: Embedder) -> list[Any]:
    encoded = [record for record in records if record.vectors is not None]
    multivectors = [record.vectors for record in encoded if record.vectors is not None]
    made = iter(stage_vectors.made(stage, [record.text for record in encoded], multivectors) if encoded else ())
    lacking = InvalidInput("it has no token vectors")
    results = [lacking if record.vectors is None else next(made) for record in records]
    for record, vector in zip(records, results, strict=True):
        if vector is not lacking and not stage_vectors.is_finite(vector):
            raise InvalidInput(
                f"id {record.id!r}: the vector of stage {stage.name!r} has a value that is NaN or infinite"
            )
    return results


def _make_vector(layout: Layout, info: models.CollectionInfo, stage: Stage) -> Operation[None]:
    """Make the stage's vector, unless a run that was stopped did.

    Raises
    ------
    InvalidInput
        There is a vector of this name that no run of ours began: another program's, which would be overwritten.
    """
    is_begun = stage.name in schema.begun(info)
    is_there = stage.name in schema.vector_names(info)
    if is_there and not is_begun:
        raise InvalidInput(
            f"collection {layout.name!r} has a vector {stage.name!r} that was not made as a first stage, and would be "
            "overwritten: give this stage a name of its own"
        )
    if not is_begun:
        yield from remembering.begin(layout.name, stage.name)
    if not is_there:
        yield from giving.create_vector(layout.name, stage.name, _name_config(stage))
    yield from _store_as_stated(layout, stage)


def _remember(layout: Layout, settings: Mapping[str, Any], stage: Stage) -> Operation[None]:
    """Write the stage into the collection's metadata, beside what others write there."""

    def with_stage(making: dict[str, Any]) -> dict[str, Any]:
        making = making or dict(settings)
        return {**making, "stages": {**making.get("stages", {}), stage.name: stage.settings}}

    yield from remembering.remember(layout.name, with_stage)
    yield from remembering.end(layout.name, stage.name)


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
