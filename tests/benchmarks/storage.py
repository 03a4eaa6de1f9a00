"""What each way to store token vectors takes on a server, and what it finds.

    QDRANT_URL=http://localhost:6333 python tests/benchmarks/storage.py [--sets NAME ...] [--documents N] [--queries N]

Needs a server, named by QDRANT_URL. The vectors of all-MiniLM-L6-v2-int8 are encoded once and given to every
collection (`add(..., vectors=)`). Of every set the documents are stored that answer the queries, and N others.

- *nDCG@10*: as a collection searches by default. Where vectors are quantised, the copy selects twice as many hits as
  are wanted (`Storage.oversampling`), and the originals order those.
- *copy alone*: the quantised copy's own order, nothing rescored.
- *beside float32*: the difference of the first, in percent.
- *ms*: the median of those searches, each over all documents; it is shown beside float32's as well.
- *bytes, estimated*: vectors and quantised copies of a document, as `footprint` has them; *stored*: what the files of
  the server's folder take (``--folder``, of a server on this machine).

The collections have no graph (``m=0``), so that every document is compared, and ``exact`` is not set, as Qdrant then
leaves the quantised copy aside. That a copy is what selects is checked: its scores are not those of the originals.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from encoded import Vectors, tokens_of
from judged import DATA, Judged, load_each, ndcg
from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection, Storage
from colbert_qdrant.collection.storage import footprint
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.errors import ColbertQdrantError

SETS = ("xquad_en", "cranfield", "scifact")
NO_GRAPH = models.HnswConfigDiff(m=0)
NAME = "benchmark-storage"
COPY_ALONE = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))
PATIENCE = 120
"""Seconds that the server may take to make the quantised copies."""

WAYS: dict[str, dict[str, Any]] = {
    "float32": {"datatype": "float32"},
    "float16": {"datatype": "float16"},
    "turbo8": {"datatype": "turbo8"},
    "turbo4": {"datatype": "turbo4"},
    **{
        f"float16 + {copy}": {"quantization": copy}
        for copy in (
            "int8", "turbo8", "turbo", "turbo2", "turbo1.5", "turbo1", "binary2", "binary1.5", "binary", "product"
        )
    },
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What one way to store came to."""

    ndcg: float
    copy: float | None
    milliseconds: float
    estimated: float
    stored: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--documents", type=int, default=300, help="beside those that answer, default: %(default)s")
    parser.add_argument("--queries", type=int, default=100, help="most queries of a set, default: %(default)s")
    parser.add_argument("--folder", type=Path, default=os.environ.get("QDRANT_STORAGE"), help="the server's storage")
    arguments = parser.parse_args()
    url = os.environ.get("QDRANT_URL") or sys.exit("Set QDRANT_URL to a Qdrant server")
    client = QdrantClient(url, prefer_grpc=True, grpc_port=int(os.environ.get("QDRANT_GRPC_PORT", "6334")), timeout=60)
    print(f"{OFFLINE_MODEL}, Qdrant {client.info().version}")
    try:
        for judged in load_each(arguments.data, arguments.sets):
            part = judged.sample(arguments.queries).beside(arguments.documents)
            vectors = tokens_of(part)
            print(f"\n## {part.name}: {len(part.documents)} documents, {len(part.queries)} queries\n", flush=True)
            for line in table(measure(client, part, way, vectors, arguments.folder) for way in WAYS):
                print(line, flush=True)
    finally:
        client.delete_collection(NAME)


def measure(
    client: QdrantClient, judged: Judged, way: str, vectors: tuple[list[Vectors], list[Vectors]], folder: Path | None
) -> tuple[str, Row | str]:
    """Store a set in one way and search it; the reason where the server has no such way."""
    documents, queries = vectors
    dim = documents[0].shape[1]
    storage = Storage(hnsw=NO_GRAPH, **WAYS[way])
    client.delete_collection(NAME)
    try:
        collection = MultivectorCollection(NAME, None, dim=dim, client=client, storage=storage)
    except ColbertQdrantError as error:
        return way, f"refused: {str(error).partition(': ')[2].partition(':')[0]}"
    collection.add(list(judged.documents.values()), ids=list(judged.documents), vectors=documents, show_progress=False)
    client.update_collection(
        NAME, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1, flush_interval_sec=1)
    )

    def search(params: models.SearchParams | None) -> tuple[float, float]:
        """Ask every question; returns nDCG@10 and the median of the milliseconds."""
        quality, taken = [], []
        for query, grades in zip(queries, (judged.grades[query] for query in judged.queries), strict=True):
            start = time.perf_counter()
            hits = collection.search(query, 10, search_params=params)
            taken.append(1e3 * (time.perf_counter() - start))
            quality.append(ndcg([hit.id for hit in hits], grades))
        return fmean(quality), median(taken)

    settle(client, len(documents))
    alone = None
    if storage.quantization is not None:
        check_copy(collection, queries[0])
        alone, _ = search(COPY_ALONE)
    tokens = fmean(map(len, documents))
    estimate = footprint(storage, documents=1, tokens=tokens, dim=dim, stages=(), text=0)
    found, milliseconds = search(None)
    stored = folder and steady(folder / "collections" / NAME) / len(documents)
    return way, Row(found, alone, milliseconds, estimate.disk, stored)


def settle(client: QdrantClient, documents: int) -> None:
    """Wait until the server has rewritten every document as the collection is configured."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        info = client.get_collection(NAME)
        if info.status == models.CollectionStatus.GREEN and (info.indexed_vectors_count or 0) >= documents:
            return
        time.sleep(0.2)
    raise SystemExit(f"After {PATIENCE} s the server has still not rewritten its segments")


def check_copy(collection: MultivectorCollection, query: Vectors) -> None:
    """Refuse to go on where the quantised copy's scores are those of the originals."""
    by_copy, by_originals = (
        [hit.score for hit in collection.search(query, 10, search_params=params)]
        for params in (COPY_ALONE, models.SearchParams(exact=True))
    )
    if by_copy == by_originals:
        raise SystemExit("The server made no quantised copy: what was measured would be the originals")


def steady(folder: Path) -> int:
    """Return what the files take once the server has removed the segments that it rewrote."""
    sizes = [-1, vector_files(folder)]
    while len(sizes) < PATIENCE and len(set(sizes[-4:])) > 1:
        time.sleep(0.5)
        sizes.append(vector_files(folder))
    return sizes[-1]


def vector_files(folder: Path) -> int:
    """Return what the files of vectors and of their copies take on disk, in blocks as the file system counts them."""
    size = 0
    for file in folder.glob("**/vector_storage*/**/*"):
        with suppress(FileNotFoundError):  # the server removes what it has rewritten
            size += 512 * file.stat().st_blocks if file.is_file() else 0
    return size


def table(rows: Iterator[tuple[str, Row | str]]) -> Iterator[str]:
    yield "| stored as | nDCG@10 | beside float32 | copy alone | ms | beside float32 | bytes, estimated | stored |"
    yield "|---|" + "--:|" * 7
    whole = None
    for way, row in rows:
        if isinstance(row, str):
            yield f"| {way} | {row} |" + " |" * 6
            continue
        whole = whole or row
        alone = "" if row.copy is None else f"{row.copy:.4f}"
        stored = "" if row.stored is None else f"{row.stored:,.0f}"
        yield (
            f"| {way} | {row.ndcg:.4f} | {row.ndcg / whole.ndcg - 1:+.2%} | {alone} | {row.milliseconds:.1f} "
            f"| {row.milliseconds / whole.milliseconds:.2f}x | {row.estimated:,.0f} | {stored} |"
        )


if __name__ == "__main__":
    main()
