"""The placeholder marks nodes for LlamaIndex's plumbing, and is never taken for a vector."""

from __future__ import annotations

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import Document, TextNode

from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import ColbertTextEmbedding


def test_it_is_an_embedding_to_llama_index() -> None:
    assert isinstance(ColbertTextEmbedding(), BaseEmbedding)


def test_it_marks_each_node_with_one_number() -> None:
    [node] = ColbertTextEmbedding()([TextNode(text="A soldier.")])

    assert node.embedding == [0.0]


async def test_it_marks_nodes_asynchronously() -> None:
    [node] = await ColbertTextEmbedding().acall([TextNode(text="A soldier.")])

    assert node.embedding == [0.0]


def test_marks_are_not_shared() -> None:
    one, other = ColbertTextEmbedding().get_text_embedding_batch(["A soldier.", "A hacker."])

    assert one is not other


def test_it_has_no_vector_for_a_query() -> None:
    with pytest.raises(InvalidInput, match="real embedding model"):
        ColbertTextEmbedding().get_query_embedding("soldier")


async def test_it_has_no_vector_for_a_query_asynchronously() -> None:
    with pytest.raises(InvalidInput, match="real embedding model"):
        await ColbertTextEmbedding().aget_query_embedding("soldier")


def test_a_store_that_searches_by_vectors_refuses_it() -> None:
    index = VectorStoreIndex.from_documents([Document(text="A soldier.")], embed_model=ColbertTextEmbedding())

    with pytest.raises(InvalidInput, match="ColbertQdrantVectorStore"):
        index.as_retriever().retrieve("soldier")


def test_it_serialises() -> None:
    data = ColbertTextEmbedding().to_dict()

    assert data["class_name"] == "ColbertTextEmbedding"
    assert ColbertTextEmbedding.from_dict(data).to_dict() == data
