"""Code in a text is found by its lines, and prose is not taken for it."""

from __future__ import annotations

import inspect
import textwrap

import pytest

from colbert_qdrant.code_blocks import code_spans

PROSE = "The museum opens at nine. It closes at five; on Sundays at four.\nFor groups: call ahead.\nReturn to the gate."


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in code_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        inspect.getsource(textwrap),
        '#include <stdio.h>\n\nint main(void)\n{\n    puts("hello");\n    return 0;\n}\n',
        "const a = 1;\nfunction b(c) {\n  return c + a;\n}\n",
        "x = 1\ny = x + 1\n",
    ],
    ids=["python", "c", "javascript", "two lines"],
)
def test_a_program_is_code_from_top_to_bottom(text: str) -> None:
    assert code_spans(text) == [(0, len(text))]


@pytest.mark.parametrize("text", [PROSE, "", "\n\n", "One line; with a semicolon", "نص عربي.\nسطر آخر."])
def test_prose_is_none(text: str) -> None:
    assert code_spans(text) == []


def test_what_stands_between_fences_is_code() -> None:
    assert found(f"{PROSE}\n\n```\nanything at all\n```\n\n{PROSE}") == ["```\nanything at all\n```\n"]


def test_an_indented_block_is_code_where_it_looks_like_it() -> None:
    block = "    collection.add(texts)\n\n    hits = collection.search(query)\n"

    assert found(f"{PROSE}\n\n{block}\n{PROSE}\n") == [block]


def test_a_lone_line_is_left_as_it_is() -> None:
    assert found(f"{PROSE}\nx = 1\n{PROSE}") == []
