"""LangChain: hand the language model the sentences that answer, within a budget of tokens, instead of whole documents.

python examples/langchain_extract.py    # no hub, no server
"""

from langchain_core.documents import Document
from stdlib_docs import paragraphs

from langchain_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

QUESTION = "how long may the text of a wrapped line become?"

pages: dict[str, list[str]] = {}
for paragraph in paragraphs("textwrap", "shutil", "glob"):
    pages.setdefault(f"{paragraph.module}.{paragraph.name}", []).append(paragraph.text)
documents = [Document("\n\n".join(texts), metadata={"name": name}) for name, texts in pages.items()]

store = ColbertQdrantVectorStore.from_documents(documents, "all-MiniLM-L6-v2-int8", location=":memory:")
found = store.similarity_search(QUESTION, k=4)
kept = ColbertExtract(collection=store, max_tokens=80).compress_documents(found, QUESTION)
print(f"{sum(len(each.page_content) for each in found)} characters found", end=", ")
print(f"{sum(len(each.page_content) for each in kept)} kept")
for each in kept:
    print(f"{each.metadata['name']} {each.metadata['passages']}\n    {each.page_content}")
