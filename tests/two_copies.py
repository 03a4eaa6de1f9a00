"""A cluster of two copies for tests that have no server: two of the client's own collections, which may differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient, models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection.engines.client import ClientEngine
from colbert_qdrant.errors import EngineUnavailable
from conftest import WordEmbedder

MARKED = "The replica set for shard 0 on peer 1 does not have enough active replicas"
UNANSWERED = "1 of 2 read operations failed: transport error"

_OF_POINTS = ("upsert", "update_vectors", "delete", "set_payload", "overwrite_payload")
_READS = ("scroll", "retrieve")


class TwoCopies:
    """An engine that writes to both copies, and reads the first or what both have in common, as a server does.

    https://github.com/qdrant/qdrant/blob/v1.19.0/lib/collection/src/shards/resolve.rs
    """

    def __init__(self) -> None:
        self.copies = [ClientEngine(QdrantClient(":memory:")) for _ in range(2)]
        self.wire = self.copies[0].wire
        self.is_local = True
        self.asked: list[tuple[str, int | None]] = []
        self.unread: str | None = None
        self._refuses: tuple[str, ...] = ()

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a call on one copy or both."""
        if method in _READS:
            self.asked.append((method, arguments.get("consistency")))
            return self._read(method, arguments)
        if method in self._refuses:
            self.copies[0].call(method, arguments)
            raise EngineUnavailable("1 of 2 copies failed to apply the operation")
        answers = [copy.call(method, arguments) for copy in self.copies]
        if method == "get_collection":
            answers[0].config.params.replication_factor = 2
        return answers[0]

    def _read(self, method: str, arguments: Mapping[str, Any]) -> Any:
        if arguments.get("consistency") is None:
            return self.copies[0].call(method, arguments)
        if self.unread is not None:
            raise EngineUnavailable(self.unread)
        plain = {name: value for name, value in arguments.items() if name != "consistency"}
        answers = [copy.call(method, plain) for copy in self.copies]
        first, second = answers if method == "retrieve" else [found for found, _ in answers]
        common = [record for record in first if record in second]
        return common if method == "retrieve" else (common, answers[0][1])

    @contextmanager
    def refusing(self, *methods: str) -> Iterator[None]:
        """Let the first copy alone take what is written (by these methods), which is too few."""
        self._refuses = methods or _OF_POINTS
        yield
        self._refuses = ()

    def open(self, embedder: WordEmbedder, **options: Any) -> MultivectorCollection:
        """Open a collection of both copies."""
        for copy in self.copies:
            docs = MultivectorCollection("docs", embedder, client=copy.client, **options)
        docs.engine, docs.layout = self, replace(docs.layout, copies=2)
        return docs

    def lose(self, vector: str, ids: Iterable[int], copy: ClientEngine | None = None) -> None:
        """Take a vector from points of a copy, or of both."""
        for each in self.copies if copy is None else [copy]:
            each.client.delete_vectors("docs", [vector], models.Filter(must=[models.HasIdCondition(has_id=list(ids))]))

    def held(self, vector: str) -> list[int]:
        """Return how many points have a vector in each copy."""
        having = models.Filter(must=[models.HasVectorCondition(has_vector=vector)])
        return [copy.client.count("docs", having).count for copy in self.copies]

    def ids(self) -> list[set[Any]]:
        """Return the ids that the payloads of each copy tell."""
        pages = [copy.client.scroll("docs", limit=1_000)[0] for copy in self.copies]
        return [{record.payload["_id"] for record in page} for page in pages]

    def close(self) -> None:
        """Close both."""
        for copy in self.copies:
            copy.close()
