"""Tenants and shard keys: each call of an operation kept to what is one tenant's, whatever the operation asks.

One gate for all operations, so that none can forget it: filters are narrowed, those of the prefetches too, what is
written is held against the tenant, what is fetched by id is looked at, and what concerns the whole collection is
refused. Ids can't meet: a tenant's point is named by the tenant and the id together (`ids.point_id`).

https://qdrant.tech/documentation/guides/multitenancy/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from qdrant_client import models

from colbert_qdrant.checks import check_text
from colbert_qdrant.collection.ids import ID_KEY, TENANT_KEY, point_id
from colbert_qdrant.collection.operations import Begin, Call, Operation, Step, has_id
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput

T = TypeVar("T")

INDEX_KEY = f"$.{TENANT_KEY}"
INDEX = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
"""Keeps a tenant's vectors together on disk. https://qdrant.tech/documentation/concepts/indexing/#tenant-index"""

_FILTERS = {
    "query_points": "query_filter",
    "query_points_groups": "query_filter",
    "scroll": "scroll_filter",
    "count": "count_filter",
}
_SELECTORS = {
    "delete": "points_selector",
    "delete_vectors": "points",
    "set_payload": "points",
    "overwrite_payload": "points",
}
_OF_NOBODY = ("get_collection", "collection_exists", "get_aliases", "optimize", "update_vectors")
"""What tells or changes nothing of anybody's records; vectors of a stage are given to what a narrowed scroll found."""


def check_tenant(tenant: str | None) -> str | None:
    """Return a tenant's name.

    Raises
    ------
    InvalidInput
        It is empty or no string.
    """
    if tenant is None:
        return None
    if not isinstance(tenant, str) or not tenant:
        raise InvalidInput(f"tenant={tenant!r}: give a non-empty string")
    return check_text(tenant, "tenant")


def carried(layout: Layout, operation: Operation[T]) -> Operation[T]:
    """Return an operation each call of which is kept to the collection's tenant and shard key, if it has any."""
    if layout.tenant is None and layout.shard_key is None:
        return operation
    kept = _carried(layout, operation)
    # What a span is called by; typeshed's Generator has no name, the real one's can be set.
    kept.__name__ = getattr(operation, "__name__", "operation")  # type: ignore[attr-defined]
    return kept


def _carried(layout: Layout, operation: Operation[T]) -> Operation[T]:
    result: Any = None
    error: Exception | None = None
    while True:
        try:
            step = operation.send(result) if error is None else operation.throw(error)
        except StopIteration as done:
            answer: T = done.value
            return answer
        kept = _kept(layout, step)
        try:
            result, error = _seen(layout, step, (yield kept)), None
        except Exception as caught:
            error = caught


def _kept(layout: Layout, step: Step) -> Step:
    match step:
        case Call():
            return _kept_call(layout, step)
        case Begin(call):
            return Begin(_kept_call(layout, call))
        case _:
            return step


def _kept_call(layout: Layout, call: Call) -> Call:
    arguments = dict(call.arguments)
    if layout.tenant is not None:
        arguments |= _of_tenant(layout.tenant, call.method, arguments)
    if layout.shard_key is not None:
        arguments |= _of_shard(layout.shard_key, call.method, arguments)
    return Call(call.method, arguments)


def _of_tenant(tenant: str, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that are other ones for a tenant.

    Raises
    ------
    InvalidInput
        The call concerns the whole collection, or would write what is not the tenant's.
    """
    if method in _FILTERS:
        name = _FILTERS[method]
        kept: dict[str, Any] = {name: _narrowed(tenant, arguments.get(name))}
        return kept | {"prefetch": _branches(tenant, arguments["prefetch"])} if arguments.get("prefetch") else kept
    if method == "query_batch_points":
        return {"requests": [_branch(tenant, request) for request in arguments["requests"]]}
    if method in _SELECTORS:
        name = _SELECTORS[method]
        if method == "overwrite_payload":
            _check_owner(tenant, arguments["payload"])
        return {name: models.FilterSelector(filter=_narrowed(tenant, _as_filter(arguments[name])))}
    if method == "upsert":
        for point in arguments["points"]:
            _check_owner(tenant, point.payload)
            if point.id != point_id(point.payload[ID_KEY], tenant):
                raise InvalidInput(f"point {point.id!r} is not named as one of the tenant {tenant!r}")
        return {}
    if method == "retrieve":
        return {"with_payload": True}  # `_seen` looks whose they are
    if method in _OF_NOBODY:
        return {}
    raise InvalidInput(f"{method} concerns the whole collection, not one tenant: open it without tenant={tenant!r}")


def _of_shard(shard_key: str | int, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if method == "query_batch_points":
        return {"requests": [request.model_copy(update={"shard_key": shard_key}) for request in arguments["requests"]]}
    if method in (*_FILTERS, *_SELECTORS, "upsert", "update_vectors", "retrieve"):
        return {"shard_key_selector": shard_key}
    return {}


def _seen(layout: Layout, step: Step, answer: Any) -> Any:
    """Leave out of what was fetched by id what is another's: nothing, unless points were made by hand."""
    if layout.tenant is None or not isinstance(step, Call) or step.method != "retrieve":
        return answer
    return [point for point in answer if (point.payload or {}).get(TENANT_KEY) == layout.tenant]


def _check_owner(tenant: str, payload: Mapping[str, Any]) -> None:
    if payload.get(TENANT_KEY) != tenant:
        raise InvalidInput(f"a record of the tenant {payload.get(TENANT_KEY)!r} can't be written by {tenant!r}")


def _narrowed(tenant: str, asked: models.Filter | None) -> models.Filter:
    own = models.FieldCondition(key=TENANT_KEY, match=models.MatchValue(value=tenant))
    return models.Filter(must=[own] if asked is None else [own, asked])


def _as_filter(selector: Any) -> models.Filter:
    if isinstance(selector, models.FilterSelector):
        return selector.filter
    return has_id(selector.points if isinstance(selector, models.PointIdsList) else selector)


def _branches(tenant: str, branches: Any) -> Any:
    return [_branch(tenant, branch) for branch in (branches if isinstance(branches, list) else [branches])]


def _branch(tenant: str, branch: Any) -> Any:
    """Narrow a prefetch or a request, and the prefetches inside."""
    kept = {"filter": _narrowed(tenant, branch.filter if "filter" in branch.model_fields_set else None)}
    inner = getattr(branch, "prefetch", None)
    return branch.model_copy(update=kept | {"prefetch": _branches(tenant, inner)} if inner else kept)
