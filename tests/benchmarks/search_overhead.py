"""What `collection.search` adds to the request that it sends.

    python tests/benchmarks/search_overhead.py [--documents N] [--rounds N] [--json FILE] [--check]

A search is run once to see the request that reaches the engine's client: `QdrantClient`'s local mode, or the
embedded engine. Then the search, with the query's vectors given, and that very request, ready made, take turns. Shown
are the median milliseconds of the request, and the median of what the search took longer than the request beside it:
planning the request, a first stage's encoding of the query, and making hits of the points. Milliseconds are of
processor time; both do the same work in one thread, and other programs don't disturb it.

Documents and queries are synthetic, 64 and 32 vectors of 96 numbers, stored in half precision where nothing else is
said; the first stages are `Dense` with a vector of 96 numbers and `Muvera` with its 10,240.

``--check``: the search takes at most 10% or 1 ms more.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from embedded_engine import DIM, Given, synthetic

from colbert_qdrant import Dense, MultivectorCollection, Muvera, Storage

MOST_SHARE, MOST_MS = 0.10, 1.0


@dataclass(frozen=True)
class Overhead:
    """Milliseconds of the request alone, and what the search takes more."""

    engine: str
    search: str
    request: float
    more: float

    @property
    def is_little(self) -> bool:
        return self.more <= max(MOST_SHARE * self.request, MOST_MS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where the overhead is larger than claimed")
    arguments = parser.parse_args()

    found = measure(synthetic(arguments.documents, 20), arguments.documents, arguments.rounds)
    print("| engine | search | request, CPU ms | more in search, ms | more |\n|---|---|--:|--:|--:|")
    for row in found:
        share = row.more / row.request
        print(f"| {row.engine} | {row.search} | {row.request:.2f} | {row.more:+.2f} | {share:+.0%} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=2), encoding="utf-8")
    missed = [f"{row.engine}, {row.search}: {row.more:+.2f} ms" for row in found if not row.is_little]
    if arguments.check and missed:
        sys.exit("Missed: " + "; ".join(missed))


def measure(embedder: Given, documents: int, rounds: int) -> list[Overhead]:
    made: dict[str, dict[str, Any]] = {
        "no stage": {},
        "no stage, float32": {"storage": Storage(datatype="float32")},
        "Dense": {"stages": [Dense(embedder.means(), dim=DIM)]},
        "Muvera": {"stages": [Muvera(DIM)]},
    }
    texts = [str(number) for number in range(documents)]
    metadatas = [{"title": f"document {text}", "page": int(text), "tags": ["some", "tags"]} for text in texts]
    found = []
    for name, options in made.items():
        with ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory())
            for engine, place in {"embedded": {"path": folder}, "local mode": {"location": ":memory:"}}.items():
                collection = MultivectorCollection("overhead", embedder, **options, **place)
                opened.enter_context(collection)
                collection.add(texts, metadatas)
                for limit, candidates in ((10, 100), (100, 200)):
                    what = f"{name}, {limit} hits" + (f" of {candidates} candidates" if "stages" in options else "")
                    request, more = overhead(collection, limit, candidates, rounds)
                    found.append(Overhead(engine, what, request, more))
    return found


def overhead(collection: MultivectorCollection, limit: int, candidates: int, rounds: int) -> tuple[float, float]:
    """Return the milliseconds of the request alone and what `search` takes more: medians of the paired runs."""
    queries = [str(number) for number in range(20)]
    requests = {query: request_of(collection, query, limit, candidates) for query in queries}
    alone, more = [], []
    gc.collect()
    gc.disable()  # a collection of garbage would hit whoever is running
    try:
        for number in range(rounds):
            query = queries[number % len(queries)]
            method, arguments = requests[query]

            def search(query: str = query) -> object:
                return collection.search(query, limit, candidates=candidates)

            def send(method: Any = method, arguments: Mapping[str, Any] = arguments) -> object:
                return method(**arguments)

            both = {work: seconds(work) for work in ((search, send) if number % 2 else (send, search))}
            alone.append(both[send])
            more.append(both[search] - both[send])
    finally:
        gc.enable()
    return 1e3 * median(alone), 1e3 * median(more)


def request_of(
    collection: MultivectorCollection, query: str, limit: int, candidates: int
) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Return the client's method that a search ends in, and the arguments it gets."""
    seen: list[tuple[Callable[..., Any], Mapping[str, Any]]] = []
    client = collection.engine.client
    actual = client.query_points

    def recording(**arguments: Any) -> Any:
        seen.append((actual, arguments))
        return actual(**arguments)

    client.query_points = recording
    try:
        collection.search(query, limit, candidates=candidates)
    finally:
        del client.query_points
    return seen[0]


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
