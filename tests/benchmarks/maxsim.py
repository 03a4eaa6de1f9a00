"""How long MaxSim takes, beside a loop over the documents and beside maxsim-cpu.

    python tests/benchmarks/maxsim.py [--rounds N] [--maxsim-cpu-env FOLDER] [--json FILE] [--check]

One query of 32 rows against 1,000 documents, 96 dimensions: all of 120 rows, and of 20 to 300. Every system runs in
a process of its own, with the threads that it takes by default, and scores once before it is measured. Systems
alternate; the table shows medians of CPU seconds (of all threads) and wall seconds. Seconds are the machine's; only
the ratios are claimed. The scores must agree with float64 to 1e-4.

maxsim-cpu (https://pypi.org/project/maxsim-cpu/, compiled, Linux x86-64 and Apple) gets an environment of its own,
made on first use; where it can't be installed, its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

ENVIRONMENT = Path.home() / ".cache/colbert-qdrant/maxsim-cpu-0.1.0"
MAXSIM_CPU = "maxsim-cpu==0.1.0"
OURS, LOOP, COMPILED = "colbert-qdrant", "numpy loop", "maxsim-cpu"
REPEATS = 10
TOLERANCE = 1e-4
LENGTHS = {
    "120 rows": [120] * 1_000,
    "20 to 300 rows": np.random.default_rng(0).integers(20, 301, 1_000).tolist(),
}
# What another system may take, in CPU seconds, of ours.
LEAST_CPU_RATIO = {LOOP: 1.2, COMPILED: 1.0}

Vectors = npt.NDArray[np.float32]
Score = Callable[[Vectors, list[Vectors]], npt.ArrayLike]


@dataclass(frozen=True)
class Run:
    """What one process measured, a call."""

    cpu: float
    wall: float
    error: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--maxsim-cpu-env", type=Path, default=ENVIRONMENT, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail when a claimed ratio is missed")
    arguments = parser.parse_args()

    interpreters = {OURS: Path(sys.executable), LOOP: Path(sys.executable)}
    if python := maxsim_cpu_python(arguments.maxsim_cpu_env):
        interpreters[COMPILED] = python
    else:
        print(f"{MAXSIM_CPU} can't be installed here: left out", file=sys.stderr)

    measured = {name: compare(name, interpreters, arguments.rounds) for name in LENGTHS}
    print(table(measured))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2, default=asdict), encoding="utf-8")
    if arguments.check and (missed := misses(measured)):
        sys.exit("Missed: " + "; ".join(missed))


def compare(documents: str, interpreters: Mapping[str, Path], rounds: int) -> dict[str, Run]:
    """Run the systems in turn; return the medians of each."""
    runs: dict[str, list[Run]] = {system: [] for system in interpreters}
    for number in range(rounds):
        for system in interpreters if number % 2 == 0 else reversed(interpreters):
            command = [interpreters[system], __file__, "measure", system, documents]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            runs[system].append(Run(**json.loads(printed)))
    return {system: Run(*np.median([astuple(run) for run in of], axis=0).tolist()) for system, of in runs.items()}


def measure(system: str, name: str) -> None:
    """Score the documents and print a `Run` as JSON: all that a child process does."""
    score, query = load(system), unit_rows(32, seed=0)
    documents = [unit_rows(length, seed) for seed, length in enumerate(LENGTHS[name], 1)]
    scores = score(query, documents)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(REPEATS):
        score(query, documents)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    error = float(np.abs(scores - exact(query, documents)).max())
    print(json.dumps(asdict(Run(cpu / REPEATS, wall / REPEATS, error))))


def load(system: str) -> Score:
    if system == COMPILED:
        from maxsim_cpu import maxsim_scores_variable

        return maxsim_scores_variable
    if system == LOOP:
        return lambda query, documents: [(query @ document.T).max(axis=1).sum() for document in documents]
    from colbert_qdrant import maxsim

    return maxsim


def unit_rows(rows: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, 96))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact(query: Vectors, documents: list[Vectors]) -> npt.NDArray[np.float64]:
    wide = query.astype(np.float64)
    return np.array([(wide @ document.astype(np.float64).T).max(axis=1).sum() for document in documents])


def maxsim_cpu_python(folder: Path) -> Path | None:
    """Return the interpreter of the environment in `folder`, made where missing; None where it can't be."""
    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
    from environments import python_with

    try:
        # The same numpy on both sides: the scores are compared with numpy's.
        return python_with(folder, [MAXSIM_CPU, f"numpy=={np.__version__}"])
    except subprocess.CalledProcessError:
        return None


def table(measured: Mapping[str, Mapping[str, Run]]) -> str:
    lines = [
        "| documents | system | CPU, ms | wall, ms | CPU beside ours | largest error |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name, runs in measured.items():
        lines += [
            f"| {name} | {system} | {1e3 * run.cpu:.1f} | {1e3 * run.wall:.1f} "
            f"| {run.cpu / runs[OURS].cpu:.2f}x | {run.error:.1e} |"
            for system, run in runs.items()
        ]
    return "\n".join(lines)


def misses(measured: Mapping[str, Mapping[str, Run]]) -> list[str]:
    found = []
    for name, runs in measured.items():
        for system, run in runs.items():
            if run.error > TOLERANCE:
                found.append(f"{name}: {system} is {run.error:.1e} from float64")
            ratio = run.cpu / runs[OURS].cpu
            if ratio < LEAST_CPU_RATIO.get(system, 0.0):
                found.append(f"{name}: {system} takes {ratio:.2f} of our CPU time, below {LEAST_CPU_RATIO[system]}")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
