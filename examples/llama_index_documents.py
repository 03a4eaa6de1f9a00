"""LlamaIndex: your own folder of PDFs and HTML pages, by LlamaIndex's readers; asked from the command line.

    pip install "colbert-qdrant[llama-index,edge,offline]" llama-index-readers-file
    python llama_index_documents.py "who pays for a broken screen?" papers

The folder ``documents.qdrant`` keeps what was read: asked again, nothing is encoded that did not change. Pages of the
web come from llama-index-readers-web, ``SimpleWebPageReader(html_to_text=True).load_data([url])``.
"""

import sys

from llama_index.core import SimpleDirectoryReader
from llama_index.readers.file import HTMLTagReader

from llama_index_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

question, folder = sys.argv[1:]

pages = HTMLTagReader(tag="body")
reader = SimpleDirectoryReader(
    folder, recursive=True, filename_as_id=True, file_extractor={".html": pages, ".htm": pages}
)
store = ColbertQdrantVectorStore("documents", "all-MiniLM-L6-v2-int8", path="documents.qdrant")
index = store.as_index(reader.load_data())

found = index.as_retriever(similarity_top_k=3).retrieve(question)
for node in ColbertExtract(vector_store=store, max_tokens=40).postprocess_nodes(found, query_str=question):
    page = node.metadata.get("page_label")
    print(f"{node.metadata['file_name']}{f', page {page}' if page else ''}\n  {' '.join(node.text.split())}")
store.close()
