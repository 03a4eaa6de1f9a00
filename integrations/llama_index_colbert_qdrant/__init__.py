"""ColBERT late interaction for LlamaIndex, on Qdrant: a vector store, its index, a reranker, a placeholder embedding.

Names are loaded when they are used: ``import llama_index_colbert_qdrant`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import MissingExtra

if TYPE_CHECKING:
    from llama_index_colbert_qdrant.embedding import ColbertTextEmbedding
    from llama_index_colbert_qdrant.extract import ColbertExtract
    from llama_index_colbert_qdrant.index import ColbertVectorStoreIndex
    from llama_index_colbert_qdrant.postprocessor import ColbertRerank
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore

# `llama_index` itself is a namespace, which any folder of that name makes
if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise MissingExtra('LlamaIndex is not installed: pip install "colbert-qdrant[llama-index]"')

_MODULE_OF = {
    "ColbertQdrantVectorStore": "llama_index_colbert_qdrant.vector_store",
    "ColbertExtract": "llama_index_colbert_qdrant.extract",
    "ColbertRerank": "llama_index_colbert_qdrant.postprocessor",
    "ColbertTextEmbedding": "llama_index_colbert_qdrant.embedding",
    "ColbertVectorStoreIndex": "llama_index_colbert_qdrant.index",
}

__all__ = [
    "ColbertExtract",
    "ColbertQdrantVectorStore",
    "ColbertRerank",
    "ColbertTextEmbedding",
    "ColbertVectorStoreIndex",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
