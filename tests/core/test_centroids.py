"""Centroids: documents and queries as sparse vectors, whose dot product ranks much as MaxSim does."""

from __future__ import annotations

import base64
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import AsyncMultivectorCollection, Centroids, MultivectorCollection, Muvera, maxsim
from colbert_qdrant.collection.derived import CentroidsStage
from colbert_qdrant.collection.schema import BEGUN
from colbert_qdrant.collection.stages import as_stages, restored
from colbert_qdrant.embedding.centroids import PROBES, Weights
from colbert_qdrant.errors import CollectionMismatch, InvalidInput

DIM = 16

Vectors = npt.NDArray[np.float32]


def unit(rows: Any) -> Vectors:
    rows = np.asarray(rows, dtype=np.float32)
    vectors: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def words(count: int) -> Vectors:
    return unit(np.random.default_rng(0).standard_normal((count, DIM)))


def documents(count: int, tokens: int = 20) -> list[Vectors]:
    """Texts of a hundred words, each token near its word."""
    dice = np.random.default_rng(1)
    of_all = words(100)
    return [
        unit(of_all[dice.integers(100, size=tokens)] + 0.1 * dice.standard_normal((tokens, DIM))) for _ in range(count)
    ]


def dot(query: Weights, document: Weights) -> float:
    values = dict(zip(document.indices.tolist(), document.values.tolist(), strict=True))
    asked = zip(query.indices.tolist(), query.values.tolist(), strict=True)
    return sum(weight * values.get(index, 0.0) for index, weight in asked)


def test_training_finds_where_tokens_lie_together() -> None:
    centroids = Centroids.train(documents(200), 300)

    assert ((words(100) @ as_directions(centroids).T).max(axis=1) > 0.97).all()


def as_directions(centroids: Centroids) -> Vectors:
    codes = np.frombuffer(base64.b64decode(centroids.packed), dtype=np.int8)
    return unit(codes.reshape(-1, centroids.dim))


def test_a_document_has_its_tokens_nearest_centroids_and_what_all_have() -> None:
    centroids = Centroids(np.eye(DIM))
    tokens = unit([[3, 1] + [0] * 14, [9, 1] + [0] * 14, [0, 0, 1] + [0] * 13])

    document = centroids.process_document(tokens)

    assert document.indices.tolist() == [0, 2, centroids.count]
    np.testing.assert_allclose(document.values, [tokens[1, 0], 1, 1], rtol=1e-6)  # the nearest of two tokens


def test_a_query_weighs_what_a_token_gains_over_the_first_that_it_does_not_ask_for() -> None:
    centroids = Centroids(words(100))
    query = words(100)[:2]

    weights = centroids.process_query(query)

    likeness = np.sort(query @ as_directions(centroids).T, axis=1)[:, ::-1]
    gains = (likeness[:, :PROBES] - likeness[:, PROBES : PROBES + 1]).sum()
    assert weights.values[:-1].sum() == pytest.approx(gains, rel=1e-5)
    assert weights.indices[-1] == centroids.count
    assert 0 < weights.values[-1] < weights.values[:-1].max()
    assert len(weights.indices) <= 2 * PROBES + 1


def test_the_ten_best_are_among_the_first() -> None:
    texts = documents(1000)
    dice = np.random.default_rng(2)
    centroids = Centroids.train(texts[::4], 400)
    encoded = [centroids.process_document(text) for text in texts]
    shares = []
    for number in dice.integers(1000, size=20):
        query = unit(texts[number][:8] + 0.05 * dice.standard_normal((8, DIM)))
        asked = centroids.process_query(query)
        found = np.argsort([-dot(asked, document) for document in encoded])[:50]
        best = np.argsort(-maxsim(query, texts))[:10]
        shares.append(np.isin(best, found).mean())
        assert found[0] == number

    assert np.mean(shares) > 0.9


def test_training_twice_gives_the_same() -> None:
    assert Centroids.train(documents(50), 30).packed == Centroids.train(documents(50), 30).packed


def test_a_sample_of_any_length_is_cut_to_what_is_needed() -> None:
    """The first and the last of a long stream are drawn as often: memory is bounded, and order does not matter."""
    first, second = np.eye(DIM, dtype=np.float32)[:2]

    centroids = Centroids.train((np.tile(first if n < 500 else second, (100, 1)) for n in range(1000)), 2)

    assert {int(row.argmax()) for row in as_directions(centroids)} <= {0, 1}
    tall = Centroids.train(iter([np.tile(first, (10_000, 1)), np.tile(second, (10_000, 1))]), 8)
    assert {int(row.argmax()) for row in as_directions(tall)} == {0, 1}


