"""What stands where LlamaIndex's plumbing wants an embedding model, when the store encodes the texts itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode

from colbert_qdrant.errors import InvalidInput

PLACEHOLDER = [0.0]
"""Of length 1: another store refuses its dimension, and the cosine of 0 with anything is undefined."""

SHOWN = [1.0]
"""The placeholder where progress is to be shown: LlamaIndex tells its embedding model, and the store nothing."""

UNNAMED = "unknown"
"""What LlamaIndex calls a model that says no name."""

_shown: ContextVar[bool] = ContextVar("shown", default=False)


class ColbertTextEmbedding(BaseEmbedding):
    """A placeholder for the embedding model of a `ColbertQdrantVectorStore`, which needs none.

    ``VectorStoreIndex`` asks for a model and embeds every node with it; ``IngestionPipeline`` hands only nodes with
    an embedding to its vector store. This one marks each node for next to nothing, and needs no API key. For all of a
    program, so that ``VectorStoreIndex.from_vector_store(store)``, ``from_documents(documents, storage_context=...)``
    and ``load_index_from_storage`` need no other::

        Settings.embed_model = ColbertTextEmbedding()

    or as the last transformation of a pipeline, which `ColbertQdrantVectorStore.as_pipeline` makes::

        IngestionPipeline(transformations=[SentenceSplitter(), ColbertTextEmbedding()], vector_store=store)

    A query has no placeholder, as only a store that searches by such a vector would ask for one; unless it is asked
    for, for parts that want a vector and hand the query's text on as well, such as ``VectorMemoryBlock``.

    Parameters
    ----------
    marks_queries
        Give queries a placeholder too. A store that searches by vectors then finds nothing of use.
    """

    model_name: str = "colbert-qdrant placeholder"
    embed_batch_size: int = 2048
    marks_queries: bool = False

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises the class by."""
        return "ColbertTextEmbedding"

    # The public methods of the base class report each placeholder to callbacks and traces, and draw a bar.

    def get_text_embedding(self, text: str) -> list[float]:
        """Return a placeholder."""
        return PLACEHOLDER.copy()

    async def aget_text_embedding(self, text: str) -> list[float]:
        """Return a placeholder."""
        return PLACEHOLDER.copy()

    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[list[float]]:
        """Return a placeholder a text."""
        return [(SHOWN if show_progress else PLACEHOLDER).copy() for _ in texts]

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[list[float]]:
        """Return a placeholder a text."""
        return self.get_text_embedding_batch(texts, show_progress=show_progress)

    def _get_text_embedding(self, text: str) -> list[float]:
        return PLACEHOLDER.copy()

    def _get_query_embedding(self, query: str) -> list[float]:
        if self.marks_queries:
            return PLACEHOLDER.copy()
        raise InvalidInput(
            "ColbertTextEmbedding embeds nothing, it only marks nodes for a ColbertQdrantVectorStore, which encodes "
            "texts and queries itself. Whatever asked it for a query's vector needs a real embedding model; or, where "
            "it hands the query's text to the store as well, ColbertTextEmbedding(marks_queries=True)"
        )

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


@contextmanager
def showing(shown: bool) -> Iterator[None]:
    """Have stores show the progress of what is added meanwhile: LlamaIndex's pipeline does not tell its store."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


def is_shown(nodes: Sequence[BaseNode]) -> bool:
    """Return whether whoever adds these nodes, or marked them, was told to show progress."""
    return _shown.get() or any(node.embedding == SHOWN for node in nodes)


def embeddings_of(nodes: Sequence[BaseNode]) -> list[list[float] | None]:
    """Return the embedding of each node that comes with one of a real model."""
    return [node.embedding if node.embedding is not None and len(node.embedding) > 1 else None for node in nodes]


def stage_of(embed_model: BaseEmbedding, stages: Sequence[Any]) -> str:
    """Return the name of the `Dense` stage that this model is the encoder of.

    It is where it is the same object, or of the same class and with the same name, which has to be one.

    Raises
    ------
    InvalidInput
        It is of none.
    """
    for stage in stages:
        encoder: Any = getattr(stage, "encoder", None)
        is_named = type(encoder) is type(embed_model) and embed_model.model_name not in ("", UNNAMED)
        if encoder is embed_model or (is_named and encoder.model_name == embed_model.model_name):
            return str(stage.name)
    raise InvalidInput(
        f"embed_model={type(embed_model).__name__} ({embed_model.model_name!r}) is the encoder of no first stage, so "
        "its embeddings would not be looked at: give stages=[Dense(embed_model)] as well"
    )
