"""Every way that a collection can be searched, asked and timed. No I/O: `evaluated` is an operation of a collection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, median
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection import operations, points, schema, searching
from colbert_qdrant.collection.operations import Call, Compute, Operation, Query
from colbert_qdrant.collection.patience import READING, patient
from colbert_qdrant.collection.points import Hit, Record
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.search_options import SearchOptions
from colbert_qdrant.collection.stages import Stage, stage_bytes
from colbert_qdrant.collection.storage import stored_bytes
from colbert_qdrant.embedding.pooling import pool
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.evaluation import quality
from colbert_qdrant.evaluation.questions import Questions
from colbert_qdrant.evaluation.report import Evaluation, Setting
from colbert_qdrant.scoring import maxsim, unit_rows
from colbert_qdrant.types import Embedder, Multivector

CANDIDATES = (20, 50, 100, 200, 500)

SAMPLE = 32
"""Documents whose vectors are counted."""

REORDERED_QUERIES, REORDERED = 20, 50
"""Questions, and the exact best of each, that are put in order anew by changed vectors: these are fetched."""

Ask: TypeAlias = Callable[[Query, Multivector], Operation[list[Hit]]]
Advance: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to search: what it is called, how it is asked, and which vectors it reads."""

    name: str
    ask: Ask
    candidates: int | None = None
    stages: tuple[Stage, ...] = ()
    reads_tokens: bool = True


@dataclass(frozen=True, slots=True)
class Encoded:
    """Questions with their token vectors."""

    queries: Mapping[str, Query]
    vectors: Mapping[str, Multivector]
    milliseconds: float | None


def evaluated(
    layout: Layout,
    settings: Mapping[str, Any],
    questions: Questions,
    limit: int,
    candidates: Iterable[int],
    share: float,
    advance: Advance,
) -> Operation[Evaluation]:
    """Ask every question in every way; see `colbert_qdrant.evaluate`."""
    if limit < quality.BEST:
        raise InvalidInput(f"limit={limit}: give {quality.BEST} at least, as nDCG@10 is measured")
    tried = [SearchOptions(candidates=number).candidates for number in candidates]  # which refuses what is none
    if not 0 < share <= 1:
        raise InvalidInput(f"share={share}: give a share above 0, 1 at most")
    count = yield from operations.count(layout, None)
    if not count:
        raise InvalidInput(f"collection {layout.name!r} is empty: there is nothing to find")
    there = dict((yield from operations.asked_for(layout, questions.judged, with_vectors=False)))
    missing = sorted({*questions.judged} - there.keys())
    if missing and not there:
        raise InvalidInput(
            f"none of the {len(missing):,} records that qrels names is in collection {layout.name!r}, such as "
            f"{missing[0]!r:.60}: are these the ids it was filled with?"
        )
    questions = questions.naming({asked: record.id for asked, record in there.items()})
    info = yield Call("get_collection", {"collection_name": layout.name})
    settings = {**settings, **schema.remembered(info)}  # whoever opens it may pool otherwise than it was made
    sample = yield from _sample(layout)
    of_stages: dict[str, float] = yield Compute(lambda _: _bytes_of_stages(layout, info, sample))
    encoded = yield from _encoded(layout, questions.queries)
    ways = list(ways_of(layout, limit, tried, count))
    total = len(ways) * len(encoded.queries)
    runs: dict[int, quality.Run] = {}
    rows = []
    for number, way in enumerate(ways):
        done = number * len(encoded.queries)
        runs[number], milliseconds = yield from _asked(way, encoded, partial(_advanced, advance, done, total))
        if not any(runs[0].values()):
            raise InvalidInput(
                f"no record of collection {layout.name!r} has token vectors, so that MaxSim finds none: add them, "
                "or `upgrade` the collection, where another program writes it"
            )
        size = bytes_of(way, layout, info, sample, of_stages)
        rows.append(_setting(way.name, runs[number], runs[0], questions, limit, way.candidates, milliseconds, size))
    others = yield from _other_storage(layout, settings, info, questions, limit, encoded, sample)
    return Evaluation(
        searches=tuple(sorted(rows, key=lambda row: row.milliseconds or 0.0)),
        storage=tuple(others),
        share=share,
        limit=limit,
        documents=count,
        queries=len(encoded.queries),
        judged=len(questions.grades or ()),
        missing=tuple(missing),
        encoding=encoded.milliseconds,
        model=str(settings.get("model", "")),
    )


