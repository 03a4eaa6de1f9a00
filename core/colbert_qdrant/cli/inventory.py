"""What there is: ``colbert-qdrant models``, ``list`` and ``info``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colbert_qdrant.cli import sources, tables, terminal
from colbert_qdrant.cli.options import as_json, carefully, on_collection, on_place
from colbert_qdrant.cli.target import Target, remembered
from colbert_qdrant.errors import CollectionNotFound

if TYPE_CHECKING:
    from qdrant_client import models as qdrant

SAMPLE = 64
"""Documents whose vectors are counted."""


@click.command()
@as_json
@carefully
def models(*, to_json: bool) -> None:
    """List the models that are known by name.

    A folder that holds an ONNX file and a tokenizer.json is a model as well.
    """
    from colbert_qdrant.embedding import registry

    known = [row.as_row() for row in registry.registered()]
    if to_json:
        terminal.say_json(known)
    else:
        terminal.show_table(terminal.console(), tables.models_table(known))


@click.command(name="list")
@on_place
@as_json
@carefully
def list_collections(*, target: Target, to_json: bool) -> None:
    """List the collections of a folder or server."""
    if target.path is not None and not target.path.exists():
        raise CollectionNotFound(f"there is no folder {target.path}; `colbert-qdrant index` makes one")
    with closing(target.connect()) as engine:
        names = sorted(each.name for each in engine.call("get_collections", {}).collections)
        found = [_described(name, engine.call("get_collection", {"collection_name": name}), target) for name in names]
    if to_json:
        terminal.say_json(found)
        return
    columns: dict[str, Any] = {"collection": None, "documents": "right", "model": "left", "size": "right"}
    lines = [
        [each["collection"], f"{each['documents']:,}", each["model"] or "?", _size(each["bytes"])] for each in found
    ]
    terminal.show_table(terminal.console(), tables.rows(columns, lines))


@click.command()
@on_collection
@as_json
@carefully
def info(*, target: Target, to_json: bool) -> None:
    """Say what a collection holds: documents, model, first stages, size, and where it all came from."""
    described = _described(target.name, target.info(), target)
    with target.to_search() as collection:
        vectors = [
            len(it.vectors) for it in islice(collection.scroll(with_vectors=True), SAMPLE) if it.vectors is not None
        ]
        described["documents"] = collection.count()
        described["vectors_a_document"] = sum(vectors) / len(vectors) if vectors else None
        described["sources"] = _sources(collection.scroll())
    if to_json:
        terminal.say_json(described)
        return
    storage = f"{described['storage']}, {described['dim']} numbers a vector"
    if described["vectors_a_document"]:
        storage += f", about {described['vectors_a_document']:.0f} vectors a document"
    lines = {
        "documents": f"{described['documents']:,}",
        "model": described["model"] or "not remembered",
        "first stages": ", ".join(described["stages"]) or "none: MaxSim over all documents",
        "vectors": storage,
        "size": _size(described["bytes"]),
    }
    for what, said in lines.items():
        terminal.say(f"{what:14}{said}")
    for each in described["sources"]:  # a line each, so that a place can be pasted
        source = each["source"] or "not remembered; `delete --without-source` removes these"
        terminal.say(f"{'source':14}{source} ({each['files']:,} files, {each['documents']:,} documents)")


def _described(name: str, info: qdrant.CollectionInfo, target: Target) -> dict[str, Any]:
    """Return what is known of a collection without a look at its documents."""
    settings = remembered(info)
    vectors = info.config.params.vectors or {}
    params = list(vectors.values()) if isinstance(vectors, Mapping) else [vectors]
    multivectors = [each for each in params if each.multivector_config is not None]
    stored = multivectors[0] if multivectors else None
    return {
        "collection": name,
        "documents": info.points_count or 0,
        "model": settings.get("model"),
        "stages": sorted(settings.get("stages", {})),
        "dim": stored.size if stored else None,
        "storage": (stored.datatype.value if stored.datatype else "float32") if stored else None,
        "bytes": _bytes_below(target.path / name) if target.path else None,
    }


def _sources(records: Any) -> list[dict[str, Any]]:
    documents: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    for record in records:
        source = record.payload.get(sources.SOURCE_KEY, "")
        documents[source] += 1
        files.setdefault(source, set()).update({record.payload.get(sources.FILE_KEY)} - {None})
    return [
        {"source": source, "files": len(files[source]), "documents": count}
        for source, count in sorted(documents.items())
    ]


def _bytes_below(folder: Path) -> int:
    """Return what a folder takes on disk: files of vectors are made larger than what is in them, with holes."""
    stats = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(getattr(stat, "st_blocks", stat.st_size // 512) * 512 for stat in stats)


def _size(number: int | None) -> str:
    return "" if number is None else tables.in_bytes(number)
