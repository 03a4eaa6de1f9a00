"""Answer questions from Python's own documentation with a LangChain chain: retrieve, prompt, answer, sources.

What one learns: make a ColBERT retriever of texts in one call, put it into a chain, show what an answer rests on.

The documents are the docstrings of the standard library. The chat model needs no network: it quotes the best source.
Put your own in its place, such as ``init_chat_model("...")``; nothing else changes.

    pip install "colbert-qdrant[langchain,offline]"
    python examples/langchain_rag.py "How do I shuffle a list?"
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from operator import itemgetter
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertQdrantRetriever

MODULES = ["bisect", "calendar", "csv", "functools", "glob", "heapq", "itertools", "json", "os", "pathlib", "random"]
MODULES += ["shutil", "statistics", "textwrap"]
QUESTIONS = [
    "How do I find the median of some numbers?",
    "Which function gives me the n largest elements?",
    "How can I cache the results of a function?",
]
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these sources only, and name the one you used by its number.\n\n{sources}"),
        ("human", "{question}"),
    ]
)


class Quote(SimpleChatModel):
    """A chat model without a model: answers with the beginning of the first source."""

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        first = re.search(r"^\[1\] (\S+): (.+?)(\.\s|\Z)", messages[0].text, re.M | re.S)
        return f"{' '.join(first[2].split())} ({first[1]}, source 1)." if first else "The sources don't say."

    @property
    def _llm_type(self) -> str:
        return "quote"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS, help="what to ask")
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    options = parser.parse_args()

    documents = list(standard_library())
    print(f"{len(documents)} docstrings of {len(MODULES)} modules")
    embedder = ColbertEmbedder(options.model, long_documents="window")
    chain = answer_with_sources(ColbertQdrantRetriever.from_documents(documents, embedder, k=3, with_score=True))
    for question in options.questions:
        print_answer(chain.invoke(question))


def answer_with_sources(retriever: ColbertQdrantRetriever) -> Runnable[str, dict[str, Any]]:
    """Return a chain from a question to the question, the documents found, and the answer."""
    answer = (
        {"question": itemgetter("question"), "sources": lambda found: numbered(found["documents"])}
        | PROMPT
        | Quote()
        | StrOutputParser()
    )
    return {"question": RunnablePassthrough(), "documents": retriever} | RunnablePassthrough.assign(answer=answer)


def numbered(documents: list[Document]) -> str:
    return "\n\n".join(
        f"[{number}] {document.metadata['name']}: {document.page_content}"
        for number, document in enumerate(documents, start=1)
    )


def print_answer(found: dict[str, Any]) -> None:
    print(f"\n{found['question']}\n  {found['answer']}")
    for number, document in enumerate(found["documents"], start=1):
        print(f"  [{number}] {document.metadata['relevance_score']:6.3f}  {document.metadata['name']}")


def standard_library() -> Iterator[Document]:
    """Yield the docstrings of the public functions and classes of `MODULES`."""
    for module_name in MODULES:
        module = import_module(module_name)
        for name in getattr(module, "__all__", None) or dir(module):
            member, full_name = getattr(module, name), f"{module_name}.{name}"
            if (inspect.isroutine(member) or inspect.isclass(member)) and (text := inspect.getdoc(member)):
                yield Document(id=full_name, page_content=text, metadata={"name": full_name, "module": module_name})


if __name__ == "__main__":
    main()