def ways_of(layout: Layout, limit: int, candidates: Iterable[int], documents: int) -> Iterable[Way]:
    """Yield the ways to search a collection, exact MaxSim first."""
    yield Way("exact MaxSim", _by(layout, exactly(layout, limit)))
    if not layout.stages:
        if layout.oversampling is not None:
            yield Way("MaxSim, quantised copies alone", _by(layout, _options(limit, rescore=False)))
        yield Way("MaxSim as searched", _by(layout, SearchOptions(limit=limit)))
        return
    for stage in layout.stages:
        yield Way(f"{stage.name} alone", _alone(layout, stage, limit), stages=(stage,), reads_tokens=False)
    together = [layout.stages] if len(layout.stages) > 1 else []
    fitting = sorted({max(limit, number) for number in candidates if number < documents}) or [limit]
    for stages in [*((stage,) for stage in layout.stages), *together]:
        name = f"{' + '.join(stage.name for stage in stages)} -> MaxSim"
        for number in fitting:
            ask = _by(replace(layout, stages=stages), SearchOptions(limit=limit, candidates=number))
            yield Way(name, ask, number, stages)


def exactly(layout: Layout, limit: int) -> SearchOptions:
    """Return what asks for MaxSim over all documents, by the original vectors."""
    ignoring = None if layout.oversampling is None else models.QuantizationSearchParams(ignore=True)
    params = models.SearchParams(exact=True, quantization=ignoring)
    return SearchOptions(limit=limit, exhaustive=True, search_params=params)


def bytes_of(
    way: Way, layout: Layout, info: models.CollectionInfo, sample: Sequence[Record], of_stages: Mapping[str, float]
) -> int:
    """Return the bytes of a document's vectors that a way reads, in memory or not."""
    params = schema.dense_vectors(info)
    size = sum(of_stages[stage.name] for stage in way.stages)
    if way.reads_tokens:
        size += stored_bytes(numbers_of(sample, layout), params[layout.vector_name]).disk
    return round(size)


def _bytes_of_stages(layout: Layout, info: models.CollectionInfo, sample: Sequence[Record]) -> dict[str, float]:
    params = schema.dense_vectors(info)
    whole = [(record.text, record.vectors) for record in sample if record.vectors is not None]
    texts, multivectors = [text for text, _ in whole], [vectors for _, vectors in whole]
    return {
        stage.name: stage_bytes(stage, texts, multivectors).disk
        if (found := params.get(stage.name)) is None
        else stored_bytes(found.size, found).disk
        for stage in layout.stages
    }


def numbers_of(sample: Sequence[Record], layout: Layout) -> float:
    """Return how many numbers the token vectors of a document have, on average."""
    return layout.dim * fmean([0 if record.vectors is None else len(record.vectors) for record in sample])


def _options(limit: int, *, rescore: bool) -> SearchOptions:
    params = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=rescore))
    return SearchOptions(limit=limit, search_params=params)


def _by(layout: Layout, options: SearchOptions) -> Ask:
    def ask(query: Query, vectors: Multivector) -> Operation[list[Hit]]:
        [hits] = yield from searching.answered(layout, [query], [vectors], options)
        return hits

    return ask


def _alone(layout: Layout, stage: Stage, limit: int) -> Ask:
    return lambda query, vectors: searching.found_by(layout, stage, query, vectors, limit)


def _sample(layout: Layout) -> Operation[list[Record]]:
    """Fetch a few documents with their vectors: any, as ids say nothing."""
    arguments = {"collection_name": layout.name, "limit": SAMPLE, "with_payload": True}
    asked = Call("scroll", {**arguments, "with_vectors": operations.with_vectors_of(layout, True)})
    found, _ = yield from patient(asked, READING)
    return [points.to_record(point, layout) for point in found]


def _encoded(layout: Layout, queries: Mapping[str, Query]) -> Operation[Encoded]:
    """Encode the questions one at a time, as they come in life, and time it."""
    vectors, seconds = {}, []
    for name, query in queries.items():
        start = time.perf_counter()
        [vectors[name]] = yield from operations.encoded(layout, [query])
        if isinstance(query, str):
            seconds.append(time.perf_counter() - start)
    return Encoded(queries, vectors, 1e3 * median(seconds) if seconds else None)


