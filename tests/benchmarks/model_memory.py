"""What a loaded model takes in memory, and one long text.

    python tests/benchmarks/model_memory.py [--models NAME...] [--tokens N] [--json FILE] [--check]

A model: memory that is the process's own (Linux's RssAnon), above what it had before the model was loaded, once a
document was encoded, and once a query was too, which takes a second session. The shapes have random weights.

A long text: how far the peak of memory rises above that, and CPU seconds of one thread, for one text of so many tokens,
4 layers of 384 with 12 heads, as this encoder runs the graph and as the graph is written. Each figure comes from a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from encode_vs_fastembed import SHAPES, peak_memory
from memory import own_memory

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding import loading
from colbert_qdrant.embedding.graph.wire import MalformedMessage
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
from tiny_models import build_colbert, build_modern_colbert

MODELS = {"offline": OFFLINE_MODEL, "minilm": "6 layers of 384", "colbertv2": "12 layers of 768"}
LONG = {"BERT's layers": build_colbert, "ModernBERT's, all of them global": build_modern_colbert}
SHAPE = {"hidden": 384, "layers": 4, "heads": 12, "intermediate": 768, "positions": 8192}
MOST_OF_A_LONG_TEXT = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS), help="default: all")
    parser.add_argument("--tokens", type=int, default=4_096, help="of the long text; default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where more is taken than claimed")
    options = parser.parse_args()

    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        print("| model | computes in | documents, MB | and queries, MB |\n|---|---|--:|--:|")
        for name in options.models:
            model = MODELS[name]
            if name in SHAPES:
                model = str(build_colbert(Path(scratch) / name, **SHAPES[name]))
            for precision in ("float32", "int8"):
                child("prepared", model, precision, scratch)  # an int8 form is made once, and kept
                held = figures[f"{name}, {precision}"] = child("held", model, precision, scratch)
                print(f"| {MODELS[name]} | {precision} | {held['documents']:.0f} | {held['both']:.0f} |", flush=True)
        print(f"\n| one text of {options.tokens} tokens | as it is run, MB | CPU, s | as it is written, MB | CPU, s |")
        print("|---|--:|--:|--:|--:|")
        for number, (name, build) in enumerate(LONG.items()):
            folder = build(Path(scratch) / f"long {number}", **SHAPE)
            ours, theirs = (child("long", str(folder), way, str(options.tokens)) for way in ("run", "written"))
            figures |= {f"{name}, run": ours, f"{name}, written": theirs}
            columns = " | ".join(f"{each['peak']:.0f} | {each['cpu']:.2f}" for each in (ours, theirs))
            print(f"| {name} | {columns} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    worst = max(figures[f"{name}, run"]["peak"] / figures[f"{name}, written"]["peak"] for name in LONG)
    if options.check and worst > MOST_OF_A_LONG_TEXT:
        sys.exit(f"Missed: a long text takes {worst:.2f} of what the graph takes as it is written")


def child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def held(model: str, precision: str, scratch: str) -> dict[str, float]:
    embedder = ColbertEmbedder(model, precision=precision, cache_dir=scratch, threads=2)
    before = own_memory()
    list(embedder.embed(["The harbour master counts the ships."]))
    documents = own_memory()
    list(embedder.query_embed(["Who counts the ships?"]))
    return {"documents": documents - before, "both": own_memory() - before}


def long(folder: str, way: str, tokens: str) -> dict[str, float]:
    if way == "written":
        loading._read = refused
    embedder = ColbertEmbedder(folder, document_length=int(tokens), threads=1)
    list(embedder.embed(["A first one."]))
    before, start = peak_memory(), time.process_time()
    list(embedder.embed(["ship " * int(tokens)]))
    return {"cpu": time.process_time() - start, "peak": peak_memory() - before}


def refused(onnx: Path) -> loading.RunnableGraph:
    raise MalformedMessage(f"{onnx} is run as it is written")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepared" | "held", model, precision, scratch]:
            print(json.dumps(held(model, precision, scratch)))
        case ["long", folder, way, tokens]:
            print(json.dumps(long(folder, way, tokens)))
        case _:
            main()
