"""One collection, both frameworks: what LlamaIndex indexes, LangChain finds, and the other way round.

pip install "colbert-qdrant[langchain,llama-index,edge,offline]"
python both_frameworks.py                # its folder, films.qdrant, is there afterwards
"""

from langchain_core.documents import Document as LangChainDocument
from llama_index.core import Document as LlamaIndexDocument

from colbert_qdrant import MultivectorCollection
from langchain_colbert_qdrant import ColbertQdrantVectorStore as LangChainStore
from llama_index_colbert_qdrant import ColbertQdrantVectorStore as LlamaIndexStore

BY_LLAMA_INDEX = {
    "Edge of Tomorrow": (2014, "A soldier fighting aliens gets to relive the same day over and over again."),
    "Heat": (1995, "Professional thieves start to feel the heat from the LAPD when they leave a clue at a heist."),
    "Paprika": (2006, "A machine that allows therapists to enter their patients' dreams is stolen."),
}
BY_LANGCHAIN = {
    "Kubo and the Two Strings": (2016, "A young boy must find a magical suit of armour to defeat a vengeful spirit."),
    "This Is Spinal Tap": (1984, "One of England's loudest bands is chronicled by a film director on a fateful tour."),
    "Toy Story 3": (
        2010,
        "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
    ),
}

with MultivectorCollection("films", "all-MiniLM-L6-v2-int8", path="films.qdrant") as films:
    index = LlamaIndexStore.of(films).as_index()
    for name, (year, text) in BY_LLAMA_INDEX.items():
        index.insert(LlamaIndexDocument(id_=name, text=text, metadata={"year": year}))

    store = LangChainStore.of(films)
    store.add_documents(
        [LangChainDocument(text, id=name, metadata={"year": year}) for name, (year, text) in BY_LANGCHAIN.items()]
    )
    print(f"{films.count()} films in one collection")

    for document, score in store.similarity_search_with_score(
        "the same day again", k=1, filter={"year": {"$gt": 2000}}
    ):
        print(f"LangChain:  {score:.2f}  {document.metadata['year']}  {document.page_content}")
    for found in index.as_retriever(similarity_top_k=1).retrieve("a film about a rock group"):
        print(f"LlamaIndex: {found.score:.2f}  {found.metadata['year']}  {found.text}")
