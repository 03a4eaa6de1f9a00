"""How a search is asked for and answered: one request to Qdrant, whatever stages it goes through.

No I/O: `search` and its kin are operations as those of `operations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import numpy as np
from qdrant_client import models

from colbert_qdrant.checks import check_thresholds
from colbert_qdrant.collection import citing, points
from colbert_qdrant.collection.diversity import diversified
from colbert_qdrant.collection.grouping import Group, best_of_each, check_path
from colbert_qdrant.collection.indexes import payload_path
from colbert_qdrant.collection.operations import (
    Call,
    Compute,
    Operation,
    Query,
    RecordId,
    check_filter,
    check_ids,
    count,
    encoded,
    has_id,
    with_vectors_of,
)
from colbert_qdrant.collection.patience import READING, patient
from colbert_qdrant.collection.points import Hit
from colbert_qdrant.collection.prefetching import Fusion, plan_prefetch
from colbert_qdrant.collection.ranking import Blend, Boost, as_formula
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.stages import CANDIDATES, Stage
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine
from colbert_qdrant.types import Multivector

T = TypeVar("T")

Plan: TypeAlias = Callable[[int], models.QueryRequest]
"""The request of one query, by how many candidates it is to look at."""

Settled: TypeAlias = tuple[list[T], bool]
"""What no longer answer would change, the best first, and whether that is all there is."""

_HAIR = 1e-3
"""How much lower than a threshold an engine is asked, as it rounds and may leave out what is equal; we look again."""


class SearchKeywords(TypedDict, total=False):
    """The fields of `SearchOptions` but `limit`, as keyword arguments of `search` and `search_batch`."""

    filter: models.Filter | None
    offset: int
    score_threshold: float | None
    min_relevance: float | None
    with_vectors: bool
    search_params: models.SearchParams | None
    mmr: models.Mmr | None
    consistency: models.ReadConsistencyType | Literal["majority", "quorum", "all"] | int | None
    candidates: int
    fusion: Fusion
    exhaustive: bool
    passages: int
    final: Blend | None
    boost: Boost | None
    group_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search.

    Parameters
    ----------
    limit
        Most hits to return.
    filter
        Only records that pass it are searched.
    offset
        Hits to skip. Hits of one score stand in the order of their points' ids, so that no page loses or repeats one of
        the same candidates: give `candidates` that reach as far as the last page.
    score_threshold
        Lowest MaxSim of a hit.
    min_relevance
        Lowest relevance of a hit, from 0 to 1; see `Hit`.
    with_vectors
        Return each hit's token vectors.
    search_params
        Qdrant's own, such as ``exact``, ``quantization`` and ``hnsw_ef``, the number of documents that a graph keeps in
        sight; by default that of a MUVERA stage is five times `candidates`. More finds more, and takes longer.
    mmr
        Maximal marginal relevance: trade relevance for diversity; see `diversified`, which answers it.
    consistency
        Read consistency of a cluster: how many copies are to answer, or ``"majority"``, ``"quorum"`` or ``"all"``.
        https://qdrant.tech/documentation/guides/distributed_deployment/#read-consistency
    candidates
        How many each first stage hands on to MaxSim.
    fusion
        How several first stages' orders become one.
    exhaustive
        MaxSim over all documents, past the first stages; `final` and `boost` look at all of them, too.
    passages
        How many of each hit's best passages to return with it; see `MultivectorCollection.passages`. The hits' vectors
        are fetched for it.
    final
        What orders the candidates: ``None``: MaxSim alone; a `Blend` weighs it with first stages.
    boost
        A formula over the payload that changes each candidate's score, ``"$score"`` in it: a `FormulaQuery` of
        `qdrant_client.models`, or one of its expressions. Score, relevance and thresholds are then of what comes out.
        Candidates are, also where there is no stage, the `candidates` best by MaxSim: what is below them no boost
        lifts, unless the search is `exhaustive`.
        https://qdrant.tech/documentation/concepts/hybrid-queries/#score-boosting
    group_by
        A metadata key (spelled as for `create_index`): only the best hit of each of its values, strings or integers.
        Groups of one score stand in the order of these values.
    """

    limit: int = 10
    filter: models.Filter | None = None
    offset: int = 0
    score_threshold: float | None = None
    min_relevance: float | None = None
    with_vectors: bool = False
    search_params: models.SearchParams | None = None
    mmr: models.Mmr | None = None
    consistency: models.ReadConsistencyType | Literal["majority", "quorum", "all"] | int | None = None
    candidates: int = CANDIDATES
    fusion: Fusion = "rrf"
    exhaustive: bool = False
    passages: int = 0
    final: Blend | None = None
    boost: Boost | None = None
    group_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Qdrant would answer with an error, or worse, not."""
        for name, least in (("limit", 1), ("offset", 0), ("candidates", 1), ("passages", 0)):
            value = getattr(self, name)
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
                raise InvalidInput(f"{name}={value!r}: give a whole number, {least} or more")
            object.__setattr__(self, name, int(value))  # numpy's among them; frozen for everybody else
        check_thresholds(self.score_threshold, self.min_relevance)
        if self.fusion not in ("rrf", "dbsf"):
            raise InvalidInput(f"fusion={self.fusion!r}: use 'rrf' or 'dbsf'")
        if self.final is not None and not isinstance(self.final, Blend):
            raise InvalidInput(f"final is a {type(self.final).__name__}; give a Blend, or None for MaxSim alone")
        if self.group_by is not None and self.mmr is not None:
            raise InvalidInput("mmr and group_by: a hit of each group is diverse already; give one of them")
        object.__setattr__(self, "consistency", _as_consistency(self.consistency))
        object.__setattr__(self, "boost", as_formula(self.boost))
        object.__setattr__(self, "filter", check_filter(self.filter))  # frozen for everybody else


def options(limit: int, given: SearchKeywords) -> SearchOptions:
    """Return the options of a search.

    Raises
    ------
    TypeError
        One of them is none; names those that are.
    """
    known = SearchKeywords.__annotations__
    unknown = [name for name in given if name not in known]
    if unknown:
        meant = " (the most hits to return are limit=)" if unknown[0] in ("k", "top_k", "n", "top_n") else ""
        raise TypeError(f"search has no option {unknown[0]!r}{meant}; it takes limit, {', '.join(known)}")
    return SearchOptions(limit=limit, **given)


def search(layout: Layout, query: Query, options: SearchOptions) -> Operation[list[Hit]]:
    """Find the records with the highest MaxSim, among the candidates of the first stages where there are any."""
    [hits] = yield from search_batch(layout, [query], options)
    return hits


def search_batch(layout: Layout, queries: Sequence[Query], options: SearchOptions) -> Operation[list[list[Hit]]]:
    """Answer several queries: encoded together, asked in one request."""
    if isinstance(queries, str):
        raise InvalidInput(f"queries={queries!r:.60} is a single query; give a list, or search for it")
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
    answers = yield from _responses(layout, plans, asked)
    found = [_hits(answer, layout, len(query), options) for answer, query in zip(answers, vectors, strict=True)]
    if options.mmr is not None:
        pairs = list(zip(found, map(len, vectors), strict=True))
        found = yield Compute(lambda _: [_diverse(hits, rows, options) for hits, rows in pairs])
    if options.passages:
        found = yield from citing.with_passages(found, vectors, options.passages)
    return found if options.with_vectors else [[replace(hit, vectors=None) for hit in hits] for hits in found]


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
    keys = [points.point_id(record_id, layout.tenant) for record_id in ids]
    wanted = dict(zip(keys, map(points.id_text, ids), strict=True))
    if texts is not None and len(texts) != len(ids):
        raise InvalidInput(f"{len(texts)} texts for {len(ids)} ids: give one for each")
    pairs = [] if texts is None else list(zip(keys, texts, strict=True))
    stated = dict(pairs)
    contested = {key for key, text in pairs if text != stated[key]}  # one score can't be that of two texts
    if not wanted:
        return {}
    [vectors] = yield from encoded(layout, [query])
    arguments = {
        "collection_name": layout.name,
        "query": vectors,
        "using": layout.using,
        "query_filter": has_id(wanted),
        "search_params": models.SearchParams(exact=True),
        "limit": len(wanted),
        "with_payload": [points.HASH_KEY, layout.content_key] if stated else False,
    }
    response = yield from patient(Call("query_points", arguments), READING)
    return {
        wanted[point.id]: points.score_of(point)
        for point in response.points
        if not stated
        or (point.id not in contested and points.stands_for(point.payload or {}, stated[point.id], layout, settings))
    }


def _as_consistency(asked: Any) -> models.ReadConsistencyType | int | None:
    """Return Qdrant's own for a name, which the client does not know over gRPC."""
    if asked is None or (isinstance(asked, int) and not isinstance(asked, bool) and asked >= 1):
        return asked
    try:
        return models.ReadConsistencyType(asked)
    except ValueError:
        names = ", ".join(repr(kind.value) for kind in models.ReadConsistencyType)
        raise InvalidInput(f"consistency={asked!r}: give a number of copies, 1 or more, or {names}") from None


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
                blend: dict[str, Any] = {"query": maxsim["query"], "limit": candidates, "using": None}
                prefetch = [models.Prefetch.model_construct(prefetch=prefetch, **blend)]
            maxsim["query"] = options.boost
    return models.QueryRequest.model_construct(
        **maxsim,
        prefetch=prefetch,
        filter=options.filter,
        score_threshold=_lowest_score(options, len(vectors)),
        with_payload=True,
        with_vector=with_vectors_of(layout, options.with_vectors),
    )


