"""Environments of their own for what this project is held against: peers are never its dependencies."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

FASTEMBED = ["fastembed==0.9.1"]


def python_with(folder: Path, *requirements: Sequence[str]) -> Path:
    """Return the interpreter of the environment in `folder`, made where it is missing.

    Parameters
    ----------
    folder
        Where it is, or goes.
    requirements
        What to install; each list in a run of pip of its own, for what pip would resolve otherwise together.
    """
    python = folder.absolute() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    for packages in requirements:
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
    return python
