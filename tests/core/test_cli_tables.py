from __future__ import annotations

import pytest

from colbert_qdrant.explanation import Highlight

pytest.importorskip("rich")
from colbert_qdrant.cli.tables import snippet

TEXT = "start " * 50 + "the answer stands here " + "end " * 50


def test_it_holds_what_answered_and_is_cut_between_words() -> None:
    at = TEXT.index("answer")

    start, end = snippet(TEXT, [Highlight("answer", (at, at + 6), 1.0)], 60)

    shown = TEXT[start:end]
    assert "answer" in shown
    assert len(shown) <= 60
    assert set(shown.split()) <= set(TEXT.split())


def test_a_short_text_is_whole() -> None:
    assert snippet("short", [], 60) == (0, 5)


def test_at_the_end_of_the_text_it_is_filled_up() -> None:
    start, end = snippet(TEXT, [Highlight("end", (len(TEXT) - 4, len(TEXT) - 1), 1.0)], 60)

    assert end == len(TEXT)
    assert end - start > 50
