"""All that the command line prints goes through here, so that nothing from outside steers a terminal."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from colbert_qdrant.terminal import printable

if TYPE_CHECKING:
    from colbert_qdrant.explanation import Explanation

WIDEST = 100
"""Columns; longer lines are read badly."""


def say(text: str, *, dim: bool = False) -> None:
    """Print what was asked for."""
    click.secho(printable(text, keep_lines=True), dim=dim)


def complain(text: str) -> None:
    """Print what is beside the answer: failures, warnings, what is being done."""
    click.echo(printable(text, keep_lines=True), err=True)


def say_json(value: object) -> None:
    """Print JSON in ASCII, which passes through every pipe and escapes all that could steer a terminal."""
    click.echo(json.dumps(value, indent=2))


def say_explanation(explanation: Explanation) -> None:
    """Print an explanation, which keeps its own texts from steering a terminal: its colours are its own."""
    click.echo(explanation.to_terminal())


def shown(text: Text) -> Text:
    """Return a styled text that can't steer the terminal."""
    result = text.copy()
    result.plain = printable(text.plain, keep_lines=True)  # of the same length, which leaves the styles in place
    return result


def show_line(out: Console, line: Text) -> None:
    """Print a styled line as one, however long, so that all of it can be pasted."""
    out.print(shown(line), soft_wrap=True)


def show_text(out: Console, text: Text, *, indent: int) -> None:
    """Print a styled text, its line breaks kept."""
    for line in shown(text).wrap(out, out.width - indent):
        line.rstrip()
        out.print(Text(" " * indent if line.plain else "").append_text(line), soft_wrap=True)


def show_table(out: Console, table: Table) -> None:
    """Print a table of `tables`, whose cells were made by `shown`."""
    out.print(table)


def ask(question: str) -> bool:
    """Ask for a yes; where nobody is there to answer it is a no."""
    return sys.stdin.isatty() and click.confirm(printable(question, keep_lines=True), err=True)


def console() -> Console:
    """Return standard output, at most `WIDEST` columns of it."""
    out = Console(highlight=False)
    out.width = min(WIDEST, out.width)
    return out


@contextmanager
def complaints_of_click() -> Iterator[None]:
    """Keep what `click` repeats of the arguments, and what our errors repeat of a server, from steering a terminal."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message, keep_lines=True)  # final, says click; of its own text
        raise


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback; for ``sys.excepthook``."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace)), keep_lines=True))
