"""Figures that others have published, beside ours: is what we measure what is to be measured?

    python tests/benchmarks/beir.py [--data DIR] [--sets NAME ...] [--json FILE] [--check]

Of all-MiniLM-L6-v2 the nDCG@10 of one vector a text is known for many sets, and so is BM25's. The stages `Dense` and
`Bm25` search an embedded collection; MaxSim over the token vectors of the same model is computed by NumPy, over all
documents and over a hundred candidates of each stage, which is what a collection with that stage answers. Texts are
title and abstract; the single vector reads 256 tokens of them, as its authors have it, the token vectors 512.

``--check``: the single vector lies within .015 of the published figure, and BM25 within .03.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoded import Vectors, best_similarities, maxsims, sentences_of, tokens_of
from judged import DATA, Judged, load_each

from colbert_qdrant import Bm25, Dense, MultivectorCollection, Muvera
from colbert_qdrant.collection.searching import found_by
from colbert_qdrant.evaluation.quality import measured
from colbert_qdrant.evaluation.report import Estimate

SETS = ("scifact",)
MODEL = "all-MiniLM-L6-v2"
CANDIDATES = 100
DEPTH = 200

PUBLISHED = {
    ("scifact", "one vector, cosine"): (0.6451, "MTEB leaderboard", 0.015),
    ("scifact", "BM25"): (0.679, "Anserini", 0.03),
}

Order = Sequence[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where a published figure is missed")
    arguments = parser.parse_args()

    rows = []
    for judged in load_each(arguments.data, arguments.sets):
        print(f"\n## {judged.name}: {len(judged.documents):,} documents, {len(judged.queries)} questions\n")
        of_set = list(measure(judged))
        print(table(of_set))
        rows += of_set
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if arguments.check and (missed := misses(rows)):
        sys.exit("Missed: " + "; ".join(missed))


def measure(judged: Judged) -> Iterator[dict[str, Any]]:
    """Yield a row for each way to search."""
    ids = list(judged.documents)
    documents, queries = tokens_of(judged)
    scores = maxsims(queries, best_similarities(queries, documents))
    stages = {**of_collection(judged), "MUVERA": by_muvera(documents, queries)}
    orders: dict[tuple[str, str], Sequence[Sequence[int]]] = {
        (name, "" if name == "BM25" else MODEL): order for name, order in stages.items()
    }
    orders["MaxSim over all documents", MODEL] = [np.argsort(-each, kind="stable")[:DEPTH].tolist() for each in scores]
    for name, order in stages.items():
        rescored = [sorted(found[:CANDIDATES], key=lambda at: -of[at]) for found, of in zip(order, scores, strict=True)]
        orders[f"{name}, {CANDIDATES} candidates → MaxSim", MODEL] = rescored
    for (name, model), order in orders.items():
        run = {query: [ids[at] for at in found] for query, found in zip(judged.queries, order, strict=True)}
        figures = measured(run, {query: judged.grades[query] for query in judged.queries}, CANDIDATES)
        published = PUBLISHED.get((judged.name, name))
        yield {
            "test_set": judged.name,
            "search": name,
            "model": model,
            **{measure: [each.value, each.low, each.high] for measure, each in figures.items()},
            "published": None if published is None else published[0],
        }


def of_collection(judged: Judged) -> dict[str, list[list[int]]]:
    """Search by `Dense` and `Bm25` alone, in the embedded engine; nothing is asked of its token vectors."""
    sentences, asked = sentences_of(judged)
    texts, questions = list(judged.documents.values()), list(judged.queries.values())
    dense = Dense(Known(dict(zip(texts, sentences, strict=True)), dict(zip(questions, asked, strict=True))), dim=384)
    place = {record: number for number, record in enumerate(judged.documents)}
    one = np.ones((1, 2), np.float32)
    with (
        tempfile.TemporaryDirectory() as folder,
        MultivectorCollection(judged.name, None, dim=2, path=folder, stages=[dense, Bm25()]) as collection,
    ):
        collection.add(texts, ids=judged.documents, vectors=[one] * len(texts), show_progress=False)
        found: dict[str, list[list[int]]] = {}
        for name, stage in zip(("one vector, cosine", "BM25"), collection.layout.stages, strict=True):
            hits = [collection._run(found_by(collection.layout, stage, text, one, DEPTH)) for text in questions]
            found[name] = [[place[hit.id] for hit in each] for each in hits]
    return found


def by_muvera(documents: Sequence[Vectors], queries: Sequence[Vectors]) -> list[list[int]]:
    """Order documents by the cosine of their fixed-dimensional encodings."""
    encoder = Muvera(documents[0].shape[1])
    encoded = np.array(list(encoder.process_documents(each.astype(np.float32) for each in documents)))
    encoded /= np.linalg.norm(encoded, axis=1, keepdims=True)
    scores = np.array([encoder.process_query(query) for query in queries]) @ encoded.T
    return [np.argsort(-each, kind="stable")[:DEPTH].tolist() for each in scores]


class Known:
    """An encoder that has encoded everything before."""

    model_name = MODEL

    def __init__(self, documents: Mapping[str, Vectors], queries: Mapping[str, Vectors]) -> None:
        self.documents, self.queries = documents, queries

    def embed(self, texts: Iterable[str]) -> list[Vectors]:
        return [self.documents[text] for text in texts]

    def query_embed(self, texts: Iterable[str]) -> list[Vectors]:
        return [self.queries[text] for text in texts]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"| search | model | nDCG@10 | recall@{CANDIDATES} | MRR@10 | published nDCG@10 |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = " | ".join(str(Estimate(*row[name])) for name in ("ndcg", "recall", "mrr"))
        lines.append(f"| {row['search']} | {row['model'] or '-'} | {cells} | {row['published'] or ''} |")
    return "\n".join([*lines, "", "±: 95% of the means over questions drawn anew lie that close."])


def misses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['test_set']}, {row['search']}: {row['ndcg'][0]:.4f}, {where} has {published}"
        for row in rows
        for published, where, margin in [PUBLISHED.get((row["test_set"], row["search"]), (row["ndcg"][0], "", 1.0))]
        if abs(row["ndcg"][0] - published) > margin
    ]


if __name__ == "__main__":
    main()
