"""What takes documents away: ``colbert-qdrant delete`` and ``prune``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from colbert_qdrant.cli import filters, sources, terminal
from colbert_qdrant.cli.indexing import checked_encoding, source_of
from colbert_qdrant.cli.options import as_json, carefully, filled, on_collection
from colbert_qdrant.cli.reading import Choice, Source, read
from colbert_qdrant.cli.reading.corpus import is_absolute
from colbert_qdrant.cli.searching import named
from colbert_qdrant.cli.target import Target
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant import MultivectorCollection, Record

SHOWN = 10

sure = click.option("--yes", is_flag=True, help="Don't ask.")


@click.command()
@on_collection
@click.option("--id", "shown_ids", multiple=True, help="This document: its id, or FILE:LINE.")
@click.option(
    "--source", "names", multiple=True, metavar="NAME", callback=filled, help="All of this file, folder or source."
)
@click.option("--without-source", is_flag=True, help="All that no `colbert-qdrant index` remembers the file of.")
@filters.filtered
@sure
@as_json
@carefully
def delete(
    *,
    target: Target,
    shown_ids: tuple[str, ...],
    names: tuple[str, ...],
    without_source: bool,
    conditions: tuple[str, ...],
    yes: bool,
    to_json: bool,
) -> None:
    """Delete documents: by id, by source, by filter, or those of a source that pass a filter."""
    if not (shown_ids or names or without_source or conditions):
        raise click.UsageError("Say what to delete: --id, --source, --without-source or --filter.")
    if (shown_ids and (names or without_source or conditions)) or (names and without_source):
        raise click.UsageError("Give --id alone, or one of --source and --without-source.")
    with target.to_search() as collection:
        if shown_ids:
            doomed = list({it.id: it for it in (_existing(collection, shown) for shown in shown_ids)}.values())
        else:
            found = collection.scroll(filters.parsed(conditions, collection.layout))
            if names:
                doomed = _of_sources(found, names, target, are_all=not conditions)
            else:
                doomed = [record for record in found if not (without_source and record.payload.get(sources.FILE_KEY))]
        remove(collection, doomed, target, yes=yes, to_json=to_json)


def _existing(collection: MultivectorCollection, shown: str) -> Record:
    record = named(collection, shown)
    if record is None:
        raise InvalidInput(f"collection {collection.name!r} has no document with the id {shown!r}; nothing was deleted")
    return record


def _of_sources(records: Iterable[Record], names: Sequence[str], target: Target, *, are_all: bool) -> list[Record]:
    """Return those of the records that are of one of the sources; where these are all, each has some.

    Raises
    ------
    InvalidInput
        One is the name of a source and of something else here, and there are records of both; or of none.
    """
    wanted = [(name, Source(Path(name), name.rstrip("/") or name)) for name in names]
    wanted += [(name, Source.of(Path(name), is_shared=target.url is not None)) for name in names]
    found: dict[str, Record] = {}
    meant: dict[str, set[str]] = {}
    for record in records:
        for name, source in wanted:
            if source.holds(record.payload.get(sources.FILE_KEY) or ""):
                found[record.id] = record
                meant.setdefault(name, set()).add(source.name)
    if are_all and (unknown := next((name for name in names if name not in meant), None)) is not None:
        raise InvalidInput(f"{target.described} has nothing of --source {unknown!r}; nothing was deleted")
    for name, places in meant.items():
        if len(places) > 1 and not is_absolute(name):
            [place] = places - {name.rstrip("/")}
            raise InvalidInput(
                f"--source {name!r} is what a source was named, and also {place} from here: --source {place} is that "
                "one, and the same from another folder is the named one. Nothing was deleted"
            )
    return list(found.values())


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@on_collection
@click.option("--source", "name", metavar="NAME", help="What SOURCE is remembered by, where `index` was told so.")
@click.option("--encoding", help="Of files that are not UTF-8, as for `index`.")
@sure
@as_json
@carefully
def prune(*, target: Target, source: Path, name: str | None, encoding: str | None, yes: bool, to_json: bool) -> None:
    """Delete the documents of SOURCE that are gone from it: of files that were removed, and rows of their files.

    A file is gone, too, where a folder or a link to another file of SOURCE stands in its place, or where it is part of
    a collection. One that can't be read keeps its documents. SOURCE itself must be there: of a disk that is not,
    nothing is gone.
    """
    given = source_of(target, source, name)
    choice = Choice(hidden=True, encoding=checked_encoding(encoding))
    with target.to_search() as collection:
        corpus = read(given, choice)
        ids = [record_id for found in sources.gone(collection, given, corpus).values() for record_id in found]
        remove(collection, collection.get(ids), target, yes=yes, to_json=to_json)


def remove(
    collection: MultivectorCollection, doomed: Sequence[Record], target: Target, *, yes: bool, to_json: bool
) -> None:
    """Delete records, once somebody has seen what they are and said yes.

    Raises
    ------
    InvalidInput
        Nobody said yes; nothing was deleted.
    """
    if doomed and not yes:
        files = Counter(str(record.payload.get(sources.FILE_KEY, record.id)) for record in doomed)
        for file, count in sorted(files.items())[:SHOWN]:
            terminal.complain(f"  {file}  {count:,}")
        if len(files) > SHOWN:
            terminal.complain(f"  ... and {len(files) - SHOWN:,} more")
        if not terminal.ask(f"Delete these {len(doomed):,} documents of {target.described}?"):
            raise InvalidInput(f"{len(doomed):,} documents would be deleted; --yes does so. Nothing was deleted")
    collection.delete([record.id for record in doomed])
    left = collection.count()
    if to_json:
        terminal.say_json({"collection": target.name, "deleted": len(doomed), "documents": left})
    else:
        terminal.say(f"{len(doomed):,} deleted")
        terminal.say(f"{left:,} documents in {target.described}", dim=True)
