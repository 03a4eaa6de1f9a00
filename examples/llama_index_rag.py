"""Ask, filter and update with LlamaIndex: a query engine, a chat model behind any OpenAI-compatible endpoint.

    pip install "colbert-qdrant[llama-index,edge,offline]" llama-index-llms-openai-like
    python llama_index_rag.py                        # without a model: what it would be shown
    OPENAI_API_BASE=http://localhost:11434/v1 OPENAI_API_KEY=none python llama_index_rag.py --model llama3.2

The documents are the docstrings of Python's standard library. No embedding model is asked for. The folder
``stdlib.qdrant`` keeps the index: run again, nothing is encoded that did not change.
"""

import argparse
import inspect
from importlib import import_module

from llama_index.core import Document
from llama_index.core.llms import MockLLM
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.llms.openai_like import OpenAILike

from llama_index_colbert_qdrant import ColbertQdrantVectorStore

MODULES = ["functools", "heapq", "json", "statistics"]
QUESTIONS = ["Which function gives me the n largest elements?", "How can I cache the results of a function?"]


def standard_library() -> list[Document]:
    return [
        Document(id_=f"{module}.{name}", text=text, metadata={"module": module})
        for module in MODULES
        for name, member in vars(import_module(module)).items()
        if not name.startswith("_") and inspect.isroutine(member) and (text := inspect.getdoc(member))
    ]


parser = argparse.ArgumentParser()
parser.add_argument("--model", help="a chat model's name at OPENAI_API_BASE")
model = parser.parse_args().model

store = ColbertQdrantVectorStore("stdlib", "all-MiniLM-L6-v2-int8", path="stdlib.qdrant")
index = store.as_index(standard_library())
llm = OpenAILike(model=model, is_chat_model=True) if model else MockLLM()


def ask(question: str, **options: object) -> None:
    response = index.as_query_engine(llm=llm, similarity_top_k=2, **options).query(question)
    print(f"\n{question}\n  {response if model else '(name a chat model with --model)'}")
    for place, source in enumerate(response.source_nodes, start=1):
        print(f"  [{place}] {source.score:.2f}  {source.node.ref_doc_id}")


for question in QUESTIONS:
    ask(question)
ask("How do I read a file?", filters=MetadataFilters(filters=[MetadataFilter(key="module", value="json")]))

for author in ("Ada", "Grace"):  # a document is replaced under its id, and deleted
    index.update_ref_doc(Document(id_="author", text=f"This example was written by {author}."))
    ask("Who wrote this example?")
index.delete_ref_doc("author")
store.close()
