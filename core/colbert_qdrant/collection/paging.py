"""Which points answer a search, page by page and group by group: equal scores, too, have an order.

No I/O: `responses` is an operation as those of `operations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from qdrant_client import models

from colbert_qdrant.collection import points
from colbert_qdrant.collection.grouping import Group, best_of_each, check_path
from colbert_qdrant.collection.indexes import payload_path
from colbert_qdrant.collection.operations import Call, Operation, count
from colbert_qdrant.collection.patience import READING, patient
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.search_options import SearchOptions
from colbert_qdrant.errors import UnsupportedByEngine

T = TypeVar("T")

Plan: TypeAlias = Callable[[int], models.QueryRequest]
"""The request of one query, by how many candidates it is to look at."""

Settled: TypeAlias = tuple[list[T], bool]
"""What no longer answer would change, the best first, and whether that is all there is."""


def responses(
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
        if limit // 4 <= candidates:  # no others, before all of these are looked at
            limit = min(limit, candidates + 1)
        looked_at = max(candidates, limit - 1)
        request = plan(looked_at).model_copy(update={"limit": limit, "offset": None})
        found, is_all = _settled((yield from _points(layout, request, options)), limit)
        return best_of_each(sorted(found, key=_rank), path), is_all and len(found) < looked_at

    try:
        groups = yield from _enlarged(ask, wanted, wanted + 1)
    except UnsupportedByEngine:
        groups = yield from _enlarged(look, wanted, 4 * wanted)
    groups = sorted(groups, key=lambda group: (-group[1].score, *_in_order(group[0])))
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


def _rank(point: models.ScoredPoint) -> tuple[Any, ...]:
    return -point.score, *_in_order(point.id)


def _in_order(value: Any) -> tuple[bool, Any]:
    """Put numbers before text, each in their own order; a UUID's is that of its digits."""
    return (False, value) if isinstance(value, int) else (True, str(value))


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
