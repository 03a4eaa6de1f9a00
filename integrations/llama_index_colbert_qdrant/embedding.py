"""What stands where LlamaIndex's plumbing wants an embedding model, when the store encodes the texts itself."""

from __future__ import annotations

from typing import NoReturn

from llama_index.core.base.embeddings.base import BaseEmbedding

from colbert_qdrant.errors import InvalidInput

PLACEHOLDER = [0.0]
"""Of length 1 and value 0: another store refuses its dimension, and its cosine with anything is undefined."""


class ColbertTextEmbedding(BaseEmbedding):
    """A placeholder for the embedding model of a `ColbertQdrantVectorStore`, which needs none.

    ``VectorStoreIndex`` asks for a model and embeds every node with it; ``IngestionPipeline`` hands only nodes with
    an embedding to its vector store. This one marks each node for next to nothing, and needs no API key. As the
    last transformation of a pipeline::

        IngestionPipeline(transformations=[SentenceSplitter(), ColbertTextEmbedding()], vector_store=store)

    A query has no placeholder: only a store that searches by such a vector would ask for one.
    """

    model_name: str = "colbert-qdrant placeholder"
    embed_batch_size: int = 2048

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises the class by."""
        return "ColbertTextEmbedding"

    def _get_text_embedding(self, text: str) -> list[float]:
        return PLACEHOLDER.copy()

    def _get_query_embedding(self, query: str) -> NoReturn:
        raise InvalidInput(
            "ColbertTextEmbedding embeds nothing, it only marks nodes for a ColbertQdrantVectorStore, which encodes "
            "texts and queries itself. Whatever asked it for a query's vector needs a real embedding model"
        )

    async def _aget_query_embedding(self, query: str) -> NoReturn:
        self._get_query_embedding(query)
