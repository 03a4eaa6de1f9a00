"""FastEmbed in an environment of its own: it is what this project is held against, never a dependency."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

FASTEMBED = "fastembed==0.9.1"


def fastembed_python(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`; make it, and put FastEmbed in, where missing."""
    python = folder.absolute() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, FASTEMBED], check=True)
    return python
