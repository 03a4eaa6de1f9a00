"""A first stage is added while others write: no document is left where no search through the stage finds it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

import servers
from colbert_qdrant import AsyncMultivectorCollection, Bm25, Centroids, Dense, MultivectorCollection, Muvera
from colbert_qdrant.collection.schema import METADATA_KEY
from colbert_qdrant.collection.stages import StageLike, as_stages
from colbert_qdrant.errors import CollectionMismatch, InvalidInput
from conftest import WordEmbedder
from faulty_server import serving

Make = Callable[..., MultivectorCollection]


def mean_vector(texts: list[str]) -> list[np.ndarray]:
    return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]


STAGES: dict[str, Callable[[], StageLike]] = {
    "muvera": lambda: Muvera(16, k_sim=3, dim_proj=8, r_reps=10),
    "centroids": lambda: Centroids.train(WordEmbedder().embed(["red apple", "old pear", "new plum"])),
    "bm25": Bm25,
    "dense": lambda: Dense(mean_vector),
}


@pytest.fixture(params=["engine", "wire"])
def open_again(request: pytest.FixtureRequest, place: dict[str, Any], words: WordEmbedder) -> Iterator[Make]:
    """Open the same collection as often as one likes, on every engine, and over REST before a test server."""
    opened = []
    name = f"grown-{uuid.uuid4().hex[:12]}"
    with serving() as (_, url):
        if request.param == "wire" and "client" not in place:
            pytest.skip("one test server will do")

        def make(**options: Any) -> MultivectorCollection:
            where = {"url": url} if request.param == "wire" else place
            opened.append(MultivectorCollection(name, words, **where, **options))
            return opened[-1]

        yield make
        for collection in opened:
            collection.close()
    if "url" in place:
        servers.drop([name])


def without(collection: MultivectorCollection, stage: StageLike) -> list[str]:
    """Return the ids of the documents that lack a stage's vector."""
    [made] = as_stages([stage])
    has_vector = models.HasVectorCondition(has_vector=made.name)
    return [record.id for record in collection.scroll(models.Filter(must_not=[has_vector]))]


@pytest.mark.parametrize("knows", [True, False], ids=["it knows the stage", "it was opened before"])
def test_a_text_that_changed_is_a_stages_again_though_the_same_was_encoded(open_again: Make, knows: bool) -> None:
    """A stage that was added is made of the text as it is stored."""
    before, other = open_again(), open_again()
    other.add(["old apple", "other"], ids=["1", "2"], encoded_as=["title", "other"])
    other.add_stage(Bm25())

    (other if knows else before).add(["new pear"], ids=["1"], encoded_as=["title"])

    assert other.search("apple") == []
    assert without(other, Bm25()) == []


@pytest.mark.parametrize("kind", ["muvera", "centroids", "bm25"])
def test_a_handle_of_before_gives_what_it_adds_the_stages_vector(open_again: Make, kind: str) -> None:
    before, other = open_again(), open_again()
    other.add(["red apple"], ids=["1"])
    other.add_stage(STAGES[kind]())

    before.add(["blue violin"], ids=["2"])

    assert without(other, STAGES[kind]()) == []
    assert {hit.id for hit in other.search("blue violin apple", limit=2)} == {"1", "2"}
    assert [stage.settings["kind"] for stage in before.layout.stages] == [kind]


def test_a_handle_of_before_that_lacks_the_encoder_writes_nothing_and_says_what_to_do(open_again: Make) -> None:
    before, other = open_again(), open_again()
    other.add_stage(STAGES["dense"]())

    with pytest.raises(CollectionMismatch, match=r"'dense' since it was opened here.*stages=\[Dense"):
        before.add(["blue violin"])

    assert other.count() == 0


def test_two_handles_add_a_stage_each_and_both_stay(open_again: Make) -> None:
    one, other = open_again(), open_again()
    one.add(["red apple"], ids=["1"])

    one.add_stage(STAGES["muvera"]())
    other.add_stage(STAGES["bm25"]())

    assert {stage.name for stage in other.layout.stages} == {"muvera", "bm25"}
    assert {stage.name for stage in open_again().layout.stages} == {"muvera", "bm25"}
    assert [without(one, STAGES[kind]()) for kind in ("muvera", "bm25")] == [[], []]


@pytest.mark.parametrize("kind", list(STAGES))
def test_a_stage_that_is_there_is_completed(open_again: Make, kind: str) -> None:
    collection = open_again(stages=[STAGES[kind]()])
    collection.add(["red apple", "blue violin"], ids=["1", "2"])
    lose(collection, ["2"])
    assert without(collection, STAGES[kind]()) == ["2"]

    collection.add_stage(STAGES[kind]())

    assert without(collection, STAGES[kind]()) == []
    assert collection.search("blue violin", limit=1)[0].id == "2"


@pytest.mark.parametrize("kind", list(STAGES))
def test_adding_what_is_unchanged_completes_it_too(open_again: Make, kind: str) -> None:
    collection = open_again(stages=[STAGES[kind]()])
    collection.add(["red apple", "blue violin"], ids=["1", "2"])
    lose(collection, ["1", "2"])

    report = collection.add(["red apple"], ids=["1"])

    assert report.unchanged == 1
    assert without(collection, STAGES[kind]()) == ["2"]


def test_adding_what_is_unchanged_completes_a_stage_that_others_have_added(open_again: Make) -> None:
    before, other = open_again(), open_again()
    before.add(["red apple"], ids=["1"])
    other.add_stage(Bm25())
    lose(other, ["1"])  # as a call that stopped right after it had stored it

    assert before.add(["red apple"], ids=["1"]).unchanged == 1

    assert without(other, Bm25()) == []
    assert [stage.name for stage in before.layout.stages] == ["bm25"]


