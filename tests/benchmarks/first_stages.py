"""What first stages keep of exact MaxSim, and what they and smaller storage cost.

    python tests/benchmarks/first_stages.py [--data DIR] [--sets NAME ...] [--queries N] [--json FILE] [--check]

Each test set is loaded into the embedded engine once for every way to store it and choice of stages, with the offline
model, and indexed (`optimize`). Texts are encoded once; every collection gets the same vectors. A row shows, over the
set's queries:

- nDCG@10, and how much of exact MaxSim's over whole float32 vectors that is;
- recall@100: how many of the first hundred of that (by numpy) are among the row's; fewer than a hundred candidates
  can't hold them all, which is said beside it;
- the median milliseconds of a search for ten hits, one query at a time: without encoding the query (and what of that
  is processor time, which other programs disturb less), and with it;
- bytes of vectors a document in memory and on disk, as `Storage` and the stages have it.

``--check``: every row that goes through a first stage with 200 candidates keeps at least 98% of the nDCG@10 of exact
MaxSim over the same vectors. (What smaller vectors lose by themselves, their own exact row says.)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from judged import DATA, Judged, load_each, ndcg, recall
from qdrant_client import models

from colbert_qdrant import Bm25, Centroids, ColbertEmbedder, Dense, MultivectorCollection, Muvera, Storage, maxsim
from colbert_qdrant.collection.engines.bm25 import bm25_vector
from colbert_qdrant.collection.points import to_hit
from colbert_qdrant.collection.stages import Stage, as_stages, stage_bytes
from colbert_qdrant.collection.storage import footprint
from colbert_qdrant.embedding.pooling import pool
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.embedding.sentence import SentenceEmbedder

SETS = ("xquad_en", "cranfield")
CANDIDATES = (50, 100, 200)
TIMED_QUERIES = 100
LEAST_KEPT = 0.98
WHOLE, EXACT = "float32", "exact MaxSim"


class Encoded:
    """An embedder that has encoded everything before, and noted how long each query took."""

    def __init__(self, encoder: Any, texts: Sequence[str], queries: Sequence[str]) -> None:
        self.model_name, self.dim = encoder.model_name, encoder.dim
        self.documents = dict(zip(texts, encoder.embed(texts), strict=True))
        self.queries, self.seconds = {}, {}
        for query in [*queries[:3], *queries]:  # the first ones warm up
            start = time.perf_counter()
            [self.queries[query]] = encoder.query_embed(query)
            self.seconds[query] = time.perf_counter() - start

    def embed(self, documents: Iterable[str]) -> list[Any]:
        return [self.documents[text] for text in documents]

    def query_embed(self, query: str | Iterable[str]) -> list[Any]:
        return [self.queries[text] for text in ([query] if isinstance(query, str) else query)]

    def pooled(self, factor: float) -> Encoded:
        smaller = object.__new__(Encoded)
        smaller.__dict__ |= self.__dict__
        smaller.documents = {text: pool(vectors, factor) for text, vectors in self.documents.items()}
        return smaller


@dataclass(frozen=True)
class Kind:
    """A collection to make: its stages and storage, and which ways of searching it become rows."""

    name: str
    stages: Callable[[Setup], list[Any]]
    candidates: Sequence[int] = CANDIDATES
    vectors: str = WHOLE
    storage: Storage = field(default_factory=Storage)
    pool_factor: float = 1
    is_exact: bool = False
    is_alone: bool = False


@dataclass(frozen=True)
class Setup:
    """A test set, its texts encoded, and what exact MaxSim says to each query."""

    judged: Judged
    tokens: Encoded
    sentences: Encoded
    exact: Mapping[str, Sequence[str]]

    @property
    def texts(self) -> list[str]:
        return list(self.judged.documents.values())


@dataclass(frozen=True)
class Row:
    """A line of the table: milliseconds, bytes, and a share of the first hundred that can be found at most."""

    test_set: str
    vectors: str
    name: str
    candidates: int | None
    ndcg: float
    recall: float
    possible: float
    search: float
    cpu: float
    with_encoding: float
    memory: int
    disk: int


KINDS = (
    Kind("Muvera", lambda setup: [Muvera(setup.tokens.dim)], is_exact=True),
    Kind("Centroids", lambda setup: [Centroids.train(setup.tokens.documents.values())]),
    Kind("Muvera, k_sim=3", lambda setup: [Muvera(setup.tokens.dim, k_sim=3)]),
    Kind("Dense", lambda setup: [dense(setup)], is_alone=True),
    Kind("Bm25", lambda setup: [Bm25()], is_alone=True),
    Kind("Bm25 + Dense", lambda setup: [Bm25(), dense(setup)]),
    Kind("Muvera + Bm25", lambda setup: [Muvera(setup.tokens.dim), Bm25()]),
    *(
        Kind("Muvera", lambda setup: [Muvera(setup.tokens.dim)], (200,), vectors, storage, factor, is_exact=True)
        for vectors, storage, factor in (
            ("float16", Storage(datatype="float16"), 1),
            ("int8, rescored", Storage(quantization="int8"), 1),
            ("pooled by 2", Storage(), 2),
            ("pooled by 3", Storage(), 3),
        )
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=300, help="most queries of a set, default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where a row keeps too little")
    arguments = parser.parse_args()

    rows: list[Row] = []
    for judged in load_each(arguments.data, arguments.sets):
        setup = prepare(judged.sample(arguments.queries))
        of_set = [row for kind in KINDS for row in measure(setup, kind)]
        print(f"\n## {judged.name}: {len(setup.texts)} documents, {len(setup.judged.queries)} queries\n")
        print(table(of_set))
        rows += of_set
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")
    if arguments.check and (missed := misses(rows)):
        sys.exit("Missed: " + "; ".join(missed))


def prepare(judged: Judged) -> Setup:
    texts, queries = list(judged.documents.values()), list(judged.queries.values())
    tokens = Encoded(ColbertEmbedder(OFFLINE_MODEL), texts, queries)
    exact = {query: exact_order(judged, tokens, query) for query in queries}
    return Setup(judged, tokens, Encoded(SentenceEmbedder(), texts, queries), exact)


def exact_order(judged: Judged, tokens: Encoded, query: str) -> list[str]:
    scores = maxsim(tokens.queries[query], tokens.embed(judged.documents.values()))
    ids = list(judged.documents)
    return [ids[number] for number in np.argsort(-scores, kind="stable")[:100]]


def dense(setup: Setup) -> Dense:
    return Dense(setup.sentences, dim=setup.sentences.dim)


def measure(setup: Setup, kind: Kind) -> Iterator[Row]:
    """Make the collection, and search it in each of the kind's ways."""
    stages = as_stages(kind.stages(setup))
    tokens = setup.tokens if kind.pool_factor == 1 else setup.tokens.pooled(kind.pool_factor)
    sentences = [setup.sentences] if any(isinstance(stage, Dense) for stage in stages) else []
    multivectors = [tokens.documents[text] for text in setup.texts]
    of_stages = [stage_bytes(stage, setup.texts, multivectors) for stage in stages]
    of_tokens = vector_bytes(tokens, kind.storage, ())
    of_all = vector_bytes(tokens, kind.storage, of_stages)
    folder, name = tempfile.mkdtemp(), setup.judged.name
    try:
        with MultivectorCollection(name, tokens, path=folder, stages=stages, storage=kind.storage) as collection:
            collection.add(setup.texts, ids=setup.judged.documents)
            collection.optimize()
            if kind.is_alone:
                search = alone(collection, stages[0])
                yield row(setup, kind, f"{kind.name} alone", search, encoders=sentences, size=of_stages[0])
            if kind.is_exact:
                search = searching(collection, exhaustive=True)
                yield row(setup, kind, EXACT, search, encoders=[tokens], size=of_tokens)
            for candidates in kind.candidates:
                search = searching(collection, candidates=candidates)
                encoders = [tokens, *sentences]
                yield row(setup, kind, f"{kind.name} -> MaxSim", search, candidates, encoders=encoders, size=of_all)
    finally:
        shutil.rmtree(folder)


