"""What can be sent to another process: embedders, and collections that such a process can reach."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from colbert_qdrant import AsyncMultivectorCollection, Bm25, ColbertEmbedder, ColbertReranker, MultivectorCollection
from colbert_qdrant.embedding.sentence import SentenceEmbedder
from colbert_qdrant.errors import CollectionNotFound, EngineUnavailable, InvalidInput
from conftest import WordEmbedder
from faulty_server import FaultyServer

cloudpickle = pytest.importorskip("cloudpickle")

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "cloudpickle": lambda made: pickle.loads(cloudpickle.dumps(made)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=WAYS)
def sent(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    way: Callable[[Any], Any] = WAYS[request.param]
    return way


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    with server.listening():
        yield server


def test_an_embedder_makes_the_same_vectors(tiny: ColbertEmbedder, sent: Callable[[Any], Any]) -> None:
    other = sent(tiny)

    [vectors], [expected] = other.embed(["a red apple"]), tiny.embed(["a red apple"])
    assert (other.model_name, other.settings) == (tiny.model_name, tiny.settings)
    np.testing.assert_array_equal(vectors, expected)


def test_a_pickled_embedder_leaves_the_model_behind(tiny: ColbertEmbedder) -> None:
    list(tiny.embed(["so that it is loaded"]))

    assert len(pickle.dumps(tiny)) < 10_000


def test_a_sentence_embedder(tiny_folder: Path, sent: Callable[[Any], Any]) -> None:
    sentences = SentenceEmbedder(tiny_folder, threads=2)
    [expected] = sentences.embed("a red apple")

    [vector] = sent(sentences).embed("a red apple")

    np.testing.assert_array_equal(vector, expected)


def test_a_reranker(tiny: ColbertEmbedder, sent: Callable[[Any], Any]) -> None:
    reranker = ColbertReranker(tiny)

    assert sent(reranker).rerank("apple", ["a pear", "an apple"]) == reranker.rerank("apple", ["a pear", "an apple"])


class TestEmbedded:
    @pytest.fixture
    def collection(self, words: WordEmbedder, tmp_path: Path) -> MultivectorCollection:
        pytest.importorskip("qdrant_edge")
        collection = MultivectorCollection("fruits", words, path=tmp_path, content_key="text", stages=[Bm25()])
        collection.add(["red apple", "green pear"], ids=["apple", "pear"])
        return collection

    def test_answers_the_same(self, collection: MultivectorCollection, sent: Callable[[Any], Any]) -> None:
        with sent(collection) as other:
            assert other.search("red apple") == collection.search("red apple")
            assert other.layout == collection.layout

    def test_opens_when_it_is_first_used(self, collection: MultivectorCollection) -> None:
        waiting = pickle.loads(pickle.dumps(collection))
        again = pickle.loads(pickle.dumps(waiting))
        collection.drop()

        with pytest.raises(CollectionNotFound, match="fruits"):
            again.count()

    def test_stays_its_tenants(self, words: WordEmbedder, tmp_path: Path, sent: Callable[[Any], Any]) -> None:
        pytest.importorskip("qdrant_edge")
        for tenant in ("a", "b"):
            MultivectorCollection("fruits", words, path=tmp_path, tenant=tenant).add([f"apple of {tenant}"])

        with sent(MultivectorCollection("fruits", words, path=tmp_path, tenant="a")) as other:
            assert [hit.text for hit in other.search("apple")] == ["apple of a"]

    def test_is_found_from_another_folder(
        self, words: WordEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("qdrant_edge")
        monkeypatch.chdir(tmp_path)
        with MultivectorCollection("fruits", words, path="here") as collection:
            collection.add(["red apple"])
            pickled = pickle.dumps(collection)
        monkeypatch.chdir("/")

        with pickle.loads(pickled) as other:
            assert other.count() == 1


class TestOnAServer:
    def test_answers_the_same(self, server: FaultyServer, words: WordEmbedder, sent: Callable[[Any], Any]) -> None:
        with MultivectorCollection("fruits", words, url=server.url) as collection:
            collection.add(["red apple"], ids=["apple"])

            with sent(collection) as other:
                assert other.search("red apple") == collection.search("red apple")

    async def test_asynchronously(self, server: FaultyServer, words: WordEmbedder, sent: Callable[[Any], Any]) -> None:
        async with AsyncMultivectorCollection("fruits", words, url=server.url) as collection:
            await collection.add(["red apple"], ids=["apple"])

            async with sent(collection) as other:
                assert await other.search("red apple") == await collection.search("red apple")

    def test_a_server_that_is_away_is_no_error_before_the_first_use(self, words: WordEmbedder) -> None:
        server = FaultyServer()
        with server.listening(), MultivectorCollection("fruits", words, url=server.url) as collection:
            pickled = pickle.dumps(collection)

        other = pickle.loads(pickled)

        for _ in range(2):
            with pytest.raises(EngineUnavailable):
                other.count()


@pytest.mark.parametrize(
    ("place", "named"),
    [({}, "in this process's memory"), ({"client": QdrantClient(":memory:")}, "your own client")],
    ids=["memory", "client"],
)
def test_what_no_other_process_can_reach_is_refused(
    words: WordEmbedder, sent: Callable[[Any], Any], place: dict[str, Any], named: str
) -> None:
    collection = MultivectorCollection("fruits", words, **place)

    with pytest.raises(InvalidInput, match=named):
        sent(collection)
