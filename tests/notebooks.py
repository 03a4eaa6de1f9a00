"""Run a notebook and compare what it shows with what is committed; as a program, write what it shows into it.

python tests/notebooks.py examples/explain.ipynb
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


def executed(path: Path, *, folder: Path) -> Any:
    """Return the notebook with the outputs of a run in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # warnings and bars depend on the machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def shown(notebook: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind of each output, and its text where it is text that does not depend on the machine."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                yield "stream", output.text
            for kind, content in sorted(output.get("data", {}).items()):
                yield kind, content if kind == "text/plain" else ""


def words_and_numbers(text: str) -> tuple[list[str], list[float]]:
    """Take numbers with a point out of a text: processors differ in their last digits."""
    number = r"\d+\.\d+"
    return re.split(number, text), [float(found) for found in re.findall(number, text)]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(executed(Path(name), folder=Path(name).parent), name)
