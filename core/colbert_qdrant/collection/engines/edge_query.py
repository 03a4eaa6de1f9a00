"""Queries, points and vectors of `qdrant_client.models` as qdrant_edge takes them. Pure but for the lookup of a point.

Shapes are checked here, before anything is sent, because the engine doesn't fail cleanly (qdrant-edge-py 0.9.0): a
sparse vector of unequal lengths makes it panic and leaves a shard that can't be opened again, and of a batch with one
vector of another dimension it writes a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from colbert_qdrant.collection.engines.edge_translate import RRF_DEFAULTS, check_depth, engine, only, translate, twin
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine

if TYPE_CHECKING:
    from qdrant_client.http import models

    VectorParams: TypeAlias = models.VectorParams | models.SparseVectorParams

PointId: TypeAlias = int | str | UUID
Lookup: TypeAlias = Callable[[PointId, str], Any]
"""Return the stored vector of a point: (id, vector name) -> vector."""

_DEFAULT_LIMIT = 10
_DEFAULT_DIVERSITY = 0.5


def point(struct: models.PointStruct | models.PointVectors, vectors: Mapping[str, VectorParams]) -> Any:
    """Return the engine's ``Point`` (of a `PointStruct`) or ``PointVectors``.

    Parameters
    ----------
    struct
        Validated or not; a vector is an array, nested lists or a `SparseVector`, named or not.
    vectors
        The collection's vectors by name; the unnamed one is ``""``.

    Raises
    ------
    InvalidInput
        The id, the payload or a vector can't be stored; the message names the point.
    """
    from pydantic_core import to_jsonable_python

    point_id, vector, payload = only(struct, "id", "vector", "payload")
    named = vector if isinstance(vector, Mapping) else {"": vector}
    try:
        stored = {name: _stored_vector(name, value, vectors) for name, value in named.items()}
        if type(struct).__name__ == "PointVectors":
            return engine().PointVectors(id=point_id, vector=stored)
        check_payload(payload)
        return engine().Point(id=point_id, vector=stored, payload=to_jsonable_python(payload))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"Point {point_id!r}: {error}") from error


def check_payload(payload: object) -> None:
    """Refuse a value nested deeper than the engine reads again: such a point makes its collection unopenable."""
    for key, value in payload.items() if isinstance(payload, Mapping) else ():
        if not isinstance(value, str):
            check_depth(value, f"payload {key!r}")


def query_request(request: models.QueryRequest | models.Prefetch, lookup: Lookup) -> Any:
    """Return the engine's ``QueryRequest`` or ``Prefetch``, with the prefetches inside it.

    A query by id becomes one by that point's vector, and the point is left out of the answer, as a server does.
    """
    limit = _DEFAULT_LIMIT if request.limit is None else request.limit
    prefetch = request.prefetch or []
    query, queried_point = _query(request.query, request.using or "", limit, lookup)
    return twin(
        request,
        query=query,
        using=None,  # the engine has it in the query
        limit=limit,
        prefetch=[query_request(stage, lookup) for stage in (prefetch if isinstance(prefetch, list) else [prefetch])],
        filter=_without(queried_point, request.filter),
    )


def ordering(order_by: str | models.OrderBy) -> Any:
    """Return the engine's ``OrderBy``."""
    return engine().OrderBy(key=order_by) if isinstance(order_by, str) else translate(order_by)


def _query(query: Any, using: str, limit: int, lookup: Lookup) -> tuple[Any, PointId | None]:
    kind = type(query).__name__
    if query is None or kind in ("RrfQuery", "FormulaQuery"):
        return translate(query), None
    if kind == "FusionQuery":
        return _fusion(*only(query, "fusion")), None
    if kind == "OrderByQuery":
        return ordering(*only(query, "order_by")), None
    if kind == "SampleQuery":
        return translate(*only(query, "sample")), None

    nearest, mmr = only(query, "nearest", "mmr") if kind == "NearestQuery" else (query, None)
    queried_point = nearest if isinstance(nearest, (int, str, UUID)) else None
    vector = _vector(nearest if queried_point is None else lookup(queried_point, using))
    if mmr is None:
        return engine().Query.Nearest(vector, using), queried_point
    diversity, candidates = only(mmr, "diversity", "candidates_limit")
    relevance = 1.0 - (_DEFAULT_DIVERSITY if diversity is None else diversity)
    return engine().Mmr(vector, relevance, limit if candidates is None else candidates, using), queried_point


def _fusion(fusion: models.Fusion) -> Any:
    match fusion.value:
        case "rrf":
            return engine().Fusion.Rrf(**RRF_DEFAULTS)
        case "dbsf":
            return engine().Fusion.Dbsf()
    raise UnsupportedByEngine(f"Fusion {fusion.value!r} is not supported by the embedded engine.")


def _without(point_id: PointId | None, query_filter: models.Filter | None) -> Any:
    if point_id is None:
        return translate(query_filter)
    itself = engine().HasIdCondition({point_id})
    return engine().Filter(must=[translate(query_filter)] if query_filter else None, must_not=[itself])


def _vector(value: Any) -> Any:
    """Return the engine's ``SparseVector``, or lists of floats: it reads them twice as fast as it reads arrays."""
    return _sparse(value) if _is_sparse(value) else _dense(value).tolist()


def _stored_vector(name: str, value: Any, vectors: Mapping[str, VectorParams]) -> Any:
    params = vectors.get(name)
    if params is None:
        raise InvalidInput(f"the collection has no vector {name!r}, only {sorted(vectors)}.")
    size: int | None = getattr(params, "size", None)
    if _is_sparse(value) != (size is None):
        raise InvalidInput(f"vector {name!r} is {'dense' if size else 'sparse'}, {type(value).__name__} was given.")
    if size is None:
        return _sparse(value)
    array = _dense(value)
    rows = array.shape[:1] if getattr(params, "multivector_config", None) else ()
    if array.size == 0 or array.shape != (*rows, size):
        expected = f"(tokens, {size})" if rows else f"({size},)"
        raise InvalidInput(f"vector {name!r} must have shape {expected}, has {array.shape}.")
    return array.tolist()


def _is_sparse(value: object) -> bool:
    return type(value).__name__ == "SparseVector"


def _dense(value: Any) -> npt.NDArray[np.float32]:
    if hasattr(type(value), "model_fields"):  # a text to be embedded, or a query of another kind
        raise UnsupportedByEngine(f"{type(value).__name__} is not supported by the embedded engine.")
    try:
        return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not a vector, nor a matrix with rows of one length: {error}") from error


def _sparse(vector: models.SparseVector) -> Any:
    indices, values = np.asarray(vector.indices).tolist(), _dense(vector.values).tolist()
    if not len(set(indices)) == len(indices) == len(values):
        raise InvalidInput(
            f"a sparse vector has one value for each index and no index twice; this one has {len(values)} values "
            f"for {len(indices)} indices, {len(set(indices))} of them different."
        )
    return engine().SparseVector(indices=indices, values=values)
