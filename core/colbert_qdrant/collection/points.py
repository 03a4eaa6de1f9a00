"""A record and the Qdrant point that holds it: payload layout, sizes and limits. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from qdrant_client import models

from colbert_qdrant.checks import check_text
from colbert_qdrant.collection import foreign, numbers
from colbert_qdrant.collection.fingerprints import HASH_KEY, digest, fingerprint
from colbert_qdrant.collection.ids import ID_KEY, TENANT_KEY, derived_id, id_of, id_text, point_id
from colbert_qdrant.collection.json_values import check_metadata
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import EngineError, InvalidInput, PointTooLarge
from colbert_qdrant.notebook import hit_html, hit_line
from colbert_qdrant.passages import Passage
from colbert_qdrant.scoring import relevance
from colbert_qdrant.types import Multivector

AROUND_KEY = "_around"
"""What was encoded before and behind the text, where that is more than the text: `[before, behind]`. An empty list says
that it was another text, which is not kept."""
OWN_KEYS = (ID_KEY, HASH_KEY, AROUND_KEY, TENANT_KEY, numbers.EXACT_KEY)
"""Of a payload, beside the keys of the text and of the metadata."""

MAX_ELEMENTS = 1_048_576
"""Qdrant refuses a point whose multivector has this many numbers or more. https://github.com/qdrant/qdrant/pull/4478"""

P = TypeVar("P", models.PointStruct, models.PointVectors)

MAX_REQUEST_BYTES = 32 * 2**20
"""https://github.com/qdrant/qdrant/blob/master/config/config.yaml: max_request_size_mb. What fits nowhere else, as no
request can be smaller than a point, is refused everywhere."""

_JSON_BYTES_PER_FLOAT = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a collection holds under an id.

    Parameters
    ----------
    id
        The caller's id.
    text
        The text; empty where the payload has none under the content key.
    metadata
        The caller's metadata, as it was given.
    payload
        The whole payload of the point, our own keys included.
    vectors
        ``(tokens, dim)`` float32, when they were asked for.
    """

    id: str
    text: str
    metadata: dict[str, Any]
    payload: Mapping[str, Any] = field(repr=False)
    vectors: Multivector | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit(Record):
    """A record that a search found.

    Parameters
    ----------
    score
        MaxSim: for each query vector the similarity of the best document vector, summed.
    relevance
        The same as a number from 0 to 1: `score` divided by the number of query vectors; see `scoring.relevance`.
    passages
        The parts of its text that answer best, where they were asked for.
    """

    score: float
    relevance: float
    passages: tuple[Passage, ...] = ()

    def _repr_html_(self) -> str:
        return hit_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(hit_line(self))


@dataclass(frozen=True, slots=True)
class Wire:
    """What an engine's transport takes.

    Parameters
    ----------
    bytes_per_float
        What a number of a vector costs in a request.
    request_bytes
        The largest request, with room to spare.
    in_flight
        How many requests it may be sent before the first of them is answered.
    """

    bytes_per_float: float
    request_bytes: int
    in_flight: int = 1


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record on its way in, checked; `position` is its text's place among the texts."""

    position: int
    id: str
    text: str
    encoded_as: str
    metadata: dict[str, Any]
    extra: Mapping[str, Any]
    vectors: Multivector | None = None
    """Token vectors that were given with the text, which is then not encoded."""
    stage_vectors: Mapping[str, Any] = field(default_factory=dict)
    """Vectors of first stages that were given with the text, by stage. A stage's encoder makes the same of it, so
    no hash knows of them."""

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        """Return a hash of all that the record's vectors depend on: of themselves, where they were given."""
        given = {} if self.vectors is None else {"vectors": digest(self.vectors)}
        return fingerprint(self.encoded_as, {**settings, **given})


def check_record(
    position: int, text: Any, metadata: Any, record_id: Any, extra: Any, encoded_as: Any, vectors: Any, dim: int
) -> NewRecord:
    """Return a record as it will be stored.

    Raises
    ------
    InvalidInput
        Says what of the record can't be stored, and why.
    """
    check_text(text, f"text {position}")
    checked = check_metadata(metadata, f"metadata {position}")
    given = None if vectors is None else check_multivector(vectors, dim, f"vectors {position}")
    record = NewRecord(
        position=position,
        id="" if record_id is None else id_text(record_id),
        text=text,
        encoded_as=text if encoded_as is None else check_text(encoded_as, f"encoded_as {position}"),
        metadata=checked,
        extra=_check_extra(extra, f"extra {position}"),
        vectors=given,
    )
    return replace(record, id=derived_id(record)) if record_id is None else record


