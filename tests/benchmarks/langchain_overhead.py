"""What LangChain's store and retriever cost beside the collection they search.

    python tests/benchmarks/langchain_overhead.py [--documents N] [--rounds N] [--check]

The same question goes to the collection, to the store and to the retriever, in turns, k = 4, on each engine there is.
The documents are docstrings of the standard library, the model is the offline one. Shown is the median time of the
collection's own search, and the median of what each of the others takes longer than the collection just before.

Claimed, and held by ``--check``: the store's part is at most 5% and 2 ms.
"""

from __future__ import annotations

import argparse
import ast
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore

K = 4
MOST_PERCENT, MOST_MS = 5.0, 2.0
QUESTIONS = [
    "How do I delete a whole directory tree?",
    "Which function gives me the n largest elements?",
    "How can I cache the results of a function?",
    "parse a date",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=500, help="how many to search (%(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="how often each question is asked (%(default)s)")
    parser.add_argument("--check", action="store_true", help="fail where the store's part is more than claimed")
    options = parser.parse_args()

    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", document_length=128, long_documents="window")
    texts = list(islice(docstrings(), options.documents))
    print(f"{len(texts)} documents, {len(QUESTIONS)} questions, {options.rounds} rounds, k={K}")
    print(f"{'engine':<10}{'collection':>12}{'store':>20}{'retriever':>20}")
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, dict[str, Any]] = {"in memory": {"location": ":memory:"}}
        if find_spec("qdrant_edge") is not None:
            places["embedded"] = {"path": folder}
        for engine, place in places.items():
            store = ColbertQdrantVectorStore.from_texts(texts, embedder, **place)
            base, by_store, by_retriever = measured(store, options.rounds)
            store.close()
            print(f"{engine:<10}{base:>9.2f} ms{shown(by_store, base):>20}{shown(by_retriever, base):>20}")
            kept.append(by_store <= MOST_MS and 100 * by_store / base <= MOST_PERCENT)
    if options.check and not all(kept):
        sys.exit(f"the store takes more than {MOST_PERCENT:g}% or {MOST_MS:g} ms longer than its collection")


def measured(store: ColbertQdrantVectorStore, rounds: int) -> tuple[float, float, float]:
    """Return milliseconds: the median of the collection's search, and of what store and retriever add to it."""
    retriever = ColbertQdrantRetriever(vectorstore=store, k=K)
    base, by_store, by_retriever = [], [], []
    gc.disable()
    for question in QUESTIONS * rounds:
        own = milliseconds(lambda asked: store.collection.search(asked, K), question)
        base.append(own)
        by_store.append(milliseconds(lambda asked: store.similarity_search(asked, K), question) - own)
        by_retriever.append(milliseconds(retriever.invoke, question) - own)
    gc.enable()
    return statistics.median(base), statistics.median(by_store), statistics.median(by_retriever)


def milliseconds(ask: Callable[[str], Any], question: str) -> float:
    began = time.perf_counter()
    ask(question)
    return (time.perf_counter() - began) * 1000


def shown(added: float, base: float) -> str:
    return f"{added:+.2f} ms ({100 * added / base:+.1f}%)"


def docstrings() -> Iterator[str]:
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield text


if __name__ == "__main__":
    main()
