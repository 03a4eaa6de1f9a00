"""Documents a second from text to stored, and how much of the time is not ONNX Runtime's.

    [QDRANT_BINARY=.../qdrant] python tests/benchmarks/ingest.py [--texts N] [--rounds N] [--check]

Passages of 20 to 120 words from the standard library's docstrings go through `add`, into the embedded engine, into
memory and, where there is one, into a server of this program's own, over REST and gRPC: with a model of answerai-
colbert-small-v1's shape (12 layers, token vectors of 96 numbers) and random weights, and with the offline model,
whose 6 layers leave a document four times the numbers to store. The time outside the model is found by leaving
everything else out: what `add` gave to ONNX Runtime is noted once, and in each round those same runs are repeated
bare, on the same sessions by as many threads. What `add` takes longer than that is tokenizing, cutting batches,
collecting vectors, fingerprints, payloads, look-ups and storing, and where these don't overlap with a run, waiting:

    share outside = 1 - seconds of the bare runs / seconds of add

taken of the wall clock, and of the CPU seconds of all threads, which other programs on the machine disturb less.
Encoding without storing (`embed`) is measured beside it, which tells the encoder's part of that share from the
collection's. They take turns in each round; the table shows medians, for the shares medians of the rounds'.
Seconds are the machine's; the share of a ColBERT's shape is claimed: at most 15 %.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from encode_vs_fastembed import SHAPES, docstrings
from qdrant_client import QdrantClient

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from servers import BINARY, own_server
from tiny_models import build_colbert

MOST_OUTSIDE = 0.15
BARE, ENCODED, EMBEDDED, IN_MEMORY = "the model's runs alone", "embed", "add, embedded engine", "add, in memory"
REST, GRPC = "add, server, REST", "add, server, gRPC"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail when the claimed share is missed")
    arguments = parser.parse_args()
    texts = passages(arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        colbert = ColbertEmbedder(str(build_colbert(Path(folder) / "colbert", **SHAPES["answerai-small"])))
        outside = measure(colbert, texts, arguments.rounds, "a ColBERT of 12 layers, 96 numbers a token")
    measure(ColbertEmbedder(OFFLINE_MODEL), texts, arguments.rounds, f"{OFFLINE_MODEL}: 6 layers, 384 numbers a token")
    worst = max(share.wall for name, share in outside.items() if name not in (BARE, ENCODED))
    if arguments.check and worst > MOST_OUTSIDE:
        sys.exit(f"Missed: {worst:.1%} of the time is outside the model's runs, over {MOST_OUTSIDE:.0%}")


def measure(embedder: ColbertEmbedder, texts: Sequence[str], rounds: int, label: str) -> dict[str, Seconds]:
    """Print the table of a model; return the shares."""
    runs = Runs(embedder, texts)
    measured: dict[str, list[Seconds]] = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            embedded = MultivectorCollection("ingest", embedder, path=folder)
            in_memory = MultivectorCollection("ingest", embedder, client=QdrantClient(":memory:"))
            work: dict[str, Callable[[], Any]] = {
                BARE: runs.repeat,
                ENCODED: lambda: list(embedder.embed(texts)),
                EMBEDDED: lambda: embedded.add(texts, show_progress=False),  # noqa: B023  # called in this round
                IN_MEMORY: lambda: in_memory.add(texts, show_progress=False),  # noqa: B023
            }
            if BINARY:
                served_from = Path(folder) / "server"
                served_from.mkdir()
                process = stack.enter_context(own_server(served_from))
                for name, place in ((REST, {"url": process.url}), (GRPC, process.grpc)):
                    served = stack.enter_context(MultivectorCollection(name[-4:], embedder, **place))
                    work[name] = partial(served.add, texts, show_progress=False)
            for name in work if number % 2 == 0 else reversed(work):
                measured.setdefault(name, []).append(timed(work[name]))
            embedded.close()

    outside = {name: shares(measured[BARE], rounds) for name, rounds in measured.items()}
    print(f"{label}\n\n{table(measured, outside, len(texts))}\n")
    return outside


@dataclass(frozen=True)
class Seconds:
    wall: float
    cpu: float


def timed(work: Callable[[], Any]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def shares(bare: list[Seconds], whole: list[Seconds]) -> Seconds:
    """Return which share of the whole is not in the bare runs of the same round: the median over the rounds."""
    pairs = list(zip(bare, whole, strict=True))
    return Seconds(median(1 - b.wall / w.wall for b, w in pairs), median(1 - b.cpu / w.cpu for b, w in pairs))


class Runs:
    """What encoding texts asks of ONNX Runtime, to be asked again with nothing around it."""

    def __init__(self, embedder: ColbertEmbedder, texts: Sequence[str]) -> None:
        encoder = embedder._document_encoder
        self._pool, self._sessions = encoder._pool, encoder._sessions
        self._noted: list[tuple[Any, ...]] = []
        count = self._sessions.qsize()
        sessions = [self._sessions.get() for _ in range(count)]
        for session in sessions:
            self._sessions.put(_Noting(session, self._noted))
        list(embedder.embed(texts))
        for _ in range(count):
            self._sessions.get()
        for session in sessions:
            self._sessions.put(session)

    def repeat(self) -> None:
        for _ in self._pool.map(self._run, self._noted) if self._pool else map(self._run, self._noted):
            pass

    def _run(self, noted: tuple[Any, ...]) -> None:
        session = self._sessions.get()
        session.run(*noted)
        self._sessions.put(session)


class _Noting:
    def __init__(self, session: Any, noted: list[tuple[Any, ...]]) -> None:
        self._session, self._noted = session, noted

    def run(self, *arguments: Any) -> Any:
        self._noted.append(arguments)
        return self._session.run(*arguments)


def passages(count: int) -> list[str]:
    words = " ".join(docstrings()).split()
    dice = random.Random(0)
    starts = [dice.randrange(len(words) - 120) for _ in range(count)]
    return [
        f"{number}: {' '.join(words[start : start + dice.randint(20, 120)])}" for number, start in enumerate(starts)
    ]


def table(measured: dict[str, list[Seconds]], outside: dict[str, Seconds], texts: int) -> str:
    lines = ["| what | wall, s | CPU, s | documents/s | outside, wall | outside, CPU |", "|---|--:|--:|--:|--:|--:|"]
    for name, rounds in measured.items():
        wall, cpu = median(each.wall for each in rounds), median(each.cpu for each in rounds)
        share = outside[name]
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {texts / wall:.0f} | {share.wall:.1%} | {share.cpu:.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
