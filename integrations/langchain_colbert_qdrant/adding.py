"""What LangChain gives to be stored, as a collection's ``add`` takes it. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from colbert_qdrant.collection.columns import Source, check_records
from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.collection.reports import AddReport
from colbert_qdrant.errors import InvalidInput


def checked_columns(texts: Iterable[str], metadatas: Any, ids: Any) -> tuple[Any, Any, Any]:
    """Return what is to be stored, each record checked, before there is a collection or one is removed for it."""
    Source(texts=texts, metadatas=metadatas)  # as in `with_ids`
    texts, ids = with_ids(texts, ids)
    metadatas = metadatas if metadatas is None else list(metadatas)
    source = Source(texts=texts, metadatas=metadatas, ids=ids)
    deque(check_records(source, AddReport(), "raise", dim=0), maxlen=0)  # no vectors are given, of whatever dimension
    return texts, metadatas, ids


def with_ids(texts: Iterable[str], ids: Iterable[RecordId | None] | None) -> tuple[Sequence[str], Sequence[RecordId]]:
    """Return the texts, known in full and so checked in full before anything is written, and an id for each."""
    Source(texts=texts, ids=ids)  # refuses what is one value, or a mapping, and would be taken for a list
    texts = list(texts)
    given = [None] * len(texts) if ids is None else ids
    return texts, [str(uuid4()) if text_id is None else text_id for text_id in given]


def options_of(batch_size: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `MultivectorCollection.add`."""
    if batch_size is not None and options.get("on_error") == "skip":
        raise InvalidInput(
            'on_error="skip" with batch_size: LangChain\'s index() gives a batch_size, and its record manager would '
            "remember what was left out as stored, for good. Leave out first what collection.plan(texts) finds"
        )
    return without_wait(options)


def without_wait(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without langchain-qdrant's ``wait``, which is always done here."""
    return {name: value for name, value in options.items() if name != "wait"}