def test_few_tokens_make_few_centroids() -> None:
    assert Centroids.train(documents(2, tokens=10)).count == 5
    assert Centroids.train(documents(100), 64).count == 64


def test_packing_keeps_them_to_the_bit() -> None:
    centroids = Centroids.train(documents(50), 30)

    again = Centroids.unpacked(centroids.packed, DIM)

    assert again.packed == centroids.packed
    for one, other in zip(centroids.process_query(words(3)), again.process_query(words(3)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lengths_weigh_as_they_do_in_maxsim() -> None:
    """A checkpoint that leaves rows their lengths: the longer token of a cell tells."""
    centroids = Centroids(np.eye(DIM))

    document = centroids.process_document(np.eye(DIM, dtype=np.float32)[[0, 0]] * [[2], [5]])

    assert document.values[0] == pytest.approx(5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Centroids(np.zeros((3, 4))), "none of them 0"),
        (lambda: Centroids(np.full((3, 4), np.nan)), "finite rows"),
        (lambda: Centroids([1.0, 2.0]), r"\(count, dim\) matrix"),
        (lambda: Centroids("centroids"), r"matrix of numbers"),
        (lambda: Centroids(np.empty((0, 4))), r"\(count, dim\) matrix"),
        (lambda: Centroids.train([]).count, "0 tokens"),
        (lambda: Centroids.train(documents(1, tokens=3)).count, "3 tokens"),
        (lambda: Centroids.train(documents(5), 0), "count=0"),
        (lambda: Centroids.train(documents(5), True), "count=True"),
        (lambda: Centroids.train(["a text"]).count, "vectors"),
        (lambda: Centroids.train([words(3), words(3)[:, :5]]).count, r"expected \(tokens, 16\)"),
        (lambda: Centroids.train([np.full((9, 4), np.inf)]).count, "NaN or infinity"),
        (lambda: Centroids(words(9)).process_document(words(3)[:, :5]), r"expected \(tokens, 16\)"),
        (lambda: Centroids(words(9)).process_query(words(0)), "no tokens"),
        (lambda: Centroids.unpacked("?", 4), "can't be read"),
        (lambda: Centroids.unpacked(Centroids(words(3)).packed, 7), "can't be read"),
        (lambda: Centroids.unpacked(Centroids(words(3)).packed, 0), "can't be read"),
    ],
)
def test_what_is_none_is_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        make()


def test_a_collection_remembers_them() -> None:
    [stage] = as_stages([Centroids.train(documents(50), 30)])

    [again], missing = restored({stage.name: stage.settings})

    assert isinstance(again, CentroidsStage)
    assert (again.name, again.settings) == (stage.name, stage.settings)
    assert missing == []


@pytest.mark.parametrize("damage", [{"packed": "AAAA"}, {"packed": None}, {"dim": "many"}, {"dim": 0}, {"more": 1}])
def test_what_is_remembered_and_damaged_is_said_so(damage: dict[str, Any]) -> None:
    [stage] = as_stages([Centroids(words(30))])

    with pytest.raises(CollectionMismatch, match="first stage 'centroids'"):
        restored({"centroids": {**stage.settings, **damage}})


def test_other_centroids_are_refused_in_a_few_words(tmp_path: Any) -> None:
    with MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, stages=[Centroids(words(3000))]):
        pass

    with pytest.raises(CollectionMismatch, match=r"has the first stage 'centroids-\w{8}', which") as refused:
        MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, stages=[Centroids(words(2000))])

    assert len(str(refused.value)) < 600


def test_a_search_finds_as_many_as_it_is_asked_for(tmp_path: Any) -> None:
    """Those with none of the centroids that are asked for come last, and are not left out."""
    centroids = Centroids(np.random.default_rng(3).standard_normal((500, DIM)))
    texts = documents(40, tokens=1)
    with MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, stages=[centroids]) as collection:
        collection.add([str(number) for number in range(40)], vectors=texts)

        assert len(collection.search(texts[3], limit=40)) == 40
        assert collection.search(texts[3], limit=1)[0].text == "3"


def test_a_collection_that_exists_keeps_its_own_and_nothing_is_trained(tmp_path: Any) -> None:
    """So that a program that makes a collection can be run again, on texts that have changed meanwhile."""

    def unread() -> Any:
        raise AssertionError("the sample is read")
        yield

    def opened(**arguments: Any) -> MultivectorCollection:
        return MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, **arguments)

    with opened(stages=[Centroids.train(documents(50), 30)]) as collection:
        [made] = collection.layout.stages
    with opened(stages=[Centroids.train(unread())]) as collection:
        [again] = collection.layout.stages
        collection.add_stage(Centroids.train(unread()))

    assert again.settings == made.settings
    with pytest.raises(CollectionMismatch), opened(stages=[Centroids(words(30))]):
        pass


