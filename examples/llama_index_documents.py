"""LlamaIndex: your own folder of PDFs and HTML pages, by LlamaIndex's readers; asked from the command line.

    pip install "colbert-qdrant[llama-index,edge,offline]" llama-index-readers-file
    python llama_index_documents.py "who pays for a broken screen?" papers

The folder ``documents.qdrant`` keeps what was read: asked again, nothing is encoded that did not change. Pages of the
web come from llama-index-readers-web, ``SimpleWebPageReader(html_to_text=True).load_data([url])``.
"""

import sys

from llama_index.core import SimpleDirectoryReader
from llama_index.readers.file import HTMLTagReader

from llama_index_colbert_qdrant import ColbertQdrantVectorStore

question, folder = sys.argv[1:]

pages = HTMLTagReader(tag="body")
reader = SimpleDirectoryReader(
    folder, recursive=True, filename_as_id=True, file_extractor={".html": pages, ".htm": pages}
)
store = ColbertQdrantVectorStore("documents", "all-MiniLM-L6-v2-int8", path="documents.qdrant")
index = store.as_index(reader.load_data())

found = {node.node_id: node.metadata for node in index.as_retriever(similarity_top_k=3).retrieve(question)}
for node_id, best in store.collection.passages(question, list(found), limit=1).items():
    page = found[node_id].get("page_label")
    print(f"{found[node_id]['file_name']}{f', page {page}' if page else ''}")
    print(*(f"  {' '.join(passage.text.split())}" for passage in best))
store.close()
