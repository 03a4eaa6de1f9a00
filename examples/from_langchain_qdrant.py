"""From langchain-qdrant's `QdrantVectorStore` to token vectors: the import and the embedding change, the program stays.

    pip install "colbert-qdrant[langchain,offline]"
    python from_langchain_qdrant.py

Where a line was another one, the old one stands above it, in a comment. ``upgrade_collection.py`` keeps a collection
that is there.
"""

from langchain_core.documents import Document
from qdrant_client import QdrantClient, models

# from langchain_qdrant import QdrantVectorStore
from langchain_colbert_qdrant import ColbertQdrantVectorStore

FILMS = {
    "Edge of Tomorrow": (113, "A soldier fighting aliens gets to relive the same day over and over again."),
    "Heat": (170, "Professional thieves start to feel the heat from the LAPD when they leave a clue at a heist."),
    "Paprika": (90, "A machine that allows therapists to enter their patients' dreams is stolen."),
    "This Is Spinal Tap": (82, "One of England's loudest bands is chronicled by a film director on a fateful tour."),
    "Toy Story 3": (
        103,
        "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
    ),
}
QUESTION = "somebody lives the same day over and over"

client = QdrantClient(":memory:")  # or QdrantClient("http://localhost:6333")
# client.create_collection("films", vectors_config=VectorParams(size=1536, distance=Distance.COSINE))
#     goes: the store makes the collection, with the vectors that the model needs.
# store = QdrantVectorStore(client, "films", OpenAIEmbeddings())
store = ColbertQdrantVectorStore(client, "films", "all-MiniLM-L6-v2-int8")

# ids = [str(uuid4()) for _ in FILMS]
#     goes: any string is an id, and a document that is added again under its id is not encoded again.
documents = [Document(text, id=name, metadata={"minutes": minutes}) for name, (minutes, text) in FILMS.items()]
store.add_documents(documents, batch_size=64)

[(document, score)] = store.similarity_search_with_score(QUESTION, 1)
# document.metadata["_id"], document.metadata["_collection_name"]
#     go: the metadata is what was given, and the id is where LangChain has it.
print(f"{score:.2f}  {document.id}  {document.metadata}")

# A filter of Qdrant's, or a dictionary, as LangChain's other stores take it:
longer = models.FieldCondition(key="metadata.minutes", range=models.Range(gt=110))
for filter in (models.Filter(must=[longer]), {"minutes": {"$gt": 110}}):
    print([document.id for document in store.similarity_search("bank robbers", 1, filter)])

# By relevance, which is from 0 to 1, as the scores above:
options = {"k": 3, "score_threshold": 0.4}
retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options)
print([document.id for document in retriever.invoke(QUESTION)])
print([document.id for document in store.max_marginal_relevance_search(QUESTION, k=3, fetch_k=5, lambda_mult=0.3)])

# QdrantVectorStore(..., retrieval_mode=RetrievalMode.HYBRID, sparse_embedding=FastEmbedSparse())
#     becomes stages=[Bm25()] or dense=OpenAIEmbeddings(): they find candidates, MaxSim puts them in order.
# store.client.delete_collection("films")
store.delete_collection()
