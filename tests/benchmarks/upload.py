"""How many documents a second `add` carries to a server where the encoder costs nothing.

    QDRANT_BINARY=.../qdrant python tests/benchmarks/upload.py [--documents N] [--rounds N]

Token vectors of 64 x 96 numbers, drawn once, are what the encoder gives; no model is run. So what is left is what
`add` does by itself (fingerprints, payloads, look-ups, messages) and the server's own time. Beside the documents a
second stand the processor milliseconds that this process and the server spend on a document: what is left of the time
is waiting. REST and gRPC take turns in each round, beside them `add` with one request under way in place of several,
and qdrant-client's own upsert of the same points; the table shows medians. The server is this program's own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from scale import cpu_seconds

from servers import BINARY, Process, own_server

TOKENS, DIM = 64, 96

Taken: TypeAlias = tuple[float, float, float]


class Drawn:
    """Gives each text the vectors that were drawn for it."""

    model_name = "drawn"
    dim = DIM

    def __init__(self, texts: list[str]) -> None:
        vectors = np.random.default_rng(0).standard_normal((len(texts), TOKENS, DIM)).astype(np.float32)
        self.vectors = dict(zip(texts, vectors / np.linalg.norm(vectors, axis=2, keepdims=True), strict=True))

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        return (self.vectors[text] for text in ([documents] if isinstance(documents, str) else documents))

    query_embed = embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not BINARY:
        sys.exit("Set QDRANT_BINARY to Qdrant's executable")
    texts = [f"document {number} of many that are of this length or nearly so" for number in range(arguments.documents)]
    drawn = Drawn(texts)
    with tempfile.TemporaryDirectory() as folder, own_server(Path(folder)) as server:
        ways: dict[str, Callable[[], Taken]] = {
            "add, REST": lambda: added(server, drawn, texts, url=server.url),
            "add, gRPC": lambda: added(server, drawn, texts, **server.grpc),
            "add, gRPC, one request at a time": lambda: added(server, drawn, texts, at_once=1, **server.grpc),
            "qdrant-client, gRPC, the same points": lambda: upserted(server, drawn, texts),
        }
        taken: dict[str, list[Taken]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                taken[way].append(run())
    print(f"{len(texts):,} documents of {TOKENS} x {DIM}, no model, medians of {arguments.rounds} rounds:\n")
    print("| | documents a second | our CPU ms a document | the server's |\n|---|--:|--:|--:|")
    for way, runs in taken.items():
        wall, ours, theirs = (median(column) for column in zip(*runs, strict=True))
        print(f"| {way} | {len(texts) / wall:,.0f} | {1e3 * ours / len(texts):.2f} | {1e3 * theirs / len(texts):.2f} |")


def timed(server: Process, work: Callable[[], object]) -> Taken:
    """Return the seconds that work takes: of time, of this process and of the server."""
    wall, ours, both = time.perf_counter(), time.process_time(), cpu_seconds(server.popen.pid)
    work()
    wall, ours, both = (
        time.perf_counter() - wall,
        time.process_time() - ours,
        cpu_seconds(server.popen.pid) - both,
    )
    return wall, ours, both - ours


def added(server: Process, drawn: Drawn, texts: list[str], at_once: int | None = None, **place: Any) -> Taken:
    with MultivectorCollection(f"upload-{uuid.uuid4().hex}", drawn, **place) as collection:
        if at_once:
            collection.engine.wire = replace(collection.engine.wire, in_flight=at_once)
        taken = timed(server, lambda: collection.add(texts))
        collection.drop()
    return taken


def upserted(server: Process, drawn: Drawn, texts: list[str]) -> Taken:
    """Send what `add` would, without its look-ups and fingerprints, as the client is used by hand."""
    client = QdrantClient(server.url, prefer_grpc=True, grpc_port=server.port + 1)
    name = f"upload-{uuid.uuid4().hex}"

    def upsert() -> None:
        for at in range(0, len(texts), 256):
            points = [
                models.PointStruct(
                    id=str(uuid.uuid4()),
                    vector={collection.layout.vector_name: drawn.vectors[text].tolist()},
                    payload={"text": text, "metadata": {}},
                )
                for text in texts[at : at + 256]
            ]
            client.upsert(name, points, wait=True)

    with MultivectorCollection(name, drawn, client=client) as collection:
        taken = timed(server, upsert)
        collection.drop()
    client.close()
    return taken


if __name__ == "__main__":
    main()
