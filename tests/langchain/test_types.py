"""The types of a user's program, as mypy --strict and pyright see them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("users_program.py")
LINES = PROGRAM.read_text(encoding="utf-8").splitlines()

EXPECTED = {
    number: line.partition("  # ")[2]
    for number, line in enumerate(LINES, start=1)
    if "reveal_type(" in line or line.endswith("  # error")
}


def short(revealed: str) -> str:
    """Return a type without the modules of its names."""
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", revealed)


def said(output: str, revealed: str) -> dict[int, str]:
    """Return by line the type that a checker reveals, or ``error``."""
    found = {}
    for line in output.splitlines():
        place = re.search(rf"{PROGRAM.name}:(\d+):", line)
        if place and (kind := re.search(revealed, line)):
            found[int(place[1])] = short(kind[1])
        elif place and re.search(r"\berror\b", line):
            found[int(place[1])] = "error"
    return found


def test_mypy() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", str(PROGRAM)]

    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert said(output, r'Revealed type is "(.*)"') == EXPECTED, output


def test_pyright(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(PROGRAM)]

    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert said(output, r'Type of ".*" is "(.*)"') == EXPECTED, output
