"""How first stages find the candidates: the branches of a search's request. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from qdrant_client import models

from colbert_qdrant.collection.stages import Stage

Fusion: TypeAlias = Literal["rrf", "dbsf"]

EFFORT = 5
"""How many times the candidates a graph of signs is searched for (``hnsw_ef``), unless the caller says else."""


def plan_prefetch(
    stages: Sequence[tuple[Stage, Any]],
    *,
    candidates: int,
    fusion: Fusion,
    filter: models.Filter | None,
    params: models.SearchParams | None,
) -> list[models.Prefetch]:
    """Return the branches that find the candidates, the filter in each.

    Parameters
    ----------
    stages
        Each with the query's vector.
    candidates
        How many each hands on, and how many are left after fusion.
    fusion
        How several stages' orders become one: reciprocal ranks (``"rrf"``) or distribution-based scores
        (``"dbsf"``).
    filter, params
        Of the whole search.
    """
    branches = [
        models.Prefetch.model_construct(
            query=vector,
            using=stage.name or None,
            filter=filter,
            params=_of_stage(stage, params, candidates),
            limit=candidates,
            prefetch=None,
        )
        for stage, vector in stages
    ]
    if len(branches) < 2:
        return branches
    by = models.FusionQuery(fusion=models.Fusion.RRF if fusion == "rrf" else models.Fusion.DBSF)
    return [models.Prefetch.model_construct(prefetch=branches, query=by, limit=candidates, using=None)]


def _of_stage(stage: Stage, params: models.SearchParams | None, candidates: int) -> models.SearchParams | None:
    """Say, unless the caller said else, how a quantised stage is searched.

    It is not to rescore by its originals, as MaxSim does that, and its graph is searched for more than the candidates.
    """
    if getattr(stage.params(), "quantization_config", None) is None:
        return params
    said = params or models.SearchParams()
    return said.model_copy(
        update={
            "quantization": said.quantization or models.QuantizationSearchParams(rescore=False),
            "hnsw_ef": said.hnsw_ef or EFFORT * candidates,
        }
    )
