"""What pooling and float16 take from the quality of a late-interaction model, and what they save.

    python tests/benchmarks/pooling.py [--data DIR] [--sets NAME ...] [--queries N] [--json FILE] [--check]

The offline model encodes each test set once. Its documents are then kept whole, cut down by each pool factor, or
rounded to float16, and exact MaxSim puts them in order for each query: nothing but the vectors differs. Shown are
vectors and bytes a document, the CPU milliseconds that changing one takes, and nDCG@10 beside the whole documents',
with the interval that holds the difference with 95% confidence (bootstrap over the queries).

``--check``: on xquad_en a pool factor of 2 loses at most 1%, of 3 at most 3%, float16 at most 0.1%; on another set that
much is at least within the interval.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from judged import DATA, Judged, load_each, ndcg

from colbert_qdrant import ColbertEmbedder, maxsim
from colbert_qdrant.embedding.pooling import pool
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

SETS = ("xquad_en", "cranfield")
CLAIMED_ON = "xquad_en"
MOST_LOST = {"pool factor 2": 0.01, "pool factor 3": 0.03, "float16": 0.001}

Vectors = npt.NDArray[Any]
WAYS: dict[str, Callable[[Vectors], Vectors]] = {
    "whole": lambda vectors: vectors,
    "float16": lambda vectors: vectors.astype(np.float16),
    **{f"pool factor {factor}": partial(pool, pool_factor=factor) for factor in (2, 3, 4)},
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    test_set: str
    name: str
    vectors: float
    bytes: float
    milliseconds: float
    ndcg: float
    gain: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--queries", type=int, help="most queries of a set, default: all")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where more is lost than claimed")
    arguments = parser.parse_args()

    rows: list[Row] = []
    for test_set in load_each(arguments.data, arguments.sets):
        judged = test_set.sample(arguments.queries)
        of_set = measure(judged)
        print(table(of_set, judged))
        rows += of_set
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")
    if arguments.check and (missed := misses(rows)):
        sys.exit("Missed: " + "; ".join(missed))


def measure(judged: Judged) -> list[Row]:
    embedder = ColbertEmbedder(OFFLINE_MODEL)
    documents = list(embedder.embed(judged.documents.values()))
    queries = list(embedder.query_embed(judged.queries.values()))
    rows, whole = [], None
    for name, change in WAYS.items():
        start = time.process_time()
        changed = [change(vectors) for vectors in documents]
        seconds = time.process_time() - start
        figures = quality(judged, queries, [vectors.astype(np.float32, copy=False) for vectors in changed])
        whole = figures if whole is None else whole
        low, high = interval(figures - whole) / whole.mean()
        rows.append(
            Row(
                test_set=judged.name,
                name=name,
                vectors=fmean(map(len, changed)),
                bytes=fmean(vectors.nbytes for vectors in changed),
                milliseconds=1e3 * seconds / len(changed),
                ndcg=float(figures.mean()),
                gain=float(figures.mean() / whole.mean() - 1),
                low=float(low),
                high=float(high),
            )
        )
    return rows


def quality(judged: Judged, queries: Sequence[Vectors], documents: Sequence[Vectors]) -> Vectors:
    """Return the nDCG@10 of each query."""
    ids = list(judged.documents)
    figures = []
    for query, vectors in zip(judged.queries, queries, strict=True):
        best = np.argsort(-maxsim(vectors, documents), kind="stable")[:10]
        figures.append(ndcg([ids[number] for number in best], judged.grades[query]))
    return np.array(figures)


def interval(differences: Vectors, draws: int = 2_000) -> Vectors:
    """Return the 2.5% and 97.5% quantiles of the mean over queries drawn anew."""
    chosen = np.random.default_rng(0).integers(len(differences), size=(draws, len(differences)))
    return np.quantile(differences[chosen].mean(axis=1), [0.025, 0.975])


def table(rows: Sequence[Row], judged: Judged) -> str:
    lines = [
        f"\n## {judged.name}: {len(judged.documents)} documents, {len(judged.queries)} queries\n",
        "| documents | vectors | bytes | CPU ms a document | nDCG@10 | beside whole | 95% |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.name} | {row.vectors:.0f} | {row.bytes:,.0f} | {row.milliseconds:.2f} | {row.ndcg:.4f} "
        f"| {row.gain:+.2%} | {row.low:+.1%} to {row.high:+.1%} |"
        for row in rows
    ]
    return "\n".join(lines)


def misses(rows: Sequence[Row]) -> list[str]:
    lost = [(row, -row.gain if row.test_set == CLAIMED_ON else -row.high) for row in rows if row.name in MOST_LOST]
    return [
        f"{row.test_set}: {row.name} loses {share:.2%}, more than {MOST_LOST[row.name]:.1%}"
        for row, share in lost
        if share > MOST_LOST[row.name]
    ]


if __name__ == "__main__":
    main()
