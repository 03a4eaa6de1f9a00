"""Put ColBERT behind a LangChain retriever you have: the order before and after, and what it is worth.

What one learns: rerank with `ColbertRerank`, whatever found the documents; store their token vectors once, so that a
question costs one short encoding; measure before and after by nDCG@10.

The retriever here is BM25, in thirty lines; langchain-qdrant's or any other takes its place.

    pip install "colbert-qdrant[langchain,offline]"
    python examples/langchain_rerank.py                      # Python's own documentation
    python examples/langchain_rerank.py --data xquad_en      # a folder in BEIR layout: nDCG@10 too
"""

import argparse
import csv
import json
import math
import re
import statistics
import textwrap
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_rag import QUESTIONS, standard_library

from colbert_qdrant import ColbertEmbedder
from langchain_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

DEFAULT_DATA = Path(__file__).absolute().parents[2] / "shared/data/xquad_en"
CANDIDATES = 50


class Bm25Retriever(BaseRetriever):
    """Okapi BM25 with k1 = 1.2 and b = 0.75.

    https://doi.org/10.1561/1500000019
    """

    documents: list[Document]
    weights: dict[str, dict[int, float]]
    k: int = CANDIDATES

    @classmethod
    def of(cls, documents: list[Document]) -> Self:
        """Return the retriever of these documents."""
        counts = [Counter(words(document.page_content)) for document in documents]
        mean = statistics.mean(count.total() for count in counts)
        containing = Counter(word for count in counts for word in count)
        weights: dict[str, dict[int, float]] = defaultdict(dict)
        for index, count in enumerate(counts):
            saturation = 1.2 * (0.25 + 0.75 * count.total() / mean)
            for word, times in count.items():
                rarity = math.log(1 + (len(documents) - containing[word] + 0.5) / (containing[word] + 0.5))
                weights[word][index] = rarity * times * 2.2 / (times + saturation)
        return cls(documents=documents, weights=weights)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        scores: Counter[int] = Counter()
        for word in words(query):
            scores.update(self.weights.get(word, {}))
        return [self.documents[index] for index, _ in scores.most_common(self.k)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv")
    parser.add_argument("--queries", type=int, default=300, help="how many of its questions (%(default)s)")
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    options = parser.parse_args()
    embedder = ColbertEmbedder(options.model, long_documents="window")

    documents = list(standard_library())
    print(
        f"{len(documents)} docstrings of the standard library: BM25's first five, and ColBERT's of BM25's {CANDIDATES}"
    )
    retriever, reranker = Bm25Retriever.of(documents), reranker_of(documents, embedder)
    for question in QUESTIONS:
        found = retriever.invoke(question)
        print_orders(question, found, reranker.compress_documents(found, question))

    data = options.data or DEFAULT_DATA
    if data.is_dir():
        measure(data, options.queries, embedder)
    else:
        print(f"\nnDCG@10: skipped, there is no {data}; name a folder in BEIR layout with --data")


def reranker_of(documents: list[Document], embedder: ColbertEmbedder) -> ColbertRerank:
    """Return a reranker that has the documents' token vectors; without ``collection`` it encodes what it is given."""
    store = ColbertQdrantVectorStore.from_documents(documents, embedder)
    return ColbertRerank(collection=store, top_n=10)


def print_orders(question: str, before: list[Document], after: list[Document]) -> None:
    print(f"\n{question}\n      {'before':<31}{'after':<31}score  rank before")
    rank = {document.id: place for place, document in enumerate(before, start=1)}
    for place, (first, then) in enumerate(zip(before[:5], after[:5], strict=True), start=1):
        names = "".join(f"{textwrap.shorten(str(document.id), 29):<31}" for document in (first, then))
        print(f"  {place}.  {names}{then.metadata['relevance_score']:.2f}   {rank[then.id]}")


def measure(data: Path, limit: int, embedder: ColbertEmbedder) -> None:
    corpus = [
        Document(id=row["_id"], page_content=f"{row.get('title', '')} {row['text']}".strip())
        for row in json_lines(data / "corpus.jsonl")
    ]
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    with (data / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            relevant[row["query-id"]][row["corpus-id"]] = int(row["score"])
    queries = [row for row in json_lines(data / "queries.jsonl") if row["_id"] in relevant]
    queries = queries[:: max(1, len(queries) // limit)][:limit]

    retriever, reranker = Bm25Retriever.of(corpus), reranker_of(corpus, embedder)
    before, after, seconds = [], [], []
    for query in queries:
        found = retriever.invoke(query["text"])
        began = time.perf_counter()
        best = reranker.compress_documents(found, query["text"])
        seconds.append(time.perf_counter() - began)
        before.append(ndcg(found, relevant[query["_id"]]))
        after.append(ndcg(best, relevant[query["_id"]]))
    print(f"\n{data.name}: {len(corpus)} documents, {len(queries)} questions, {CANDIDATES} candidates each")
    print(f"nDCG@10  BM25 {statistics.mean(before):.3f}   BM25, then ColbertRerank {statistics.mean(after):.3f}")
    print(f"reranking takes {statistics.median(seconds) * 1000:.0f} ms a question (median)")


def json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ndcg(ranking: list[Document], relevant: dict[str, int], depth: int = 10) -> float:
    """Return the normalised discounted cumulative gain.

    https://doi.org/10.1145/582415.582418
    """
    gains = [relevant.get(str(document.id), 0) for document in ranking[:depth]]
    ideal = sorted(relevant.values(), reverse=True)[:depth]
    return discounted(gains) / discounted(ideal)


def discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


if __name__ == "__main__":
    main()
