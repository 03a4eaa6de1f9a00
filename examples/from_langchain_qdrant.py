"""From langchain-qdrant's `QdrantVectorStore` to token vectors: the import and the embedding change, the program stays.

What one learns: which lines of such a program stay as they are, which go, and what comes back better. Each step shows
the line as it was, in a comment above, where it is not the same line.

    pip install "colbert-qdrant[langchain,offline]"
    python examples/from_langchain_qdrant.py [--url http://localhost:6333]
"""

import argparse

from langchain_core.documents import Document
from movies import MOVIES
from qdrant_client import QdrantClient, models

# from langchain_qdrant import QdrantVectorStore
from langchain_colbert_qdrant import ColbertQdrantVectorStore

NAME = "example-from-langchain-qdrant"
QUESTION = "somebody lives the same day over and over"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=":memory:", help="of a Qdrant server (in memory)")
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    options = parser.parse_args()

    client = QdrantClient(options.url)
    # client.create_collection(NAME, vectors_config=VectorParams(size=1536, distance=Distance.COSINE))
    #     goes: the store makes the collection, with the vectors that the model needs.
    # store = QdrantVectorStore(client, NAME, OpenAIEmbeddings())
    store = ColbertQdrantVectorStore(client, NAME, options.model)

    # ids = [str(uuid4()) for _ in MOVIES]
    #     goes: any string is an id, and a document that is added again under its id is not encoded again.
    documents = [Document(movie.description, id=movie.name, metadata={"minutes": movie.minutes}) for movie in MOVIES]
    store.add_documents(documents, batch_size=64)

    print("similarity_search_with_score:")
    for document, score in store.similarity_search_with_score(QUESTION, 2):
        # document.metadata["_id"], document.metadata["_collection_name"]
        #     go: the metadata is what was given, and the id is where LangChain has it.
        print(f"  {score:.3f}  {document.id}  {document.metadata}")

    longer = models.FieldCondition(key="metadata.minutes", range=models.Range(gt=110))
    print("\nwith a filter of Qdrant's, and with a dictionary, as LangChain's other stores take it:")
    for filter in (models.Filter(must=[longer]), {"minutes": {"$gt": 110}}):
        print(f"  {[document.id for document in store.similarity_search(QUESTION, 2, filter)]}")

    print("\nas_retriever, by relevance (0 to 1, as the scores above):")
    search = {"k": 2, "score_threshold": 0.2}
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=search)
    print(f"  {[document.id for document in retriever.invoke(QUESTION)]}")

    diverse = store.max_marginal_relevance_search(QUESTION, k=3, fetch_k=10, lambda_mult=0.3)
    print(f"\nmax_marginal_relevance_search:\n  {[document.id for document in diverse]}")

    # QdrantVectorStore(..., retrieval_mode=RetrievalMode.HYBRID, sparse_embedding=FastEmbedSparse())
    #     becomes stages=[Bm25()] or dense=OpenAIEmbeddings(): they find candidates, MaxSim puts them in order.
    # store.client.delete_collection(NAME)
    store.delete_collection()


if __name__ == "__main__":
    main()
