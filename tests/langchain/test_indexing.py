"""LangChain's indexing API against the store."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from colbert_qdrant.errors import EngineUnavailable, InvalidInput
from conftest import WordEmbedder
from langchain_colbert_qdrant import ColbertQdrantVectorStore
from two_copies import TwoCopies

pytestmark = pytest.mark.filterwarnings("ignore:Using SHA-1")

ENCODERS = ["sha1", "sha256", "sha512", "blake2b"]


@pytest.fixture
def store(open_store: Any) -> ColbertQdrantVectorStore:
    store: ColbertQdrantVectorStore = open_store()
    return store


@pytest.fixture
def records() -> InMemoryRecordManager:
    manager = InMemoryRecordManager("test")
    manager.create_schema()
    return manager


def document(text: str, source: str) -> Document:
    return Document(page_content=text, metadata={"source": source})


CATS, DOGS, BIRDS = document("Cats purr.", "a"), document("Dogs bark.", "a"), document("Birds sing.", "b")


def texts(store: ColbertQdrantVectorStore) -> set[str]:
    return {record.text for record in store.collection.scroll()}


@pytest.mark.parametrize("key_encoder", ENCODERS)
@pytest.mark.parametrize(
    ("cleanup", "left"),
    [("incremental", {"Cats purr.", "Birds sing."}), ("full", {"Cats purr."})],
)
def test_unchanged_skipped_gone_deleted(
    store: ColbertQdrantVectorStore, records: Any, key_encoder: Any, cleanup: Any, left: set[str]
) -> None:
    settings: dict[str, Any] = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": key_encoder}
    first = index([CATS, DOGS, BIRDS], records, store, **settings)

    second = index([CATS], records, store, **settings)

    assert first == {"num_added": 3, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    assert second == {"num_added": 0, "num_updated": 0, "num_skipped": 1, "num_deleted": 3 - len(left)}
    assert texts(store) == left


@pytest.mark.parametrize("key_encoder", ENCODERS)
async def test_asynchronous(store: ColbertQdrantVectorStore, records: Any, key_encoder: Any) -> None:
    settings: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": key_encoder}
    await aindex([CATS, DOGS], records, store, **settings)

    report = await aindex([DOGS, BIRDS], records, store, batch_size=1, **settings)

    assert report == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": 1}
    assert texts(store) == {"Dogs bark.", "Birds sing."}


def test_in_a_cluster_what_one_copy_missed_is_made_up_for_by_another_run(
    records: Any, words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the tries of what is refused
    two = TwoCopies()
    store = ColbertQdrantVectorStore.of(two.open(words))
    settings: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    reports = []

    for documents in ([CATS, DOGS], [BIRDS]):
        with two.refusing(), pytest.raises(EngineUnavailable, match="failed to apply"):
            index(documents, records, store, **settings)
        reports.append(index(documents, records, store, **settings))
        assert two.ids()[0] == two.ids()[1]
        assert len(two.ids()[0]) == len(documents)

    with two.refusing("delete"), pytest.raises(EngineUnavailable, match="failed to apply"):
        index([], records, store, **settings)
    reports.append(index([], records, store, **settings))

    assert two.ids() == [set(), set()]
    assert [(report["num_added"], report["num_deleted"]) for report in reports] == [(2, 0), (1, 2), (0, 1)]
    two.close()


@pytest.mark.parametrize("asynchronously", [False, True])
async def test_leaving_out_is_refused(store: ColbertQdrantVectorStore, records: Any, asynchronously: bool) -> None:
    settings: dict[str, Any] = {"key_encoder": "sha256", "upsert_kwargs": {"on_error": "skip"}}

    async def indexing() -> None:
        if asynchronously:
            await aindex([CATS, DOGS], records, store, **settings)
        else:
            index([CATS, DOGS], records, store, **settings)

    with pytest.raises(InvalidInput, match="remember what was left out as stored"):
        await indexing()

    assert (texts(store), records.list_keys()) == (set(), [])


CLEANUPS: dict[str | None, list[Document]] = {
    None: [CATS, DOGS, BIRDS],
    "incremental": [CATS, BIRDS],
    "full": [CATS],
    "scoped_full": [CATS, BIRDS],
}


@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize("key_encoder", ["sha256", "blake2b"])
@pytest.mark.parametrize("asynchronously", [False, True])
@pytest.mark.parametrize("cleanup", CLEANUPS)
async def test_every_way_of_cleaning_up(
    store: ColbertQdrantVectorStore, records: Any, batch_size: int, key_encoder: Any, asynchronously: bool, cleanup: Any
) -> None:
    ways: dict[str, Any] = {"cleanup": cleanup, "source_id_key": "source", "batch_size": batch_size}

    async def indexing(documents: list[Document]) -> Any:
        if asynchronously:
            return await aindex(documents, records, store, key_encoder=key_encoder, **ways)
        return index(documents, records, store, key_encoder=key_encoder, **ways)

    await indexing([CATS, DOGS, BIRDS])
    again = await indexing([CATS])

    left = {each.page_content for each in CLEANUPS[cleanup]}
    assert again == {"num_added": 0, "num_updated": 0, "num_skipped": 1, "num_deleted": 3 - len(left)}
    assert texts(store) == left


def test_a_forced_update_replaces(store: ColbertQdrantVectorStore, records: Any) -> None:
    settings: dict[str, Any] = {"cleanup": None, "source_id_key": "source", "key_encoder": "sha256"}
    index([CATS], records, store, **settings)

    report = index([CATS], records, store, force_update=True, **settings)

    assert report["num_updated"] == 1
    assert store.collection.count() == 1
