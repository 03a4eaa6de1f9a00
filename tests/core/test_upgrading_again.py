"""An upgraded collection is upgraded again, after the old program or we added to it, or becomes what it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant import Bm25, Dense, MultivectorCollection, Muvera
from colbert_qdrant.collection import schema
from colbert_qdrant.collection.driving import Driver
from colbert_qdrant.collection.ids import point_id
from colbert_qdrant.collection.steps import Call
from colbert_qdrant.errors import CollectionMismatch, InvalidInput
from conftest import WordEmbedder
from other_programs import WRITTEN, Store, mean_vector, other_model, point_of


@pytest.fixture(params=list(WRITTEN))
def store(request: pytest.FixtureRequest, place: dict[str, Any]) -> Iterator[Store]:
    store = Store(request.param, place)
    yield store
    if "url" in place:
        store.call("delete_collection")


@pytest.fixture
def langchain(place: dict[str, Any]) -> Iterator[Store]:
    store = Store("langchain", place)
    yield store
    if "url" in place:
        store.call("delete_collection")


def test_what_the_old_program_adds_is_found_after_another_run(langchain: Store) -> None:
    langchain.upgrade(dense=mean_vector).close()
    langchain.upsert([point_of("purple whale")])
    reports: list[Any] = []

    with langchain.upgrade(dense=mean_vector, progress=reports.append) as docs:
        assert docs.search("purple whale", 1)[0].text == "purple whale"
    assert (reports[-1].encoded, reports[-1].unchanged) == (1, 5)


def test_one_call_takes_it_back(store: Store) -> None:
    before = store.old()
    store.upgrade(dense=mean_vector).close()

    MultivectorCollection.downgrade(store.name, **store.place)

    assert store.old() == before
    assert store.vector_names() == list(store.written["vectors"])
    with pytest.raises(InvalidInput, match="not upgraded"):
        MultivectorCollection.downgrade(store.name, **store.place)
    with store.upgrade() as docs:  # and forward again, with another stage
        assert docs.search("blue sky", 1)[0].text == "blue sky"


@pytest.mark.parametrize("dense", [None, mean_vector])
def test_stages_that_were_added_are_completed_and_taken_away_with_the_rest(langchain: Store, dense: Any) -> None:
    before = langchain.old()
    with langchain.upgrade(dense=dense) as docs:
        docs.add_stage(Muvera(16, k_sim=3, dim_proj=8, r_reps=10))
        docs.add_stage(Bm25())
    langchain.upsert([point_of("purple whale")])

    with langchain.upgrade(dense=dense) as docs:
        lacking = [models.HasVectorCondition(has_vector=name) for name in ("colbert", "muvera", "bm25")]
        assert [docs.count(models.Filter(must_not=[condition])) for condition in lacking] == [0, 0, 0]
        assert docs.search("purple whale", 1)[0].text == "purple whale"
        assert {"muvera", "bm25"} < {stage.name for stage in docs.layout.stages} | {"colbert"}
    MultivectorCollection.downgrade(langchain.name, **langchain.place)

    assert langchain.vector_names() == [""]
    assert before.items() < langchain.old().items()
    with langchain.upgrade(dense=mean_vector) as docs:
        docs.add_stage(Muvera(16, k_sim=2, dim_proj=4, r_reps=10))


def test_a_stage_that_needs_its_encoder_is_named_when_the_token_vectors_are_there(langchain: Store) -> None:
    stage = Dense(mean_vector, name="own")
    with langchain.upgrade() as docs:
        docs.add_stage(stage)
    langchain.upsert([point_of("purple whale")])

    with pytest.raises(CollectionMismatch, match=r"stage 'own' beside its token vectors, .* add_stage of the same"):
        langchain.upgrade()

    with MultivectorCollection(langchain.name, WordEmbedder(), stages=[stage], **langchain.place) as docs:
        docs.add_stage(stage)
        assert docs.search("purple whale", 1)[0].text == "purple whale"


def test_no_stage_overwrites_the_vectors_of_the_old_program(store: Store) -> None:
    before = store.old()
    [name] = store.written["vectors"]

    with store.upgrade() as docs, pytest.raises(InvalidInput, match=f"vector {name!r} that was not made as a first"):
        docs.add_stage(Dense(other_model, name=name))

    MultivectorCollection.downgrade(store.name, **store.place)
    assert store.old() == before


def test_what_had_vectors_of_its_own_is_stored_again_after_they_were_taken_away(langchain: Store) -> None:
    def upgrade() -> MultivectorCollection:
        return langchain.upgrade(dense=mean_vector)

    def add(docs: MultivectorCollection) -> list[int]:
        image, page = WordEmbedder().embed(["purple whale", "yellow submarine"])
        return [
            docs.add([""], ids=["image"], vectors=[image], stage_vectors={"": [image.mean(axis=0)]}).unchanged,
            docs.add(["page 7"], ids=["captioned"], vectors=[page]).unchanged,
            docs.add(["a text"], ids=["title"], encoded_as=["yellow submarine"]).unchanged,
            docs.add(["a part"], ids=["part"], encoded_as=["of a whole: a part"]).unchanged,
            docs.add(["a text"], ids=["plain"]).unchanged,
        ]

    ids = ["image", "captioned", "title", "part", "plain"]
    with upgrade() as docs:
        add(docs)
        before = {record.id: record.vectors for record in docs.get(ids, with_vectors=True)}
    MultivectorCollection.downgrade(langchain.name, **langchain.place)

    with pytest.warns(UserWarning, match="1 records .*no text"):
        docs = upgrade()

    with docs:
        assert add(docs) == [0, 0, 0, 1, 1]
        for record in docs.get(ids, with_vectors=True):
            np.testing.assert_allclose(record.vectors, before[record.id], atol=1e-3)
        assert add(docs) == [1, 1, 1, 1, 1]


def test_what_is_deleted_before_it_is_claimed_does_not_end_the_upgrade(
    langchain: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with langchain.upgrade(dense=mean_vector) as docs:
        docs.add(["a text", "another"], ids=["gone", "stays"], encoded_as=["yellow submarine", "purple whale"])
    MultivectorCollection.downgrade(langchain.name, **langchain.place)
    do = Driver._do

    def overtaken(self: Driver, step: Any) -> Any:
        if isinstance(step, Call) and step.method == "set_payload":
            gone = models.PointIdsList(points=[point_id("gone")])
            do(self, Call("delete", {"collection_name": langchain.name, "points_selector": gone, "wait": True}))
        return do(self, step)

    monkeypatch.setattr(Driver, "_do", overtaken)

    with langchain.upgrade(dense=mean_vector) as docs:
        assert [record.id for record in docs.get(["gone", "stays"])] == ["stays"]


@pytest.mark.parametrize("dense", [None, mean_vector])
def test_what_was_upgraded_before_other_vectors_were_remembered_goes_on_and_goes_back(
    langchain: Store, dense: Any
) -> None:
    with langchain.upgrade(dense=dense) as docs:
        docs.add_stage(Bm25())
    metadata = schema.remembered(langchain.call("get_collection"))
    del metadata[schema.UPGRADED_KEY]["beside"]
    langchain.call("update_collection", metadata={schema.METADATA_KEY: metadata})

    langchain.upgrade(dense=dense).close()
    MultivectorCollection.downgrade(langchain.name, **langchain.place)

    assert langchain.vector_names() == [""]


def test_other_keys_than_it_was_begun_with_are_refused(langchain: Store) -> None:
    langchain.call("overwrite_payload", payload={"body": "red violin", "about": {}}, points=models.Filter())
    keys = {"content_key": "body", "metadata_key": "about"}
    langchain.upgrade(**keys).close()

    with pytest.raises(CollectionMismatch, match=r"content_key='body', not 'text': .*`downgrade` it first"):
        langchain.upgrade(content_key="text")
    with pytest.raises(CollectionMismatch, match="metadata_key='about', not 'meta'"):
        langchain.upgrade(metadata_key="meta")
    with pytest.raises(CollectionMismatch, match="vector_name='colbert', not 'tokens': "):
        langchain.upgrade(vector_name="tokens")

    langchain.upgrade().close()
    with langchain.upgrade(**keys) as docs:
        assert {hit.text for hit in docs.search("violin", 5)} == {"red violin"}
