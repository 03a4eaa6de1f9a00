"""Give a collection of single vectors token vectors too, in place, while the program that wrote it goes on.

    pip install "colbert-qdrant[langchain,offline]" langchain-qdrant
    python upgrade_collection.py

Collections of LlamaIndex's store, qdrant-haystack and mcp-server-qdrant are upgraded in the same way, the command line
does it as well: ``colbert-qdrant upgrade``.
"""

from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from colbert_qdrant import ColbertEmbedder, MultivectorCollection

TEXTS = [
    "Edge of Tomorrow: a soldier fighting aliens gets to relive the same day over and over again.",
    "Heat: professional thieves start to feel the heat from the LAPD when they leave a clue at their latest heist.",
    "Paprika: a machine that allows therapists to enter their patients' dreams is stolen.",
    "This Is Spinal Tap: one of England's loudest bands is chronicled by a film director on a fateful tour.",
    "Toy Story 3: the toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
]
QUESTION = "bank robbers"
embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")


class MeanOfTokens(Embeddings):
    """The single vectors that are there; yours may be OpenAI's."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vectors.mean(axis=0).tolist() for vectors in embedder.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


# What is there: a program on langchain-qdrant, and its collection.
client = QdrantClient(":memory:")  # or QdrantClient("http://localhost:6333")
client.create_collection("films", vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
old = QdrantVectorStore(client, "films", MeanOfTokens())
old.add_texts(TEXTS)

# Each text is encoded once; the single vectors find candidates now, MaxSim orders them.
films = MultivectorCollection.upgrade("films", embedder, dense=MeanOfTokens(), client=client)
[hit] = films.search(QUESTION, limit=1)
print(f"{films.count()} films; by token vectors: {hit.relevance:.2f}  {hit.text}")

# The old program goes on. What it adds is found after another `upgrade`, which encodes only what is new.
print(f"by single vectors: {old.similarity_search(QUESTION, k=1)[0].page_content}")
old.add_texts(["The Italian Job: a gang steals gold and gets away in three small cars."])
films = MultivectorCollection.upgrade("films", embedder, dense=MeanOfTokens(), client=client)
print(f"{films.count()} films; {films.search('a chase by car', limit=1)[0].text}")

MultivectorCollection.downgrade("films", client=client)
