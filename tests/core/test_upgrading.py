"""Collections of single vectors, as other programs write them, get token vectors beside them; and back."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import servers
from colbert_qdrant import AsyncMultivectorCollection, Dense, MultivectorCollection
from colbert_qdrant.collection.driving import Driver
from colbert_qdrant.collection.steps import Call
from colbert_qdrant.errors import CollectionMismatch, CollectionNotFound, InvalidInput
from conftest import WordEmbedder
from environments import python_with
from other_programs import DATA, TEXTS, WRITTEN, Store, mean_vector, other_model, point_of
from servers import server_place

PROGRAMS = list(WRITTEN)


@pytest.fixture(params=PROGRAMS)
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


def test_its_texts_are_found_by_their_tokens_and_nothing_it_had_is_touched(store: Store) -> None:
    before = store.old()

    with store.upgrade(dense=mean_vector) as docs:
        hits = docs.search("red violin", 5)
        assert hits[0].text == "red violin at night"
        assert hits[0].score == pytest.approx(2, abs=1e-3)
        assert {hit.text for hit in hits} == TEXTS
        assert hits[0].metadata == {"n": 2}
        assert [record.id for record in docs.get([hits[0].id])] == [hits[0].id]
        assert docs.search("red violin", 1, exhaustive=True)[0].id == hits[0].id

    assert store.old() == before


def test_its_vector_finds_the_candidates(store: Store) -> None:
    with store.upgrade(dense=mean_vector) as docs:
        [stage] = docs.layout.stages

        assert stage.name == next(iter(store.written["vectors"]))
        assert len(docs.search("red violin", 1, candidates=1)) == 1


def test_it_is_opened_again_with_its_encoder(store: Store) -> None:
    store.upgrade(dense=mean_vector).close()
    name = next(iter(store.written["vectors"]))

    with MultivectorCollection(
        store.name, WordEmbedder(), stages=[Dense(mean_vector, name=name)], **store.place
    ) as docs:
        assert docs.search("blue sky", 1)[0].metadata == {"n": 3}
    with pytest.raises(CollectionMismatch, match="needs its encoder"):
        MultivectorCollection(store.name, WordEmbedder(), **store.place)


def test_a_run_that_stopped_is_not_searched_and_goes_on(langchain: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.upgrading.WINDOW", 2)

    class Dies(WordEmbedder):
        calls = 0

        def embed(self, documents: Any) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("out of power")
            return super().embed(documents)

    with pytest.raises(RuntimeError, match="out of power"):
        langchain.upgrade(Dies(), dense=mean_vector)
    with pytest.raises(CollectionMismatch, match="not finished"):
        MultivectorCollection(langchain.name, WordEmbedder(), stages=[Dense(mean_vector, name="")], **langchain.place)

    reports: list[Any] = []
    with langchain.upgrade(dense=mean_vector, progress=reports.append) as docs:
        assert {hit.text for hit in docs.search("red violin", 5)} == TEXTS
    assert 0 < reports[-1].unchanged < 5
    assert reports[-1].unchanged + reports[-1].encoded == 5


def test_another_model_is_refused(langchain: Store) -> None:
    with pytest.raises(InvalidInput, match="not what dense= makes"):
        langchain.upgrade(dense=other_model)
    with pytest.raises(InvalidInput, match="16 dimensions, dense= makes 8"):
        langchain.upgrade(dense=Dense(lambda texts: [np.ones(8) for _ in texts]))
    info = langchain.call("get_collection")
    assert not info.config.metadata  # nothing was changed

    langchain.upgrade(dense=mean_vector).close()
    other = WordEmbedder()
    other.model_name = "other-words"
    with pytest.raises(CollectionMismatch, match="other-words"):
        langchain.upgrade(other, dense=mean_vector)


def test_what_can_not_be_upgraded_is_refused(place: dict[str, Any], langchain: Store) -> None:
    with pytest.raises(CollectionNotFound):
        MultivectorCollection.upgrade("no-such-collection", WordEmbedder(), **place)

    ours = f"ours-{uuid.uuid4().hex[:8]}"
    with MultivectorCollection(ours, WordEmbedder(), **place) as made:
        made.add(["text"])
        if "path" not in place:
            with pytest.raises(InvalidInput, match="token vectors already"):
                MultivectorCollection.upgrade(ours, WordEmbedder(), **place)
        made.drop()
    langchain.call("overwrite_payload", payload={"body": "text"}, points=models.Filter())
    with pytest.raises(InvalidInput, match=r"keys \['body'\]"):
        langchain.upgrade()
    with langchain.upgrade(content_key="body") as docs:
        assert {hit.text for hit in docs.search("text", 5)} == {"text"}


def test_a_program_that_would_refuse_it_afterwards_is_spared(langchain: Store) -> None:
    """qdrant-haystack 13.1.0: `_validate_collection_compatibility`."""
    langchain.call("overwrite_payload", payload={"content": "text", "meta": {}}, points=models.Filter())

    with pytest.raises(InvalidInput, match="use_sparse_embeddings=True"):
        langchain.upgrade()
    assert not langchain.call("get_collection").config.metadata


def test_records_without_text_are_counted_and_named(langchain: Store) -> None:
    first = langchain.written["points"][0]["id"]
    langchain.call("overwrite_payload", payload={"page_content": " ", "metadata": {}}, points=[first])

    with pytest.warns(UserWarning, match=f"1 records .*{first}"), langchain.upgrade(dense=mean_vector) as docs:
        assert len(docs.search("red violin", 10)) == 4


class Meanwhile(WordEmbedder):
    """Lets another program act while it encodes for the first time."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.acts = iter([act])

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        next(self.acts, lambda: None)()
        return super().embed(documents)


