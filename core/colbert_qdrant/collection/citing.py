"""The passages of stored records that answer a query, from their stored vectors: no model is run for a document.

No I/O: `passages` is an operation as those of `operations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant.collection import operations, points
from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.collection.operations import Compute, Operation, Query
from colbert_qdrant.collection.points import Hit, Record
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.explanation import Explanation, check_explains, explained
from colbert_qdrant.passages import EncodedText, Passage, best_passages
from colbert_qdrant.types import Embedder, Multivector, TokenVectors


def passages(
    layout: Layout, query: Query, ids: Sequence[RecordId], limit: int
) -> Operation[dict[str, tuple[Passage, ...]]]:
    """Find the best passages of records; see `MultivectorCollection.passages`."""
    if limit < 1:
        raise InvalidInput(f"limit={limit}: give at least 1 passage of each")
    [vectors] = yield from operations.encoded(layout, [query])
    records = dict((yield from operations.asked_for(layout, ids, with_vectors=True)))
    found: dict[str, tuple[Passage, ...]] = yield Compute(
        lambda embedder: {asked: cited(record, vectors, limit, embedder) for asked, record in records.items()}
    )
    return found


def explanation(layout: Layout, query: str, record_id: RecordId) -> Operation[Explanation]:
    """Say which token of a record answered which of the query; see `MultivectorCollection.explain`."""
    records = yield from operations.get(layout, [record_id], with_vectors=True)
    if not records:
        raise InvalidInput(f"there is no record {record_id!r} to explain")
    [record] = records

    def explain(embedder: Any) -> Explanation:
        check_explains(embedder)
        (asked,) = embedder.token_vectors([query], is_query=True)
        located = _located(record, embedder)
        return explained(query, points.encoded_text(record), asked, located, embedder, source_of(record))

    answer: Explanation = yield Compute(explain)
    return answer


def source_of(record: Record) -> str:
    """Return where a record's text is from, by the names that loaders give it; empty where none says so."""
    named = (record.metadata.get(key) for key in ("url", "source", "link", "file_path", "path"))
    source = next((name for name in named if isinstance(name, str) and name.strip()), "")
    line, page = record.metadata.get("first_line"), record.metadata.get("page")
    if source and isinstance(page, int) and source.lower().endswith(".pdf"):
        return f"{source}#page={page}"
    return f"{source}:{line}" if source and isinstance(line, int) else source


def encoded(layout: Layout, ids: Sequence[RecordId]) -> Operation[dict[str, EncodedText]]:
    """Fetch records with their token vectors and the place of each; see `MultivectorCollection.encoded`."""
    records = dict((yield from operations.asked_for(layout, ids, with_vectors=True)))
    if not records:
        return {}

    def place(embedder: Embedder) -> dict[str, EncodedText]:
        check_citable(embedder)
        return {asked: _placed(record, embedder) for asked, record in records.items() if _agrees(record, embedder)}

    found: dict[str, EncodedText] = yield Compute(place)
    return found


def cited(record: Record, query: Multivector, limit: int, embedder: Embedder) -> tuple[Passage, ...]:
    """Return a record's best passages, placed in its text as it is stored."""
    return tuple(best_passages(query, _placed(record, embedder), limit))


def _placed(record: Record, embedder: Embedder) -> EncodedText:
    located = _located(record, embedder)
    return EncodedText(record.text, located.vectors, _in_own_text(located.spans, record))


def of_own_text(explanation: Explanation, record: Record) -> Explanation:
    """Return an explanation of all that was encoded as one of the record's own text, which is what hits show.

    What was encoded around the text stands nowhere in it: the span of a token there is ``(0, 0)``, as a marker's.
    Passages are left out; `cited` finds those of the text.
    """
    spans = _in_own_text(np.array([match.span for match in explanation.matches], np.int64).reshape(-1, 2), record)
    matches = [
        replace(match, span=(start, end))
        for match, (start, end) in zip(explanation.matches, spans.tolist(), strict=True)
    ]
    return replace(explanation, text=record.text, matches=tuple(matches), passages=())


def _in_own_text(spans: npt.NDArray[np.int64], record: Record) -> npt.NDArray[np.int64]:
    """Move places in what was encoded to where they stand in the record's text; ``(0, 0)``: they don't."""
    before, _ = points.around(record.payload)
    moved: npt.NDArray[np.int64] = np.clip(spans - len(before), 0, len(record.text))
    moved[moved[:, 0] == moved[:, 1]] = 0
    return moved


def check_citable(embedder: Embedder) -> None:
    """Refuse an embedder that can't say where in a text a vector stands.

    Raises
    ------
    InvalidInput
        It has no ``token_spans``, or it pools.
    """
    if not hasattr(embedder, "token_spans"):
        raise InvalidInput(
            f"{type(embedder).__name__} has no token_spans() and so can't say which part of a text a vector stands "
            "for; use ColbertEmbedder"
        )
    embedder.token_spans("")


def _located(record: Record, embedder: Any) -> TokenVectors:
    """Place a record's stored vectors in its text.

    Raises
    ------
    InvalidInput
        They were made of another text. Or there are more or fewer than the text has tokens: it was changed by hand, or
        encoded with other settings.
    """
    check_citable(embedder)
    if points.is_encoded_as_another(record):
        raise InvalidInput(
            f"record {record.id!r} was encoded as another text (encoded_as=), which its own is no part of: its vectors "
            "stand for no words that could be cited"
        )
    tokens, spans = embedder.token_spans(points.encoded_text(record))
    vectors = record.vectors
    if vectors is None or not points.encoded_text(record).strip():  # one vector, which answers nothing
        return TokenVectors(np.zeros((0, embedder.dim), np.float32), [], spans[:0])
    if len(vectors) != len(spans):
        raise InvalidInput(
            f"record {record.id!r} has {len(vectors)} vectors and its text {len(spans)} tokens: the vectors were not "
            "made of this text by this embedder; add the record again"
        )
    return TokenVectors(vectors, tokens, spans)


def _agrees(record: Record, embedder: Any) -> bool:
    tokens, _ = embedder.token_spans(points.encoded_text(record))
    fits = record.vectors is not None and len(tokens) == len(record.vectors)
    return fits and not points.is_encoded_as_another(record)


def with_passages(
    hits: Sequence[Sequence[Hit]], queries: Sequence[Multivector], limit: int
) -> Operation[list[list[Hit]]]:
    """Give each hit, fetched with its vectors, its best passages."""
    pairs = list(zip(hits, queries, strict=True))
    answer: list[list[Hit]] = yield Compute(
        lambda embedder: [
            [replace(hit, passages=cited(hit, query, limit, embedder)) for hit in found] for found, query in pairs
        ]
    )
    return answer
