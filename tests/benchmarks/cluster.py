"""Three nodes: adding and searching while one is killed, comes back, and another leaves for good.

    QDRANT_BINARY=.../qdrant python tests/benchmarks/cluster.py [--documents N]

Documents of 8 x 32 with given vectors go into a collection of 6 shards, two copies of each, while searches run without
pause. At a fifth of the documents a node is killed (SIGKILL) for some seconds; at three fifths another leaves: its
shards move, then it is struck off. At the end every acknowledged document is fetched by its id, a snapshot is taken and
restored under another name, and what is in there is counted.

The share of the ten best is exact: of the ten best among the documents that were acknowledged before a search began,
how many were among its hits, or no better than the last of these, which came meanwhile.

With ``write_consistency_factor=2``, as in examples/cluster.py, a write is acknowledged by both copies, and so waits
for a dead node to come back; with 1 it goes on. Where the node that is killed is the one that the program speaks to,
nobody answers until it is back: `add` is to outlast that, and searches fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient

from colbert_qdrant import MultivectorCollection, Storage
from colbert_qdrant.errors import EngineUnavailable

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from servers import Cluster, own_cluster

RUNS: dict[str, dict[str, Any]] = {
    "another, both copies acknowledge": {"factor": 2},
    "another, one copy acknowledges": {"factor": 1},
    "another, both copies acknowledge, gRPC": {"factor": 2, "grpc": True},
    "the one spoken to, both copies acknowledge": {"factor": 2, "spoken_to": True},
}

TOKENS, DIM, BATCH, QUERIES = 8, 32, 500, 32
BEFORE, KILLED, BACK, LEAVING, AFTER = "before", "a node is killed", "it is back", "another leaves", "after"


@dataclass
class Search:
    """One search: when it was, and what was to be found and was."""

    phase: str
    query: int
    acknowledged: int
    hits: dict[str, float]


@dataclass
class Outcome:
    """What came of a run."""

    documents: int
    lost: int = 0
    added_without: int = 0
    failed_adds: int = 0
    failed_searches: int = 0
    restored: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    searches: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=50_000)
    arguments = parser.parse_args()
    print("| node killed | documents | lost | added while it was dead | adds failed | searches failed | restored |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    outcomes = {}
    for name, how in RUNS.items():
        with tempfile.TemporaryDirectory() as folder, own_cluster(Path(folder)) as cluster:
            outcomes[name] = found = run(cluster, arguments.documents, **how)
        print(name, found, file=sys.stderr, flush=True)
        print(
            f"| {name} | {found.documents:,} | {found.lost} | {found.added_without:,} "
            f"| {found.failed_adds} | {found.failed_searches} | {found.restored:,} |",
            flush=True,
        )
    print("\n| node killed | while | searches | share of the exact ten best |\n|---|---|--:|--:|")
    for name, found in outcomes.items():
        for phase, share in found.shares.items():
            print(f"| {name} | {phase} | {found.searches[phase]:,} | {share:.4f} |")
    for name, found in outcomes.items():
        for reason in dict.fromkeys(found.reasons):
            print(f"\n{name}: {reason:.300}")


def run(
    cluster: Cluster, documents: int, *, factor: int, spoken_to: bool = False, grpc: bool = False, seconds: float = 5
) -> Outcome:
    """Add and search while nodes come and go; returns what was lost and what failed."""
    dice = np.random.default_rng(0)
    vectors = dice.standard_normal((documents, TOKENS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    queries = vectors[:QUERIES] + 0.15 * dice.standard_normal((QUERIES, TOKENS, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    storage = Storage(shard_number=6, replication_factor=2, write_consistency_factor=factor, on_disk_payload=True)
    outcome, searches = Outcome(documents), list[Search]()
    state: dict[str, Any] = {"phase": BEFORE, "acknowledged": 0, "done": False}
    killed, leaving, stays = (0, 2, 1) if spoken_to else (1, 2, 0)

    place: dict[str, Any] = {"url": cluster.url(0)}
    if grpc:
        place |= {"prefer_grpc": True, "client_options": {"grpc_port": cluster.ports[0] + 1}}

    def opened() -> MultivectorCollection:
        return MultivectorCollection("docs", None, dim=DIM, **place, stages=[], storage=storage)

    def add() -> None:
        with opened() as collection:
            for at in range(0, documents, BATCH):
                rows = range(at, min(at + BATCH, documents))
                columns = {"ids": [str(row) for row in rows], "vectors": vectors[at : rows.stop]}
                while True:
                    try:
                        collection.add([f"document {row}" for row in rows], **columns, show_progress=False)
                        break
                    except EngineUnavailable as error:
                        outcome.failed_adds += 1
                        outcome.reasons.append(f"add: {error}")
                state["acknowledged"] = rows.stop

    def search() -> None:
        with opened() as collection:
            number = 0
            while not state["done"]:
                phase, acknowledged, query = state["phase"], state["acknowledged"], number % QUERIES
                number += 1
                try:
                    hits = collection.search(queries[query], limit=10)
                except EngineUnavailable as error:
                    outcome.failed_searches += 1
                    outcome.reasons.append(f"search: {error}")
                else:
                    searches.append(Search(phase, query, acknowledged, {hit.id: hit.score for hit in hits}))

    opened().close()
    adding, searching = (_thread(work, outcome) for work in (add, search))
    reached = lambda share: _await(lambda: state["acknowledged"] >= share * documents, adding)  # noqa: E731

    def enter(phase: str) -> None:
        """Go on to the next phase, once a search of this one can be rated."""
        _await(lambda: any(each.phase == state["phase"] and each.acknowledged >= 10 for each in searches), searching)
        state["phase"] = phase

    reached(0.2)
    enter(KILLED)
    cluster.kill(killed)
    reached_when_killed = state["acknowledged"]
    time.sleep(seconds)
    outcome.added_without = state["acknowledged"] - reached_when_killed
    cluster.start(killed)
    enter(BACK)
    cluster.await_active("docs", asked=stays)
    reached(0.6)
    enter(LEAVING)
    cluster.remove(leaving, asked=stays)
    adding.join()
    cluster.await_active("docs", asked=stays)
    enter(AFTER)
    time.sleep(2)
    state["done"] = True
    searching.join()

    with opened() as collection:
        ids = [str(row) for row in range(documents)]
        found = {record.id for at in range(0, documents, 1_000) for record in collection.get(ids[at : at + 1_000])}
        outcome.lost = documents - len(found)
    outcome.restored = restored(cluster, stays)
    _rate(outcome, searches, vectors, queries)
    return outcome


def restored(cluster: Cluster, node: int) -> int:
    """Take a snapshot, restore it under another name, and return how many documents are there.

    Two nodes are left, and two copies of each shard: each of them has all. Of more nodes each one's is taken.
    https://qdrant.tech/documentation/concepts/snapshots/
    """
    client = QdrantClient(url=cluster.url(node), timeout=300)
    try:
        snapshot = client.create_snapshot("docs", wait=True)
        assert snapshot is not None
        place = f"http://127.0.0.1:{cluster.ports[node]}/collections/docs/snapshots/{snapshot.name}"
        client.recover_snapshot("docs-again", place, priority="snapshot", wait=True)  # type: ignore[arg-type]
        cluster.await_active("docs-again", asked=node)
    finally:
        client.close()
    with MultivectorCollection("docs-again", None, dim=DIM, url=cluster.url(node), create=False) as again:
        assert again.search(np.eye(TOKENS, DIM, dtype=np.float32), limit=1)
        return again.count()


def _rate(outcome: Outcome, searches: list[Search], vectors: Any, queries: Any) -> None:
    """Say for each phase which share of the ten best was found."""
    tokens = vectors.reshape(-1, DIM)
    scores = [(tokens @ query.T).reshape(len(vectors), TOKENS, -1).max(axis=1).sum(axis=1) for query in queries]
    shares: dict[str, list[float]] = {}
    for search in searches:
        known = scores[search.query][: search.acknowledged]
        best = np.argsort(-known)[:10]
        if len(best) < 10:
            continue
        displaced = min(search.hits.values(), default=0.0) + 0.005  # what half precision can't tell apart is as good
        kept = [str(row) in search.hits or (len(search.hits) == 10 and known[row] <= displaced) for row in best]
        shares.setdefault(search.phase, []).append(float(np.mean(kept)))
    outcome.shares = {phase: float(np.mean(each)) for phase, each in shares.items()}
    outcome.searches = {phase: len(each) for phase, each in shares.items()}


def _thread(work: Callable[[], None], outcome: Outcome) -> threading.Thread:
    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            outcome.reasons.append(f"{work.__name__} ended: {error!r}")
            raise

    thread = threading.Thread(target=guarded, name=work.__name__, daemon=True)
    thread.start()
    return thread


def _await(reached: Callable[[], bool], working: threading.Thread) -> None:
    while not reached() and working.is_alive():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
