"""One collection, both frameworks: what LlamaIndex indexes, LangChain finds, and the other way round.

What one learns: the adapters share one payload (text, metadata, id), so a team that uses both needs one index.

    python examples/both_frameworks.py [--path FOLDER]
"""

import argparse

from langchain_core.documents import Document as LangChainDocument
from llama_index.core import Document as LlamaIndexDocument
from movies import MOVIES

from colbert_qdrant import MultivectorCollection
from langchain_colbert_qdrant import ColbertQdrantVectorStore as LangChainStore
from llama_index_colbert_qdrant import ColbertQdrantVectorStore as LlamaIndexStore

QUESTION = "the same day again and again"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", help="a folder of the embedded engine; without one the collection is in memory")
    options = parser.parse_args()

    with MultivectorCollection("movies", "all-MiniLM-L6-v2-int8", path=options.path) as movies:
        langchain, llama_index = LangChainStore.of(movies), LlamaIndexStore.of(movies)

        index = llama_index.as_index()
        for movie in MOVIES[:10]:
            metadata = {"minutes": movie.minutes}
            index.insert(LlamaIndexDocument(id_=movie.name, text=movie.description, metadata=metadata))
        langchain.add_documents(
            [LangChainDocument(m.description, metadata={"minutes": m.minutes}, id=m.name) for m in MOVIES[10:]]
        )
        print(f"{movies.count()} movies in one collection, half of them by each framework\n")

        print("LangChain, movies of 113 minutes:")
        for document, score in langchain.similarity_search_with_score(QUESTION, k=2, filter={"minutes": 113}):
            print(f"  {score:.3f}  {document.metadata}  {document.page_content[:60]}")
        print("LlamaIndex, all movies:")
        for found in index.as_retriever(similarity_top_k=3).retrieve(QUESTION):
            print(f"  {found.score:.3f}  {found.metadata}  {found.text[:60]}")


if __name__ == "__main__":
    main()