def _check_extra(extra: Any, what: str) -> dict[str, Any]:
    checked = check_metadata(extra, what)
    reserved = [key for key in checked if key in OWN_KEYS or not key.startswith("_")]
    if reserved:
        raise InvalidInput(
            f"{what} has the key {reserved[0]!r}; it may hold keys with a leading underscore, but not our own"
        )
    return checked


def check_multivector(vectors: Any, dim: int, what: str, largest: float = math.inf) -> Multivector:
    """Return token vectors as ``(tokens, dim)`` float32.

    Raises
    ------
    InvalidInput
        Another shape or dimension, no rows, a value that is not finite, or one beyond the largest that is stored.
    PointTooLarge
        More numbers than Qdrant takes for one point.
    """
    try:
        array: Multivector = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what}: token vectors must be a (tokens, {dim}) array of numbers ({error})") from None
    if array.ndim != 2 or array.shape[1] != dim or not len(array):
        raise InvalidInput(f"{what}: token vectors have shape {array.shape}, the collection takes (tokens, {dim})")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InvalidInput(f"{what}: vector {row} has a value that is NaN or infinite; the model gave no usable output")
    if largest < math.inf and (most := float(np.abs(array).max())) > largest:
        raise InvalidInput(
            f"{what}: a value of {most:,.0f}, and half precision, in which the collection stores them, ends at "
            f"{largest:,.0f}: bring the vectors to length 1, or make the collection with Storage(datatype='float32')"
        )
    if array.size >= MAX_ELEMENTS:
        raise _too_large(what, len(array), dim)
    return array


def too_many_vectors(embedder: Any, text: str, dim: int, what: str) -> PointTooLarge | None:
    """Say that a text has more tokens than a point takes, where the embedder counts them: encoding takes minutes.

    Parameters
    ----------
    embedder
        Asked for ``vector_count(text)``, if it has that: how many token vectors the text will have.
    text, dim, what
        The text, the length of its token vectors, and what to call it.
    """
    most = (MAX_ELEMENTS - 1) // dim
    if len(text) <= most or not hasattr(embedder, "vector_count"):  # a token is a character at least, nearly always
        return None
    try:
        count = embedder.vector_count(text)
    except InvalidInput:  # encoding refuses it as well, and says so for this text alone
        return None
    return _too_large(what, count, dim) if count > most else None


def _too_large(what: str, count: int, dim: int) -> PointTooLarge:
    return PointTooLarge(
        f"{what}: {count} vectors of {dim} numbers are {count * dim:,}, Qdrant takes fewer than {MAX_ELEMENTS:,} for "
        f"one point: split the text into parts of at most {(MAX_ELEMENTS - 1) // dim} tokens"
    )


def check_size(point: models.PointStruct, what: str) -> None:
    """Refuse a point that is larger than a server's request may be.

    Raises
    ------
    PointTooLarge
        Says what it weighs.
    """
    size = point_bytes(point, _JSON_BYTES_PER_FLOAT)
    if size > MAX_REQUEST_BYTES:
        raise PointTooLarge(
            f"{what}: its payload and vectors take {size / 2**20:,.0f} MiB as JSON, a Qdrant server takes at most "
            f"{MAX_REQUEST_BYTES // 2**20} MiB in one request: split the text, or store less beside it"
        )


