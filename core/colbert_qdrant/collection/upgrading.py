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

from colbert_qdrant.collection import (
    administration,
    copies,
    foreign,
    giving,
    growing,
    ingest,
    points,
    remembering,
    schema,
)
from colbert_qdrant.collection.fingerprints import HASH_KEY, fingerprint
from colbert_qdrant.collection.foreign import Writer
from colbert_qdrant.collection.giving import Records
from colbert_qdrant.collection.ids import PointId
from colbert_qdrant.collection.ingest import WINDOW
from colbert_qdrant.collection.operations import Call, Finish, Operation, Start, has_id
from colbert_qdrant.collection.patience import patient
from colbert_qdrant.collection.points import NewRecord, Record, Wire
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
    asked = replace(wanted.layout, is_alias=True)  # as far as anybody knows
    wanted = replace(wanted, layout=replace(asked, name=(yield from administration.target(asked)), is_alias=False))
    name = {"collection_name": wanted.layout.name}
    info = yield Call("get_collection", name)
    made_with = schema.remembered(info)
    layout, writer = yield from _judged(wanted, info, made_with)
    making = _making(layout, wanted.settings, writer, sorted(schema.vector_names(info)))
    yield from remembering.remember(layout.name, partial(_begun, wanted, making))
    if layout.vector_name not in schema.dense_vectors(info):
        yield from _make_vector(layout)
    report = AddReport()
    if layout.copies == 1:  # of several, each point is looked at anyway
        having = models.Filter(must=[models.HasVectorCondition(has_vector=layout.vector_name)])
        report.unchanged = (yield Call("count", {**name, "count_filter": having, "exact": True})).count
    is_first = True
    while (yield from _fill(layout, wanted.settings, wire, report, progress, is_first=is_first)):
        is_first = False  # again, for what was added meanwhile
    grown, missing = schema.learnt(layout, (yield Call("get_collection", name)))
    yield from growing.fill(grown, wire, grown.stages[len(layout.stages) :])
    yield from remembering.remember(layout.name, partial(_completed, layout.name))
    if report.failed:
        warnings.warn(
            f"{len(report.failed)} records of {layout.name!r} got no token vectors and are not found by them: "
            f"{report.failed[0].id!r} and so on, {report.failed[0].reason}",
            stacklevel=2,
        )
    growing.check_encoders(layout, missing, "beside its token vectors, which are complete")
    yield from administration.check_still(asked, layout.name, "the token vectors are in", "upgrade it")
    return report, grown.stages


def downgrade(name: str) -> Operation[None]:
    """Take away the multivector, our stages' vectors, and what the collection remembers of them."""
    name = yield from administration.behind(name)
    info = yield Call("get_collection", {"collection_name": name})
    made_with = schema.remembered(info)
    if UPGRADED_KEY not in made_with:
        raise InvalidInput(f"collection {name!r} was not upgraded, there is nothing to take away")
    # From now on it is nobody's: what stopped here is finished by running it again.
    undone = {**made_with, UPGRADED_KEY: {**made_with[UPGRADED_KEY], "complete": False}}
    yield Call("update_collection", {"collection_name": name, "metadata": {METADATA_KEY: undone}})
    there = schema.vector_names(info)
    for vector in _ours(info):
        if vector in there:
            yield from giving.delete_vector(name, vector)
    yield from remembering.forget(name, info)


def _ours(info: models.CollectionInfo) -> list[str]:
    """Return the vectors that the collection did not have when it was upgraded: the multivector and first stages."""
    made_with = schema.remembered(info)
    if UPGRADED_KEY not in made_with:
        return []
    before, stages = _beside(made_with), [*schema.remembered_stages(info), *schema.begun(info)]
    return [made_with[UPGRADED_KEY]["vector"], *(stage for stage in dict.fromkeys(stages) if stage not in before)]


def _beside(made: Mapping[str, Any]) -> Sequence[str]:
    """Return the vectors that the collection had before it was upgraded.

    One that was upgraded by a version that did not remember them may have had those of its dense stages.
    """
    dense = [name for name, stage in made.get("stages", {}).items() if stage.get("kind") == "dense"]
    known: Sequence[str] = made[UPGRADED_KEY].get("beside", dense)
    return known


