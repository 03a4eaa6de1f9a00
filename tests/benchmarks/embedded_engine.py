"""Searching 20,000 multivectors in this process: the embedded engine beside qdrant-client's local mode.

    python tests/benchmarks/embedded_engine.py [--documents N] [--queries N] [--json FILE] [--check]

Documents of 64 vectors of 96 numbers are drawn from topics, as words of a text are, and queries of 32 vectors from
one document each. A collection is made with `Dense` (the mean of the tokens) and one with `Muvera`, on each engine.
Shown are the median milliseconds of `collection.search` for ten hits, one query at a time, vectors given: through the
first stage with 100 and 200 candidates, and past it, over all documents. Beside them stand those of processor time,
which other programs disturb less, and the share of the exhaustive search's ten hits that was found. The embedded
engine is measured as loaded, and after ``optimize``, which builds the indexes. Local mode, which takes seconds for a
search, is asked ten queries.

``--check``: after ``optimize`` every search through a first stage takes less than 10 ms and at most a fiftieth of local
mode's exhaustive search.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant import Dense, MultivectorCollection, Muvera

TOKENS, DIM, QUERY_TOKENS = 64, 96, 32
CANDIDATES = (100, 200)
LOCAL_QUERIES = 10
MOST_MS, LEAST_RATIO = 10.0, 50.0

Vectors = npt.NDArray[np.float32]


class Given:
    """An embedder whose texts are numbers: of the vectors it was given."""

    model_name = "given"
    dim = DIM

    def __init__(self, documents: Sequence[Vectors], queries: Sequence[Vectors]) -> None:
        self._documents, self._queries = documents, queries

    def embed(self, documents: Iterable[str]) -> list[Vectors]:
        return [self._documents[int(text)] for text in documents]

    def query_embed(self, query: str | Iterable[str]) -> list[Vectors]:
        return [self._queries[int(text)] for text in ([query] if isinstance(query, str) else query)]

    def means(self) -> Given:
        """Return the embedder of one vector a text."""
        return Given([v.mean(axis=0) for v in self._documents], [v.mean(axis=0) for v in self._queries])


@dataclass(frozen=True)
class Figure:
    """What one way of searching took, in milliseconds, and found."""

    stage: str
    engine: str
    candidates: int | None
    search: float
    cpu: float
    found: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where a claim is missed")
    arguments = parser.parse_args()

    embedder = synthetic(arguments.documents, arguments.queries)
    texts = [str(number) for number in range(arguments.documents)]
    stages = {"dense": Dense(embedder.means(), dim=DIM), "muvera": Muvera(DIM)}
    figures: list[Figure] = []
    for name, stage in stages.items():
        figures += compare(name, stage, embedder, texts, texts[: arguments.queries])
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2), encoding="utf-8")
    if arguments.check and (missed := misses(figures)):
        sys.exit("Missed: " + "; ".join(missed))


def synthetic(documents: int, queries: int) -> Given:
    """Draw documents from topics: a topic is fifty of 5,000 words, a token is a word bent by its context."""
    random = np.random.default_rng(0)
    words = random.standard_normal((5_000, DIM), dtype=np.float32)
    topics = random.integers(len(words), size=(documents // 50 + 1, 50))

    def bent(drawn: Vectors, by: float) -> Vectors:
        vectors = drawn + by * random.standard_normal(drawn.shape, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    of_topic = topics[random.integers(len(topics), size=documents)]
    drawn = np.take_along_axis(of_topic, random.integers(50, size=(documents, TOKENS)), axis=1)
    vectors = bent(words[drawn], 0.5)
    asked = random.integers(documents, size=queries)
    return Given(vectors, bent(vectors[asked][:, random.permutation(TOKENS)[:QUERY_TOKENS]], 0.05))


def compare(name: str, stage: Any, embedder: Given, texts: Sequence[str], queries: Sequence[str]) -> list[Figure]:
    """Load both engines and search them, query by query, as loaded and after ``optimize``."""
    with (
        tempfile.TemporaryDirectory() as folder,
        MultivectorCollection("synthetic", embedder, path=folder, stages=[stage]) as embedded,
        MultivectorCollection("synthetic", embedder, stages=[stage]) as local,
    ):
        for engine, collection in (("embedded", embedded), ("local", local)):
            start = time.perf_counter()
            collection.add(texts)
            seconds = time.perf_counter() - start
            print(f"{name}, {engine}: {len(texts) / seconds:,.0f} documents/s added, in {seconds:.1f} s")
        figures = search(name, {"embedded, as loaded": embedded}, queries)
        start = time.perf_counter()
        embedded.optimize()
        info = embedded.engine.client.get_collection("synthetic")
        print(
            f"{name}, embedded: optimize() took {time.perf_counter() - start:.1f} s; {info.indexed_vectors_count:,} "
            f"vectors indexed, {info.segments_count} segments, {size(Path(folder)) / 2**20:,.0f} MiB on disk\n"
        )
        return figures + search(name, {"embedded": embedded, "local": local}, queries)


def search(stage: str, collections: Mapping[str, MultivectorCollection], queries: Sequence[str]) -> list[Figure]:
    """Ask each collection in each way, one way after the other: local mode leaves the caches to nobody else."""
    ways = [(engine, candidates) for candidates in (*CANDIDATES, None) for engine in collections]
    wall: dict[tuple[str, int | None], list[float]] = {way: [] for way in ways}
    cpu: dict[tuple[str, int | None], list[float]] = {way: [] for way in ways}
    found: dict[tuple[str, int | None], list[set[str]]] = {way: [] for way in ways}
    for engine, candidates in ways:
        options: dict[str, Any] = {"candidates": candidates} if candidates else {"exhaustive": True}
        asked = queries[:LOCAL_QUERIES] if engine == "local" else queries
        time.sleep(0.1)  # until the threads of another engine's matrix products have stopped spinning
        for query in [asked[0], *asked]:  # the first one warms up
            before = time.process_time(), time.perf_counter()
            hits = collections[engine].search(query, limit=10, **options)
            wall[engine, candidates].append(time.perf_counter() - before[1])
            cpu[engine, candidates].append(time.process_time() - before[0])
            found[engine, candidates].append({hit.id for hit in hits})
    return [
        Figure(
            stage=stage,
            engine=engine,
            candidates=candidates,
            search=1e3 * median(wall[engine, candidates][1:]),
            cpu=1e3 * median(cpu[engine, candidates][1:]),
            found=fmean(
                len(some & all_) / 10 for some, all_ in zip(found[engine, candidates], found[engine, None], strict=True)
            ),
        )
        for engine, candidates in ways
    ]


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def table(figures: Sequence[Figure]) -> str:
    scan = scans(figures)
    lines = [
        "| search | engine | ms | CPU ms | of the ten best | beside local mode's scan |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for figure in figures:
        name = f"{figure.stage}, {figure.candidates} -> MaxSim" if figure.candidates else "MaxSim over all"
        times = f"{figure.search:.2f} | {figure.cpu:.2f}"
        ratio = scan[figure.stage] / figure.search
        lines.append(f"| {name} | {figure.engine} | {times} | {figure.found:.2f} | {ratio:.0f}x less |")
    return "\n".join(lines)


def scans(figures: Sequence[Figure]) -> dict[str, float]:
    return {f.stage: f.search for f in figures if f.engine == "local" and f.candidates is None}


def misses(figures: Sequence[Figure]) -> list[str]:
    scan = scans(figures)
    return [
        f"{figure.stage} with {figure.candidates} candidates: {figure.search:.1f} ms, "
        f"{scan[figure.stage] / figure.search:.0f}x less than local mode's scan"
        for figure in figures
        if figure.engine == "embedded"
        and figure.candidates
        and (figure.search >= MOST_MS or scan[figure.stage] / figure.search < LEAST_RATIO)
    ]


if __name__ == "__main__":
    main()