def test_those_of_another_length_are_refused_before_anything_is_made(tmp_path: Any) -> None:
    with pytest.raises(InvalidInput, match="vectors of 8 numbers, and those of collection 'docs' have 16"):
        MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, stages=[Centroids(np.eye(8))])
    with MultivectorCollection("others", embedder=None, dim=DIM, path=tmp_path) as collection:
        for stage in (Centroids(np.eye(8)), Muvera(8, dim_proj=4)):
            with pytest.raises(InvalidInput, match="made for token vectors of 8 numbers"):
                collection.add_stage(stage)

    assert MultivectorCollection.list(path=tmp_path) == ["others"]


def test_a_handle_of_before_is_told_that_another_collection_has_the_name() -> None:
    """With the centroids that it knows it would find, and store, what nobody finds."""
    client = QdrantClient(":memory:")

    def made(name: str, sample: list[Vectors]) -> MultivectorCollection:
        stages = [Centroids.train(sample, 30)]
        collection = MultivectorCollection(name, embedder=None, dim=DIM, client=client, stages=stages)
        collection.add(["one", "two"], vectors=documents(2))
        return collection

    made("blue", documents(50)).publish("films")
    old = MultivectorCollection("films", embedder=None, dim=DIM, client=client)
    made("green", documents(40, tokens=30)).publish("films")

    with pytest.raises(CollectionMismatch, match=r"(?i)open it again"):
        old.search(words(3))
    with pytest.raises(CollectionMismatch, match=r"(?i)open it again"):
        old.add(["three"], vectors=words(3)[None])

    new = MultivectorCollection("films", embedder=None, dim=DIM, client=client)
    assert len(new.search(words(3))) == 2


def test_adding_them_that_was_stopped_is_not_taken_for_done(tmp_path: Any) -> None:
    [stage] = as_stages([Centroids(words(30))])
    with MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path) as collection:
        collection.add(["one"], vectors=[words(3)])
        client = collection.engine.client
        client.update_collection("docs", metadata={f"{BEGUN}{stage.name}": True})
        sparse = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
        client.create_vector_name("docs", stage.name, sparse)

    def opened(**arguments: Any) -> MultivectorCollection:
        return MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, **arguments)

    with pytest.raises(CollectionMismatch, match="add_stage finishes it"):
        opened(stages=[Centroids(words(30))])
    with opened() as collection:
        collection.add_stage(Centroids(words(30)))
    with opened(stages=[Centroids(words(30))]) as collection:
        assert len(collection.search(words(3))) == 1


def test_what_goes_to_another_process_goes_without_its_sample() -> None:
    centroids = Centroids.train(documents(50), 30)

    again = pickle.loads(pickle.dumps(centroids))

    assert (again.packed, again.is_for_new) == (centroids.packed, True)


def test_two_threads_train_once() -> None:
    read: list[int] = []

    def sample() -> Any:
        for number, vectors in enumerate(documents(50)):
            read.append(number)
            yield vectors

    centroids = Centroids.train(sample(), 30)
    with ThreadPoolExecutor(4) as pool:
        packed = {*pool.map(lambda _: centroids.packed, range(4))}

    assert (len(packed), read) == (1, [*range(50)])


async def test_the_event_loop_goes_on_while_they_are_trained(tmp_path: Any) -> None:
    trained_in: list[str] = []

    def sample() -> Any:
        trained_in.append(threading.current_thread().name)
        yield from documents(20)

    stages = [Centroids.train(sample(), 30)]
    async with AsyncMultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path, stages=stages) as collection:
        await collection.count()
        await collection.add_stage(Centroids.train(sample(), 30))

    async with AsyncMultivectorCollection("more", embedder=None, dim=DIM, path=tmp_path / "more") as collection:
        await collection.add_stage(Centroids.train(sample(), 30))

    assert len(trained_in) == 2
    assert threading.main_thread().name not in trained_in


def test_nothing_is_made_where_there_is_nothing_to_train_on(tmp_path: Any) -> None:
    with MultivectorCollection("docs", embedder=None, dim=DIM, path=tmp_path) as collection:
        with pytest.raises(InvalidInput, match="0 tokens"):
            collection.add_stage(Centroids.train([]))
        assert not collection.engine.client.get_collection("docs").config.params.sparse_vectors
    with pytest.raises(InvalidInput, match="0 tokens"):
        MultivectorCollection("other", embedder=None, dim=DIM, path=tmp_path, stages=[Centroids.train([])])

    assert MultivectorCollection.list(path=tmp_path) == ["docs"]