def _asked(way: Way, encoded: Encoded, advance: Callable[[int], None]) -> Operation[tuple[quality.Run, float]]:
    """Ask all questions in one way; returns what was found, and the median of milliseconds."""
    run, seconds = {}, []
    for name, query in encoded.queries.items():
        start = time.perf_counter()
        hits = yield from way.ask(query, encoded.vectors[name])
        seconds.append(time.perf_counter() - start)
        run[name] = [hit.id for hit in hits]
        advance(len(run))
    return run, 1e3 * median(seconds)


def _advanced(advance: Advance, before: int, total: int, done: int) -> None:
    advance(before + done, total)


def _other_storage(
    layout: Layout,
    settings: Mapping[str, Any],
    info: models.CollectionInfo,
    questions: Questions,
    limit: int,
    encoded: Encoded,
    sample: Sequence[Record],
) -> Operation[list[Setting]]:
    """Put the exact best of some questions in order anew, by vectors changed as other storage would."""
    changes = changes_of(settings, schema.dense_vectors(info)[layout.vector_name])
    names = list(encoded.queries)[:: math.ceil(len(encoded.queries) / REORDERED_QUERIES)]
    depth = max(REORDERED, limit)
    runs: dict[str, dict[str, list[str]]] = {name: {} for name in changes}
    vectors: dict[str, list[int]] = {name: [] for name in changes}
    for name in names if changes else ():
        query = encoded.vectors[name]
        hits = yield from _by(layout, exactly(layout, depth))(encoded.queries[name], query)
        records = yield from operations.get(layout, [hit.id for hit in hits], with_vectors=True)
        orders = yield Compute(partial(_orders, query, records, changes))
        for change, (order, counts) in orders.items():
            runs[change][name] = order[:limit]
            vectors[change] += counts
    judged = None if questions.grades is None else {n: g for n, g in questions.grades.items() if n in names}
    few = Questions({name: encoded.queries[name] for name in names}, judged or None)
    params = schema.dense_vectors(info)[layout.vector_name]
    rows = []
    for change, run in runs.items() if vectors.get(_WHOLE) else ():  # else all was deleted meanwhile
        share = fmean(vectors[change]) / fmean(vectors[_WHOLE])
        stored = share * numbers_of(sample, layout)
        as_stored = params.model_copy(update={"datatype": models.Datatype.FLOAT16}) if change == _HALF else params
        size = round(stored_bytes(stored, as_stored).disk)
        rows.append(_setting(change, run, runs[_WHOLE], few, limit, None, None, size))
    return rows


_WHOLE, _HALF = "as stored", "half precision"


def changes_of(
    settings: Mapping[str, Any], params: models.VectorParams
) -> dict[str, Callable[[Multivector], Multivector]]:
    """Return what other storage would do to a document's vectors, by name; vectors that are pooled stay so."""
    changes: dict[str, Callable[[Multivector], Multivector]] = {_WHOLE: lambda vectors: vectors}
    if params.datatype in (None, models.Datatype.FLOAT32):
        changes[_HALF] = lambda vectors: vectors.astype(np.float16).astype(np.float32)
    if settings.get("pool_factor", 1) == 1:
        changes["pooled by 2"] = lambda vectors: pool(vectors, 2)
        changes["pooled by 3"] = lambda vectors: pool(vectors, 3)
    return changes if len(changes) > 1 else {}


def _orders(
    query: Multivector,
    records: Sequence[Record],
    changes: Mapping[str, Callable[[Multivector], Multivector]],
    embedder: Embedder,
) -> dict[str, tuple[list[str], list[int]]]:
    """Return for each change the order of records by MaxSim, and how many vectors each has."""
    whole = [(record.id, unit_rows(record.vectors)) for record in records if record.vectors is not None]
    orders = {}
    for name, change in changes.items():
        changed = [change(vectors) for _, vectors in whole]
        best = np.argsort(-maxsim(unit_rows(query), changed), kind="stable").tolist()
        orders[name] = [whole[number][0] for number in best], [len(vectors) for vectors in changed]
    return orders


def _setting(
    name: str,
    run: quality.Run,
    exact: quality.Run,
    questions: Questions,
    limit: int,
    candidates: int | None,
    milliseconds: float | None,
    size: int,
) -> Setting:
    figures = {} if questions.grades is None else quality.measured(run, questions.grades, limit)
    return Setting(
        name=name,
        candidates=candidates,
        kept=quality.kept(run, exact),
        milliseconds=milliseconds,
        bytes=size,
        queries=len(run),
        **figures,
    )
