"""How much memory it takes to encode texts, and to add them to an embedded collection.

    python tests/benchmarks/memory.py [--texts N] [--json FILE] [--check]

Texts are cut from the standard library's docstrings, their lengths skewed as those of passages are (lognormal, median
45 words, at most 220), and handed over by a generator. The offline model is loaded before anything is measured. Each
measurement is a process of its own:

- encoding: `ColbertEmbedder.embed`, each result dropped when the next one comes;
- adding: `MultivectorCollection.add` into the embedded engine.

Shown is how far memory rose above what the loaded model holds, at its peak: all that was resident, and of that what
is the process's own. The rest are pages of the collection's files, which the system takes back when it needs them.

``--check``: encoding rises by less than 300 MB, adding by less than 300 MB beyond the vectors that it stores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from encode_vs_fastembed import docstrings, peak_memory

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

TASKS = ("encoding", "adding")
MOST_MB = 300


@dataclass(frozen=True)
class Rise:
    """What one process measured, in MB."""

    vectors: float
    resident: float
    own: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2_000, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where more is taken than claimed")
    arguments = parser.parse_args()

    rises = {task: child(task, arguments.texts) for task in TASKS}
    print(f"{arguments.texts} texts\n")
    print("| | vectors, MB | memory rises by, MB | of that its own, MB |\n|---|--:|--:|--:|")
    for task, rise in rises.items():
        print(f"| {task} | {rise.vectors:.0f} | {rise.resident:.0f} | {rise.own:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rises, indent=2, default=asdict), encoding="utf-8")
    beyond = {"encoding": rises["encoding"].resident, "adding": rises["adding"].resident - rises["adding"].vectors}
    if arguments.check and (missed := [f"{task}: {rise:.0f} MB" for task, rise in beyond.items() if rise >= MOST_MB]):
        sys.exit("Missed: " + "; ".join(missed))


def child(task: str, texts: int) -> Rise:
    command = [sys.executable, "-W", "ignore", __file__, task, str(texts)]
    return Rise(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def measure(task: str, count: int) -> None:
    """Do one of the tasks and print a `Rise`: all that a child process does."""
    texts = passages(count)
    embedder = ColbertEmbedder(OFFLINE_MODEL)
    list(embedder.embed(["a warm-up", "and another"]))
    with tempfile.TemporaryDirectory() as folder:
        if task == "encoding":
            with watched() as memory:
                size = sum(vectors.nbytes for vectors in embedder.embed(texts))
        else:
            with MultivectorCollection("memory", embedder, path=folder) as collection:
                collection.add(["a warm-up", "and another"])
                with watched() as memory:
                    collection.add(texts)
                pages = collection.scroll(with_vectors=True)
                size = sum(record.vectors.nbytes for record in pages if record.vectors is not None)
    print(json.dumps(asdict(Rise(size / 2**20, memory.resident, memory.own))))


def passages(count: int) -> Iterator[str]:
    words = " ".join(docstrings()).split()
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(45), 0.7, count).astype(int).clip(3, 220).tolist()
    starts = [int(random.integers(len(words) - length)) for length in lengths]
    return (" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True))


@contextmanager
def watched() -> Iterator[Any]:
    """Measure how far memory rises in the block; what the process owns is looked at every few milliseconds."""
    # Linux lets a process lower its peak to what it holds now (proc(5), clear_refs).
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, own_before = peak_memory(), own_memory()
    own, stop = [own_before], threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            own.append(own_memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    risen = SimpleNamespace()
    try:
        yield risen
    finally:
        stop.set()
        watcher.join()
    risen.resident, risen.own = peak_memory() - before, max(own) - own_before


def own_memory() -> float:
    """Return the resident memory that belongs to no file, in MB; not a number where the system does not tell."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024
    return float("nan")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in TASKS:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main()