def _responses(
    layout: Layout, plans: Sequence[Plan], options: SearchOptions
) -> Operation[list[list[models.ScoredPoint]]]:
    """Ask: a single query by the method for one, which every version of a server has."""
    candidates = yield from _candidates(layout, options)
    answers = []
    if options.group_by is not None:
        path = check_path(payload_path(options.group_by, layout))
        for plan in plans:
            answers += [(yield from _grouped(layout, plan, candidates, options, path))]
        return answers
    start, stop = _window(options)
    window = {"offset": start or None, "limit": stop - start}
    requests = [plan(candidates).model_copy(update=window) for plan in plans]
    if len(requests) == 1:
        found = [(yield from _points(layout, requests[0], options))]
    else:
        asked = Call("query_batch_points", _given({**_about(layout, options), "requests": requests}))
        found = [answer.points for answer in (yield from patient(asked, READING))]
    for request, points_found in zip(requests, found, strict=True):
        answers += [(yield from _page(layout, request, points_found, options))]
    return answers


def _candidates(layout: Layout, options: SearchOptions) -> Operation[int]:
    """Return how many are looked at by what has the last word."""
    least = max(options.candidates, options.limit + options.offset)
    if options.exhaustive and not (options.final is None and options.boost is None):
        return max(least, (yield from count(layout, options.filter)))
    return least


