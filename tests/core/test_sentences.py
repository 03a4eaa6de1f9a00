"""Where sentences end: by the marks of any script, at the lines of code and tables, never within a name."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_qdrant.sentences import LONGEST, sentences

CASES = {
    "marks": ("He slept! Did he? Yes (he did.) And on.", ["He slept!", "Did he?", "Yes (he did.)", "And on."]),
    "names and abbreviations": (
        "Dr. J. Smith of the U.S. wrote it. See Fig. 3, e.g. there.",
        ["Dr. J. Smith of the U.S. wrote it.", "See Fig. 3, e.g. there."],
    ),
    "numbers": ("It costs 3.50 a day. Version 1.2 is out.", ["It costs 3.50 a day.", "Version 1.2 is out."]),
    "Chinese": ("第一句。第二句！真的吗？", ["第一句。", "第二句！", "真的吗？"]),
    "Arabic": ("ذهب إلى البيت. هل نام؟ نعم.", ["ذهب إلى البيت.", "هل نام؟", "نعم."]),
    "Hindi": ("वह गया। वह सोया।", ["वह गया।", "वह सोया।"]),
    "code": ("def f(x):\n    y = x\n    return y", ["def f(x):", "y = x", "return y"]),
    "a table": ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "|---|---|", "| 1 | 2 |"]),
    "a fence": ("```\none\ntwo\n```\nProse.", ["```", "one", "two", "```", "Prose."]),
    "a list": ("- one item\n- another that\n  goes on", ["- one item", "- another that\n  goes on"]),
    "a heading": ("# Title\nText below.", ["# Title", "Text below."]),
    "an empty line": ("no mark at its end\n\nanother block", ["no mark at its end", "another block"]),
    "lines broken to a width": (
        "This is prose that was broken at some seventy characters of width, and\ngoes on here. Then more.",
        ["This is prose that was broken at some seventy characters of width, and\ngoes on here.", "Then more."],
    ),
    "nothing": (" \n ", []),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_what_has_no_full_stop_is_cut_at_a_space() -> None:
    text = "word " * 500

    parts = [text[start:end] for start, end in sentences(text)]

    assert max(map(len, parts)) <= LONGEST
    assert all(set(part.split()) == {"word"} for part in parts)


@given(st.text(alphabet=st.sampled_from("aB. !?\n\t|-#`。。؟\"' 1,;"), max_size=200))
def test_sentences_are_in_order_and_nothing_but_white_space_is_left_out(text: str) -> None:
    spans = sentences(text)

    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
