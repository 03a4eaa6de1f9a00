"""How long MUVERA encodings take, beside FastEmbed 0.9.1 on the same token vectors.

    python tests/benchmarks/muvera_vs_fastembed.py [--dim N] [--rounds N] [--fastembed-env FOLDER] [--check]

Random unit vectors, MUVERA's default settings: 10,240 numbers an encoding. Documents are encoded as a list where
there is a call for that, queries one by one. Each run is a process of its own that encodes everything four times and
takes the median CPU seconds, of all threads, of the last three; runs alternate, the table shows medians.
Milliseconds are the machine's; only the ratios are claimed. FastEmbed gets an environment of its own, made on first
use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).absolute().parent
ENVIRONMENT = Path.home() / ".cache/colbert-qdrant/fastembed-0.9.1"
SYSTEMS = ("fastembed", "colbert-qdrant")
TEXTS = 200
TOKENS = {"query": (32,), "document": (16, 64, 180, 300)}
LEAST_RATIO = 6.0
TOLERANCE = 1e-5

Vectors = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fastembed-env", type=Path, default=ENVIRONMENT, help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="fail when a claimed ratio is missed")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent))
    from environments import FASTEMBED, python_with

    fastembed = python_with(arguments.fastembed_env, FASTEMBED)
    interpreters = {"fastembed": fastembed, "colbert-qdrant": Path(sys.executable)}
    runs: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.savez(folder / "tokens.npz", **workloads(arguments.dim))
        for number in range(arguments.rounds):
            for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
                command = [interpreters[system], __file__, "measure", system, folder]
                printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                runs[system].append(json.loads(printed))
        apart = difference(folder)

    ratios = report(runs)
    print(f"\nLargest difference between the two systems' encodings: {apart:.1e}")
    if arguments.check and (min(ratios.values()) < LEAST_RATIO or not apart <= TOLERANCE):
        sys.exit(f"Missed: every ratio at least {LEAST_RATIO}, no difference above {TOLERANCE}")


def workloads(dim: int) -> dict[str, Vectors]:
    """Return ``(texts, tokens, dim)`` unit vectors by name: kind and number of tokens."""
    random = np.random.RandomState(0)
    made = {}
    for kind, lengths in TOKENS.items():
        for tokens in lengths:
            vectors = random.normal(size=(TEXTS, tokens, dim))
            vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
            made[f"{kind}, {tokens} tokens"] = vectors.astype(np.float32)
    return made


def measure(system: str, folder: str) -> None:
    """Encode every workload, save the encodings and print milliseconds a text: all that a child process does."""
    milliseconds, encodings = {}, {}
    with np.load(Path(folder) / "tokens.npz") as arrays:
        for name, texts in arrays.items():
            encode = encoder(system, texts.shape[2], name.partition(",")[0])
            seconds = []
            for _ in range(4):  # the first one warms up
                start = time.process_time()
                encodings[name] = encode(texts)
                seconds.append(time.process_time() - start)
            milliseconds[name] = median(seconds[1:]) / len(texts) * 1000
    np.savez(Path(folder) / f"{system}.npz", **encodings)
    print(json.dumps(milliseconds))


def encoder(system: str, dim: int, kind: str) -> Callable[[Vectors], Vectors]:
    if system == "fastembed":
        from fastembed.postprocess import Muvera as FastEmbedMuvera

        theirs = FastEmbedMuvera(dim)
        encode_one = theirs.process_document if kind == "document" else theirs.process_query
        return lambda texts: np.stack([encode_one(text) for text in texts])
    from colbert_qdrant import Muvera

    ours = Muvera(dim)
    if kind == "document":
        return ours.process_documents
    return lambda texts: np.stack([ours.process_query(text) for text in texts])


def difference(folder: Path) -> float:
    one, other = (np.load(folder / f"{system}.npz") for system in SYSTEMS)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def report(runs: Mapping[str, list[dict[str, float]]]) -> dict[str, float]:
    """Print the table; return FastEmbed's median over ours for each workload."""
    ratios = {}
    print("| encoded | FastEmbed, CPU ms | colbert-qdrant, CPU ms | ratio |\n|---|--:|--:|--:|")
    for name in runs[SYSTEMS[0]][0]:
        theirs, ours = (median(run[name] for run in runs[system]) for system in SYSTEMS)
        ratios[name] = theirs / ours
        print(f"| {name} | {theirs:.2f} | {ours:.3f} | {ratios[name]:.1f}x less |")
    return ratios


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