def vector_bytes(tokens: Encoded, storage: Storage, stages: Sequence[tuple[int, int]]) -> tuple[int, int]:
    count = fmean(len(vectors) for vectors in tokens.documents.values())
    estimate = footprint(storage, documents=1, tokens=count, dim=tokens.dim, stages=stages, text=0)
    return estimate.memory, estimate.disk


Search = Callable[[str, int], list[str]]


def searching(collection: MultivectorCollection, **options: Any) -> Search:
    return lambda query, limit: [hit.id for hit in collection.search(query, limit, **options)]


def alone(collection: MultivectorCollection, stage: Stage) -> Search:
    """Search by a stage's own vector, without MaxSim behind it."""

    def search(query: str, limit: int) -> list[str]:
        vector = stage.encode_query(query, np.empty((0, 0), dtype=np.float32))
        if isinstance(vector, models.Document):
            vector = bm25_vector(vector, is_query=True)
        request = {"collection_name": collection.name, "query": vector, "using": stage.name, "limit": limit}
        found = collection.engine.call("query_points", request)
        return [to_hit(point, collection.layout, 1).id for point in found.points]

    return search


def row(
    setup: Setup,
    kind: Kind,
    name: str,
    search: Search,
    candidates: int | None = None,
    *,
    encoders: Sequence[Encoded],
    size: tuple[int, int],
) -> Row:
    """Search for every query: a hundred hits for the quality, ten for the time."""
    queries, grades = setup.judged.queries, setup.judged.grades
    most = min(100, candidates or 100)
    orders = {query: search(text, most) for query, text in queries.items()}
    wall, cpu = {}, []
    for text in list(queries.values())[:TIMED_QUERIES]:
        before = time.process_time(), time.perf_counter()
        search(text, 10)
        wall[text] = time.perf_counter() - before[1]
        cpu.append(time.process_time() - before[0])
    return Row(
        test_set=setup.judged.name,
        vectors=kind.vectors,
        name=name,
        candidates=candidates,
        ndcg=fmean(ndcg(order, grades[query]) for query, order in orders.items()),
        recall=fmean(recall(order, setup.exact[queries[query]]) for query, order in orders.items()),
        possible=most / 100,
        search=1e3 * median(wall.values()),
        cpu=1e3 * median(cpu),
        with_encoding=1e3 * median(s + sum(e.seconds[text] for e in encoders) for text, s in wall.items()),
        memory=size[0],
        disk=size[1],
    )


