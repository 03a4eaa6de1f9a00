"""What is done with whole collections, and with metadata: the same on every engine, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import AsyncMultivectorCollection, Bm25, Dense, MultivectorCollection
from colbert_qdrant.collection import ingest
from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.embedders import NoEmbedder
from colbert_qdrant.errors import (
    CollectionMismatch,
    CollectionNotFound,
    EngineUnavailable,
    InvalidInput,
    UnsupportedByEngine,
)
from conftest import WordEmbedder

Make = Callable[..., MultivectorCollection]

TEXTS = ["red apple", "green apple pie", "blue sky"]
IDS = ["a", "b", "c"]


@pytest.fixture
def fruits(collection: MultivectorCollection) -> MultivectorCollection:
    collection.add(TEXTS, [{"color": text.split()[0], "tags": {"kind": ["x"]}} for text in TEXTS], IDS)
    return collection


def test_collections_are_listed(collection: MultivectorCollection, place: dict[str, Any]) -> None:
    assert collection.name in MultivectorCollection.list(**place)


async def test_an_asynchronous_face_lists_and_drops(place: dict[str, Any], words: WordEmbedder) -> None:
    if "path" in place:
        pytest.skip("a folder is one client's at a time")
    async with AsyncMultivectorCollection("async-drop", words, **place) as collection:
        assert "async-drop" in await AsyncMultivectorCollection.list(**place)

        await collection.drop()

        assert "async-drop" not in await AsyncMultivectorCollection.list(**place)


def test_a_dropped_collection_is_gone_with_its_documents(make_collection: Make, place: dict[str, Any]) -> None:
    collection = make_collection()
    collection.add(TEXTS)

    collection.drop()

    with pytest.raises(CollectionNotFound):
        collection.count()
    with pytest.raises(CollectionNotFound, match="any more"):
        collection.drop()
    assert make_collection(name=collection.name).count() == 0


def test_a_new_collection_takes_the_name_of_the_old(make_collection: Make, place: dict[str, Any]) -> None:
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    old, new = make_collection(), make_collection()
    old.add(["old text"])
    new.add(["new text"])
    name = f"{old.name}-published"

    assert old.publish(alias=name) is None
    reader = make_collection(name=name)
    assert [hit.text for hit in reader.search("text")] == ["old text"]
    assert new.publish(alias=name) == old.name

    assert [hit.text for hit in reader.search("text")] == ["new text"]
    old.drop()
    assert reader.count() == 1


def test_nothing_is_added_to_another_models_collection_that_took_the_name(
    make_collection: Make, place: dict[str, Any]
) -> None:
    class OtherWords(WordEmbedder):
        model_name = "other-words"

    old = make_collection()
    reader = make_collection(name=old.name)
    old.drop()
    new = make_collection(OtherWords(), name=old.name)

    with pytest.raises(CollectionMismatch, match=r"since this one was opened.*'other-words', this is 'words'"):
        reader.add(["red apple"])
    assert new.count() == 0


def test_a_stage_is_not_added_to_another_models_collection_that_is_published_by_now(
    make_collection: Make, place: dict[str, Any]
) -> None:
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    old, new = make_collection(), make_collection(type("Words", (WordEmbedder,), {"model_name": "other-words"})())
    name = f"{old.name}-published"
    old.publish(name)
    reader = make_collection(name=name)
    new.publish(name)

    with pytest.raises(CollectionMismatch, match=f"called '{name}' since .*'other-words', this is 'words'"):
        reader.add_stage(Bm25())
    assert [stage.name for stage in make_collection(new.embedder, name=new.name).layout.stages] == []


def test_a_stage_is_added_to_one_collection_whatever_is_published_meanwhile(
    make_collection: Make, place: dict[str, Any]
) -> None:
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    old, new = make_collection(), make_collection()
    name = f"{old.name}-published"
    old.publish(name)
    reader = make_collection(name=name)
    reader.add(TEXTS)

    def publishes(texts: list[str]) -> list[Any]:
        new.publish(name)
        return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]

    with pytest.raises(CollectionMismatch, match=f"'{new.name}' by now, and the stage 'dense' is in '{old.name}'"):
        reader.add_stage(Dense(publishes, dim=16))
    assert make_collection(name=new.name).layout.stages == ()


def test_a_search_through_a_stage_that_the_published_collection_lacks_is_named(
    make_collection: Make, place: dict[str, Any]
) -> None:
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    old, new = make_collection(stages=[Bm25()]), make_collection()
    name = f"{old.name}-published"
    old.publish(name)
    reader = make_collection(name=name)
    new.publish(name)

    with pytest.raises(CollectionMismatch, match=r"bm25.*its name stands for another one by now: open it again"):
        reader.search("apple")


@pytest.mark.parametrize("model", ["words", "other-words"])
def test_what_is_added_while_another_is_published_is_in_one_collection_and_says_so(
    model: str, make_collection: Make, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was in two, each with a part, and in vectors of the wrong model."""
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    monkeypatch.setattr(ingest, "WINDOW", 1)
    old, new = make_collection(), make_collection(type("Words", (WordEmbedder,), {"model_name": model})())
    name = f"{old.name}-published"
    old.publish(name)
    published = make_collection(name=name)

    with pytest.raises(CollectionMismatch, match=f"stands for the collection '{new.name}' .* are in '{old.name}'"):
        published.add(TEXTS, progress=lambda report: new.publish(name))

    assert (old.count(), new.count()) == (len(TEXTS), 0)
    if model == "words":
        assert published.add(TEXTS).added == new.count() == len(TEXTS)
        assert published.name == name