def _judged(
    wanted: Wanted, info: models.CollectionInfo, made_with: Mapping[str, Any]
) -> Operation[tuple[Layout, Writer]]:
    """Say where things are in the collection, before anything is changed.

    Raises
    ------
    InvalidInput
        It is none of single vectors, its payload is unknown or has no text, or `dense` is not the model that it was
        made with.
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
    if not made_with:
        yield from _check_texts(layout)
    if wanted.dense is None:
        return layout, writer
    ours = _ours(info)
    single = {
        each: params for each, params in vectors.items() if params.multivector_config is None and each not in ours
    }
    stage = _stage(name, wanted.dense, single)
    yield from _check_alike(layout, stage, sample)
    return replace(layout, stages=(stage,)), writer


def _writer(wanted: Wanted, payloads: Sequence[Mapping[str, Any]], made_with: Mapping[str, Any]) -> Writer:
    name, content_key, metadata_key = wanted.layout.name, wanted.content_key, wanted.metadata_key
    if made_with:
        known = made_with[UPGRADED_KEY]
        return Writer(known["written_by"], content_key or known["content_key"], metadata_key or known["metadata_key"])
    if content_key is not None:
        return Writer("you", content_key, metadata_key or "metadata")
    if not payloads:
        raise InvalidInput(
            f"collection {name!r} is empty, so that nothing tells whose payloads it will have: upgrade it when there "
            "are some, or say where the text will be, content_key= and metadata_key="
        )
    writer = foreign.writer_of(payloads)
    if writer is None:
        raise InvalidInput(
            f"collection {name!r}: the payload has the keys {_keys(payloads)}, which is of no known program: say where "
            "the text is, content_key= and metadata_key="
        )
    if metadata_key not in (None, writer.metadata_key):
        raise InvalidInput(
            f"collection {name!r}: the payload is {writer.name}'s, whose metadata is under {writer.metadata_key!r}, "
            f"not metadata_key={metadata_key!r}: leave that out, or say where the text is as well, content_key="
        )
    return writer


def _check_texts(layout: Layout) -> Operation[None]:
    """Refuse a collection that has payloads and no text in any: they are looked for under a wrong key."""
    page = {"collection_name": layout.name, "limit": WINDOW, "with_payload": True, "with_vectors": False}
    offset, keys = None, set()
    while True:
        found, offset = yield from patient(Call("scroll", {**page, "offset": offset}))
        if any(points.to_record(point, layout).text.strip() for point in found):
            return
        keys.update(_keys([point.payload or {} for point in found]))
        if offset is None:
            break
    if keys:
        raise InvalidInput(
            f"collection {layout.name!r}: no payload has a text under {layout.content_key!r}, their keys are "
            f"{sorted(keys)}: say where the text is, content_key="
        )


def _keys(payloads: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({key for payload in payloads for key in payload})


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


def _making(layout: Layout, settings: Mapping[str, Any], writer: Writer, vectors: Sequence[str]) -> dict[str, Any]:
    about = {
        "vector": layout.vector_name,
        "beside": vectors,
        "written_by": writer.name,
        "content_key": writer.content_key,
        "metadata_key": writer.metadata_key,
        "complete": False,
    }
    return {**schema.making(layout, settings), UPGRADED_KEY: about}


def _begun(wanted: Wanted, making: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is remembered while there are vectors to make.

    Raises
    ------
    CollectionMismatch
        It was begun with other settings.
    """
    if not before:
        return dict(making)
    was, now = _settings_of(before), _settings_of(making)
    differences = [f"{key}={was.get(key)!r}, not {now.get(key)!r}" for key in was | now if was.get(key) != now.get(key)]
    if differences:
        raise CollectionMismatch(
            f"collection {wanted.layout.name!r} was upgraded with {', '.join(differences)}: go on as it was begun, or "
            "`downgrade` it first"
        )
    return {**before, UPGRADED_KEY: {**before[UPGRADED_KEY], "complete": False}}