def table(rows: Sequence[Row]) -> str:
    exact = exact_ndcg(rows)[rows[0].test_set, WHOLE]
    quality, cost = "nDCG@10 | of exact | recall@100", "ms | CPU ms | ms, with encoding | bytes in memory | on disk"
    lines = [
        f"| vectors | search | candidates | {quality} | {cost} |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        possible = "" if row.possible == 1 else f" of {row.possible:.2f}"
        lines.append(
            f"| {row.vectors} | {row.name} | {row.candidates or ''} | {row.ndcg:.4f} | {row.ndcg / exact:.1%} | "
            f"{row.recall:.3f}{possible} | {row.search:.1f} | {row.cpu:.1f} | {row.with_encoding:.1f} | "
            f"{row.memory:,.0f} | {row.disk:,.0f} |"
        )
    return "\n".join(lines)


def exact_ndcg(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    return {(row.test_set, row.vectors): row.ndcg for row in rows if row.name == EXACT}


def misses(rows: Sequence[Row]) -> list[str]:
    exact = exact_ndcg(rows)
    kept = [(row, row.ndcg / exact[row.test_set, row.vectors]) for row in rows if row.candidates == 200]
    return [
        f"{row.test_set}, {row.vectors}: {row.name} keeps {share:.1%} of exact MaxSim's nDCG@10"
        for row, share in kept
        if share < LEAST_KEPT
    ]


if __name__ == "__main__":
    main()
