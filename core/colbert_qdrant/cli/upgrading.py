"""What gives token vectors to a collection that has others, and takes them back: ``upgrade`` and ``downgrade``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from colbert_qdrant.cli import terminal
from colbert_qdrant.cli.indexing import say_summary
from colbert_qdrant.cli.options import as_json, carefully, on_collection
from colbert_qdrant.cli.reading import Failed
from colbert_qdrant.cli.target import Target

PROGRAMS = "langchain-qdrant, LlamaIndex, Haystack and mcp-server-qdrant"


@click.command(
    help=f"""Give a collection of single vectors token vectors too, so that `search` finds by them.

    It is one that {PROGRAMS} wrote, or another whose text lies under --content-key. Nothing that it has is touched, and
    the program that wrote it goes on working. What that program adds later gets its vectors when the same command runs
    again; so is a run finished that was stopped. `downgrade` takes all back.
    """
)
@on_collection
@click.option("--content-key", metavar="KEY", help="Of the text, in a payload of another program's.")
@click.option("--metadata-key", metavar="KEY", help="Of the metadata there.")
@as_json
@carefully
def upgrade(*, target: Target, content_key: str | None, metadata_key: str | None, to_json: bool) -> None:
    """Encode what has no token vectors yet."""
    from colbert_qdrant import AddReport, MultivectorCollection

    reports: list[AddReport] = []
    embedder = target.to_upgrade()
    keys: dict[str, Any] = {"content_key": content_key, "metadata_key": metadata_key}
    with MultivectorCollection.upgrade(target.name, embedder, progress=reports.append, **keys, **target.place) as docs:
        documents = docs.count()
    report = reports[-1] if reports else AddReport(unchanged=documents)
    summary: dict[str, Any] = {
        "collection": target.name,
        "model": embedder.model_name,
        "encoded": report.encoded,
        "unchanged": report.unchanged,
        "failed": [asdict(failure) for failure in report.failed],
        "documents": documents,
    }
    if to_json:
        terminal.say_json(summary)
    else:
        say_summary(summary, [Failed(str(failure.id), failure.reason) for failure in report.failed], target)
    if report.failed:
        raise click.exceptions.Exit(1)


@click.command()
@on_collection
@carefully
def downgrade(*, target: Target) -> None:
    """Take away the token vectors that `upgrade` made: the collection is what it was."""
    from colbert_qdrant import MultivectorCollection

    target.info()
    MultivectorCollection.downgrade(target.name, **target.place)
    terminal.say(f"{target.described} has the vectors that it had")
