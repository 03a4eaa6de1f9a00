"""Ask Python's own documentation, with a LlamaIndex query engine over ColBERT in Qdrant: answer, sources, changes.

What one learns: index documents without an embedding model, ask, filter, keep the index up to date, open it again.

The documents are the docstrings of the standard library. The language model needs no network: it quotes the first
source. Put your own in its place, such as ``OpenAI(model="...")``; nothing else changes.

    pip install "colbert-qdrant[llama-index,edge,offline]"
    python examples/llama_index_rag.py "How do I delete a directory tree?"
    python examples/llama_index_rag.py --path index        # keeps the index; the second run opens it again
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from colbert_qdrant import ColbertEmbedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

MODULES = ["bisect", "functools", "glob", "heapq", "json", "os.path", "shutil", "statistics", "textwrap"]
QUESTIONS = [
    "How do I delete a whole directory tree?",
    "Which function gives me the n largest elements?",
    "How can I cache the results of a function?",
]


class Quote(CustomLLM):
    """A language model without a model: answers with the first sentence of the first source."""

    @property
    def metadata(self) -> LLMMetadata:
        """Say what LlamaIndex wants to know of a model."""
        return LLMMetadata(model_name="quote")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Quote from the part of the prompt that LlamaIndex puts between two lines."""
        sources = prompt.partition("---------------------\n")[2].partition("---------------------")[0]
        text = re.sub(r"(?m)^(module|name): .*\n", "", sources).strip()
        return CompletionResponse(text=" ".join(re.split(r"(?<=[.:])\s", text)[0].split()))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Quote all at once."""
        yield self.complete(prompt, formatted, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS, help="what to ask")
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    parser.add_argument("--path", help="folder to keep the index in; without one it is in memory")
    options = parser.parse_args()

    embedder = ColbertEmbedder(options.model, long_documents="window")
    store = ColbertQdrantVectorStore("stdlib", embedder, path=options.path)
    index = store.as_index()
    print(f"{store.collection.count()} nodes are here")
    if not store.collection.count():
        index.insert_nodes(SentenceSplitter()(list(standard_library())))
        print(f"{store.collection.count()} nodes of {len(MODULES)} modules are indexed")

    engine = index.as_query_engine(llm=Quote(), similarity_top_k=3)
    for question in options.questions:
        print_answer(question, engine.query(question))

    only_json = MetadataFilters(filters=[MetadataFilter(key="module", value="json")])
    filtered = index.as_query_engine(llm=Quote(), similarity_top_k=3, filters=only_json)
    print_answer("How do I read a file? (among the documents of json)", filtered.query("How do I read a file?"))

    change(index)
    store.close()


def change(index: VectorStoreIndex) -> None:
    """Insert a document, put another in its place, and delete it."""
    question = "Who wrote this example?"
    engine = index.as_query_engine(llm=Quote(), similarity_top_k=1)
    author = Document(id_="author", text="This example was written by Ada.", metadata={"name": "author"})
    index.insert(author)
    print_answer(question, engine.query(question))
    index.update_ref_doc(Document(id_="author", text="This example was written by Grace.", metadata=author.metadata))
    print_answer(question, engine.query(question))
    index.delete_ref_doc("author")
    print_answer(question, engine.query(question))


def print_answer(question: str, response: RESPONSE_TYPE) -> None:
    print(f"\n{question}\n  {response}")
    for number, source in enumerate(response.source_nodes, start=1):
        print(f"  [{number}] {source.score:6.3f}  {source.node.ref_doc_id}")


def standard_library() -> Iterator[Document]:
    """Yield the docstrings of the public functions of `MODULES`."""
    for module in MODULES:
        for name, function in sorted(vars(import_module(module)).items()):
            if not name.startswith("_") and inspect.isroutine(function) and (text := inspect.getdoc(function)):
                yield Document(id_=f"{module}.{name}", text=text, metadata={"name": name, "module": module})


if __name__ == "__main__":
    main()
