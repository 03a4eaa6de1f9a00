"""What a collection remembers of where its documents came from, so that no source overwrites another's."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_qdrant.cli.reading import Corpus, Document, Failed, Source
from colbert_qdrant.cli.reading.sources import STDIN
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client import models

    from colbert_qdrant import MultivectorCollection, Record
    from colbert_qdrant.collection.ids import PointId

SOURCE_KEY = "_source"
FILE_KEY = "_file"

_CHUNK = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_PAGE = 256
_FILES_IN_A_FILTER = 256
"""More files than that are found by going through all documents: a filter without an index does so each time."""


def extras(documents: Sequence[Document], source: Source) -> list[dict[str, Any]]:
    """Return what is stored beside each document's metadata."""
    return [{SOURCE_KEY: source.name, FILE_KEY: document.file} for document in documents]


def without_taken(collection: MultivectorCollection, corpus: Corpus) -> tuple[list[Document], list[Failed]]:
    """Set aside the documents that would overwrite one which is not theirs: of another file, or of another program.

    Chunks can't: their ids are made of their file's place. A row brings its own id along.
    """
    taken: dict[int, str] = {}
    naming = [(number, document) for number, document in enumerate(corpus.documents) if document.names_itself]
    for at in range(0, len(naming), _PAGE):
        page = [(number, it) for number, it in naming[at : at + _PAGE] if _point_of(it.id) is not None]
        stored = {_point_of(record.id): record for record in collection.get([document.id for _, document in page])}
        for number, document in page:
            record = stored.get(_point_of(document.id))
            if record is not None and (reason := _conflict(record, document)) is not None:
                taken[number] = reason
    failed = [Failed(corpus.documents[number].where, reason) for number, reason in taken.items()]
    return [document for number, document in enumerate(corpus.documents) if number not in taken], failed


def _point_of(record_id: object) -> PointId | None:
    """Return what is the same for each spelling of an id; ``None`` for what is none."""
    from colbert_qdrant.collection.ids import point_id

    try:
        return point_id(record_id)  # type: ignore[arg-type]  # a row may hold anything: `add` says what is wrong
    except InvalidInput:
        return None


def _conflict(record: Record, document: Document) -> str | None:
    owner = record.payload.get(FILE_KEY)
    if owner == document.file or (record.text, record.metadata) == (document.text, document.metadata):
        return None
    if owner is None:
        return (
            f"the id {record.id!r} is another document's, which was stored by other means than this command: give it "
            f"another id, or `colbert-qdrant delete --id {record.id}` first"
        )
    return (
        f"the id {record.id!r} is that of a document of {owner}: give it another id or, where this is that file's "
        f"newer form, say --source {owner}"
    )


def leftovers(
    collection: MultivectorCollection, source: Source, corpus: Corpus, stored: Sequence[Document]
) -> list[str]:
    """Return the ids of what files that were read whole have no more: chunks, and rows without an id of their own.

    Both are known by their file alone. A row that brings its id along stands for itself: `prune` removes it, as it does
    those of standard input, where what comes next need not replace what came before.

    Parameters
    ----------
    collection, source, corpus
        Where from, and what was read.
    stored
        What of it is stored: a file of which something could not be keeps what it had.
    """
    kept = {id(document) for document in stored}
    files = corpus.chunked if source.path == STDIN else corpus.whole
    files = files - {document.file for document in corpus.documents if id(document) not in kept}
    now = {_point_of(document.id) for document in corpus.documents}
    old = (record for record in of_files(collection, files) if _point_of(record.id) not in now)
    return [it.id for it in old if (file := it.payload[FILE_KEY]) in corpus.chunked or it.id.startswith(f"{file}#")]


