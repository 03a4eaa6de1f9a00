"""How a collection grows: adding, searching, memory and disk at 10,000, 50,000 and 250,000 documents.

    QDRANT_BINARY=.../qdrant python tests/benchmarks/scale.py [--stage NAME ...] [--server N ...] [--embedded N ...]
        [--lonely SHARE] [--candidates N ...] [--effort N ...] [--callers N ...] [--largest-segment KB]

Documents of 64 x 96 numbers in half precision (see `drawn`), a share of them lonely, go through the public API into a
server of this program's own, over gRPC, and into the embedded engine; MUVERA finds the candidates, or `Centroids` that
were trained on 2,000 of the documents. No model is run.

- *adding*: documents a second of `add` alone, this process's processor time a document, and how much its own memory
  (RssAnon) grew from a tenth of the documents on, which is to be none. Then the time until the indexes are built.
- *search*: milliseconds of `search` for ten hits, with 1 and with 16 callers, and processor milliseconds of one search,
  server and caller together, which other programs disturb less. *effort*: how many times the candidates the graph is
  searched for (``hnsw_ef``); centroids have no graph.
- *own first*: the share of queries that have their own document first, lonely ones and those of topics apart.
- *of the ten best*: the share of exact MaxSim's ten best, all documents compared. The query of a lonely document has
  one good answer, and nine that are best by chance.
- *server*: its own memory, its mapped files in memory, and its files on disk without the log of writes, beside
  `footprint`.

A server of few cores makes many small segments, each with a graph that is gone through: `--largest-segment` says else.

The growth of p50 is told at equal recall: the fewest candidates, of those that were tried, by which a larger collection
finds as much as the smallest does with the fewest. The estimate for 10 million takes each of its shards to be as the
largest that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import product, starmap
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from drawn import DIM, Drawn, Vectors, exact
from qdrant_client import models

from colbert_qdrant import Centroids, MultivectorCollection, Muvera
from colbert_qdrant.collection.prefetching import EFFORT
from colbert_qdrant.collection.stages import CANDIDATES, StageLike

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from servers import BINARY, own_server

PATIENCE = 3_600
"""Seconds that the server may take to build its indexes."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A collection: what finds its candidates, where it is, and how large."""

    stage: str
    engine: str
    documents: int


@dataclass(frozen=True, kw_only=True)
class Loaded(Case):
    """What it took to load a collection, and what it takes: times in seconds, sizes in bytes."""

    adding: float
    cpu: float
    grown: int
    indexing: float
    segments: int
    own: int
    mapped: int
    disk: int
    estimated_memory: int
    estimated_disk: int


@dataclass(frozen=True, kw_only=True)
class Searched(Case):
    """What one way of searching took, in milliseconds, and found."""

    candidates: int
    effort: int
    callers: int
    p50: float
    p99: float
    cpu: float
    first_lonely: float
    first_topics: float
    best_lonely: float
    best_topics: float


@dataclass(frozen=True)
class Questions:
    """What is asked: of which documents, of which kind, with which vectors; the exact ten best of the first of them."""

    numbers: list[int]
    lonely: list[bool]
    vectors: list[Vectors]
    best: list[set[str]]


