"""What commands share: how they fail, warn and are interrupted, and the options that name a collection."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from colbert_qdrant.cli import INTERRUPTED, terminal
from colbert_qdrant.cli.target import Target, holds_collections
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput

Command: TypeAlias = Callable[..., None]


class Commands(click.Group):
    """A group whose complaints, its commands' too, can't steer the terminal."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the group's own arguments."""
        with terminal.complaints_of_click():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse a command's arguments and run it."""
        with terminal.complaints_of_click():
            return super().invoke(ctx)


def carefully(command: Command) -> Command:
    """Give a command ``--debug``, and its errors, warnings and interruption a form for people."""

    @click.option("--debug", is_flag=True, help="Show where an error comes from.")
    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: terminal.complain(f"Warning: {message}")
                command(**options)
        except (ColbertQdrantError, OSError) as error:
            if debug or isinstance(error, BrokenPipeError):  # a pipe that was closed is click's to deal with
                raise
            notes = [f"  {note}" for note in getattr(error, "__notes__", [])]
            raise click.ClickException("\n".join([" ".join(str(error).split()), *notes])) from None
        except KeyboardInterrupt:
            terminal.complain("\nStopped. What is stored stays; the same command again goes on from there.")
            raise click.exceptions.Exit(INTERRUPTED) from None

    return run


class FilledPath(click.Path):
    """A path that is not empty, as a shell's variable is that is not set: it would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path."""
        if not value:
            self.fail("'' is empty: is the variable unset?", param, ctx)
        return super().convert(value, param, ctx)


def filled(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an empty value of an option that may be given again; its ``callback``."""
    if not all(value.strip() for value in values):
        raise click.BadParameter("'' is empty: is the variable unset?")
    return values


def on_place(command: Command) -> Command:
    """Give a command the options that name a place; it receives them as a `Target`."""

    @click.option("--path", type=FilledPath(file_okay=False, path_type=Path), help="Folder of the embedded engine.")
    @click.option("--url", help="A Qdrant server, cluster or Cloud, instead of --path.")
    @click.option("--api-key", envvar="QDRANT_API_KEY", help="For --url; better as QDRANT_API_KEY in the environment.")
    @functools.wraps(command)
    def run(
        *,
        path: Path | None,
        url: str | None,
        api_key: str | None,
        collection: str = "documents",
        model: str | None = None,
        **options: Any,
    ) -> None:
        if (path is None) == (url is None):
            raise click.UsageError("Give one of --path FOLDER (embedded, on disk) and --url URL (a server).")
        asked = click.get_current_context().get_parameter_source("api_key")
        if path is not None and asked is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--api-key is for --url, the server it opens.")
        target = Target(path=path, url=url, api_key=None if url is None else api_key, name=collection, model=model)
        command(target=target, **options)

    return run


def on_collection(command: Command) -> Command:
    """Give a command the options that name a collection; it receives them as a `Target`."""
    named = click.option("--collection", default="documents", show_default=True, help="The collection's name.")
    model = click.option("--model", help="Name or folder of a model. Default: the one the collection was made with.")
    return named(model(on_place(command)))


def check_question(question: str, target: Target) -> None:
    """Refuse what is no question: nothing, or the folder that --path was meant to name.

    Raises
    ------
    InvalidInput
        Says what to give instead.
    """
    if not question.strip():
        raise InvalidInput("the question is empty; give the words to look for")
    if holds_collections(question):
        command = click.get_current_context().info_name
        raise InvalidInput(
            f"{question!r} is a folder of collections, not a question; did you mean "
            f'`{command} "{target.path or "your question"}" --path {question}`?'
        )


as_json = click.option("--json", "to_json", is_flag=True, help="Print JSON, for programs.")
