"""ColBERT late interaction for LangChain: a vector store on Qdrant, a retriever and a reranker.

Names are loaded when they are used: ``import langchain_colbert_qdrant`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import MissingExtra

if TYPE_CHECKING:
    from langchain_colbert_qdrant.compressors import ColbertRerank
    from langchain_colbert_qdrant.extract import ColbertExtract
    from langchain_colbert_qdrant.retrievers import ColbertQdrantRetriever
    from langchain_colbert_qdrant.self_query import ColbertQdrantTranslator
    from langchain_colbert_qdrant.vectorstores import ColbertQdrantVectorStore

if find_spec("langchain_core") is None:
    raise MissingExtra('LangChain is not installed: pip install "colbert-qdrant[langchain]"')

_MODULE_OF = {
    "ColbertQdrantRetriever": "langchain_colbert_qdrant.retrievers",
    "ColbertQdrantTranslator": "langchain_colbert_qdrant.self_query",
    "ColbertQdrantVectorStore": "langchain_colbert_qdrant.vectorstores",
    "ColbertExtract": "langchain_colbert_qdrant.extract",
    "ColbertRerank": "langchain_colbert_qdrant.compressors",
}

__all__ = [
    "ColbertExtract",
    "ColbertQdrantRetriever",
    "ColbertQdrantTranslator",
    "ColbertQdrantVectorStore",
    "ColbertRerank",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
