"""LlamaIndex: hand the language model the sentences that answer, within a budget of tokens, instead of whole nodes.

python examples/llama_index_extract.py  # no hub, no server
"""

from llama_index.core.schema import Document
from stdlib_docs import paragraphs

from llama_index_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

QUESTION = "how long may the text of a wrapped line become?"

pages: dict[str, list[str]] = {}
for paragraph in paragraphs("textwrap", "shutil", "glob"):
    pages.setdefault(f"{paragraph.module}.{paragraph.name}", []).append(paragraph.text)
documents = [Document(text="\n\n".join(texts), metadata={"name": name}) for name, texts in pages.items()]

store = ColbertQdrantVectorStore(collection_name="docs", embedder="all-MiniLM-L6-v2-int8")
retriever = store.as_index(documents).as_retriever(similarity_top_k=4)
found = retriever.retrieve(QUESTION)
kept = ColbertExtract(vector_store=store, max_tokens=80).postprocess_nodes(found, query_str=QUESTION)
print(f"{sum(len(each.get_content()) for each in found)} characters found", end=", ")
print(f"{sum(len(each.get_content()) for each in kept)} kept")
for each in kept:
    print(f"{each.metadata['name']}\n    {each.get_content()}")
