"""What `precision="int8"` saves, how far its vectors are from float32's, and what that changes in a ranking.

    python tests/benchmarks/precision.py [--shapes NAME...] [--sets NAME...] [--texts N] [--documents N] [--check]

Time: passages of the standard library's docstrings through graphs of three shapes with random weights (which change no
operation), and through the offline model: in float32, in int8 with a scale for each token, and as the file that hubs
carry (`quantize_dynamic`, a scale for each channel), which this encoder gives one text a run. CPU seconds, of one
thread, the least of the rounds, which take turns.

Vectors: the cosine of each token's with float32's, its mean and the least; and the largest difference between a text's
vectors alone and in company.

Quality: nDCG@10 over test sets in BEIR layout, every document ranked by MaxSim, with the offline model's graph in
float32 and in int8, and with the numbers a token cut by the projection that this package ships. Shown beside float32 is
the difference, with the standard error over questions. Of a set the documents that answer something are kept and
`--documents` others: all of SciFact, three times, is an hour of encoding.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dynamic_int8 import quantize
from encode_vs_fastembed import SHAPES
from ingest import passages
from judged import DATA, Judged, load_each, ndcg

from colbert_qdrant import ColbertEmbedder, maxsim
from colbert_qdrant.embedding.processor import int8_pays
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from tiny_models import build_colbert, build_modern_colbert

LEAST_SPEED_UP = {"minilm": 1.9, "colbertv2": 2.4}
LEAST_COSINE = {"mean": 0.998, "least": 0.988}
MOST_LOST = 0.003
SETS = ("xquad_en", "cranfield", "scifact")
BUILDERS = {
    "minilm": lambda folder: build_colbert(folder, **SHAPES["minilm"]),
    "colbertv2": lambda folder: build_colbert(folder, **SHAPES["colbertv2"]),
    "modernbert": lambda folder: build_modern_colbert(folder, hidden=768, layers=6, heads=12, intermediate=1152),
}
NAMES = {
    "minilm": "6 layers of 384",
    "colbertv2": "12 layers of 768",
    "modernbert": "ModernBERT, 6 layers of 768",
    "offline": OFFLINE_MODEL,
}


@dataclass(frozen=True)
class Speed:
    """CPU seconds, and how near the vectors are."""

    float32: float
    int8: float
    hub: float | None
    mean: float
    least: float
    hub_mean: float | None
    hub_least: float | None
    apart: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=NAMES, default=list(NAMES), help="default: all")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS), help="default: all that are there")
    parser.add_argument("--texts", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--documents", type=int, default=300, help="beside those that answer, default: %(default)s")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the test sets, default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail when a claim is missed")
    options = parser.parse_args()
    print(f"Integer products on this processor: {'faster' if int8_pays() else 'none, float32 is as fast'}\n")
    speeds = {name: speed(name, passages(options.texts), options.rounds) for name in options.shapes}
    if speeds:
        print(speed_table(speeds))
    quality: dict[str, dict[str, list[float]]] = {}
    for judged in load_each(options.data, options.sets) if options.sets else ():
        quality[judged.name] = of_quality(judged.beside(options.documents))
        print(quality_table(judged.name, quality[judged.name]), flush=True)
    if options.json:
        means = {name: {row: float(np.mean(each)) for row, each in rows.items()} for name, rows in quality.items()}
        figures = {"speed": {name: asdict(each) for name, each in speeds.items()}, "ndcg": means}
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if options.check and (missed := misses(speeds, quality)):
        sys.exit("Missed: " + "; ".join(missed))


def speed(name: str, texts: Sequence[str], rounds: int) -> Speed:
    with tempfile.TemporaryDirectory() as scratch:
        model = OFFLINE_MODEL if name == "offline" else str(BUILDERS[name](Path(scratch) / "model"))
        made = {
            "float32": ColbertEmbedder(model, threads=1),
            "int8": ColbertEmbedder(model, threads=1, precision="int8"),
        }
        made["hub"] = ColbertEmbedder(hub_file(made["float32"], Path(scratch) / "hub"), threads=1)
        vectors = {kind: list(embedder.embed(texts)) for kind, embedder in made.items()}
        least = dict.fromkeys(made, float("inf"))
        for _ in range(rounds):
            for kind, embedder in made.items():
                least[kind] = min(least[kind], seconds(embedder, texts))
        alone = [next(made["int8"].embed(text)) for text in texts[:16]]
    apart = max(float(np.abs(one - other).max()) for one, other in zip(alone, vectors["int8"], strict=False))
    near = {kind: cosines(vectors["float32"], vectors[kind]) for kind in ("int8", "hub")}
    return Speed(
        float32=least["float32"],
        int8=least["int8"],
        hub=least["hub"],
        mean=float(near["int8"].mean()),
        least=float(near["int8"].min()),
        hub_mean=float(near["hub"].mean()),
        hub_least=float(near["hub"].min()),
        apart=apart,
    )


def hub_file(whole: ColbertEmbedder, folder: Path) -> Path:
    folder.mkdir()
    return quantize(whole, folder)


def seconds(embedder: ColbertEmbedder, texts: Sequence[str]) -> float:
    start = time.process_time()
    list(embedder.embed(texts))
    return time.process_time() - start


def cosines(exact: Sequence[np.ndarray], ours: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.einsum("ij,ij->i", one, other) for one, other in zip(exact, ours, strict=True)])


def of_quality(judged: Judged) -> dict[str, list[float]]:
    """Return nDCG@10 of every question, by what computed the vectors."""
    systems = {
        "float32": ColbertEmbedder(OFFLINE_MODEL),
        "int8": ColbertEmbedder(OFFLINE_MODEL, precision="int8"),
        "int8, 128 numbers, float16": ColbertEmbedder(f"{OFFLINE_MODEL}-128d", dtype="float16"),
    }
    return {name: each_ndcg(judged, embedder) for name, embedder in systems.items()}


def each_ndcg(judged: Judged, embedder: ColbertEmbedder) -> list[float]:
    names = np.array(list(judged.documents))
    documents = [vectors.astype(np.float32) for vectors in embedder.embed(judged.documents.values())]
    figures = []
    for query, vectors in zip(judged.queries, embedder.query_embed(judged.queries.values()), strict=True):
        best = np.argsort(-maxsim(vectors.astype(np.float32), documents), kind="stable")[:10]
        figures.append(ndcg(names[best].tolist(), judged.grades[query]))
    return figures


def speed_table(speeds: Mapping[str, Speed]) -> str:
    lines = [
        "| graph | float32, CPU s | int8 by token | | cosine, mean / least | alone and in company | "
        "hub's int8, CPU s | cosine, mean / least |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, each in speeds.items():
        lines.append(
            f"| {NAMES[name]} | {each.float32:.2f} | {each.int8:.2f} | {each.float32 / each.int8:.2f}x | "
            f"{each.mean:.4f} / {each.least:.3f} | {each.apart:.1e} | {each.hub:.2f} | "
            f"{each.hub_mean:.4f} / {each.hub_least:.3f} |"
        )
    return "\n".join(lines) + "\n"


def quality_table(name: str, rows: Mapping[str, Sequence[float]]) -> str:
    exact = np.array(rows["float32"])
    lines = [
        f"{name}, {len(exact)} questions, model {OFFLINE_MODEL}\n",
        "| vectors | nDCG@10 | beside float32 |",
        "|---|--:|--:|",
    ]
    for row, each in rows.items():
        difference = (np.array(each) - exact) / exact.mean()
        error = difference.std() / len(exact) ** 0.5
        lines.append(f"| {row} | {np.mean(each):.4f} | {difference.mean():+.2%} ± {error:.2%} |")
    return "\n".join(lines) + "\n"


def misses(speeds: Mapping[str, Speed], quality: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    for name, each in speeds.items():
        if each.float32 / each.int8 < LEAST_SPEED_UP.get(name, 1.0):
            found.append(f"{NAMES[name]}: {each.float32 / each.int8:.2f}x")
        if name == "offline" and (each.mean < LEAST_COSINE["mean"] or each.least < LEAST_COSINE["least"]):
            found.append(f"cosine {each.mean:.4f} / {each.least:.4f}")
        if each.apart:
            found.append(f"{NAMES[name]}: alone and in company {each.apart:.1e} apart")
    for name, rows in quality.items():
        lost = 1 - float(np.mean(rows["int8"]) / np.mean(rows["float32"]))
        if lost > MOST_LOST:
            found.append(f"{name}: nDCG@10 {lost:.2%} lower")
    return found


if __name__ == "__main__":
    main()
