"""How many documents a second `add` carries to a server where the encoder costs nothing.

    QDRANT_URL=http://localhost:6333 python tests/benchmarks/upload.py [--documents N] [--rounds N]

Token vectors of 64 x 96 numbers, drawn once, are what the encoder gives; no model is run. So what is left is what
`add` does by itself (fingerprints, payloads, look-ups, messages) and the server's own time. The CPU seconds are those
of this process: a document must not take more of them than a fast encoder takes for it, 0.5 ms at 2,000 documents a
second. REST and gRPC take turns in each round, and qdrant-client's own upsert of the same points over gRPC is beside
them; the table shows medians.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection

TOKENS, DIM = 64, 96


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
    url = os.environ.get("QDRANT_URL")
    if not url:
        sys.exit("set QDRANT_URL to a Qdrant server")
    texts = [f"document {number} of many that are of this length or nearly so" for number in range(arguments.documents)]
    drawn = Drawn(texts)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "add, REST": lambda: added(drawn, texts, url=url),
        "add, gRPC": lambda: added(drawn, texts, url=url, prefer_grpc=True),
        "qdrant-client, gRPC, the same points": lambda: upserted(drawn, texts, url),
    }
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way, run in ways.items():
            taken[way].append(run())
    print(f"{len(texts):,} documents of {TOKENS} x {DIM}, no model, medians of {arguments.rounds} rounds:\n")
    print("| | documents a second | our CPU ms a document |\n|---|---|---|")
    for way, runs in taken.items():
        wall, cpu = (median(column) for column in zip(*runs, strict=True))
        print(f"| {way} | {len(texts) / wall:,.0f} | {cpu / len(texts) * 1000:.2f} |")


def added(drawn: Drawn, texts: list[str], **place: Any) -> tuple[float, float]:
    with MultivectorCollection(f"upload-{uuid.uuid4().hex}", drawn, **place) as collection:
        wall, cpu = time.perf_counter(), time.process_time()
        collection.add(texts)
        taken = time.perf_counter() - wall, time.process_time() - cpu
        collection.drop()
    return taken


def upserted(drawn: Drawn, texts: list[str], url: str) -> tuple[float, float]:
    """Send what `add` would, without its look-ups and fingerprints, as the client is used by hand."""
    client = QdrantClient(url, prefer_grpc=True)
    name = f"upload-{uuid.uuid4().hex}"
    with MultivectorCollection(name, drawn, client=client) as collection:
        wall, cpu = time.perf_counter(), time.process_time()
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
        taken = time.perf_counter() - wall, time.process_time() - cpu
        collection.drop()
    client.close()
    return taken


if __name__ == "__main__":
    main()
