"""What a user's editor knows: each type as it is revealed, and what is an error before the program runs.

Not a test: test_types.py has it read by mypy and pyright, and holds what they say against the comments.
"""

from typing import assert_type, reveal_type

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from colbert_qdrant import Bm25, ColbertEmbedder, Muvera
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore, ColbertRerank

embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
client, async_client = QdrantClient(":memory:"), AsyncQdrantClient(":memory:")
documents = [Document("A cat."), Document("A dog.")]

store = ColbertQdrantVectorStore("animals", embedder)
reveal_type(store)  # ColbertQdrantVectorStore
reveal_type(ColbertQdrantVectorStore(client, "animals", embedder))  # ColbertQdrantVectorStore
ColbertQdrantVectorStore(client=client, collection_name="animals", embedding="all-MiniLM-L6-v2-int8")
ColbertQdrantVectorStore("animals", embedder, async_client=async_client, stages=[Muvera(384), Bm25()])
ColbertQdrantVectorStore("animals", embedder, vector_nam="x")  # error
ColbertQdrantVectorStore("animals", embedder, url="http://localhost:6333", timeout="60")  # error
reveal_type(ColbertQdrantVectorStore.from_texts(["A cat."], embedder, [{"n": 1}], [7]))  # ColbertQdrantVectorStore
reveal_type(ColbertQdrantVectorStore.from_documents(documents, embedder, path="index"))  # ColbertQdrantVectorStore
ColbertQdrantVectorStore.from_documents(documents, embedder, pathh="index")  # error
ColbertQdrantVectorStore.from_existing_collection("animals", embedder, vector_name="", create=True)

reveal_type(store.add_texts(["A bird."], ids=[1]))  # list[str]
reveal_type(store.similarity_search("cat", 2, {"n": {"$gt": 0}}))  # list[Document]
reveal_type(store.similarity_search("cat", filter=models.Filter()))  # list[Document]
reveal_type(store.similarity_search_with_score("cat"))  # list[tuple[Document, float]]
reveal_type(store.delete(["1"]))  # bool
reveal_type(store.embeddings)  # Embedder
reveal_type(store.collection_name)  # str

retriever = ColbertQdrantRetriever(vectorstore=store)
reveal_type(retriever.k)  # int
reveal_type(retriever.invoke("cat"))  # list[Document]
reveal_type(ColbertQdrantRetriever.from_texts(["A cat."], embedder, k=3, url="http://x"))  # ColbertQdrantRetriever
reveal_type(ColbertQdrantRetriever.from_documents(documents, embedder, search_type="mmr"))  # ColbertQdrantRetriever
ColbertQdrantRetriever.from_texts(["A cat."], embedder, top_k=3)  # error
ColbertQdrantRetriever.from_texts(["A cat."], embedder, k="3")  # error
ColbertQdrantRetriever.from_existing("animals", embedder, search_type="hybrid")  # error
ColbertQdrantRetriever(vectorstore=store, top_k=3)  # error

reranker = ColbertRerank(model="all-MiniLM-L6-v2-int8")
reveal_type(reranker.compress_documents(documents, "cat"))  # list[Document]
ColbertRerank(collection=store, top_n=1)
ColbertRerank(topn=1)  # error

found: BaseRetriever = store.as_retriever(k=1)
with store as opened, retriever as asked:
    assert_type(opened, ColbertQdrantVectorStore)
    assert_type(asked, ColbertQdrantRetriever)


async def asynchronously() -> None:
    async with store as opened:
        reveal_type(await opened.asimilarity_search("cat"))  # list[Document]
    reveal_type(await ColbertQdrantRetriever.afrom_texts(["A cat."], embedder, k=1))  # ColbertQdrantRetriever
    reveal_type(await retriever.ainvoke("cat"))  # list[Document]
