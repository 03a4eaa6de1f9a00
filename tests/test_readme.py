"""What the README prints runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split("\n", 1)[0][:60])
def test_a_snippet_runs(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    exec(compile(snippet, "README.md", "exec"), {})

    assert re.search("same day|edge", capsys.readouterr().out)


def test_snippets_are_a_dozen_lines() -> None:
    assert max(snippet.count("\n") for snippet in SNIPPETS) <= 13


def test_files_that_are_named_exist() -> None:
    root = Path(__file__).parents[1]

    assert all((root / name).exists() for name in re.findall(r"(?:examples|tests)/[\w/.]+", README))
