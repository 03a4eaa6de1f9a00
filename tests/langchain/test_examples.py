"""The examples, over one module of the standard library."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).absolute().parents[2] / "examples"


@pytest.fixture
def rag(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import langchain_rag

    monkeypatch.setattr(langchain_rag, "MODULES", ["heapq"])
    return langchain_rag


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Two documents, and a question about each."""
    corpus = [{"_id": "cat", "text": "The cat sat."}, {"_id": "dog", "title": "Dog", "text": "The dog barked."}]
    queries = [{"_id": "1", "text": "the cat"}, {"_id": "2", "text": "dog"}, {"_id": "3", "text": "not judged"}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tcat\t1\n2\tdog\t1\n", encoding="utf-8")
    return tmp_path


def test_rag_prints_the_answer_and_its_sources(
    rag: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["langchain_rag.py", "Which function gives me the n largest elements?"])

    rag.main()

    printed = capsys.readouterr().out
    assert "Find the n largest elements in a dataset (heapq.nlargest, source 1)." in printed
    assert re.search(r"^  \[1\] +\d\.\d{3}  heapq\.nlargest$", printed, re.M)


def test_the_move_from_langchain_qdrant_prints_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import from_langchain_qdrant

    monkeypatch.setattr(sys, "argv", ["from_langchain_qdrant.py"])

    from_langchain_qdrant.main()

    printed = capsys.readouterr().out
    assert re.search(r"^  0\.\d{3}  Edge of Tomorrow  \{'minutes': 113\}$", printed, re.M)
    assert printed.count("['Edge of Tomorrow', 'Kagemusha']") == 2


def test_the_agent_answers_from_what_its_tool_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("langchain.agents", reason="create_agent is LangChain's own")
    monkeypatch.syspath_prepend(EXAMPLES)
    import langgraph_agent

    monkeypatch.setattr(sys, "argv", ["langgraph_agent.py"])

    langgraph_agent.main()

    answer, sources = capsys.readouterr().out.splitlines()
    assert answer.startswith("Edge of Tomorrow: A soldier fighting aliens")
    assert sources.startswith("  rests on: Edge of Tomorrow, ")


def test_rerank_prints_the_orders_and_the_gain(
    rag: ModuleType, beir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import langchain_rerank

    monkeypatch.setattr(sys, "argv", ["langchain_rerank.py", "--data", str(beir)])

    langchain_rerank.main()

    printed = capsys.readouterr().out
    assert "before" in printed
    assert "2 documents, 2 questions" in printed
    assert "nDCG@10  BM25 1.000   BM25, then ColbertRerank 1.000" in printed
