"""What `add` is given, in columns, and the records that they are: each checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any

import numpy as np

from colbert_qdrant.collection import points, stage_vectors
from colbert_qdrant.collection.ids import PointId, RecordId, point_id
from colbert_qdrant.collection.points import NewRecord
from colbert_qdrant.collection.reports import AddReport, Failure, OnError
from colbert_qdrant.collection.stages import Stage
from colbert_qdrant.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What to add, in columns; see `MultivectorCollection.add`."""

    texts: Iterable[str] | None
    metadatas: Iterable[Mapping[str, Any] | None] | None = None
    ids: Iterable[RecordId | None] | None = None
    extras: Iterable[Mapping[str, Any]] | None = None
    encoded_as: Iterable[str] | None = None
    vectors: Iterable[Any] | None = None
    stage_vectors: Mapping[str, Iterable[Any]] | None = None

    def __post_init__(self) -> None:
        """Refuse a string, whose characters would be taken for texts, and vectors of no stage."""
        for name in ("metadatas", "ids", "extras", "encoded_as", "vectors"):
            column = getattr(self, name)
            kinds = str | bytes | bytearray | (Mapping if name in ("metadatas", "extras") else str)
            if isinstance(column, kinds):
                raise InvalidInput(f"{name} is a single {type(column).__name__}; give one for each text: {name}=[...]")
        if self.stage_vectors is not None and not isinstance(self.stage_vectors, Mapping):
            raise InvalidInput(
                f"stage_vectors is a {type(self.stage_vectors).__name__}; give the vectors by stage: {{'dense': [...]}}"
            )
        if self.texts is None:
            if self.vectors is None:
                raise InvalidInput("neither texts nor vectors: give one of them")
            return
        if isinstance(self.texts, str | bytes | bytearray | Mapping) or not isinstance(self.texts, Iterable):
            raise InvalidInput(f"texts is a {type(self.texts).__name__}; give an iterable of strings, such as [text]")

    @property
    def is_at_hand(self) -> bool:
        """Whether all is in memory already, and may be looked at before anything is written."""
        texts = self.vectors if self.texts is None else self.texts
        beside = [self.vectors, *(self.stage_vectors or {}).values()]
        return isinstance(texts, Sequence | np.ndarray) and all(
            isinstance(column, Sequence | np.ndarray | None) for column in beside
        )


def check_records(
    source: Source, report: AddReport, on_error: OnError, dim: int, stages: Sequence[Stage] = ()
) -> Iterator[NewRecord]:
    """Bring the columns together, each record checked.

    Raises
    ------
    InvalidInput
        A column is shorter or longer than the texts, or is of no stage; with ``on_error="raise"`` also a record that
        can't be stored, or an id that stands twice.
    """
    absent = object()
    columns = {
        name: iter(column)
        for name, column in (
            ("metadatas", source.metadatas),
            ("ids", source.ids),
            ("extras", source.extras),
            ("encoded_as", source.encoded_as),
            ("vectors", source.vectors),
        )
        if column is not None
    }
    of_stage = {f"stage_vectors[{name!r}]": name for name in stage_vectors.columns_of(source.stage_vectors, stages)}
    columns |= {column: iter((source.stage_vectors or {})[name]) for column, name in of_stage.items()}
    texts = source.texts
    if texts is None:  # vectors without a text, of a page's image, say
        texts, columns["vectors"] = _blanks_beside(columns["vectors"])
    seen: set[PointId] = set()
    position = -1
    for position, text in enumerate(texts):
        values: dict[str, Any] = {name: next(column, absent) for name, column in columns.items()}
        for name, value in values.items():
            if value is absent:
                raise InvalidInput(f"{name} ends after {position}, texts goes on: give one for each text")
        record_id = values.get("ids")
        try:
            record = points.check_record(
                position,
                text,
                values.get("metadatas"),
                record_id,
                values.get("extras"),
                values.get("encoded_as"),
                values.get("vectors"),
                dim,
            )
            if record.vectors is not None and not source.is_at_hand:  # a generator may fill one buffer again and again
                record = replace(record, vectors=record.vectors.copy())
            if of_stage:
                given = {name: values[column] for column, name in of_stage.items()}
                record = replace(record, stage_vectors=stage_vectors.check_given(stages, given, position))
            qdrant_id = point_id(record.id)
            if qdrant_id in seen:
                if record_id is None:  # what is stored of it is the same: it is the same record
                    report.take_again(record.id, position)
                    continue
                raise InvalidInput(f"id {record_id!r} stands twice in this call, again at position {position}")
        except InvalidInput as error:
            if on_error == "raise":
                raise
            report.failed.append(Failure(position, record_id, str(error)))
            continue
        seen.add(qdrant_id)
        report.ids.append(record.id)
        yield record
    for name, column in columns.items():
        if next(column, absent) is not absent:
            raise InvalidInput(f"{name} goes on after the {position + 1} texts: give one for each text")


def _blanks_beside(vectors: Iterator[Any]) -> tuple[Iterator[str], Iterator[Any]]:
    """Return an empty text for each of the vectors, and the vectors."""
    ahead, behind = tee(vectors)
    return ("" for _ in ahead), behind
