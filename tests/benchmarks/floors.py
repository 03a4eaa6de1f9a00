"""Run an adapter's tests at the oldest version of its framework that is promised, and at the newest that installs.

    python tests/benchmarks/floors.py langchain|llama-index [--folder DIR] [PYTEST OPTIONS]

Two environments a framework are made on first use (about 1 GB together) and kept in the folder. LangChain's own suites
need a newer langchain-core than the floor, and the table of LlamaIndex's filters another reference: at the floor they
are skipped. So are tests that need a Qdrant server, without one, as always.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
FOLDER = Path.home() / ".cache/colbert-qdrant"
TESTS = {"langchain": "tests/langchain", "llama-index": "tests/llama_index"}
ALSO_WITH_THE_NEWEST = {"langchain": ["langchain-classic", "langchain-tests"], "llama-index": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=TESTS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are (%(default)s)")
    options, pytest_options = parser.parse_known_args()
    framework = options.framework

    sys.path.insert(0, str(ROOT / "tests"))
    from environments import python_with

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    [supported] = extras[framework]
    tools = [package for package in extras["dev"] if package.startswith(("pytest", "onnx>"))]
    needed = [*project["dependencies"], *extras["edge"], *extras["offline"], *tools]
    environments = {
        f"{framework}-floor": [re.sub(r">=([\d.]+).*", r"==\1", supported)],
        f"{framework}-newest": [supported, *ALSO_WITH_THE_NEWEST[framework]],
    }
    pythons = [python_with(options.folder / name, [*own, *needed]) for name, own in environments.items()]
    sys.exit(max(run(python, TESTS[framework], pytest_options) for python in pythons))


def run(python: Path, tests: str, pytest_options: list[str]) -> int:
    """Run the tests in an environment; returns pytest's exit status."""
    freeze = [python, "-m", "pip", "--disable-pip-version-check", "freeze"]
    versions = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    print(*re.findall(r"^(?:(?:langchain|llama-index-core|pydantic|qdrant-)\S*)==\S+", versions, re.M), flush=True)

    sources = os.pathsep.join(str(ROOT / source) for source in ("core", "integrations"))
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, *pytest_options]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": sources}, check=False).returncode


if __name__ == "__main__":
    main()
