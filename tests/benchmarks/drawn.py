"""Documents and queries that are drawn anew whenever they are asked for, so that a million of them take no memory.

Two kinds stand side by side. Documents of a *topic* share its fifty words with others, as texts on one subject do; a
graph of vectors reaches one by way of another. *Lonely* ones have 64 words of two thousand, whatever they are, each
token as far from its word as the word is long: none is like any other, and a graph may pass by them. A query is 32
tokens of one document, a little bent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

TOKENS, DIM, QUERY_TOKENS = 64, 96, 32
WORDS, WORDS_OF_TOPIC, DOCUMENTS_OF_TOPIC, WORDS_OF_LONELY = 5_000, 50, 50, 2_000
BENT, BENT_LONELY, BENT_QUERY = 0.5, 1.0, 0.3
"""How long is what is added to a token, the token being 1."""

Vectors = npt.NDArray[np.float32]


class Drawn:
    """An embedder whose texts are numbers: the same number has the same vectors, whenever it is encoded.

    Parameters
    ----------
    lonely
        Share of documents that are like no other.
    """

    model_name = "drawn"
    dim = DIM

    def __init__(self, lonely: float) -> None:
        dice = np.random.default_rng(0)
        self.lonely = lonely
        self._words = _unit(dice.standard_normal((WORDS, DIM), dtype=np.float32))

    def is_lonely(self, number: int) -> bool:
        """Tell the kinds apart: spread evenly, whatever the share."""
        return int((number + 1) * self.lonely) > int(number * self.lonely)

    def document(self, number: int) -> Vectors:
        """Return a document's token vectors, as half precision keeps them."""
        dice = np.random.default_rng([1, number])
        if self.is_lonely(number):
            words, bent = dice.integers(WORDS_OF_LONELY, size=TOKENS), BENT_LONELY
        else:  # one of the topics that there are by now
            topic = int(dice.integers(number // DOCUMENTS_OF_TOPIC + 1))
            of_topic = np.random.default_rng([2, topic]).integers(WORDS, size=WORDS_OF_TOPIC)
            words, bent = of_topic[dice.integers(WORDS_OF_TOPIC, size=TOKENS)], BENT
        return _bent(self._words[words], bent, dice).astype(np.float16).astype(np.float32)

    def query(self, number: int) -> Vectors:
        """Return the query that is made of a document."""
        dice = np.random.default_rng([3, number])
        return _bent(self.document(number)[dice.permutation(TOKENS)[:QUERY_TOKENS]], BENT_QUERY, dice)

    def embed(self, documents: Iterable[str]) -> Iterator[Vectors]:
        return (self.document(int(text)) for text in documents)

    def query_embed(self, query: str | Iterable[str]) -> Iterator[Vectors]:
        return (self.query(int(text)) for text in ([query] if isinstance(query, str) else query))

    def asked(self, documents: int, count: int) -> list[int]:
        """Return which documents are asked for: of each kind as many, where there are both."""
        dice = np.random.default_rng(4)
        order = [int(number) for number in dice.permutation(documents)]
        kinds = [[number for number in order if self.is_lonely(number) is kind] for kind in (True, False)]
        if not all(kinds):
            return order[:count]
        return [number for pair in zip(*kinds, strict=False) for number in pair][:count]


def exact(drawn: Drawn, sizes: Sequence[int], queries: Sequence[Vectors], k: int = 10) -> dict[int, list[set[str]]]:
    """Return for each size the `k` documents of the highest MaxSim for each query: all are compared.

    Parameters
    ----------
    drawn
        Draws the documents.
    sizes
        Of the collections; a smaller one is the beginning of a larger one.
    queries
        Of as many tokens each.
    k
        How many.
    """
    asked = np.ascontiguousarray(np.concatenate(queries).T)
    best: list[list[tuple[float, int]]] = [[] for _ in queries]
    found: dict[int, list[set[str]]] = {}
    at = 0
    for size in sorted(sizes):
        while at < size:
            numbers = range(at, min(at + 100, size))
            tokens = np.concatenate([drawn.document(number) for number in numbers])
            similarities = (tokens @ asked).reshape(len(numbers), TOKENS, -1).max(axis=1)
            scores = similarities.reshape(len(numbers), len(queries), -1).sum(axis=2)
            for of_query, column in zip(best, scores.T, strict=True):
                of_query += [(float(score), number) for score, number in zip(column, numbers, strict=True)]
                of_query.sort(reverse=True)
                del of_query[k:]
            at = numbers.stop
        found[size] = [{str(number) for _, number in of_query} for of_query in best]
    return found


def _bent(vectors: Vectors, by: float, dice: np.random.Generator) -> Vectors:
    return _unit(vectors + by / DIM**0.5 * dice.standard_normal(vectors.shape, dtype=np.float32))


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