def gone(collection: MultivectorCollection, source: Source, corpus: Corpus | None = None) -> dict[str, list[str]]:
    """Return what of a source is there no more: ids of documents by their file.

    Parameters
    ----------
    collection
        It holds the source's documents.
    source
        It is there: of a disk that is not, nothing is known to be gone.
    corpus
        All that is in the source now. Of a file that was read, the documents that it no longer has are gone as well.
    """
    from colbert_qdrant.collection.engines.edge_folder import is_told_by_its_shard

    is_collection = functools.cache(is_told_by_its_shard)  # files share the folders above them
    now = {_point_of(document.id) for document in corpus.documents} if corpus else set()
    whole = corpus.whole if corpus else set()
    there: dict[str, bool] = {}
    ids: dict[str, list[str]] = {}
    for record in of_source(collection, source):
        file = record.payload[FILE_KEY]
        if file not in there:
            there[file] = _may_be_there(source, file, is_collection)
        if not there[file] or (file in whole and _point_of(record.id) not in now):
            ids.setdefault(file, []).append(record.id)
    return ids


def _may_be_there(source: Source, file: str, is_collection: Callable[[Path], bool]) -> bool:
    """Return whether `index` would read a file again: not one of a collection, nor a folder or a link to another.

    What can't be looked at may be there, and so may what a link out of the folder leads to: both fail to be read.
    """
    root = Path(os.path.realpath(source.path))
    place = replace(source, path=root).path_of(file)
    try:
        target = Path(os.path.realpath(place))
        if target != place:
            return not target.is_relative_to(root)
        above = [folder for folder in place.parents if folder != root and folder.is_relative_to(root)]
        return stat.S_ISREG(os.lstat(place).st_mode) and not any(map(is_collection, above))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True


def of_files(collection: MultivectorCollection, files: Collection[str]) -> Iterator[Record]:
    """Yield all that is stored of these files."""
    from qdrant_client import models

    if not files:
        return
    few = len(files) <= _FILES_IN_A_FILTER
    match = models.FieldCondition(key=FILE_KEY, match=models.MatchAny(any=sorted(files)))
    for record in collection.scroll(models.Filter(must=[match]) if few else remembered()):
        if record.payload[FILE_KEY] in files:
            yield record


def beside(record: Record) -> list[str]:
    """Return the ids that the chunks of its file before and behind a chunk have; a PDF's, of its page."""
    number = _number(record)
    if number is None:
        return []
    *page, last = number
    return [_chunk_id(record, [*page, last + step]) for step in (-1, 1)]


def around(collection: MultivectorCollection, record: Record, width: int) -> list[Record]:
    """Return a chunk, and as many of its file before and behind it; a document that is no chunk alone."""
    number = _number(record)
    if number is None:
        return [record]
    if len(number) == 1:
        near = range(max(1, number[0] - width), number[0] + width + 1)
        return collection.get([_chunk_id(record, [each]) for each in near])
    # A page's number does not say how many chunks the one before it has.
    found = {_number(chunk) or (): chunk for chunk in of_files(collection, [record.payload[FILE_KEY]])}
    order = sorted(found)
    at = order.index(number)
    return [found[each] for each in order[max(0, at - width) : at + width + 1]]


def _number(record: Record) -> tuple[int, ...] | None:
    """Return a chunk's number in its file, of a PDF the page before it; ``None`` for what is no chunk of a file."""
    file, _, number = record.id.rpartition("#")
    if file != record.payload.get(FILE_KEY) or not _CHUNK.fullmatch(number):
        return None
    return tuple(map(int, number.split(".")))


def _chunk_id(record: Record, number: Sequence[int]) -> str:
    return f"{record.payload[FILE_KEY]}#{'.'.join(map(str, number))}"


def of_source(collection: MultivectorCollection, source: Source) -> Iterator[Record]:
    """Yield all that is stored of a source, also what was stored by the name of a folder above or below it."""
    return (record for record in collection.scroll(remembered()) if source.holds(record.payload[FILE_KEY]))


def remembered() -> models.Filter:
    """Return the filter that documents pass whose file is remembered."""
    from qdrant_client import models

    return models.Filter(must_not=[_lacking(FILE_KEY)])


def of_before() -> models.Filter:
    """Return the filter that chunks pass which were stored before files were remembered."""
    from qdrant_client import models

    return models.Filter(must=[_lacking(FILE_KEY)], must_not=[_lacking("metadata.first_line")])


def _lacking(key: str) -> models.IsEmptyCondition:
    from qdrant_client import models

    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
