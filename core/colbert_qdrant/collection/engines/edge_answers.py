"""What qdrant_edge answers, as `qdrant_client.models`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

if TYPE_CHECKING:
    from qdrant_client.http import models


def records(found: Iterable[Any]) -> list[models.Record]:
    """Return each ``Record`` of the engine as one of the client."""
    from qdrant_client.http import models

    return [models.Record.model_construct(**_point(point)) for point in found]


def query_response(found: Iterable[Any]) -> models.QueryResponse:
    """Return the engine's ``ScoredPoint`` objects as a `QueryResponse`."""
    from qdrant_client.http import models

    points = [
        models.ScoredPoint.model_construct(version=point.version, score=point.score, **_point(point)) for point in found
    ]
    return models.QueryResponse.model_construct(points=points)


def facet_response(hits: Iterable[Any]) -> models.FacetResponse:
    """Return the engine's ``FacetHit`` objects as a `FacetResponse`."""
    from qdrant_client.http import models

    return models.FacetResponse(hits=[models.FacetValueHit(value=hit.value, count=hit.count) for hit in hits])


def completed() -> models.UpdateResult:
    """Return the result of a write that was carried out."""
    from qdrant_client.http import models

    return models.UpdateResult(status=models.UpdateStatus.COMPLETED)


def point_id(identifier: int | UUID | None) -> int | str | None:
    """Return an id as `qdrant_client` spells it."""
    return str(identifier) if isinstance(identifier, UUID) else identifier


def _point(point: Any) -> dict[str, Any]:
    return {
        "id": point_id(point.id),
        "payload": point.payload,
        "vector": _vectors(point.vector),
        "order_value": point.order_value,
    }


def _vectors(vector: Any) -> Any:
    return {name: _vector(value) for name, value in vector.items()} if isinstance(vector, dict) else _vector(vector)


def _vector(value: Any) -> Any:
    from qdrant_client.http import models

    if type(value).__name__ == "SparseVector":
        return models.SparseVector.model_construct(indices=value.indices, values=value.values)
    if value and isinstance(value[0], list):
        return np.asarray(value, dtype=np.float32)
    return value
