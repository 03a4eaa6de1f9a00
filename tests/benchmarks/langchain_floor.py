"""Run the LangChain adapter's tests at the oldest langchain-core that is promised, and at the newest that installs.

    python tests/benchmarks/langchain_floor.py [--folder DIR] [PYTEST OPTIONS]

Two environments are made on first use (900 MB together) and kept in the folder. LangChain's own suites need a
newer langchain-core than the floor: they run in the other one, which has langchain-classic's compression retriever too.
Tests that need a Qdrant server are skipped without one, as always.
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
from typing import Any

ROOT = Path(__file__).absolute().parents[2]
FOLDER = Path.home() / ".cache/colbert-qdrant"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are (%(default)s)")
    options, pytest_options = parser.parse_known_args()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environments = {
        "langchain-floor": [floor(project), *needed(project)],
        "langchain-newest": ["langchain-core", "langchain-classic", "langchain-tests", *needed(project)],
    }
    codes = [run(options.folder / name, packages, pytest_options) for name, packages in environments.items()]
    sys.exit(max(codes))


def floor(project: dict[str, Any]) -> str:
    """Return the oldest langchain-core of the extra, pinned."""
    [requirement] = project["optional-dependencies"]["langchain"]
    oldest = re.search(r">=([\d.]+)", requirement)
    assert oldest, requirement
    return f"langchain-core=={oldest[1]}"


def needed(project: dict[str, Any]) -> list[str]:
    """Return what the adapter and its tests need besides LangChain."""
    extras = project["optional-dependencies"]
    tools = [package for package in extras["dev"] if package.startswith(("pytest", "onnx>"))]
    return [*project["dependencies"], *extras["edge"], *extras["offline"], *tools]


def run(folder: Path, packages: list[str], pytest_options: list[str]) -> int:
    """Run the tests in an environment; returns pytest's exit status."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *packages], check=True)
    versions = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
    print(*re.findall(r"^(?:langchain\S+|pydantic=\S+|qdrant-\S+)", versions, re.M), flush=True)

    sources = os.pathsep.join(str(ROOT / source) for source in ("core", "integrations"))
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/langchain", *pytest_options]
    return subprocess.run(tests, cwd=ROOT, env={**os.environ, "PYTHONPATH": sources}, check=False).returncode


if __name__ == "__main__":
    main()
