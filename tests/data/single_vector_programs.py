"""Programs that keep one vector a document in Qdrant, as their users have them: each writes, and reads what it wrote.

``python single_vector_programs.py langchain write '{"path": "folder"}'``, in an environment that has the package; also
``llama-index``, ``haystack`` and ``mcp``; ``read`` prints the texts it finds for a query, one a line; ``record`` prints
the collection that it writes as JSON, which is where `single_vector_collections.json` comes from:

- langchain-qdrant 1.1.0, llama-index-vector-stores-qdrant 0.10.4, qdrant-haystack 13.1.0, mcp-server-qdrant 0.8.1
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

NAME = "docs"
QUERY = "red violin"
TEXTS = ["red apple on a table", "green violin in a case", "red violin at night", "blue sky", "black tiger by a river"]
DIM = 16


def vector(text: str) -> list[float]:
    """As `mean_vector` of the tests: the mean of a vector a word, which depends on the word alone."""
    rows = [np.random.RandomState(sum(map(ord, word)) % 2**32).standard_normal(DIM) for word in text.split()]
    unit = [row / np.linalg.norm(row) for row in rows]
    return [float(value) for value in np.mean(unit, axis=0)]


def langchain(client: QdrantClient, texts: list[str]) -> list[str]:
    from langchain_core.embeddings import Embeddings
    from langchain_qdrant import QdrantVectorStore

    class Vectors(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector(text)

    if not client.collection_exists(NAME):
        client.create_collection(NAME, models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    store = QdrantVectorStore(client, NAME, Vectors())
    if texts:
        store.add_texts(texts, [{"n": number} for number in range(len(texts))])
    return [document.page_content for document in store.similarity_search(QUERY, 2)]


def llama_index(client: QdrantClient, texts: list[str]) -> list[str]:
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import VectorStoreQuery
    from llama_index.vector_stores.qdrant import QdrantVectorStore

    store = QdrantVectorStore(NAME, client=client)
    if texts:
        store.add(
            [TextNode(text=text, metadata={"n": number}, embedding=vector(text)) for number, text in enumerate(texts)]
        )
    found = store.query(VectorStoreQuery(query_embedding=vector(QUERY), similarity_top_k=2))
    return [node.get_content() for node in found.nodes or []]


def haystack(client: QdrantClient, texts: list[str]) -> list[str]:
    from haystack import Document
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    # Without sparse embeddings it makes an unnamed vector, and takes no collection with another one beside that.
    store = QdrantDocumentStore(":memory:", index=NAME, embedding_dim=DIM, use_sparse_embeddings=True)
    store._client = client
    store._set_up_collection(NAME, DIM, False, "cosine", True, False, False)
    if texts:
        store.write_documents(
            [Document(content=text, meta={"n": number}, embedding=vector(text)) for number, text in enumerate(texts)]
        )
    found = store._query_by_embedding(vector(QUERY), top_k=2)
    return [document.content or "" for document in found]


def mcp(client: QdrantClient, texts: list[str]) -> list[str]:
    from mcp_server_qdrant.embeddings.base import EmbeddingProvider
    from mcp_server_qdrant.qdrant import Entry, QdrantConnector

    class Vectors(EmbeddingProvider):
        async def embed_documents(self, documents: list[str]) -> list[list[float]]:
            return [vector(text) for text in documents]

        async def embed_query(self, query: str) -> list[float]:
            return vector(query)

        def get_vector_name(self) -> str:
            return "fast-all-minilm-l6-v2"

        def get_vector_size(self) -> int:
            return DIM

    class Awaited:
        """The client's methods, to be awaited."""

        def __getattr__(self, name: str) -> Any:
            async def call(*args: Any, **kwargs: Any) -> Any:
                return getattr(client, name)(*args, **kwargs)

            return call

    async def run() -> list[str]:
        connector = QdrantConnector(":memory:", None, NAME, Vectors())
        connector._client = Awaited()  # type: ignore[assignment]
        for number, text in enumerate(texts):
            await connector.store(Entry(content=text, metadata={"n": number}))
        return [entry.content for entry in await connector.search(QUERY, limit=2)]

    return asyncio.run(run())


PROGRAMS = {"langchain": langchain, "llama-index": llama_index, "haystack": haystack, "mcp": mcp}


def recorded(client: QdrantClient) -> dict[str, Any]:
    """Return the collection's vectors and points as JSON."""
    params = client.get_collection(NAME).config.params.vectors
    named = params if isinstance(params, dict) else {"": params}
    points, _ = client.scroll(NAME, limit=100, with_vectors=True)
    return {
        "vectors": {name: each.model_dump(mode="json", exclude_none=True) for name, each in named.items()},
        "points": [{"id": point.id, "payload": point.payload, "vector": point.vector} for point in points],
    }


if __name__ == "__main__":
    program, action, place = sys.argv[1:4]
    client = QdrantClient(**json.loads(place))
    found = PROGRAMS[program](client, [] if action == "read" else sys.argv[4:] or TEXTS)
    print(json.dumps(recorded(client)) if action == "record" else json.dumps(found))
    client.close()
