"""A test set's token and sentence vectors, encoded once and kept among temporary files for the next benchmark."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from judged import Judged

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.embedding.sentence import SentenceEmbedder

SENTENCE_LENGTH = 256
"""Tokens that all-MiniLM-L6-v2 reads of a text, as it was published; the graph would take 512.
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/blob/main/sentence_bert_config.json"""

_ROWS_AT_ONCE = 4_000

Vectors = npt.NDArray[np.float32]


def tokens_of(judged: Judged) -> tuple[list[Vectors], list[Vectors]]:
    """Return the token vectors of a set's documents, in half precision, and of its queries, in single."""
    embedder = ColbertEmbedder(OFFLINE_MODEL)
    documents = list(judged.documents.values())
    kept = _kept("tokens", documents, lambda texts: embedder.embed(texts))
    return kept, list(embedder.query_embed(judged.queries.values()))


def sentences_of(judged: Judged) -> tuple[Vectors, Vectors]:
    """Return a vector a document and a vector a query, each of length 1."""
    embedder = SentenceEmbedder(OFFLINE_MODEL, length=SENTENCE_LENGTH)
    documents = list(judged.documents.values())
    kept = _kept("sentences", documents, lambda texts: (vector[None] for vector in embedder.embed(texts)))
    return np.concatenate(kept).astype(np.float32), np.array(list(embedder.query_embed(judged.queries.values())))


def best_similarities(queries: Sequence[Vectors], documents: Sequence[Vectors]) -> Vectors:
    """Return for each token of each query, one query after the other, the best similarity in each document.

    ``(query_tokens of all, documents)``, float32: MaxSim is the sum over a query's rows.
    """
    asked = np.ascontiguousarray(np.concatenate(queries).T)
    best = np.empty((asked.shape[1], len(documents)), np.float32)
    at = 0
    while at < len(documents):
        rows, upto = 0, at
        while upto < len(documents) and (upto == at or rows + len(documents[upto]) <= _ROWS_AT_ONCE):
            rows += len(documents[upto])
            upto += 1
        similarities = np.concatenate(documents[at:upto]).astype(np.float32) @ asked
        starts = np.cumsum([0, *map(len, documents[at : upto - 1])])
        best[:, at:upto] = np.maximum.reduceat(similarities, starts, axis=0).T
        at = upto
    return best


def maxsims(queries: Sequence[Vectors], best: Vectors) -> Vectors:
    """Return the MaxSim of each query with each document, ``(queries, documents)``, from `best_similarities`."""
    starts = np.cumsum([0, *map(len, queries[:-1])])
    scores: Vectors = np.add.reduceat(best, starts, axis=0)
    return scores


def _kept(kind: str, texts: Sequence[str], encode: Callable[[Sequence[str]], Iterable[Vectors]]) -> list[Vectors]:
    """Encode texts, or read what an earlier run has encoded: one array of all rows, and how many each text has."""
    content = hashlib.sha256("\0".join([kind, OFFLINE_MODEL, str(SENTENCE_LENGTH), *texts]).encode()).hexdigest()
    file = Path(tempfile.gettempdir()) / f"colbert-qdrant-{kind}-{content[:16]}.npz"
    if not file.is_file():
        encoded = [np.asarray(vectors, np.float16) for vectors in encode(texts)]
        partial = file.with_suffix(".part.npz")
        np.savez(partial, rows=np.concatenate(encoded), lengths=[len(vectors) for vectors in encoded])
        partial.rename(file)
    with np.load(file) as stored:
        return np.split(stored["rows"], np.cumsum(stored["lengths"])[:-1])