def _window(options: SearchOptions) -> tuple[int, int]:
    """Return from where to where to ask: the hit before a page and the one behind it tell whether a tie is cut."""
    return max(options.offset - 1, 0), options.offset + options.limit + 1


def _page(
    layout: Layout, request: models.QueryRequest, found: list[models.ScoredPoint], options: SearchOptions
) -> Operation[list[models.ScoredPoint]]:
    """Return what of an answer belongs on the page, equal scores by their ids: engines have them in no fixed order.

    Where equal scores are cut, the whole order is asked for as far as it takes, without payloads and vectors.
    """
    start, stop = _window(options)
    page = slice(options.offset, options.offset + options.limit)
    ends = [found[:2]] if start < options.offset else []
    ends += [found[-2:]] if len(found) == stop - start else []
    if not any(len(end) == 2 and end[0].score == end[1].score for end in ends):
        return sorted(found[page.start - start : page.stop - start], key=_rank)
    bare = request.model_copy(update={"offset": None, "with_payload": False, "with_vector": False})

    def ask(limit: int) -> Operation[Settled[models.ScoredPoint]]:
        return _settled((yield from _points(layout, bare.model_copy(update={"limit": limit}), options)), limit)

    order = sorted((yield from _enlarged(ask, page.stop, 4 * page.stop)), key=_rank)[page]
    wanted = {"with_payload": request.with_payload, "with_vectors": request.with_vector}
    these = {**_about(layout, options), "ids": [point.id for point in order], **wanted}
    records = {record.id: record for record in (yield from patient(Call("retrieve", _given(these)), READING))}
    return [
        point.model_copy(update={"payload": record.payload, "vector": record.vector})
        for point in order
        if (record := records.get(point.id)) is not None
    ]


