"""The sentences of a text that answer a question, by the evidence of its token vectors. Pure: no model, no Qdrant.

Late interaction knows for each vector of the question which token answered it. A sentence is judged by how well its own
tokens answer, and by how well its surroundings do: a sentence that repeats one word of the question in the wrong
chapter loses to one that names it not at all in the right one. tests/benchmarks/extraction.py measures it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from colbert_qdrant.sentences import Span, sentences
from colbert_qdrant.types import Multivector

SURROUNDINGS = (64, 128, 256)
"""Tokens on either side of a sentence whose evidence counts beside its own, each at half its weight: chosen on three of
the corpora of https://github.com/brandonstarxel/chunking_evaluation, where a single width, or none, keeps less."""

_LEAST_SPREAD = 0.02
"""Of a query vector's evidence among the sentences: one that all of them answer alike tells nothing."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text that answers a question.

    Parameters
    ----------
    text
        The part.
    start, end
        Where it stands in the whole text, in characters.
    score
        MaxSim of the question with this part's tokens alone, as they were encoded within the whole text.
    share
        Of the whole text's MaxSim: what the query vectors add that are answered best within this part, from 0 to 1.
    """

    text: str
    start: int
    end: int
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text with its token vectors.

    Parameters
    ----------
    text
        The text.
    vectors
        ``(tokens, dim)``, float32, rows of length 1.
    spans
        ``(tokens, 2)``: where each row's token stands in the text, in characters; ``(0, 0)`` for markers.
    """

    text: str
    vectors: Multivector
    spans: npt.NDArray[np.int64]


def best_passages(query: Multivector, encoded: EncodedText, limit: int) -> list[Passage]:
    """Return the sentences of a text that answer a question best, the best first.

    Parameters
    ----------
    query
        ``(query_tokens, dim)``, float32.
    encoded
        The text.
    limit
        How many at most. Sentences without a token of their own are none.
    """
    evidence = Evidence.of(query, encoded)
    order = np.argsort(-judged(query, [evidence])[0], kind="stable")[:limit]
    return [evidence.passage(*evidence.segments[number]) for number in order.tolist()]


def extracted(query: Multivector, documents: Sequence[EncodedText], max_tokens: int) -> list[list[Passage]]:
    """Return for each document the passages that answer, neighbours as one, within a budget over all documents.

    Passages stand in the text's order. Sentences of all documents are taken from the best on, for as long as the next
    one fits.

    Parameters
    ----------
    query
        ``(query_tokens, dim)``, float32.
    documents
        The texts.
    max_tokens
        Of all that is kept, counted as the documents' tokens that have vectors.
    """
    evidence = [Evidence.of(query, document) for document in documents]
    judgements = judged(query, evidence)
    sentences_of = [(place, number) for place, each in enumerate(evidence) for number in range(len(each.segments))]
    scores = np.concatenate(judgements) if judgements else np.zeros(0)
    kept: list[set[int]] = [set() for _ in documents]
    room = max_tokens
    for index in np.argsort(-scores, kind="stable").tolist():
        place, number = sentences_of[index]
        cost = evidence[place].tokens(number)
        if cost > room:
            break
        room -= cost
        kept[place].add(number)
    return [
        [each.passage(*span) for span in _joined([each.segments[number] for number in sorted(numbers)], each.text)]
        for each, numbers in zip(evidence, kept, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a text's tokens answer to a question, by sentences.

    Parameters
    ----------
    text
        The text.
    similarities
        ``(tokens, query_tokens)``.
    spans
        ``(tokens, 2)``, in characters.
    segments
        Sentences that have tokens: start and end in characters.
    rows
        First row, and the one behind the last, of each sentence's tokens.
    """

    text: str
    similarities: npt.NDArray[np.float32]
    spans: npt.NDArray[np.int64]
    segments: list[Span]
    rows: list[tuple[int, int]]

    @classmethod
    def of(cls, query: Multivector, encoded: EncodedText) -> Evidence:
        """Compare a text with a question."""
        places = np.flatnonzero(encoded.spans[:, 1] > 0)  # markers stand nowhere
        ends = encoded.spans[places, 1]  # not where it starts: some tokenizers count the space before a word to it
        segments, rows = [], []
        for start, end in sentences(encoded.text):
            first, last = np.searchsorted(ends, [start, end], side="right").tolist()
            if first < last:
                segments.append((start, end))
                rows.append((int(places[first]), int(places[last - 1]) + 1))
        return cls(encoded.text, encoded.vectors @ query.T, encoded.spans, segments, rows)

    def own(self) -> npt.NDArray[np.float32]:
        """Return for each sentence the best similarity to each query vector, ``(sentences, query_tokens)``."""
        return self._best(self.rows)

    def around(self, width: int) -> npt.NDArray[np.float32]:
        """Return the same for so many tokens on either side of each sentence's middle."""
        middles = [(start + end) // 2 for start, end in self.rows]
        return self._best([(max(0, middle - width), middle + width) for middle in middles])

    def tokens(self, number: int) -> int:
        """Count the vectors of a sentence."""
        start, end = self.rows[number]
        return end - start

    def passage(self, start: int, end: int) -> Passage:
        """Return a stretch of the text as a passage."""
        inside = (self.spans[:, 1] > start) & (self.spans[:, 1] <= end)
        answers = self.similarities.argmax(axis=0)
        best = self.similarities.max(axis=0)
        whole = float(best.sum())
        share = float(best[inside[answers]].sum()) / whole if whole > 0 else 0.0
        own = float(self.similarities[inside].max(axis=0).sum()) if inside.any() else 0.0
        return Passage(self.text[start:end], start, end, own, min(max(share, 0.0), 1.0))

    def _best(self, rows: Iterable[tuple[int, int]]) -> npt.NDArray[np.float32]:
        best = [self.similarities[start:end].max(axis=0) for start, end in rows]
        return np.array(best, dtype=np.float32).reshape(-1, self.similarities.shape[1])


def judged(query: Multivector, evidence: Sequence[Evidence]) -> list[npt.NDArray[np.float32]]:
    """Return how well each sentence of each text answers, comparable over all of them.

    The evidence for a query vector is divided by its spread over the sentences, so that the words which only some of
    them answer decide.
    """
    own = [each.own() for each in evidence]
    pooled = np.concatenate(own) if own else np.zeros((0, len(query)), dtype=np.float32)
    weight = 1 / (_LEAST_SPREAD + pooled.std(axis=0)) if len(pooled) else np.ones(len(query))
    return [
        ((each + sum(0.5 * text.around(width) for width in SURROUNDINGS)) @ weight).astype(np.float32)
        for text, each in zip(evidence, own, strict=True)
    ]


def _joined(spans: Sequence[Span], text: str) -> list[Span]:
    """Make neighbours, between which nothing but white space stands, one."""
    if not spans:
        return []
    joined = [spans[0]]
    for (_, before), (start, end) in pairwise(spans):
        if text[before:start].strip():
            joined.append((start, end))
        else:
            joined[-1] = (joined[-1][0], end)
    return joined
