"""The notebooks run, and show what is committed with them: explain.ipynb and langchain.ipynb.

``python tests/notebooks.py examples/explain.ipynb`` writes into one what it shows now.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from notebooks import executed, shown, words_and_numbers

NOTEBOOKS = sorted((Path(__file__).absolute().parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_what_is_committed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    committed = list(shown(nbformat.read(path, as_version=4)))

    run = list(shown(executed(Path(shutil.copy(path, tmp_path)), folder=tmp_path)))

    assert [kind for kind, _ in run] == [kind for kind, _ in committed]
    for (_, now), (_, then) in zip(run, committed, strict=True):
        (words, numbers), (words_then, numbers_then) = words_and_numbers(now), words_and_numbers(then)
        assert words == words_then
        assert numbers == pytest.approx(numbers_then, abs=0.02)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_a_picture_and_no_error(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    kinds = [kind for kind, _ in shown(notebook)]
    outputs = [output.output_type for cell in notebook.cells for output in cell.get("outputs", ())]

    assert "image/svg+xml" in kinds or "image/png" in kinds
    assert "error" not in outputs
    assert path.stat().st_size < 300_000