def _grouped(
    layout: Layout, plan: Plan, candidates: int, options: SearchOptions, path: str
) -> Operation[list[models.ScoredPoint]]:
    """Ask for the best of each group; where the engine has no groups, for more and more until there are enough."""
    wanted = options.limit + options.offset

    def ask(limit: int) -> Operation[Settled[Group]]:
        request = {**_spelled(plan(candidates)), "limit": limit, "offset": None, "group_by": path, "group_size": 1}
        asked = Call("query_points_groups", _given({**_about(layout, options), **request}))
        groups = [group for group in (yield from patient(asked, READING)).groups if group.hits]
        best, is_all = _settled([group.hits[0] for group in groups], limit)
        return [(group.id, hit) for group, hit in zip(groups[: len(best)], best, strict=True)], is_all

    def look(limit: int) -> Operation[Settled[Group]]:
        request = plan(max(candidates, limit)).model_copy(update={"limit": limit, "offset": None})
        found, is_all = _settled((yield from _points(layout, request, options)), limit)
        return best_of_each(sorted(found, key=_rank), path), is_all

    try:
        groups = yield from _enlarged(ask, wanted, wanted + 1)
    except UnsupportedByEngine:
        groups = yield from _enlarged(look, wanted, 4 * wanted)
    groups = sorted(groups, key=lambda group: (-group[1].score, str(group[0])))
    return [hit for _, hit in groups[options.offset : wanted]]


def _enlarged(ask: Callable[[int], Operation[Settled[T]]], wanted: int, limit: int) -> Operation[list[T]]:
    """Ask for more and more, until as much is settled as is wanted."""
    while True:
        settled, is_all = yield from ask(limit)
        if is_all or len(settled) >= wanted:
            return settled
        limit *= 4


def _settled(found: list[models.ScoredPoint], limit: int) -> Settled[models.ScoredPoint]:
    """Leave out what is as good as the last one: there may be more of its kind, and better ids among them."""
    if len(found) < limit:
        return found, True
    return [point for point in found if points.score_of(point) > points.score_of(found[-1])], False


def _rank(point: models.ScoredPoint) -> tuple[float, str]:
    return -point.score, str(point.id)


def _points(
    layout: Layout, request: models.QueryRequest, options: SearchOptions
) -> Operation[list[models.ScoredPoint]]:
    arguments = _given({**_about(layout, options), **_spelled(request)})
    answer = yield from patient(Call("query_points", arguments), READING)
    return list(answer.points)


def _about(layout: Layout, options: SearchOptions) -> dict[str, Any]:
    return {"collection_name": layout.name, "consistency": options.consistency}


def _spelled(request: models.QueryRequest) -> dict[str, Any]:
    """Return a request as the arguments of the method for one."""
    return {
        "query": request.query,
        "prefetch": request.prefetch,
        "using": request.using,
        "query_filter": request.filter,
        "search_params": request.params,
        "limit": request.limit,
        "offset": request.offset,
        "score_threshold": request.score_threshold,
        "with_payload": request.with_payload,
        "with_vectors": request.with_vector,
    }


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _lowest_score(options: SearchOptions, query_vectors: int) -> float | None:
    """Return what to ask Qdrant for, so that nothing is missing that either threshold lets through."""
    stated = [] if options.score_threshold is None else [float(options.score_threshold)]
    if options.min_relevance:  # at 0 everything passes
        stated.append(options.min_relevance * query_vectors)
    if not stated:
        return None
    return (max(stated) - _HAIR * max(1.0, abs(max(stated)))) / _scale(options, query_vectors)


def _scale(options: SearchOptions, query_vectors: int) -> float:
    """Return what brings a score of Qdrant's onto MaxSim's scale; what comes of a boost is the caller's."""
    return 1.0 if options.final is None or options.boost is not None else options.final.scale(query_vectors)


def _hits(found: Sequence[models.ScoredPoint], layout: Layout, query_vectors: int, options: SearchOptions) -> list[Hit]:
    scale = _scale(options, query_vectors)
    hits = [points.to_hit(point, layout, query_vectors, scale) for point in found]
    if options.score_threshold is not None:  # 1.16 holds no formula's scores against it; engines count in 32 bits
        hits = [hit for hit in hits if np.float32(hit.score) >= np.float32(options.score_threshold)]
    return [hit for hit in hits if hit.relevance >= (options.min_relevance or 0)]


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