def test_a_stage_of_that_name_made_otherwise_is_refused(open_again: Make) -> None:
    collection = open_again(stages=[STAGES["muvera"]()])

    with pytest.raises(InvalidInput, match=r"a first stage 'muvera' that was made with .*a name of its own"):
        collection.add_stage(Muvera(16, k_sim=3, dim_proj=8, r_reps=10, random_seed=7))


@pytest.mark.parametrize("kind", list(STAGES))
def test_a_vector_that_somebody_else_made_is_refused(open_again: Make, kind: str) -> None:
    collection = open_again()
    collection.add(["red apple"], ids=["1"])
    [stage] = as_stages([STAGES[kind]()])
    config: Any = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
    name = {"collection_name": collection.name, "vector_name": stage.name}
    collection.engine.call("create_vector_name", {**name, "vector_name_config": config})

    with pytest.raises(InvalidInput, match=f"a vector {stage.name!r} that was not made as a first stage"):
        collection.add_stage(stage)


def test_a_run_that_stopped_is_repeated_with_other_settings_too(open_again: Make) -> None:
    collection = open_again()
    collection.add(["red apple", "blue violin"], ids=["1", "2"])

    def dies(texts: list[str]) -> list[np.ndarray]:
        raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="out of power"):
        collection.add_stage(Dense(dies, dim=16))
    assert open_again().layout.stages == ()

    collection.add_stage(STAGES["dense"]())

    assert without(collection, STAGES["dense"]()) == []
    assert collection.search("blue violin", limit=1, candidates=1)[0].id == "2"
    metadata = collection.engine.call("get_collection", {"collection_name": collection.name}).config.metadata
    assert list(metadata) == [METADATA_KEY]


def test_a_document_that_lost_its_token_vectors_meanwhile_keeps_no_vector_of_what_it_was(open_again: Make) -> None:
    collection = open_again()
    collection.add(["red apple", "blue violin"], ids=["1", "2"])
    bare = models.PointStruct(id=1, vector={}, payload={"page_content": "green tiger", "metadata": {}})

    def interrupted(texts: list[str]) -> list[np.ndarray]:
        if texts != ["dimension"]:
            collection.engine.call("upsert", {"collection_name": collection.name, "points": [bare], "wait": True})
        return mean_vector(texts)

    collection.add_stage(Dense(interrupted, dim=16, model="mean_vector"))

    assert without(collection, Dense(mean_vector)) == ["1"]


def test_vectors_of_many_documents_go_in_requests_that_a_server_takes(words: WordEmbedder) -> None:
    with serving() as (_, url), MultivectorCollection("grown", words, url=url) as collection:
        collection.add(f"red apple {number}" for number in range(200))

        collection.add_stage(Muvera(16))

        assert without(collection, Muvera(16)) == []


def test_what_is_replaced_while_its_vector_is_computed_is_computed_again(open_again: Make) -> None:
    collection, other = open_again(), open_again()
    collection.add(["red apple", "blue violin"], ids=["1", "2"])
    acts = iter([lambda: other.add(["green tiger"], ids=["1"]), lambda: other.delete(["2"])])

    def interrupted(texts: list[str]) -> list[np.ndarray]:
        if texts != ["dimension"]:
            next(acts, lambda: None)()
        return mean_vector(texts)

    collection.add_stage(Dense(interrupted, dim=16, model="mean_vector"))

    assert [record.id for record in collection.scroll()] == ["1"]
    assert without(collection, Dense(mean_vector)) == []
    [hit] = collection.search("green tiger", limit=1, candidates=1)
    assert hit.score == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("kind", ["muvera", "centroids", "bm25"])
def test_writers_and_a_new_stage_at_the_same_time_hide_nothing(open_again: Make, kind: str) -> None:
    collection = open_again()
    ready = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            own = open_again() if number == 0 else collection
            ready.wait()
            for batch in range(12):
                texts = [f"red apple {number} {batch} {text}" for text in range(3)]
                own.add(texts, ids=[f"{number}-{batch}-{text}" for text in range(3)])
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    ready.wait()
    collection.add_stage(STAGES[kind]())
    for writer in writers:
        writer.join()

    assert failures == []
    assert without(collection, STAGES[kind]()) == []
    assert len(collection.search("red apple", limit=200, candidates=200)) == 108


async def test_the_asynchronous_face_notices_too(words: WordEmbedder) -> None:
    with serving() as (_, url):
        async with (
            AsyncMultivectorCollection("grown", words, url=url) as before,
            AsyncMultivectorCollection("grown", words, url=url) as other,
        ):
            await other.add(["red apple"], ids=["1"])
            await other.add_stage(STAGES["bm25"]())
            await before.add(["blue violin"], ids=["2"])
            await other.add_stage(STAGES["bm25"]())

            assert {hit.id for hit in await other.search("blue violin apple", limit=2)} == {"1", "2"}
            assert [stage.name for stage in before.layout.stages] == ["bm25"]


def lose(collection: MultivectorCollection, ids: list[str]) -> None:
    """Store documents as somebody does who knows of no stage."""
    for record in collection.get(ids, with_vectors=True):
        point = models.PointStruct.model_construct(
            id=int(record.id), vector={collection.layout.vector_name: record.vectors}, payload=dict(record.payload)
        )
        arguments = {"collection_name": collection.name, "points": [point], "wait": True}
        collection.engine.call("upsert", arguments)
