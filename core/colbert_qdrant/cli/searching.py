"""What asks a collection: ``colbert-qdrant search`` and ``explain``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colbert_qdrant.cli import filters, sources, tables, terminal
from colbert_qdrant.cli.options import as_json, carefully, check_question, on_collection
from colbert_qdrant.cli.target import Target
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client import models

    from colbert_qdrant import Hit, MultivectorCollection, Record
    from colbert_qdrant.explanation import Explanation, Highlight

WORDS_MARKED = 8

_LOCATION = re.compile(r"(.+?)(?::(\d{1,18})|#page=(\d{1,18}))")
"""Of more digits is no line, and no number that Qdrant takes."""

_NAMED = 10
"""Ids that are listed where a place is that of several chunks."""


@click.command()
@click.argument("question")
@on_collection
@filters.filtered
@click.option("-k", "--limit", type=click.IntRange(min=1), default=5, show_default=True, help="Most hits to show.")
@click.option("--min-relevance", type=click.FloatRange(0, 1), help="Leave out hits of less, from 0 to 1.")
@as_json
@carefully
def search(
    *,
    target: Target,
    question: str,
    conditions: tuple[str, ...],
    limit: int,
    min_relevance: float | None,
    to_json: bool,
) -> None:
    """Find the documents that answer QUESTION best.

    The words that answered it are marked. Before each hit stands its relevance, from 0 to 1: for each token of the
    question the similarity of the best token of the document, on average. What names a hit can be pasted: into an
    editor, and behind `colbert-qdrant explain QUESTION --id`. Of chunks that stand in one place, such as a page, the id
    is shown too, which names one of them.
    """
    check_question(question, target)
    with target.to_search() as collection:
        chosen = filters.parsed(conditions, collection.layout)
        hits = collection.search(question, limit=limit, filter=chosen, min_relevance=min_relevance)
        explanations = [explain_record(collection, question, hit) for hit in hits]
        shared = shared_places(collection, hits)
        model = collection.embedder.model_name
        documents = 0 if hits else collection.count()
    if to_json:
        found = [hit_row(hit, explanation) for hit, explanation in zip(hits, explanations, strict=True)]
        terminal.say_json({"question": question, "collection": target.name, "model": model, "hits": found})
    elif not hits:
        nothing = "has nothing that fits" if documents else "is empty"
        terminal.say(f"Collection {target.name!r} {nothing}.")
    else:
        out = terminal.console()
        for rank, (hit, explanation) in enumerate(zip(hits, explanations, strict=True), start=1):
            with_id = tables.location(hit) in shared
            line, text = tables.hit_lines(rank, hit, words_of(hit, explanation), out, with_id=with_id)
            terminal.show_line(out, line)
            terminal.show_text(out, text, indent=tables.INDENT)
            terminal.say("")
        terminal.say(f"{target.described} · {model}", dim=True)


def hit_row(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """Return a hit as JSON shows it."""
    words = [asdict(word) for word in words_of(hit, explanation)]
    return {
        "id": hit.id,
        "relevance": hit.relevance,
        "score": hit.score,
        "text": hit.text,
        "metadata": hit.metadata,
        "highlights": words,
    }


@click.command()
@click.argument("question")
@on_collection
@filters.filtered
@click.option("--id", "shown_id", help="Explain this document rather than the best hit: its id, or FILE:LINE.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page that a browser shows.")
@as_json
@carefully
def explain(
    *,
    target: Target,
    question: str,
    conditions: tuple[str, ...],
    shown_id: str | None,
    html: Path | None,
    to_json: bool,
) -> None:
    """Show which words of a document answered QUESTION.

    It is the best hit, unless --id names another one.
    """
    check_question(question, target)
    with target.to_search() as collection:
        chosen = filters.parsed(conditions, collection.layout)
        if shown_id is None:
            record: Record | None = next(iter(collection.search(question, limit=1, filter=chosen)), None)
        else:
            record = named(collection, shown_id)
        if record is None:
            nothing = "has nothing that fits" if collection.count() else "is empty"
            missing = f"has no document with the id {shown_id!r}"
            raise InvalidInput(f"collection {target.name!r} {nothing if shown_id is None else missing}")
        explanation = explain_record(collection, question, record)
        with_id = bool(shared_places(collection, [record]))
    if to_json:
        terminal.say_json({"id": record.id, "metadata": record.metadata, **asdict(explanation)})
    else:
        terminal.show_line(terminal.console(), tables.heading(record, with_id=with_id))
        terminal.say_explanation(explanation)
    if html is not None:
        html.write_text(explanation.to_html(), encoding="utf-8")
        terminal.complain(f"The page: {html}")


def explain_record(collection: MultivectorCollection, question: str, record: Record) -> Explanation:
    """Take a record's score apart, by its stored vectors, or, where those are not one a token, by encoding it."""
    from colbert_qdrant import ColbertEmbedder
    from colbert_qdrant import explain as explained
    from colbert_qdrant.collection.citing import source_of
    from colbert_qdrant.collection.points import encoded_text

    with suppress(InvalidInput):
        return collection.explain(question, record.id)
    assert isinstance(collection.embedder, ColbertEmbedder)  # a `Target` opens collections with no other
    return explained(question, encoded_text(record), embedder=collection.embedder, source=source_of(record))


def words_of(record: Record, explanation: Explanation) -> tuple[Highlight, ...]:
    """Return the words of a record's text that answered most: they stand in what is shown of it."""
    from colbert_qdrant.collection.citing import of_own_text

    return of_own_text(explanation, record).highlights(WORDS_MARKED)


def named(collection: MultivectorCollection, shown: str) -> Record | None:
    """Return the document of an id, or the chunk that stands where listings show it.

    Raises
    ------
    InvalidInput
        Several chunks stand there.
    """
    if found := collection.get([shown]):
        return found[0]
    match = _LOCATION.fullmatch(shown)
    standing = list(collection.scroll(_standing(*match.groups()))) if match else []
    if len(standing) > 1:
        ids = sorted((record.id for record in standing), key=lambda each: (len(each), each))
        more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
        raise InvalidInput(
            f"{shown!r} is where {len(ids):,} chunks stand: give the id of one of them: {', '.join(ids[:_NAMED])}{more}"
        )
    return standing[0] if standing else None


def shared_places(collection: MultivectorCollection, records: Sequence[Record]) -> set[str]:
    """Return the places where more than one chunk stands: of a line that was cut, of a page.

    The chunks beside each are fetched by their ids: to filter all documents takes longer than a search.
    """
    beside = collection.get([each for record in records for each in sources.beside(record)])
    places = Counter({record.id: tables.location(record) for record in [*records, *beside]}.values())
    return {place for place, count in places.items() if place is not None and count > 1}


def _standing(path: str, line: str | None, page: str | None) -> models.Filter:
    from qdrant_client import models

    places = sorted({path, Path(path).absolute().as_posix()})
    key, number = ("metadata.first_line", line) if page is None else ("metadata.page", page)
    return models.Filter(
        must=[
            models.FieldCondition(key="metadata.path", match=models.MatchAny(any=places)),
            models.FieldCondition(key=key, match=models.MatchValue(value=int(number or 0))),
        ]
    )
