"""The examples, over one module of the standard library."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).absolute().parents[2] / "examples"
QUESTION = "Which function gives me the n largest elements?"


@pytest.fixture
def rag(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import llama_index_rag

    monkeypatch.setattr(llama_index_rag, "MODULES", ["heapq"])
    return llama_index_rag


def printed_by(
    example: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", [f"{example.__name__}.py", *arguments])
    example.main()
    return capsys.readouterr().out


def test_rag_prints_answers_sources_and_changes(
    rag: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = printed_by(rag, [QUESTION], monkeypatch, capsys)

    assert "Find the n largest elements in a dataset." in printed
    assert re.search(r"^  \[1\] +\d\.\d{3}  heapq\.nlargest$", printed, re.M)
    assert printed.index("written by Ada") < printed.index("written by Grace")


def test_rag_opens_its_index_again(
    rag: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    first = printed_by(rag, [QUESTION, "--path", str(tmp_path)], monkeypatch, capsys)

    second = printed_by(rag, [QUESTION, "--path", str(tmp_path)], monkeypatch, capsys)

    assert "nodes of 1 modules are indexed" in first
    assert "indexed" not in second
    assert second.partition(QUESTION)[2] == first.partition(QUESTION)[2]


def test_rerank_prints_both_orders(
    rag: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import llama_index_rerank

    monkeypatch.setattr(llama_index_rerank, "QUESTIONS", [QUESTION])

    printed = printed_by(llama_index_rerank, [], monkeypatch, capsys)

    assert re.search(r"^  1\.  \S+ +heapq\.nlargest +\d\.\d\d  \d+$", printed, re.M)
    assert "ms with stored token vectors" in printed
