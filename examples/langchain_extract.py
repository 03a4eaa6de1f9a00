"""LangChain: hand the language model the sentences that answer, within a budget of tokens, instead of whole documents.

pip install "colbert-qdrant[langchain,offline]"
python langchain_extract.py
"""

import glob
import inspect
import shutil
import textwrap

from langchain_core.documents import Document

from langchain_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

QUESTION = "how long may the text of a wrapped line become?"

documents = [
    Document(text, id=f"{module.__name__}.{name}")
    for module in (textwrap, shutil, glob)
    for name, member in vars(module).items()
    if not name.startswith("_") and callable(member) and (text := inspect.getdoc(member))
]
store = ColbertQdrantVectorStore.from_documents(documents, "all-MiniLM-L6-v2-int8", location=":memory:")
found = store.similarity_search(QUESTION, k=4)
kept = ColbertExtract(collection=store, max_tokens=80).compress_documents(found, QUESTION)

print(f"{sum(len(each.page_content) for each in found)} characters found", end=", ")
print(f"{sum(len(each.page_content) for each in kept)} kept")
for each in kept:
    print(f"{each.id}, characters {each.metadata['passages']}\n  {' '.join(each.page_content.split())}")
