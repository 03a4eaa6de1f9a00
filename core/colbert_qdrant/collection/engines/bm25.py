"""Texts that a server would encode with BM25, encoded here for the engines that have no inference of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from colbert_qdrant.errors import MissingExtra


def with_bm25_vectors(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with sparse vectors in place of `models.Document`."""
    ready = dict(arguments)
    if isinstance(ready.get("query"), models.Document):
        ready["query"] = bm25_vector(ready["query"], is_query=True)
    if ready.get("prefetch"):
        ready["prefetch"] = [_branch(branch) for branch in ready["prefetch"]]
    if "requests" in ready:
        ready["requests"] = [
            request.model_copy(update={"prefetch": [_branch(branch) for branch in request.prefetch]})
            if request.prefetch
            else request
            for request in ready["requests"]
        ]
    if isinstance(ready.get("points"), list):  # else a selector
        ready["points"] = [_point(point) for point in ready["points"]]
    return ready


def _branch(branch: models.Prefetch) -> models.Prefetch:
    if isinstance(branch.query, models.Document):
        return branch.model_copy(update={"query": bm25_vector(branch.query, is_query=True)})
    if isinstance(branch.prefetch, list):
        return branch.model_copy(update={"prefetch": [_branch(inner) for inner in branch.prefetch]})
    return branch


def _point(point: Any) -> Any:
    vector = getattr(point, "vector", None)
    if not isinstance(vector, Mapping) or not any(isinstance(v, models.Document) for v in vector.values()):
        return point
    encoded = {
        name: bm25_vector(value, is_query=False) if isinstance(value, models.Document) else value
        for name, value in vector.items()
    }
    return point.model_copy(update={"vector": encoded})


def bm25_vector(document: models.Document, *, is_query: bool) -> models.SparseVector:
    """Encode a document for an engine that does no inference of its own.

    Raises
    ------
    MissingExtra
        The embedded engine, which has the encoder, is not installed.
    """
    try:
        from qdrant_edge import Bm25, Bm25Config
    except ImportError as error:
        raise MissingExtra(
            'BM25 without a server is encoded by the embedded engine: pip install "colbert-qdrant[edge]"'
        ) from error
    options: Any = document.options or {}
    encoder = Bm25(Bm25Config(**options))
    vector = encoder.embed_query(document.text) if is_query else encoder.embed_document(document.text)
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
