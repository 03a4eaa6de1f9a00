"""How much processor time and memory encoding documents costs, beside FastEmbed 0.9.1 on the same ONNX file.

    python tests/benchmarks/encode_vs_fastembed.py [--shape NAME] [--rounds N] [--json FILE] [--check]

Two sets of 256 texts, cut from the standard library's docstrings: lengths skewed as those of passages are
(lognormal, median 60 tokens, at most 300), and lengths uniform from 14 to 300. Both run with two threads and
otherwise their defaults, FastEmbed with batches of 256, ours in float32 and with ``precision="int8"``; documents may
have 512 tokens, FastEmbed's limit.
Each run is a process of its own that loads the model, encodes two short texts, and only then measures:

- CPU seconds, of all threads, and wall seconds;
- memory: how far the peak of resident memory rises above what the loaded model holds;
- the vectors, which in float32 must be those of the other system.

Runs alternate, the table shows medians. Seconds are the machine's; only the ratios are claimed. The weights
are random, which changes no operation: time depends on the shape. FastEmbed gets an environment of its own,
made on first use.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).absolute().parent
ENVIRONMENT = Path.home() / ".cache/colbert-qdrant/fastembed-0.9.1"
THREADS = 2
TEXTS = 256
TOLERANCE = 1e-5

SHAPES = {
    "answerai-small": {"hidden": 384, "layers": 12, "heads": 12, "intermediate": 1536, "dim": 96},
    "minilm": {"hidden": 384, "layers": 6, "heads": 12, "intermediate": 1536, "dim": 96},
    "colbertv2": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072, "dim": 128},
    "tiny": {},
}
SYSTEMS = ("fastembed", "colbert-qdrant", "int8")
LEAST_CPU_RATIO = {
    "skewed": {"colbert-qdrant": 5.0, "int8": 12.0},
    "uniform": {"colbert-qdrant": 3.0, "int8": 6.0},
}
MOST_MEMORY_RATIO = 0.1

Ratios: TypeAlias = Mapping[str, Mapping[str, float]]
"""Of each of our systems, by its name, how it compares with FastEmbed, by measure."""


@dataclass(frozen=True)
class Run:
    """What one process measured: seconds and MB."""

    cpu: float
    wall: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="answerai-small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fastembed-env", type=Path, default=ENVIRONMENT, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail when a claimed ratio is missed")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent))
    from environments import FASTEMBED, python_with
    from tiny_models import build_colbert

    interpreters = dict.fromkeys(SYSTEMS, Path(sys.executable))
    interpreters["fastembed"] = python_with(arguments.fastembed_env, FASTEMBED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_colbert(Path(scratch) / "model", **SHAPES[arguments.shape])
        measured, apart = compare(folder, interpreters, arguments.rounds)

    ratios = {name: ratios_of(runs) for name, runs in measured.items()}
    print(table(measured, ratios))
    print(f"\nLargest difference between the two systems' vectors, in float32: {apart:.1e}")
    if arguments.json:
        figures = {"shape": arguments.shape, "apart": apart, "ratios": ratios, "runs": measured}
        arguments.json.write_text(json.dumps(figures, indent=2, default=asdict), encoding="utf-8")
    if arguments.check and (missed := misses(ratios, apart)):
        sys.exit("Missed: " + "; ".join(missed))


def compare(
    folder: Path, interpreters: Mapping[str, Path], rounds: int
) -> tuple[dict[str, dict[str, list[Run]]], float]:
    """Run the systems in turn; return all runs, and how far the vectors of the first two are apart."""
    measured: dict[str, dict[str, list[Run]]] = {}
    apart: list[float] = []
    for name, texts in text_sets(folder).items():
        texts_file = folder / f"{name}.json"
        texts_file.write_text(json.dumps(texts), encoding="utf-8")
        measured[name] = {system: [] for system in SYSTEMS}
        for number in range(rounds):
            for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
                vectors = folder / f"{system}.npz"
                command = [interpreters[system], __file__, "measure", system, folder, texts_file, vectors]
                printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                measured[name][system].append(Run(**json.loads(printed)))
                print(f"{name}, round {number + 1}, {system}: {measured[name][system][-1]}", file=sys.stderr)
            apart.append(difference(*(folder / f"{system}.npz" for system in SYSTEMS[:2])))
    return measured, float(np.max(apart))


def measure(system: str, folder: str, texts_file: str, vectors_file: str) -> None:
    """Encode the texts, save the vectors and print a `Run` as JSON: all that a child process does."""
    texts = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    embedder = load(system, folder)
    list(embedder.embed(["a warm-up", "and another"]))

    # Linux lets a process lower its peak to what it holds now (proc(5), clear_refs). Elsewhere the peak of
    # loading stays, and what encoding takes below that peak isn't seen.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    memory, wall, cpu = peak_memory(), time.perf_counter(), time.process_time()
    vectors = list(embedder.embed(texts))
    run = Run(time.process_time() - cpu, time.perf_counter() - wall, peak_memory() - memory)

    np.savez(vectors_file, rows=np.concatenate(vectors), counts=[len(v) for v in vectors])
    print(json.dumps(asdict(run)))


class DocumentEmbedder(Protocol):
    def embed(self, documents: Iterable[str]) -> Iterable[npt.NDArray[np.float32]]: ...


def load(system: str, folder: str) -> DocumentEmbedder:
    if system == "fastembed":
        from fastembed import LateInteractionTextEmbedding

        # The name only tells FastEmbed which code and which file to take: model.onnx.
        name = "colbert-ir/colbertv2.0"
        return LateInteractionTextEmbedding(name, specific_model_path=folder, threads=THREADS)
    from colbert_qdrant import ColbertEmbedder

    precision = "int8" if system == "int8" else "float32"
    return ColbertEmbedder(folder, threads=THREADS, document_length=512, precision=precision)


def peak_memory() -> float:
    """Return the largest resident memory so far, in MB."""
    with suppress(OSError):
        # Not ru_maxrss where there is a choice: across fork and exec it keeps the parent's peak.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def text_sets(folder: Path) -> dict[str, list[str]]:
    """Cut texts of the wanted lengths, in tokens of their own, out of the docstrings' running text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    running = " ".join(" ".join(docstrings()).split())
    spans = tokenizer.encode(running, add_special_tokens=False).offsets

    random = np.random.RandomState(0)
    skewed = random.lognormal(np.log(60), 0.7, TEXTS).astype(int).clip(3, 300)
    uniform = random.randint(14, 301, TEXTS)

    def cut(length: int) -> str:
        start = random.randint(len(spans) - length)
        return running[spans[start][0] : spans[start + length - 1][1]]

    return {name: [cut(n) for n in lengths] for name, lengths in (("skewed", skewed), ("uniform", uniform))}


