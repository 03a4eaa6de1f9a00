"""Documents cut where the model reads them whole, into nodes that have the same ids each time."""

from __future__ import annotations

from typing import Any

from llama_index.core.constants import DEFAULT_CHUNK_SIZE
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode

from colbert_qdrant.types import Embedder


def node_id(place: int, document: BaseNode) -> str:
    """Return the id of a document's node by its place, so that a script run twice stores each node once."""
    return f"{document.node_id}#{place}"


class ModelTokenizer:
    """Counts tokens as the store's model does, for a splitter.

    Parameters
    ----------
    embedder
        A `ColbertEmbedder`.
    """

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder

    def __call__(self, text: str) -> range:
        """Return as many items as a text has tokens, special ones and markers included."""
        return range(self.embedder.token_count(text, include_extension=True))


class ModelSplitter(SentenceSplitter):
    """A ``SentenceSplitter`` that keeps its tokenizer when it is pickled, as for a pipeline's ``num_workers``.

    LlamaIndex's own is rebuilt of its fields, of which the tokenizer is none, and counts by another one then.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Be rebuilt with the tokenizer, or not be pickled: LlamaIndex would drop what can't be."""
        return _remade, ({**self.__getstate__()["__dict__"], "tokenizer": self._tokenizer},)


def _remade(arguments: dict[str, Any]) -> ModelSplitter:
    return ModelSplitter(**arguments)


def splitter_for(embedder: Embedder) -> SentenceSplitter:
    """Return a splitter into nodes of at most 1,024 tokens and of what the model reads at once."""
    limit = getattr(embedder, "settings", {}).get("document_length")
    if limit is None or not hasattr(embedder, "token_count"):
        return SentenceSplitter(id_func=node_id)
    # An embedder that cuts counts what it cuts to the limit: one token below it, each text that is cut is too long.
    size = min(limit - 1, DEFAULT_CHUNK_SIZE)
    return ModelSplitter(
        chunk_size=size,
        chunk_overlap=size // 8,
        tokenizer=ModelTokenizer(embedder),  # type: ignore[call-arg]  # mypy knows the base's fields only
        id_func=node_id,
    )
