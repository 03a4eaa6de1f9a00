"""How a search is asked for and answered: one request to Qdrant, whatever stages it goes through.

No I/O: `search` and its kin are operations as those of `operations.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qdrant_client import models

from colbert_qdrant.checks import reaches
from colbert_qdrant.collection import citing, points
from colbert_qdrant.collection.diversity import diversified
from colbert_qdrant.collection.fingerprints import HASH_KEY, stands_for
from colbert_qdrant.collection.ids import RecordId, check_ids, id_text, point_id
from colbert_qdrant.collection.operations import Call, Compute, Operation, Query, encoded, has_id, with_vectors_of
from colbert_qdrant.collection.paging import Plan, responses
from colbert_qdrant.collection.patience import READING, patient
from colbert_qdrant.collection.points import Hit
from colbert_qdrant.collection.prefetching import plan_prefetch
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.search_options import SearchOptions
from colbert_qdrant.collection.stages import Stage
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector

_HAIR = 1e-3
"""How much lower than a threshold an engine is asked, as it rounds and may leave out what is equal; we look again."""


def search(layout: Layout, query: Query, options: SearchOptions) -> Operation[list[Hit]]:
    """Find the records with the highest MaxSim, among the candidates of the first stages where there are any."""
    [hits] = yield from search_batch(layout, [query], options)
    return hits


def search_batch(layout: Layout, queries: Sequence[Query], options: SearchOptions) -> Operation[list[list[Hit]]]:
    """Answer several queries: encoded together, asked in one request."""
    if isinstance(queries, str) or not isinstance(queries, Iterable):
        raise InvalidInput(f"queries={queries!r:.60} is no list of queries; give one, or search for it")
    queries = list(queries)
    if not queries:
        return []
    vectors = yield from encoded(layout, queries)
    return (yield from answered(layout, queries, vectors, options))


def answered(
    layout: Layout, queries: Sequence[Query], vectors: Sequence[Multivector], options: SearchOptions
) -> Operation[list[list[Hit]]]:
    """Answer queries whose token vectors are there; first stages of another model encode the texts themselves."""
    asked = _asked_of_qdrant(options)
    plans = yield from _plans(layout, queries, vectors, asked)
    answers = yield from responses(layout, plans, asked)
    found = [_hits(answer, layout, len(query), options) for answer, query in zip(answers, vectors, strict=True)]
    if options.mmr is not None:
        pairs = list(zip(found, map(len, vectors), strict=True))
        found = yield Compute(lambda _: [_diverse(hits, rows, options) for hits, rows in pairs])
    if options.passages:
        found = yield from citing.with_passages(found, vectors, options.passages)
    if options.with_vectors or not asked.with_vectors:
        return found
    return [[replace(hit, vectors=None) for hit in hits] for hits in found]


def found_by(layout: Layout, stage: Stage, query: Query, vectors: Multivector, limit: int) -> Operation[list[Hit]]:
    """Find records by a first stage alone; their scores are its own."""
    vector = yield Compute(lambda _: stage.encode_query(query if isinstance(query, str) else None, vectors))
    arguments = {"query": vector, "using": stage.name, "limit": limit, "with_payload": True, "with_vectors": False}
    response = yield from patient(Call("query_points", {"collection_name": layout.name, **arguments}), READING)
    return [points.to_hit(point, layout, len(vectors)) for point in response.points]


def score(
    layout: Layout,
    settings: Mapping[str, Any],
    query: Query,
    ids: Sequence[RecordId],
    texts: Sequence[str] | None = None,
) -> Operation[dict[str, float]]:
    """Score stored records against a query where they lie; ids that are not stored are left out.

    With `texts` those are left out too whose vectors were made of another text, or with other settings, and those that
    are given twice with different texts.
    """
    ids = check_ids(ids)
    keys = [point_id(record_id, layout.tenant) for record_id in ids]
    if texts is not None and len(texts) != len(ids):
        raise InvalidInput(f"{len(texts)} texts for {len(ids)} ids: give one for each")
    pairs = [] if texts is None else list(zip(keys, texts, strict=True))
    stated = dict(pairs)
    contested = {key for key, text in pairs if text != stated[key]}  # one score can't be that of two texts
    if not keys:
        return {}
    [vectors] = yield from encoded(layout, [query])
    arguments = {
        "collection_name": layout.name,
        "query": vectors,
        "using": layout.using,
        "query_filter": has_id(dict.fromkeys(keys)),
        "search_params": models.SearchParams(exact=True),
        "limit": len(keys),
        "with_payload": [HASH_KEY, layout.content_key] if stated else False,
    }
    response = yield from patient(Call("query_points", arguments), READING)
    scores = {
        point.id: points.score_of(point)
        for point in response.points
        if not stated
        or (point.id not in contested and stands_for(point.payload or {}, stated[point.id], layout, settings))
    }
    return {id_text(asked): scores[key] for asked, key in zip(ids, keys, strict=True) if key in scores}


def _asked_of_qdrant(options: SearchOptions) -> SearchOptions:
    """Return what to ask for, where some of it is done here: diversity wants more hits, and their vectors."""
    if options.passages:
        options = replace(options, with_vectors=True)
    if options.mmr is None:
        return options
    wanted = options.limit + options.offset
    return replace(options, offset=0, limit=max(wanted, options.mmr.candidates_limit or 0), with_vectors=True)


def _plans(
    layout: Layout, queries: Sequence[Query], encoded: Sequence[Multivector], options: SearchOptions
) -> Operation[list[Plan]]:
    """Say what to ask Qdrant for each query."""
    weighed = () if options.final is None else options.final.weights
    needed = [stage for stage in layout.stages if not options.exhaustive or stage.name in weighed]
    staged: list[list[Any]] = [[] for _ in queries]
    if needed:
        texts = [query if isinstance(query, str) else None for query in queries]
        staged = yield Compute(
            lambda _: [
                [stage.encode_query(text, vectors) for stage in needed]
                for text, vectors in zip(texts, encoded, strict=True)
            ]
        )
    if options.final is not None:
        options.final.check(layout.stages)
    return [
        partial(_request, layout, vectors, list(zip(needed, stage_vectors, strict=True)), options)
        for vectors, stage_vectors in zip(encoded, staged, strict=True)
    ]


def _request(
    layout: Layout, vectors: Multivector, staged: Sequence[tuple[Stage, Any]], options: SearchOptions, candidates: int
) -> models.QueryRequest:
    """Say what to ask Qdrant for: candidates, their MaxSim, and what else has a say in their order."""
    about: dict[str, Any] = {"filter": options.filter, "params": options.search_params}
    found = [] if options.exhaustive else plan_prefetch(staged, candidates=candidates, fusion=options.fusion, **about)
    maxsim: dict[str, Any] = {
        "query": vectors,
        "using": layout.using,
        "params": _rescored(layout, options.search_params),
    }
    prefetch = found or None
    if options.final is not None or options.boost is not None:
        # Lists: what stands in a prefetch goes to the wire as it is.
        inner: dict[str, Any] = {**maxsim, "query": vectors.tolist(), "filter": options.filter, "limit": candidates}
        branch = models.Prefetch.model_construct(prefetch=found or None, **inner)
        maxsim = {"query": None, "using": None, "params": None}
        prefetch = [branch]
        if options.final is not None:
            each = {
                stage.name: plan_prefetch([(stage, vector)], candidates=candidates, fusion=options.fusion, **about)[0]
                for stage, vector in staged
            }
            prefetch, maxsim["query"] = options.final.plan(branch, each, layout.stages, len(vectors))
        if options.boost is not None:
            if options.final is not None:
                prefetch = [options.final.within(prefetch, maxsim["query"], candidates, len(vectors))]
            maxsim["query"] = options.boost
    return models.QueryRequest.model_construct(
        **maxsim,
        prefetch=prefetch,
        filter=options.filter,
        score_threshold=_lowest_score(options, len(vectors)),
        with_payload=True,
        with_vector=with_vectors_of(layout, options.with_vectors),
    )


def _lowest_score(options: SearchOptions, query_vectors: int) -> float | None:
    """Return what to ask Qdrant for, so that nothing is missing that either threshold lets through."""
    stated = [] if options.score_threshold is None else [float(options.score_threshold)]
    if options.min_relevance:  # at 0 everything passes
        stated.append(options.min_relevance * query_vectors)
    if not stated:
        return None
    return (max(stated) - _HAIR * max(1.0, abs(max(stated)))) / _scale(options, query_vectors)


def _scale(options: SearchOptions, query_vectors: int) -> float:
    """Return what brings a score of Qdrant's onto MaxSim's scale, where no formula in the request does."""
    return 1.0 if options.final is None or options.boost is not None else options.final.scale(query_vectors)


def _hits(found: Sequence[models.ScoredPoint], layout: Layout, query_vectors: int, options: SearchOptions) -> list[Hit]:
    scale = _scale(options, query_vectors)
    hits = [points.to_hit(point, layout, query_vectors, scale) for point in found]
    if options.score_threshold is not None:  # 1.16 holds no formula's scores against it
        hits = [hit for hit in hits if reaches(hit.score, float(options.score_threshold))]
    return [hit for hit in hits if reaches(hit.relevance, options.min_relevance or 0)]


def _diverse(hits: Sequence[Hit], query_vectors: int, options: SearchOptions) -> list[Hit]:
    diversity = 0.5 if options.mmr is None or options.mmr.diversity is None else options.mmr.diversity
    chosen = diversified(hits, query_vectors, k=options.limit + options.offset, lambda_mult=1 - diversity)
    return chosen[options.offset :]


def _rescored(layout: Layout, asked: models.SearchParams | None) -> models.SearchParams | None:
    """Return the caller's parameters, with rescoring where the vectors are quantised and nothing else is said."""
    if layout.oversampling is None or (asked is not None and asked.quantization is not None):
        return asked
    rescoring = models.QuantizationSearchParams(rescore=True, oversampling=layout.oversampling)
    return (asked or models.SearchParams()).model_copy(update={"quantization": rescoring})
