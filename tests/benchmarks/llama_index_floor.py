"""Run the LlamaIndex adapter's tests at the oldest llama-index-core that is promised, and at the newest that installs.

    python tests/benchmarks/llama_index_floor.py [--folder DIR] [PYTEST OPTIONS]

Two environments are made on first use (1.1 GB together) and kept in the folder. At the floor the filters' table is
skipped: LlamaIndex had another reference then. Tests that need a Qdrant server are skipped without one, as always.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
FOLDER = Path.home() / ".cache/colbert-qdrant"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are (%(default)s)")
    options, pytest_options = parser.parse_known_args()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    [supported] = extras["llama-index"]
    tools = [package for package in extras["dev"] if package.startswith(("pytest", "onnx>"))]
    needed = [*project["dependencies"], *extras["edge"], *extras["offline"], *tools]
    environments = {
        "llama-index-floor": re.sub(r">=([\d.]+).*", r"==\1", supported),
        "llama-index-newest": supported,
    }
    failures = [run(options.folder / name, [core, *needed], pytest_options) for name, core in environments.items()]
    sys.exit(max(failures))


def run(folder: Path, packages: list[str], pytest_options: list[str]) -> int:
    """Run the tests in an environment; returns pytest's exit status."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *packages], check=True)
    versions = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
    print(*re.findall(r"^(?:llama-index-core|pydantic|qdrant-\S+)==\S+", versions, re.M), flush=True)

    sources = os.pathsep.join(str(ROOT / source) for source in ("core", "integrations"))
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/llama_index", *pytest_options]
    return subprocess.run(tests, cwd=ROOT, env={**os.environ, "PYTHONPATH": sources}, check=False).returncode


if __name__ == "__main__":
    main()
