"""Record FastEmbed's MUVERA encodings, so that the tests compare with it without installing it.

    python tests/data/make_muvera_golden.py [--env FOLDER]

Writes muvera_golden.npz beside this file:

- ``tokens-<dim>-<rows>``: ``(rows, dim)`` float32, a multivector of unit vectors;
- ``<settings>|<tokens>|document``, ``... |query``: its encodings, where settings are
  ``dim,k_sim,dim_proj,r_reps,random_seed``. Of encodings longer than `KEPT`, every n-th value is kept, and
  ``... |norm`` is the length of the whole;
- ``fastembed``: the version.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).absolute().parent
GOLDEN = HERE / "muvera_golden.npz"
KEPT = 1024
SETTINGS = ((128, 5, 16, 20, 42), (8, 3, 4, 3, 42), (8, 2, 8, 2, 7), (8, 6, 2, 1, 1))
ROWS = (1, 5, 40, 180)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", type=Path, help="FastEmbed's environment, made if missing (default: temporary)")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent))
    from environments import FASTEMBED, python_with

    with tempfile.TemporaryDirectory() as scratch:
        python = python_with(arguments.env or Path(scratch) / "env", FASTEMBED)
        subprocess.run([python, __file__, "record"], check=True)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")


def record() -> None:
    """Encode all multivectors and write the golden file. Runs in FastEmbed's environment."""
    from fastembed.postprocess import Muvera

    golden: dict[str, npt.NDArray[np.generic]] = {"fastembed": np.array(version("fastembed"))}
    for setting in SETTINGS:
        muvera = Muvera(*setting)
        for name, tokens in multivectors(setting[0]):
            case = f"{','.join(map(str, setting))}|{name}"
            golden[name] = tokens
            for kind, encoding in (
                ("document", muvera.process_document(tokens)),
                ("query", muvera.process_query(tokens)),
            ):
                golden[f"{case}|{kind}"] = encoding[:: -(-len(encoding) // KEPT)].astype(np.float32)
                golden[f"{case}|{kind}|norm"] = np.linalg.norm(encoding)
    np.savez_compressed(GOLDEN, **golden)


def multivectors(dim: int) -> list[tuple[str, npt.NDArray[np.float32]]]:
    random = np.random.RandomState(dim)
    made = []
    for rows in ROWS if dim < 128 else ROWS[:3]:
        tokens = random.normal(size=(rows, dim)) + 0.3
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        made.append((f"tokens-{dim}-{rows}", tokens.astype(np.float32)))
    return made


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record()
    else:
        main()