@dataclass(frozen=True)
class Way:
    """How a question is asked."""

    candidates: int
    effort: int
    callers: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes: dict[str, Any] = {"type": int, "nargs": "*", "metavar": "N", "help": "sizes, default: %(default)s"}
    parser.add_argument("--server", default=[10_000, 50_000, 250_000], **sizes)
    parser.add_argument("--embedded", default=[10_000, 50_000, 100_000], **sizes)
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=[*STAGES], help="default: all")
    parser.add_argument("--lonely", type=float, default=0.5, help="share of lonely documents, default: %(default)s")
    parser.add_argument("--queries", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--exact", type=int, default=40, help="queries whose ten best are known, default: %(default)s")
    several: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--candidates", default=[100, CANDIDATES, 400], **several)
    parser.add_argument("--effort", default=[EFFORT], **several)
    parser.add_argument("--callers", default=[1, 16], **several)
    parser.add_argument("--largest-segment", type=int, metavar="KB", help="of the server, default: its own choice")
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    if arguments.server and not BINARY:
        sys.exit("Set QDRANT_BINARY to Qdrant's executable, or give --server no sizes")

    drawn = Drawn(arguments.lonely)
    every = sorted({*arguments.server, *arguments.embedded})
    asked = drawn.asked(every[0], arguments.queries)
    queries = [drawn.query(number) for number in asked]
    best = exact(drawn, every, queries[: arguments.exact])
    ways = [*starmap(Way, product(arguments.candidates, arguments.effort, arguments.callers))]
    loaded: list[Loaded] = []
    searched: list[Searched] = []
    print(f"{arguments.lonely:.0%} of the documents are lonely.\n\n{LOADED}", flush=True)
    for case in cases(arguments):
        stage, open_one = STAGES[case.stage](drawn, every[0]), ENGINES[case.engine]
        with tempfile.TemporaryDirectory() as folder, open_one(Path(folder), drawn, stage) as (collection, process):
            if case.engine == "server" and arguments.largest_segment:
                largest = models.OptimizersConfigDiff(max_segment_size=arguments.largest_segment)
                collection.engine.client.update_collection("scale", optimizers_config=largest)
            loaded.append(load(case, collection, Path(folder), process))
            print(as_row(loaded[-1]), flush=True)
            questions = Questions(asked, [*map(drawn.is_lonely, asked)], queries, best[case.documents])
            searched += search(case, collection, questions, ways, process)
        if arguments.json:
            figures = {"loaded": [*map(asdict, loaded)], "searched": [*map(asdict, searched)]}
            arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print("\n" + "\n".join([*table(searched), "", *growth(searched), "", *ten_million(loaded, searched)]))


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Yield what is to be measured."""
    for stage, engine in product(arguments.stage, ENGINES):
        for documents in getattr(arguments, engine):
            yield Case(stage=stage, engine=engine, documents=documents)


def trained(drawn: Drawn, documents: int) -> Centroids:
    """Train on documents spread over the smallest collection."""
    return Centroids.train(drawn.document(number) for number in range(0, documents, max(1, documents // 2_000)))


STAGES: dict[str, Callable[[Drawn, int], StageLike]] = {"muvera": lambda *_: Muvera(DIM), "centroids": trained}


@contextmanager
def on_server(folder: Path, drawn: Drawn, stage: StageLike) -> Iterator[tuple[MultivectorCollection, int]]:
    """Open a collection on a server in a folder; its process comes with it."""
    with (
        own_server(folder) as process,
        MultivectorCollection("scale", drawn, stages=[stage], timeout=60, **process.grpc) as collection,
    ):
        yield collection, process.popen.pid


@contextmanager
def embedded(folder: Path, drawn: Drawn, stage: StageLike) -> Iterator[tuple[MultivectorCollection, int]]:
    """Open a collection of the embedded engine, which is in this process."""
    with MultivectorCollection("scale", drawn, path=folder, stages=[stage]) as collection:
        yield collection, os.getpid()


ENGINES = {"server": on_server, "embedded": embedded}


def load(case: Case, collection: MultivectorCollection, folder: Path, process: int) -> Loaded:
    """Add documents and have them indexed."""
    documents = case.documents
    owned: list[int] = []

    def numbers() -> Iterator[str]:
        for number in range(documents):
            if number % (documents // 50) == 0:
                owned.append(memory(os.getpid())[0])
            yield str(number)

    start, cpu = time.perf_counter(), time.process_time()
    collection.add(numbers(), ids=map(str, range(documents)), show_progress=False)
    added, cpu = time.perf_counter(), time.process_time() - cpu
    settle(collection, documents)
    indexed = time.perf_counter()
    own, mapped = memory(process)
    estimate = collection.footprint([str(number) for number in range(20)], documents)
    return Loaded(
        **asdict(case),
        adding=added - start,
        cpu=cpu,
        grown=max(owned[5:]) - owned[5],
        indexing=indexed - added,
        segments=collection.engine.client.get_collection("scale").segments_count,
        own=own,
        mapped=mapped,
        disk=steady(folder),
        estimated_memory=estimate.memory,
        estimated_disk=estimate.disk,
    )


def settle(collection: MultivectorCollection, documents: int) -> None:
    """Have the indexes built: at once where it is to be asked for, else wait until the server has."""
    if collection.place.path:
        collection.optimize()
        return
    seen, deadline = 0, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        info = collection.engine.client.get_collection("scale")
        seen = seen + 1 if info.status == models.CollectionStatus.GREEN else 0
        if seen == 10:  # for a second: between two steps of its work it is green as well
            return
        time.sleep(0.1)
    sys.exit(f"After {PATIENCE} s the server has not built its indexes")


def search(
    case: Case,
    collection: MultivectorCollection,
    questions: Questions,
    ways: Sequence[Way],
    process: int,
) -> list[Searched]:
    """Ask every question in every way."""
    found = []
    for way in ways:
        params = models.SearchParams(hnsw_ef=way.effort * way.candidates)

        def one(vectors: Vectors, way: Way = way, params: models.SearchParams = params) -> tuple[float, list[str]]:
            start = time.perf_counter()
            hits = collection.search(vectors, 10, candidates=way.candidates, search_params=params)
            return time.perf_counter() - start, [hit.id for hit in hits]

        with ThreadPoolExecutor(way.callers) as pool:
            list(pool.map(one, questions.vectors[:20]))  # warms up
            before = cpu_seconds(process)
            answers = list(pool.map(one, questions.vectors))
            cpu = cpu_seconds(process) - before
        times = [1e3 * taken for taken, _ in answers]
        hits = [ids for _, ids in answers]
        first = [ids[:1] == [str(number)] for number, ids in zip(questions.numbers, hits, strict=True)]
        best = [len(known & {*ids}) / 10 for known, ids in zip(questions.best, hits, strict=False)]
        found.append(
            Searched(
                **asdict(case),
                **asdict(way),
                p50=float(np.percentile(times, 50)),
                p99=float(np.percentile(times, 99)),
                cpu=1e3 * cpu / len(hits),
                first_lonely=of_kind(first, questions, lonely=True),
                first_topics=of_kind(first, questions, lonely=False),
                best_lonely=of_kind(best, questions, lonely=True),
                best_topics=of_kind(best, questions, lonely=False),
            )
        )
    return found


def of_kind(values: Sequence[float], questions: Questions, *, lonely: bool) -> float:
    """Return the mean over the questions of a kind; NaN where there is none."""
    chosen = [value for value, is_lonely in zip(values, questions.lonely, strict=False) if is_lonely is lonely]
    return fmean(chosen) if chosen else float("nan")


def memory(process: int) -> tuple[int, int]:
    """Return the bytes of a process that are its own, and those of files that it maps."""
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    own, mapped, shared = (1024 * int(fields[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem"))
    return own, mapped + shared


def cpu_seconds(process: int) -> float:
    """Return the processor time that a process and this one have taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    ours = usage.ru_utime + usage.ru_stime
    if process == os.getpid():
        return ours
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return ours + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def steady(folder: Path) -> int:
    """Return what the files take once the segments that were rewritten are gone."""
    sizes = [on_disk(folder)]
    while len(sizes) < 60 and (len(sizes) < 10 or len(set(sizes[-10:])) > 1):
        time.sleep(1)
        sizes.append(on_disk(folder))
    return sizes[-1]


def on_disk(folder: Path) -> int:
    """Return what the files take in blocks of the file system, the log of writes left out."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in () if "wal" in Path(place).relative_to(folder).parts else names:
            with suppress(FileNotFoundError):  # the server removes what it has rewritten
                size += 512 * os.lstat(Path(place) / name).st_blocks
    return size


LOADED = (
    "| stage | engine | documents | documents/s | our CPU ms each | our memory grew, MiB | indexing, s | segments "
    "| its memory, GiB | mapped | disk, GiB | footprint: memory | disk |\n|---|---|" + "--:|" * 11
)


def as_row(loaded: Loaded) -> str:
    sizes = (loaded.own, loaded.mapped, loaded.disk, loaded.estimated_memory, loaded.estimated_disk)
    return (
        f"| {loaded.stage} | {loaded.engine} | {loaded.documents:,} | {loaded.documents / loaded.adding:,.0f} "
        f"| {1e3 * loaded.cpu / loaded.documents:.2f} | {loaded.grown / 2**20:.0f} | {loaded.indexing:,.0f} "
        f"| {loaded.segments} | " + " | ".join(f"{size / 2**30:.2f}" for size in sizes) + " |"
    )


SEARCHED = (
    "| stage | engine | documents | candidates | effort | callers | p50 ms | p99 ms | CPU ms | own first: lonely "
    "| of topics | of the ten best: lonely | of topics |\n|---|---|" + "--:|" * 11
)


def table(searched: Sequence[Searched]) -> list[str]:
    return [SEARCHED] + [
        f"| {row.stage} | {row.engine} | {row.documents:,} | {row.candidates} | {row.effort} "
        f"| {row.callers} | {row.p50:.1f} | {row.p99:.1f} | {row.cpu:.1f} | {row.first_lonely:.3f} "
        f"| {row.first_topics:.3f} | {row.best_lonely:.3f} | {row.best_topics:.3f} |"
        for row in searched
    ]


def growth(searched: Sequence[Searched]) -> list[str]:
    """Say how p50 grows from the smallest collection of an engine to its others, at equal recall."""
    lines = []
    alone = [row for row in searched if row.callers == 1]
    for kind in dict.fromkeys((row.stage, row.engine, row.effort) for row in alone):
        smallest, *others = (row for row in alone if (row.stage, row.engine, row.effort) == kind)
        for size in dict.fromkeys(row.documents for row in others if row.documents > smallest.documents):
            of_size = [row for row in others if row.documents == size]
            enough = [row for row in of_size if recall(row) >= recall(smallest)]
            row = (enough or of_size[-1:])[0]
            missing = "" if enough else f", which still finds less: {recall(row):.3f} of {recall(smallest):.3f}"
            lines.append(
                f"- {row.stage}, {row.engine}, from {smallest.documents:,} to {size:,}: "
                f"p50 x {row.p50 / smallest.p50:.2f}, CPU x {row.cpu / smallest.cpu:.2f} "
                f"({row.candidates} candidates for {smallest.candidates}, effort {row.effort}{missing})"
            )
    return lines


def recall(row: Searched) -> float:
    """Return the share of the ten best that counts: of documents that have neighbours, where there are some."""
    return row.best_lonely if np.isnan(row.best_topics) else row.best_topics


def ten_million(loaded: Sequence[Loaded], searched: Sequence[Searched], documents: int = 10_000_000) -> list[str]:
    """Estimate clusters by the largest collection of each stage on a server, taken for one shard of many.

    Searched as it is by default.
    """
    by_default = {
        row.stage: row
        for row in searched
        if (row.engine, row.candidates, row.effort, row.callers) == ("server", CANDIDATES, EFFORT, 1)
    }
    return [
        as_cluster(row, way.cpu, documents)
        for stage, way in by_default.items()
        for row in loaded
        if (row.stage, row.engine, row.documents) == (stage, "server", way.documents)
    ]


def as_cluster(largest: Loaded, cpu: float, documents: int) -> str:
    shards = documents / largest.documents
    own, disk = (shards * size / 2**30 for size in (largest.own, largest.disk))
    adding = documents * largest.adding / largest.documents / 3_600
    return (
        f"- {largest.stage}, {documents:,} documents, one copy of each, as {shards:.0f} shards of "
        f"{largest.documents:,}: {disk:,.0f} GiB on disk (footprint {shards * largest.estimated_disk / 2**30:,.0f}), "
        f"{own:,.0f} GiB of the servers' own memory, and {shards * largest.estimated_memory / 2**30:,.0f} GiB with the "
        f"token vectors in the page cache, as `footprint` counts; {shards * cpu / 1e3:.1f} CPU seconds a search with "
        f"{CANDIDATES} candidates if every shard is asked, so that so many cores answer one search a second; "
        f"{adding:,.0f} hours of adding by one program, without a model."
    )


if __name__ == "__main__":
    main()
