"""Answers with sources, by a LangChain chain: retrieve, prompt, a chat model behind any OpenAI-compatible endpoint.

    pip install "colbert-qdrant[langchain,offline]" langchain-openai
    python langchain_rag.py                          # without a model: what it would be shown
    OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_API_KEY=none python langchain_rag.py --model llama3.2

The documents are the docstrings of Python's standard library.
"""

import argparse
import inspect
from importlib import import_module

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_openai import ChatOpenAI

from langchain_colbert_qdrant import ColbertQdrantRetriever

MODULES = ["functools", "heapq", "random", "statistics"]
QUESTIONS = ["How do I find the median of some numbers?", "How can I cache the results of a function?"]
PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from these sources only, and name the one you used by its number.\n\n{sources}"),
        ("human", "{question}"),
    ]
)


def standard_library() -> list[Document]:
    return [
        Document(id=f"{module}.{name}", page_content=text)
        for module in MODULES
        for name, member in vars(import_module(module)).items()
        if not name.startswith("_") and inspect.isroutine(member) and (text := inspect.getdoc(member))
    ]


def numbered(documents: list[Document]) -> str:
    return "\n\n".join(f"[{place}] {each.id}: {each.page_content}" for place, each in enumerate(documents, start=1))


parser = argparse.ArgumentParser()
parser.add_argument("--model", help="a chat model's name at OPENAI_BASE_URL")
model = parser.parse_args().model

retriever = ColbertQdrantRetriever.from_documents(standard_library(), "all-MiniLM-L6-v2-int8", k=3, with_score=True)
chain = {"question": RunnablePassthrough(), "documents": retriever} | RunnablePassthrough.assign(
    sources=lambda found: numbered(found["documents"])
)
if model:
    chain |= RunnablePassthrough.assign(answer=PROMPT | ChatOpenAI(model=model, temperature=0) | StrOutputParser())
for question in QUESTIONS:
    found = chain.invoke(question)
    print(f"\n{question}\n  {found.get('answer', '(name a chat model with --model)')}")
    for place, document in enumerate(found["documents"], start=1):
        print(f"  [{place}] {document.metadata['relevance_score']:.2f}  {document.id}")