def test_dropping_by_an_alias_drops_the_collection(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")
    MultivectorCollection("docs-1", words, client=client).publish("docs")

    MultivectorCollection("docs", words, client=client).drop()

    assert MultivectorCollection.list(client=client) == []


def test_an_alias_can_not_share_a_collections_name(make_collection: Make, place: dict[str, Any]) -> None:
    collection = make_collection()

    if "path" in place:
        with pytest.raises(UnsupportedByEngine, match="get_aliases"):
            collection.publish("docs")
    else:
        with pytest.raises(InvalidInput, match="can't share its name"):
            collection.publish(collection.name)
    with pytest.raises(InvalidInput, match="alias ''"):
        collection.publish("")


def test_metadata_is_set_without_encoding(fruits: MultivectorCollection) -> None:
    before = fruits.get(["a"], with_vectors=True)[0].vectors
    fruits.embedder = NoEmbedder(16)

    assert fruits.set_metadata(["a", "c", "missing"], {"year": 1999, "tags": {"new": 1}}) == 2

    assert [record.metadata for record in fruits.get(IDS)] == [
        {"color": "red", "tags": {"new": 1}, "year": 1999},
        {"color": "green", "tags": {"kind": ["x"]}},
        {"color": "blue", "tags": {"new": 1}, "year": 1999},
    ]
    after = fruits.get(["a"], with_vectors=True)[0]
    assert after.text == "red apple"
    assert (after.vectors == before).all()  # type: ignore[union-attr]


def test_none_takes_a_key_away(fruits: MultivectorCollection) -> None:
    """As engines have it; `add` stores it, and so does a value that holds it."""
    fruits.set_metadata(["a"], {"tags": None, "missing": None, "deep": {"null": None}})
    fruits.add(["black tiger"], [{"tags": None}], ["tiger"])

    assert fruits.get(["a"])[0].metadata == {"color": "red", "deep": {"null": None}}
    assert fruits.get(["tiger"])[0].metadata == {"tags": None}


@pytest.mark.parametrize("number", [0, 1], ids=["before the first write", "before the second"])
def test_what_is_deleted_while_metadata_is_set_leaves_nothing_half_written(
    fruits: MultivectorCollection, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    call, writes = fruits.engine.call, count()

    def racing(method: str, arguments: Any) -> Any:
        if method == "set_payload" and next(writes) == number:  # as another thread may
            call("delete", {"collection_name": fruits.name, "points_selector": [point_id("b")], "wait": True})
        return call(method, arguments)

    monkeypatch.setattr(fruits.engine, "call", racing)

    fruits.set_metadata(IDS, {"price": 1 / 11})

    assert [(record.id, record.metadata["price"]) for record in fruits.get(IDS)] == [("a", 1 / 11), ("c", 1 / 11)]
    assert "b" not in {record.id for record in fruits.scroll()}


def test_metadata_whose_second_write_fails_shows_no_number_that_nobody_set(
    fruits: MultivectorCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fruits.set_metadata(IDS, {"price": 2.5})
    call, writes = fruits.engine.call, count()

    def failing(method: str, arguments: Any) -> Any:
        if method == "set_payload" and next(writes):
            raise EngineUnavailable("away")
        return call(method, arguments)

    monkeypatch.setattr(fruits.engine, "call", failing)

    with pytest.raises(EngineUnavailable):
        fruits.set_metadata(IDS, {"price": 1 / 11})
    assert [record.metadata["price"] for record in fruits.get(IDS)] == [2.5] * 3


def test_setting_nothing_changes_nothing(fruits: MultivectorCollection) -> None:
    assert fruits.set_metadata([], {"year": 1}) == 0
    assert fruits.set_metadata(["a"], {}) == 0
    with pytest.raises(InvalidInput, match="single id"):
        fruits.set_metadata("a", {"year": 1})
    with pytest.raises(InvalidInput, match=r"metadata\.year"):
        fruits.set_metadata(["a"], {"year": float("nan")})


def test_metadata_of_a_payload_made_by_hand_stays_where_it_is(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")
    collection = MultivectorCollection("hand", words, client=client)
    [vectors] = words.embed("red apple")
    point = models.PointStruct(id=1, vector={"colbert": vectors.tolist()}, payload={"page_content": "red", "year": 1})
    client.upsert("hand", [point])

    collection.set_metadata([1], {"seen": True})

    assert collection.get([1])[0].metadata == {"year": 1, "seen": True}
    assert collection.get([1])[0].text == "red"


@pytest.mark.parametrize("key", ["page_content", "metadata", "_id", "_hash", "_tenant", "_exact", "_around"])
def test_a_key_that_is_something_else_in_a_payload_made_by_hand_is_refused(
    fruits: MultivectorCollection, words: WordEmbedder, key: str
) -> None:
    [vectors] = words.embed("red apple")
    point = models.PointStruct(id=1, vector={"colbert": vectors.tolist()}, payload={"page_content": "red", "year": 1})
    fruits.engine.call("upsert", {"collection_name": fruits.name, "points": [point]})
    before = fruits.get(["a", 1])

    with pytest.raises(InvalidInput, match=f"'{key}' is no metadata of point 1"):
        fruits.set_metadata(["a", 1], {"seen": True, key: {"k": 1}})

    assert fruits.get(["a", 1]) == before
    assert fruits.set_metadata(["a"], {key: {"k": 1}}) == 1


def test_what_is_added_again_keeps_what_was_set_only_if_it_says_so(fruits: MultivectorCollection) -> None:
    fruits.set_metadata(["a"], {"year": 1999})

    report = fruits.add(["red apple"], [{"color": "red"}], ["a"])

    assert (report.updated, report.encoded) == (1, 0)
    assert fruits.get(["a"])[0].metadata == {"color": "red"}


def test_an_asynchronous_face_can_do_it_too(words: WordEmbedder) -> None:
    public = {name for name in dir(MultivectorCollection) if not name.startswith("_")}

    assert public - {name for name in dir(AsyncMultivectorCollection) if not name.startswith("_")} == {"as_async"}