def docstrings() -> Iterable[str]:
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


def difference(one: Path, other: Path) -> float:
    """Return the largest absolute difference of two files of vectors; infinite where the shapes differ."""
    with np.load(one) as a, np.load(other) as b:
        same = np.array_equal(a["counts"], b["counts"])
        return float(np.abs(a["rows"] - b["rows"]).max()) if same else float("inf")


def ratios_of(runs: Mapping[str, list[Run]]) -> dict[str, dict[str, float]]:
    """FastEmbed's median over each of ours for the seconds; ours over FastEmbed's for memory."""
    theirs, *ours = medians(runs)
    return {
        system: {"cpu": theirs.cpu / own.cpu, "wall": theirs.wall / own.wall, "memory": own.memory / theirs.memory}
        for system, own in zip(SYSTEMS[1:], ours, strict=True)
    }


def medians(runs: Mapping[str, list[Run]]) -> list[Run]:
    """Return the median of each measure, one `Run` a system, in the order of `SYSTEMS`."""
    return [Run(*np.median([astuple(run) for run in runs[system]], axis=0).tolist()) for system in SYSTEMS]


def table(measured: Mapping[str, Mapping[str, list[Run]]], ratios: Mapping[str, Ratios]) -> str:
    lines = ["| texts | measure | FastEmbed | colbert-qdrant | ratio | int8 | ratio |", "|---|---|" + "--:|" * 5]
    for name, runs in measured.items():
        theirs, ours, int8 = medians(runs)
        of_ours, of_int8 = (ratios[name][system] for system in SYSTEMS[1:])
        for measure, unit in (("cpu", "CPU, s"), ("wall", "wall, s")):
            cells = [
                f"{getattr(ours, measure):.2f} | {of_ours[measure]:.1f}x less",
                f"{getattr(int8, measure):.2f} | {of_int8[measure]:.1f}x less",
            ]
            lines.append(f"| {name} | {unit} | {getattr(theirs, measure):.2f} | {' | '.join(cells)} |")
        lines.append(
            f"| {name} | memory, MB | {theirs.memory:.0f} | {ours.memory:.0f} | {of_ours['memory']:.3f} "
            f"| {int8.memory:.0f} | {of_int8['memory']:.3f} |"
        )
    return "\n".join(lines)


def misses(ratios: Mapping[str, Ratios], apart: float) -> list[str]:
    found = [] if apart <= TOLERANCE else [f"vectors differ by {apart:.1e}, more than {TOLERANCE}"]
    for name, of_systems in ratios.items():
        for system, ratio in of_systems.items():
            if ratio["cpu"] < LEAST_CPU_RATIO[name][system]:
                found.append(f"{name}, {system}: CPU ratio {ratio['cpu']:.2f}, below {LEAST_CPU_RATIO[name][system]}")
            if ratio["memory"] > MOST_MEMORY_RATIO:
                found.append(f"{name}, {system}: memory ratio {ratio['memory']:.3f}, above {MOST_MEMORY_RATIO}")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
