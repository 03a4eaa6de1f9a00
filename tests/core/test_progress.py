"""What a progress bar says."""

from __future__ import annotations

import re
import time

import pytest

from colbert_qdrant.collection.progress import progress_bar
from colbert_qdrant.collection.reports import AddReport


def test_a_bar_is_there_before_the_first_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0.01)
    with progress_bar(range(4040), show=True, also=None):
        drawn = ""
        while not drawn:
            time.sleep(0.01)
            drawn = capsys.readouterr().err

    assert "0/4040" in drawn


def test_after_a_resume_the_rate_is_that_of_encoding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.progress._PATIENCE", 0)
    with progress_bar(range(2000), show=True, also=None) as advance:
        advance(AddReport(unchanged=1000))
        time.sleep(0.2)
        advance(AddReport(unchanged=1000, added=2, encoded=2))

    last = capsys.readouterr().err.splitlines()[-1]
    assert "1002/2000" in last
    rate = re.search(r"([\d.]+)(text/s|s/text)", last)
    assert rate is not None
    assert rate[2] == "s/text" or float(rate[1]) <= 10  # 2 in 0.2 s or more


def test_in_a_hurry_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(range(3), show=True, also=None) as advance:
        advance(AddReport(added=3, encoded=3))

    assert "1/3" not in capsys.readouterr().err


def test_where_it_is_not_wanted_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(range(3), show=False, also=None) as advance:
        advance(AddReport(added=3, encoded=3))

    assert capsys.readouterr().err == ""
