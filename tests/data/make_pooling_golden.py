"""Record how PyLate and sentence-transformers pool token vectors, so that the tests need neither.

    python tests/data/make_pooling_golden.py [--env FOLDER]

Writes pooling_golden.npz beside this file:

- ``<kind>-<rows>``: ``(rows, 24)`` float32, a document: ``random`` unit vectors, or ``anisotropic`` ones as ColBERT
  models make them, which share a direction, fall into topics and repeat themselves nearly;
- ``<system>|<document>|<pool factor>|<protected tokens>``: what the system makes of it;
- ``<system>``: the version.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).absolute().with_name("pooling_golden.npz")
SYSTEMS = {"pylate": "pylate==1.6.0", "sentence-transformers": "sentence-transformers==6.2.0"}
ROWS = (1, 2, 3, 5, 64, 180)
DIM = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", type=Path, help="holds one environment a system, each made if missing")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
    from environments import python_with

    golden = documents()
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "documents.npz"
        np.savez(inputs, **golden)
        for system, requirement in SYSTEMS.items():
            python = python_with((arguments.env or Path(scratch)) / system, [requirement])
            outputs = Path(scratch) / f"{system}.npz"
            subprocess.run([python, __file__, "record", system, inputs, outputs], check=True)
            with np.load(outputs) as arrays:
                golden |= dict(arrays)
    np.savez_compressed(GOLDEN, **golden)
    print(f"{GOLDEN}: {len(golden)} arrays, {GOLDEN.stat().st_size:,} bytes")


def documents() -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.RandomState(0)
    made = {}
    for rows in ROWS:
        made[f"random-{rows}"] = unit(random.normal(size=(rows, DIM)))
        topics = 2 * random.normal(size=DIM) + random.normal(size=(rows // 6 + 1, DIM))
        spread = random.choice([0.01, 0.3, 0.7], size=(rows, 1)) * random.normal(size=(rows, DIM))
        made[f"anisotropic-{rows}"] = unit(topics[random.randint(len(topics), size=rows)] + spread)
    return made


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cases(system: str, names: list[str]) -> Iterator[tuple[str, float, int]]:
    yield from product(names, (2, 3, 4), (1,))
    yield from product([name for name in names if name.endswith("-64")], (2,), (0, 3))
    if system == "sentence-transformers":
        yield from product(("random-5", "random-64"), (1.1, 1.5, 2.5), (1,))


def record(system: str, inputs: str, outputs: str) -> None:
    """Pool every document. Runs in the system's environment."""
    import torch

    def pool(vectors: torch.Tensor, factor: float, protected: int) -> torch.Tensor:
        if system == "pylate":
            from pylate.models import ColBERT

            # The method does not look at its model.
            return ColBERT.pool_embeddings_hierarchical(None, [vectors], factor, protected)[0]
        from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

        return HierarchicalTokenPooling(factor, num_protected_tokens=protected).pool([vectors])[0]

    pooled = {system: np.array(version(system))}
    with np.load(inputs) as arrays:
        for name, factor, protected in cases(system, list(arrays)):
            vectors = pool(torch.from_numpy(arrays[name]), factor, protected)
            pooled[f"{system}|{name}|{factor}|{protected}"] = vectors.numpy()
    np.savez(outputs, **pooled)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(*sys.argv[2:])
    else:
        main()
