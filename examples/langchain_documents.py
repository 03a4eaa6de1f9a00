"""LangChain: your own folder of PDFs and pages of the web, by LangChain's loaders; asked from the command line.

    pip install "colbert-qdrant[langchain,edge,offline]" langchain-community pypdf beautifulsoup4
    python langchain_documents.py "who pays for a broken screen?" papers https://example.org/terms.html

The folder ``documents.qdrant`` keeps what was read: asked again, nothing is encoded that did not change. Importing
langchain-community warns that nobody maintains it any more; LangChain has no other loaders of its own for these yet.
"""

import os
import sys

os.environ.setdefault("USER_AGENT", "langchain_documents.py")  # the loader of the web wants one

from langchain_community.document_loaders import PyPDFDirectoryLoader, WebBaseLoader
from langchain_core.documents import Document

from langchain_colbert_qdrant import ColbertQdrantVectorStore

question, *sources = sys.argv[1:]


def load(source: str) -> list[Document]:
    """Return the pages of a folder's PDFs, or a page of the web."""
    if source.startswith("http"):
        return WebBaseLoader(source, bs_get_text_kwargs={"separator": "\n", "strip": True}).load()
    return PyPDFDirectoryLoader(source, recursive=True).load()


def place(document: Document) -> str:
    page = document.metadata.get("page_label")
    return document.metadata["source"] + (f", page {page}" if page else "")


documents = [document for source in sources for document in load(source) if document.page_content.strip()]
store = ColbertQdrantVectorStore("documents", "all-MiniLM-L6-v2-int8", path="documents.qdrant")
store.add_documents(documents, ids=[place(document) for document in documents])

found = [document.id for document in store.similarity_search(question, k=3)]
for where, best in store.collection.passages(question, found, limit=1).items():
    print(where)
    print(*(f"  {' '.join(passage.text.split())}" for passage in best))
store.close()
