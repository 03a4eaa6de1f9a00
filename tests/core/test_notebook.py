"""What a notebook shows of hits and reports, and that bars move in it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from colbert_qdrant import Hit, Passage
from colbert_qdrant.collection.progress import progress_bar
from colbert_qdrant.collection.reports import AddReport, Failure
from colbert_qdrant.evaluation import Estimate, Evaluation, Setting

TEXT = "Opens at nine. <b>Tea</b> & cake upstairs. Groups pay half."
TEA = Passage(text=TEXT[15:42], start=15, end=42, score=1.0, share=0.5)


def hit(**changed: object) -> Hit:
    given = {
        "id": "<museum>",
        "text": TEXT,
        "metadata": {"floor": "<2>"},
        "payload": {},
        "score": 2.5,
        "relevance": 0.5,
    }
    return Hit(**{**given, **changed})  # type: ignore[arg-type]


def test_a_hit_is_a_card_with_its_passages_marked() -> None:
    card = hit(passages=(TEA,))._repr_html_()

    assert "<mark>&lt;b&gt;Tea&lt;/b&gt; &amp; cake upstairs.</mark>" in card
    assert "&lt;museum&gt;</b> <small>0.50 · MaxSim 2.500 · floor: &lt;2&gt;</small>" in card
    assert "width:50%" in card


def test_passages_that_overlap_leave_the_text_whole() -> None:
    card = hit(text="abcdef", passages=(Passage("bcd", 1, 4, 1, 0.5), Passage("cde", 2, 5, 1, 0.5)))._repr_html_()

    assert "a<mark>bcd</mark><mark>e</mark>f" in card


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (hit(id="museum"), "0.50  museum  Opens at nine. <b>Tea</b> & cake upstairs. Groups pay half."),
        (hit(id="museum", passages=(TEA,)), "0.50  museum  <b>Tea</b> & cake upstairs."),
        (hit(id="a", text="word " * 50), f"0.50  a  {('word ' * 18)[:88].rstrip()}…"),
        (hit(id="a\x1b[2J", text="b\x1b]0;"), "0.50  a\ufffd[2J  b\ufffd]0;"),
    ],
)
def test_hits_in_a_list_are_a_line_each(found: Hit, line: str) -> None:
    pretty = pytest.importorskip("IPython.lib.pretty").pretty

    assert pretty([found]) == f"[{line}]"


def test_a_report_of_adding_is_a_row_of_counts() -> None:
    report = AddReport(added=1200, unchanged=3, encoded=1200, failed=[Failure(7, "<b>", "empty")])

    assert '<th style="text-align:right">failed</th>' in report._repr_html_()
    assert ">1,200</td>" in report._repr_html_()


def test_an_evaluation_is_its_tables() -> None:
    exact = Setting(
        name="exact <MaxSim>", candidates=None, kept=Estimate(1, 1, 1), milliseconds=2.5, bytes=4096, queries=3
    )
    found = Evaluation(
        searches=[exact],
        storage=[],
        share=0.95,
        limit=10,
        documents=8,
        queries=3,
        judged=0,
        missing=[],
        encoding=1.5,
        model="m",
    )

    page = found._repr_html_()

    assert page.count("<table>") == 1
    assert "exact &lt;MaxSim&gt; *</td>" in page
    assert "8 documents, 3 questions, m, 1.5 ms to encode a question" in page


def test_a_bar_moves_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))

    with progress_bar(range(3), show=None, also=None) as advance:
        advance(AddReport(added=3, encoded=3))

    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["python", "a terminal's IPython"])
def test_no_bar_goes_into_a_pipe(
    shell: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    with progress_bar(range(3), show=None, also=None) as advance:
        advance(AddReport(added=3, encoded=3))

    assert capsys.readouterr().err == ""