def _settings_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an upgrade is begun with, as the caller says it; what was added to it since is left out."""
    upgraded, before = made[UPGRADED_KEY], _beside(made)
    dense = {name: stage for name, stage in made.get("stages", {}).items() if name in before}
    return {
        **{key: value for key, value in made.items() if key not in (UPGRADED_KEY, "stages")},
        "dense": dense or None,
        "vector_name": upgraded["vector"],
        "content_key": upgraded["content_key"],
        "metadata_key": upgraded["metadata_key"],
    }


def _completed(name: str, before: Mapping[str, Any]) -> dict[str, Any]:
    if UPGRADED_KEY not in before:
        raise CollectionMismatch(f"collection {name!r} was downgraded while it was upgraded: run `upgrade` again")
    return {**before, UPGRADED_KEY: {**before[UPGRADED_KEY], "complete": True}}


def _make_vector(layout: Layout) -> Operation[None]:
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    dense = models.DenseVectorConfig(
        size=layout.dim,
        distance=models.Distance.COSINE,
        multivector_config=multi,
        datatype=models.VectorStorageDatatype.FLOAT16,
    )
    yield from giving.create_vector(layout.name, layout.vector_name, models.DenseVectorNameConfig(dense=dense))
    if layout.stages:  # behind a first stage it only rescores, and needs no graph
        unindexed = models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=0))
        try:
            arguments = {"collection_name": layout.name, "vectors_config": {layout.vector_name: unindexed}}
            yield from patient(Call("update_collection", arguments))
        except UnsupportedByEngine:
            return  # the embedded engine builds graphs only when it is told to


def _fill(
    layout: Layout,
    settings: Mapping[str, Any],
    wire: Wire,
    report: AddReport,
    progress: Callable[[AddReport], None],
    *,
    is_first: bool,
) -> Operation[int]:
    """Go through the points that lack token vectors once, a window encoded while the one before is uploaded.

    Returns how many there were. Those that a copy does not answer for are written as well, but counted by the first
    pass alone: in each they may be the same.
    """
    done, known = 0, {failure.id for failure in report.failed}
    waiting: tuple[Sequence[Any], Records] = (), {}
    make = partial(_made, layout, settings)
    wanted = {"collection_name": layout.name, "limit": WINDOW, "with_payload": True, "with_vectors": False}
    offset = None
    while True:
        page = yield from copies.lacking(layout, layout.vector_name, {**wanted, "offset": offset})
        offset = page.following
        read = {point.id: points.to_record(point, layout) for point in page.lacking if str(point.id) not in known}
        records = yield from _claimed(layout, settings, read)
        job = yield Start(partial(_encoded, layout, records))
        yield from _give(layout, wire, report, waiting, make)
        waiting = (yield Finish(job)), records
        encoded = sum(not isinstance(each, InvalidInput) for each in waiting[0])
        report.encoded += encoded
        if page.is_known or is_first:
            done += encoded
            report.updated += encoded
        if is_first:
            report.unchanged += page.held
        if offset is None:
            break
        progress(report)
    yield from _give(layout, wire, report, waiting, make)
    progress(report)
    return done


def _give(
    layout: Layout, wire: Wire, report: AddReport, waiting: tuple[Sequence[Any], Records], make: giving.Make
) -> Operation[None]:
    """Upload a window; what is refused of it is counted, and does not count as stored for `add`."""
    refused = yield from giving.give(layout, wire, layout.vector_name, *waiting, make)
    if untrue := [key for key in refused if HASH_KEY in waiting[1][key].payload]:
        yield from _claim(layout, untrue, {HASH_KEY: None})
    for key, reason in refused.items():
        report.failed.append(Failure(report.updated + len(report.failed), str(key), str(reason)))


def _made(layout: Layout, settings: Mapping[str, Any], records: Records) -> Operation[Sequence[Any]]:
    job = yield Start(partial(_encoded, layout, (yield from _claimed(layout, settings, records))))
    made: Sequence[Any] = yield Finish(job)
    return made


def _claimed(layout: Layout, settings: Mapping[str, Any], records: Records) -> Operation[dict[PointId, Record]]:
    """Return records that say what their vectors will be made of; those of other programs say nothing.

    Ours may have been encoded as another text, or had vectors of their own, which a `downgrade` took away: `add` would
    take them for unchanged.
    """
    true = {}
    for key, record in records.items():
        claim: dict[str, Any] = {HASH_KEY: fingerprint(points.encoded_text(record), settings)}
        if record.payload.get(HASH_KEY, claim[HASH_KEY]) != claim[HASH_KEY]:
            if points.is_encoded_as_another(record):  # which is not kept
                claim[points.AROUND_KEY] = None
            yield from _claim(layout, [key], claim)
            record = replace(record, payload={**record.payload, **claim})
        true[key] = record
    return true


def _claim(layout: Layout, keys: Sequence[PointId], payload: Mapping[str, Any]) -> Operation[None]:
    # By a filter, which leaves out what was deleted meanwhile: of ids, one that is gone is an error.
    selected = models.FilterSelector(filter=has_id(keys))
    arguments = {"collection_name": layout.name, "payload": payload, "points": selected, "wait": True}
    yield from patient(Call("set_payload", arguments))


def _encoded(layout: Layout, records: Records, embedder: Embedder) -> list[Any]:
    """Return token vectors of each record, or why it has none."""
    new = [_to_encode(position, key, record) for position, (key, record) in enumerate(records.items())]
    texts = [record for record in new if record.text.strip()]
    encoded = iter(ingest.encode(replace(layout, stages=()), texts, embedder))
    results = [next(encoded) if record.text.strip() else InvalidInput("the payload has no text") for record in new]
    return [each if isinstance(each, InvalidInput) else each[layout.vector_name] for each in results]


def _to_encode(position: int, key: PointId, record: Record) -> NewRecord:
    whole = points.encoded_text(record)
    return NewRecord(position=position, id=str(key), text=record.text, encoded_as=whole, metadata={}, extra={})
