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
    from colbert_qdrant.collection.searching import SearchKeywords, SearchOptions
    from colbert_qdrant.collection.stages import Bm25, Dense, Sparse
    from colbert_qdrant.collection.storage import Storage
    from colbert_qdrant.collection.sync import MultivectorCollection
    from colbert_qdrant.embedding.embedder import ColbertEmbedder
    from colbert_qdrant.embedding.fastembed import LateInteractionTextEmbedding
    from colbert_qdrant.embedding.muvera import Muvera
    from colbert_qdrant.evaluation import Evaluation, aevaluate, evaluate
    from colbert_qdrant.explanation import explain
    from colbert_qdrant.extract import ColbertExtractor
    from colbert_qdrant.passages import Passage
    from colbert_qdrant.rerank import ColbertReranker
    from colbert_qdrant.scoring import maxsim

__version__ = "0.1.0"

_MODULE_OF = {
    "AsyncMultivectorCollection": "colbert_qdrant.collection.aio",
    "Blend": "colbert_qdrant.collection.ranking",
    "Bm25": "colbert_qdrant.collection.stages",
    "ColbertEmbedder": "colbert_qdrant.embedding.embedder",
    "ColbertExtractor": "colbert_qdrant.extract",
    "ColbertReranker": "colbert_qdrant.rerank",
    "Dense": "colbert_qdrant.collection.stages",
    "Evaluation": "colbert_qdrant.evaluation",
    "Hit": "colbert_qdrant.collection.points",
    "LateInteractionTextEmbedding": "colbert_qdrant.embedding.fastembed",
    "MultivectorCollection": "colbert_qdrant.collection.sync",
    "Muvera": "colbert_qdrant.embedding.muvera",
    "Passage": "colbert_qdrant.passages",
    "Record": "colbert_qdrant.collection.points",
    "SearchKeywords": "colbert_qdrant.collection.searching",
    "SearchOptions": "colbert_qdrant.collection.searching",
    "Sparse": "colbert_qdrant.collection.stages",
    "Storage": "colbert_qdrant.collection.storage",
    "aevaluate": "colbert_qdrant.evaluation",
    "evaluate": "colbert_qdrant.evaluation",
    "explain": "colbert_qdrant.explanation",
    "maxsim": "colbert_qdrant.scoring",
}

__all__ = [
    "AsyncMultivectorCollection",
    "Blend",
    "Bm25",
    "ColbertEmbedder",
    "ColbertExtractor",
    "ColbertReranker",
    "Dense",
    "Evaluation",
    "Hit",
    "LateInteractionTextEmbedding",
    "MultivectorCollection",
    "Muvera",
    "Passage",
    "Record",
    "SearchKeywords",
    "SearchOptions",
    "Sparse",
    "Storage",
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