def to_payload(record: NewRecord, layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload that holds all of a record but its vectors."""
    payload, exact = numbers.surviving({**record.extra, layout.metadata_key: record.metadata})
    return {
        **payload,
        **_around(record),
        layout.content_key: record.text,
        ID_KEY: record.id,
        HASH_KEY: record.fingerprint(settings),
        **({} if layout.tenant is None else {TENANT_KEY: layout.tenant}),
        **({numbers.EXACT_KEY: exact} if exact else {}),
    }


def _around(record: NewRecord) -> dict[str, list[str]]:
    whole, text = record.encoded_as, record.text
    if whole == text:
        return {}
    at = len(whole) - len(text) if whole.endswith(text) else whole.find(text)  # what is added mostly stands before
    return {AROUND_KEY: [] if at < 0 else [whole[:at], whole[at + len(text) :]]}


def around(payload: Mapping[str, Any]) -> tuple[str, str]:
    """Return what was encoded before and behind a record's text."""
    before, behind = payload.get(AROUND_KEY) or ("", "")
    return before, behind


def is_encoded_as_another(record: Record) -> bool:
    """Return whether a record's vectors were made of a text that its own is no part of."""
    return record.payload.get(AROUND_KEY) == []


def encoded_text(record: Record) -> str:
    """Return what a record's vectors were made of, as far as its payload tells."""
    before, behind = around(record.payload)
    return f"{before}{record.text}{behind}"


def to_point(
    record: NewRecord, payload: Mapping[str, Any], vectors: Mapping[str, Any], layout: Layout
) -> models.PointStruct:
    """Return the point that holds a record. Its vectors stay an array; an engine's wire format is the engine's."""
    # model_construct: validating thousands of floats one by one takes longer than encoding the text did.
    return models.PointStruct.model_construct(
        id=point_id(record.id, layout.tenant),
        vector=vectors if layout.vector_name else vectors[layout.vector_name],
        payload=payload,
    )


def to_record(point: models.Record | models.ScoredPoint, layout: Layout) -> Record:
    """Return what a point of the collection says, whether we wrote it or somebody by hand."""
    payload = numbers.restored(point.payload or {})
    text: Any = payload.get(layout.content_key)
    metadata: Any
    if layout.written_by == foreign.LLAMA_INDEX:
        text, metadata = foreign.node_of(payload)
    elif has_metadata(payload, layout):
        metadata = payload.get(layout.metadata_key) or {}
    else:  # a payload without our keys is metadata from top to bottom
        metadata = {key: value for key, value in payload.items() if key not in (layout.content_key, numbers.EXACT_KEY)}
    return Record(
        id=id_of(point, payload, layout.tenant),
        text=text if isinstance(text, str) else "",
        metadata=dict(metadata) if isinstance(metadata, Mapping) else {},
        payload=payload,
        vectors=_vectors(point.vector, layout),
    )


def has_metadata(payload: Mapping[str, Any], layout: Layout) -> bool:
    """Tell a payload that keeps metadata under a key of its own from one that is metadata from top to bottom."""
    return layout.metadata_key in payload or ID_KEY in payload


def score_of(point: models.ScoredPoint) -> float:
    """Return a point's score.

    Raises
    ------
    EngineError
        It is no number, by which nothing can be ordered.
    """
    score = float(point.score)
    if not math.isfinite(score):
        raise EngineError(
            f"point {point.id!r} was answered with the score {score}, which is none: is it a Qdrant server?"
        )
    return score


def to_hit(point: models.ScoredPoint, layout: Layout, query_vectors: int, scale: float = 1.0) -> Hit:
    """Return a search's answer as a `Hit`; the query had so many vectors, and scores are to be multiplied."""
    record = to_record(point, layout)
    score = score_of(point) * scale
    return Hit(
        id=record.id,
        text=record.text,
        metadata=record.metadata,
        payload=record.payload,
        vectors=record.vectors,
        score=score,
        relevance=relevance(score, query_vectors),
    )


def _vectors(vector: Any, layout: Layout) -> Multivector | None:
    if isinstance(vector, Mapping):
        vector = vector.get(layout.vector_name)
    return None if vector is None or len(vector) == 0 else np.asarray(vector, dtype=np.float32)


def cut_by_bytes(points: Sequence[P], wire: Wire) -> Iterator[list[P]]:
    """Cut points into requests that fit the wire (of one point at least)."""
    request: list[P] = []
    size = 0.0
    for point in points:
        cost = point_bytes(point, wire.bytes_per_float)
        if request and size + cost > wire.request_bytes:
            yield request
            request, size = [], 0.0
        request.append(point)
        size += cost
    if request:
        yield request


def point_bytes(point: models.PointStruct | models.PointVectors, bytes_per_float: float) -> float:
    """Estimate what a point weighs in a request."""
    vectors = point.vector.values() if isinstance(point.vector, Mapping) else [point.vector]
    numbers = sum(_numbers(vector) for vector in vectors)
    # json.dumps escapes all but ASCII, which makes its length an upper bound.
    return numbers * bytes_per_float + len(json.dumps(getattr(point, "payload", None))) + 100


def _numbers(vector: Any) -> int:
    if isinstance(vector, models.SparseVector):
        return 2 * len(vector.indices)
    return len(vector.text) // 4 if isinstance(vector, models.Document) else np.asarray(vector).size
