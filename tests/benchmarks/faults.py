"""How `add` comes through a server of which a fifth of all requests fail.

    python tests/benchmarks/faults.py [--texts N] [--share SHARE] [--seed N]

Texts go through the real client and a real socket of the loopback into a server that carries requests out and, on a
schedule that depends on the seed alone, resets the connection before a request is carried out, drops it after, lets
the answer come later than the client waits, cuts it in the middle, or answers 408, 429 (with Retry-After), 500 or 503.
Words are encoded by a table of random vectors, so that time goes to the wire and to waiting.

Every text must be stored once, with its own vectors; else the exit status is not 0.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from colbert_qdrant import MultivectorCollection
from conftest import WordEmbedder
from faulty_server import Request, serving, some_faults

VOCABULARY = [f"word{number}" for number in range(2000)]
TIMEOUT, STALL, RETRY_AFTER = 2, 2.5, "1"  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.2, help="of requests that fail, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    texts = [f"text{number} {' '.join(dice.choices(VOCABULARY, k=12))}" for number in range(arguments.texts)]

    with serving() as (server, url):
        collection = MultivectorCollection("faults", WordEmbedder(), url=url, timeout=TIMEOUT)
        server.requests.clear()
        server.stall, server.retry_after = STALL, RETRY_AFTER
        server.faults = some_faults(arguments.seed, arguments.share)
        started = time.perf_counter()
        report = collection.add(texts, show_progress=False)
        seconds = time.perf_counter() - started
        server.faults = iter(())
        print(summary(server.requests, seconds, len(texts)))
        print(report)
        wrong = misses(collection, texts)

    if wrong or report.added != len(texts):
        sys.exit(f"{len(wrong)} texts are missing, there twice, or have the vectors of another: {wrong[:5]}")
    print(f"All {len(texts):,} texts are stored, each once, with its own vectors.")


def summary(requests: list[Request], seconds: float, texts: int) -> str:
    faults = Counter(request.fault for request in requests if request.fault is not None)
    retries = faults.total()
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(faults.items()))
    return (
        f"{texts:,} texts in {seconds:.1f} s: {len(requests)} requests, {retries} of them failed "
        f"({retries / len(requests):.0%}) and were repeated: {kinds}"
    )


def misses(collection: MultivectorCollection, texts: list[str]) -> list[str]:
    """Return the texts that are not stored exactly once with the vectors they have."""
    times: Counter[str] = Counter()
    wrong = []
    embedder = WordEmbedder()
    for record in collection.scroll(with_vectors=True):
        times[record.text] += 1
        [expected] = embedder.embed(record.text)
        if record.vectors is None or not np.allclose(record.vectors, expected, atol=1e-5):
            wrong.append(record.text)
    expected_times = Counter(texts)
    return [*wrong, *(expected_times - times), *(times - expected_times)]


if __name__ == "__main__":
    main()
