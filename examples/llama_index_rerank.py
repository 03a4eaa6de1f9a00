"""Put ColBERT behind a LlamaIndex retriever you have: the order before and after, and what a question costs.

What one learns: rerank the nodes of any retriever with `ColbertRerank`, in a query engine; let it use token vectors
that are stored already, so that a question costs one short encoding.

The retriever here counts the words of the question; your own takes its place.

    pip install "colbert-qdrant[llama-index,offline]"
    python examples/llama_index_rerank.py
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index_rag import QUESTIONS, standard_library

from colbert_qdrant import ColbertEmbedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

CANDIDATES = 50


class WordRetriever(BaseRetriever):
    """Finds the nodes that hold the most words of the question, rare words first."""

    def __init__(self, nodes: Sequence[BaseNode]) -> None:
        self._words = [(node, set(words(node.get_content()))) for node in nodes]
        self._holding = Counter(word for _, own in self._words for word in own)
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        asked = set(words(query_bundle.query_str))
        scored = [
            NodeWithScore(node=node, score=sum(1 / self._holding[word] for word in asked & own))
            for node, own in self._words
        ]
        return sorted(scored, key=lambda node: -node.get_score())[:CANDIDATES]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    options = parser.parse_args()

    nodes = SentenceSplitter()(list(standard_library()))
    embedder = ColbertEmbedder(options.model, long_documents="window")
    retriever = WordRetriever(nodes)
    encoding = ColbertRerank(embedder=embedder, top_n=5)

    store = ColbertQdrantVectorStore("stdlib", embedder)
    store.add(nodes)
    stored = ColbertRerank(vector_store=store, top_n=5)

    print(f"{len(nodes)} nodes; the first five of {CANDIDATES} by words, and by ColBERT")
    for question in QUESTIONS:
        found = retriever.retrieve(question)
        after, took = timed(encoding, found, question)
        _, took_stored = timed(stored, found, question)
        print_orders(question, found, after)
        print(f"  {took * 1000:.0f} ms for {len(found)} nodes, {took_stored * 1000:.0f} ms with stored token vectors")

    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[stored])
    best = engine.query(QUESTIONS[0]).source_nodes[0]
    print(f"\nIn a query engine: {QUESTIONS[0]}\n  {best.score:.3f}  {best.node.ref_doc_id}")


def timed(rerank: ColbertRerank, nodes: list[NodeWithScore], question: str) -> tuple[list[NodeWithScore], float]:
    began = time.perf_counter()
    return rerank.postprocess_nodes(nodes, query_str=question), time.perf_counter() - began


def print_orders(question: str, before: list[NodeWithScore], after: list[NodeWithScore]) -> None:
    print(f"\n{question}\n      {'before':<31}{'after':<31}score  rank before")
    rank = {node.node_id: place for place, node in enumerate(before, start=1)}
    for place, (first, then) in enumerate(zip(before[:5], after[:5], strict=True), start=1):
        names = "".join(f"{str(node.node.ref_doc_id)[:29]:<31}" for node in (first, then))
        print(f"  {place}.  {names}{then.score:5.2f}  {rank[then.node_id]}")


if __name__ == "__main__":
    main()
