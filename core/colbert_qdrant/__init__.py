"""ColBERT late interaction on Qdrant, with ONNX Runtime.

Names are loaded when they are used: ``import colbert_qdrant`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colbert_qdrant.collection.aio import AsyncMultivectorCollection
    from colbert_qdrant.collection.points import Hit, Record
    from colbert_qdrant.collection.ranking import Blend
    from colbert_qdrant.collection.reports import AddReport
    from colbert_qdrant.collection.search_options import SearchKeywords, SearchOptions
    from colbert_qdrant.collection.stages import Bm25, Dense, Sparse
    from colbert_qdrant.collection.storage import Storage
    from colbert_qdrant.collection.sync import MultivectorCollection
    from colbert_qdrant.embedding.centroids import Centroids
    from colbert_qdrant.embedding.embedder import ColbertEmbedder
    from colbert_qdrant.embedding.fastembed import LateInteractionTextEmbedding
    from colbert_qdrant.embedding.muvera import Muvera
    from colbert_qdrant.errors import (
        AccessDenied,
        ColbertQdrantError,
        CollectionLocked,
        CollectionMismatch,
        CollectionNotFound,
        EngineError,
        EngineUnavailable,
        InvalidInput,
        InvalidModel,
        MissingExtra,
        MissingIndex,
        ModelFilesNotFound,
        PointTooLarge,
        ProviderUnavailable,
        UnknownModel,
        UnsupportedByEngine,
    )
    from colbert_qdrant.evaluation import Evaluation, aevaluate, evaluate
    from colbert_qdrant.explanation import explain
    from colbert_qdrant.extract import ColbertExtractor
    from colbert_qdrant.passages import Passage
    from colbert_qdrant.rerank import ColbertReranker
    from colbert_qdrant.scoring import maxsim

__version__ = "0.1.0"

_MODULE_OF = {
    "AccessDenied": "colbert_qdrant.errors",
    "AddReport": "colbert_qdrant.collection.reports",
    "AsyncMultivectorCollection": "colbert_qdrant.collection.aio",
    "Blend": "colbert_qdrant.collection.ranking",
    "Bm25": "colbert_qdrant.collection.stages",
    "Centroids": "colbert_qdrant.embedding.centroids",
    "ColbertEmbedder": "colbert_qdrant.embedding.embedder",
    "ColbertExtractor": "colbert_qdrant.extract",
    "ColbertQdrantError": "colbert_qdrant.errors",
    "ColbertReranker": "colbert_qdrant.rerank",
    "CollectionLocked": "colbert_qdrant.errors",
    "CollectionMismatch": "colbert_qdrant.errors",
    "CollectionNotFound": "colbert_qdrant.errors",
    "Dense": "colbert_qdrant.collection.stages",
    "EngineError": "colbert_qdrant.errors",
    "EngineUnavailable": "colbert_qdrant.errors",
    "Evaluation": "colbert_qdrant.evaluation",
    "Hit": "colbert_qdrant.collection.points",
    "InvalidInput": "colbert_qdrant.errors",
    "InvalidModel": "colbert_qdrant.errors",
    "LateInteractionTextEmbedding": "colbert_qdrant.embedding.fastembed",
    "MissingExtra": "colbert_qdrant.errors",
    "MissingIndex": "colbert_qdrant.errors",
    "ModelFilesNotFound": "colbert_qdrant.errors",
    "MultivectorCollection": "colbert_qdrant.collection.sync",
    "Muvera": "colbert_qdrant.embedding.muvera",
    "Passage": "colbert_qdrant.passages",
    "PointTooLarge": "colbert_qdrant.errors",
    "ProviderUnavailable": "colbert_qdrant.errors",
    "Record": "colbert_qdrant.collection.points",
    "SearchKeywords": "colbert_qdrant.collection.search_options",
    "SearchOptions": "colbert_qdrant.collection.search_options",
    "Sparse": "colbert_qdrant.collection.stages",
    "Storage": "colbert_qdrant.collection.storage",
    "UnknownModel": "colbert_qdrant.errors",
    "UnsupportedByEngine": "colbert_qdrant.errors",
    "aevaluate": "colbert_qdrant.evaluation",
    "evaluate": "colbert_qdrant.evaluation",
    "explain": "colbert_qdrant.explanation",
    "maxsim": "colbert_qdrant.scoring",
}

__all__ = [
    "AccessDenied",
    "AddReport",
    "AsyncMultivectorCollection",
    "Blend",
    "Bm25",
    "Centroids",
    "ColbertEmbedder",
    "ColbertExtractor",
    "ColbertQdrantError",
    "ColbertReranker",
    "CollectionLocked",
    "CollectionMismatch",
    "CollectionNotFound",
    "Dense",
    "EngineError",
    "EngineUnavailable",
    "Evaluation",
    "Hit",
    "InvalidInput",
    "InvalidModel",
    "LateInteractionTextEmbedding",
    "MissingExtra",
    "MissingIndex",
    "ModelFilesNotFound",
    "MultivectorCollection",
    "Muvera",
    "Passage",
    "PointTooLarge",
    "ProviderUnavailable",
    "Record",
    "SearchKeywords",
    "SearchOptions",
    "Sparse",
    "Storage",
    "UnknownModel",
    "UnsupportedByEngine",
    "__version__",
    "aevaluate",
    "evaluate",
    "explain",
    "maxsim",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