def test_what_the_old_program_replaces_or_deletes_meanwhile_has_the_vectors_of_its_text(langchain: Store) -> None:
    replaced, emptied, deleted, *_ = [point["id"] for point in langchain.written["points"]]

    def act() -> None:
        langchain.upsert([point_of("purple whale", replaced), point_of("", emptied)])
        langchain.call("delete", points_selector=models.PointIdsList(points=[deleted]))

    with pytest.warns(UserWarning, match=f"1 records .*{emptied}"):
        docs = langchain.upgrade(Meanwhile(act))

    with docs:
        found = {record.id: record for record in docs.scroll(with_vectors=True)}
        assert (len(found), deleted in found, found[emptied].vectors) == (4, False, None)
        for record in found.values():
            if record.id != emptied:
                np.testing.assert_allclose(record.vectors, WordEmbedder()._encode(record.text), atol=1e-3)


def test_a_run_that_another_one_overtakes_goes_on(langchain: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two upgrades at once: both find no vector, one makes it first."""
    do = Driver._do

    def overtaken(self: Driver, step: Any) -> Any:
        if isinstance(step, Call) and step.method == "create_vector_name":
            do(self, step)
        return do(self, step)

    monkeypatch.setattr(Driver, "_do", overtaken)

    with langchain.upgrade() as docs:
        assert {hit.text for hit in docs.search("red violin", 5)} == TEXTS


def test_one_collection_is_upgraded_whatever_its_alias_stands_for_meanwhile(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "path" in place:
        pytest.skip("the embedded engine has no aliases")
    monkeypatch.setattr("colbert_qdrant.collection.upgrading.WINDOW", 2)
    old, new = Store("langchain", place), Store("langchain", place)
    new.upsert([point_of(f"purple whale {at}", point["id"]) for at, point in enumerate(new.written["points"])])
    alias = f"{old.name}-published"
    with new.upgrade() as rebuilt:
        make = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=old.name, alias_name=alias))
        rebuilt.engine.call("update_collection_aliases", {"change_aliases_operations": [make]})

        with pytest.raises(CollectionMismatch, match=f"'{new.name}' by now, and the token vectors are in '{old.name}'"):
            MultivectorCollection.upgrade(alias, WordEmbedder(), progress=lambda _: rebuilt.publish(alias), **place)

        for record in rebuilt.scroll(with_vectors=True):
            np.testing.assert_allclose(record.vectors, WordEmbedder()._encode(record.text), atol=1e-3)
        with MultivectorCollection(old.name, WordEmbedder(), **place) as upgraded:
            assert {hit.text for hit in upgraded.search("red violin", 5)} == TEXTS
        MultivectorCollection.downgrade(alias, **place)
        assert (new.vector_names(), old.vector_names()) == ([""], ["", "colbert"])
    for store in (old, new):
        store.call("delete_collection")


def test_a_metadata_key_alone_is_heeded_or_refused(langchain: Store) -> None:
    with pytest.raises(InvalidInput, match="langchain's, whose metadata is under 'metadata', not metadata_key='about'"):
        langchain.upgrade(metadata_key="about")
    langchain.upgrade(metadata_key="metadata").close()


def test_payloads_without_any_text_are_refused_before_anything_is_changed(langchain: Store) -> None:
    with pytest.raises(InvalidInput, match=r"no payload has a text under 'body', their keys are .*'page_content'"):
        langchain.upgrade(content_key="body")

    info = langchain.call("get_collection")
    assert (info.config.metadata or {}, langchain.vector_names()) == ({}, [""])


def test_an_empty_collection_is_named_as_such(langchain: Store) -> None:
    langchain.call("delete", points_selector=models.FilterSelector(filter=models.Filter()))

    with pytest.raises(InvalidInput, match=r"is empty, .* content_key="):
        langchain.upgrade()

    langchain.upgrade(content_key="page_content").close()
    langchain.upsert([point_of("purple whale")])
    with langchain.upgrade() as docs:
        assert docs.search("whale", 1)[0].text == "purple whale"


@pytest.mark.parametrize("program", ["langchain", "mcp"])
def test_what_we_add_has_the_old_vector_too(program: str, place: dict[str, Any]) -> None:
    store = Store(program, place)
    with store.upgrade(dense=mean_vector) as docs:
        docs.add(["purple whale"], [{"n": 7}], ids=["w"])

        assert docs.search("purple whale", 1)[0].id == "w"
        assert len(store.old()) == 6 if "client" in place else docs.count() == 6


@pytest.mark.parametrize("program", ["llama-index", "haystack"])
def test_what_the_program_could_not_read_is_not_written(program: str, place: dict[str, Any]) -> None:
    with Store(program, place).upgrade(dense=mean_vector) as docs:
        with pytest.raises(InvalidInput, match=f"written by {program}"):
            docs.add(["purple whale"])
        with pytest.raises(InvalidInput, match=f"written by {program}"):
            docs.set_metadata([docs.search("sky", 1)[0].id], {"n": 1})
        assert docs.count() == 5


async def test_an_asynchronous_upgrade_is_the_same(langchain: Store) -> None:
    docs = await AsyncMultivectorCollection.upgrade(
        langchain.name, WordEmbedder(), dense=mean_vector, **langchain.place
    )
    async with docs:
        assert (await docs.search("blue sky", 1))[0].text == "blue sky"
    await AsyncMultivectorCollection.downgrade(langchain.name, **langchain.place)
    assert len(langchain.old()) == 5


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_itself_goes_on(program: str, tmp_path: Path) -> None:
    """Written, read and added to by its own package, in an environment of its own: see `environments.py`."""
    folder = os.environ.get("COLBERT_QDRANT_PROGRAMS")
    if not folder:
        pytest.skip("set COLBERT_QDRANT_PROGRAMS to a folder for the programs' environments")
    requirements = {"mcp": ["mcp-server-qdrant==0.8.1"]}.get(
        program, ["langchain-qdrant==1.1.0", "llama-index-vector-stores-qdrant==0.10.4", "qdrant-haystack==13.1.0"]
    )
    python = python_with(Path(folder) / ("mcp" if program == "mcp" else "stores"), requirements)
    place = server_place() if servers.URL else {"path": str(tmp_path / "qdrant")}

    def run(action: str, *texts: str) -> list[str]:
        command = [python, DATA / "single_vector_programs.py", program, action, json.dumps(place), *texts]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found: list[str] = json.loads(lines[-1])
        return found

    def open_client() -> QdrantClient:
        return QdrantClient(**place)

    before = run("write")
    client = open_client()
    MultivectorCollection.upgrade("docs", WordEmbedder(), dense=mean_vector, client=client)
    client.close()

    assert run("read") == before
    assert run("write", "red violin in the rain") != before

    client = open_client()
    docs = MultivectorCollection.upgrade("docs", WordEmbedder(), dense=mean_vector, client=client)
    assert docs.search("violin in the rain", 1)[0].text == "red violin in the rain"
    MultivectorCollection.downgrade("docs", client=client)
    client.close()
    assert "red violin in the rain" in run("read")
    client = open_client()
    client.delete_collection("docs")
    client.close()
