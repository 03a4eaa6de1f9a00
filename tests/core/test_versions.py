"""Servers of other versions: old ones are named, and what one lacks is refused before it is half understood."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import AsyncMultivectorCollection, Blend, MultivectorCollection, Muvera, Storage
from colbert_qdrant.collection.conditions import substring
from colbert_qdrant.collection.conditions import words as has_words
from colbert_qdrant.collection.engines.versions import in_words_of, parsed
from colbert_qdrant.errors import UnsupportedByEngine
from conftest import WordEmbedder
from faulty_server import FaultyServer, serving


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving() as (server, _):
        yield server


@pytest.mark.parametrize(
    ("stated", "version"),
    [("1.19.0", (1, 19, 0)), ("1.20.0-dev", (1, 20, 0)), ("", None), ("latest", None), ("9" * 5000, None)],
)
def test_versions_are_read_as_servers_state_them(stated: str, version: Any) -> None:
    assert parsed(stated) == version


def test_an_old_server_is_named_once(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = "1.15.5"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with MultivectorCollection("old", words, url=server.url) as collection:
            collection.add(["red apple"])
            collection.search("red apple")
    [said] = [str(it.message) for it in caught if "1.15.5" in str(it.message)]
    assert "server is 1.15.5, and this package is written for 1.16.0 and newer" in said


@pytest.mark.parametrize("version", ["1.16.0", "1.19.0", "2.0.0", "none of your business"])
def test_others_are_not(version: str, server: FaultyServer, words: WordEmbedder) -> None:
    server.version = version
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with MultivectorCollection("new", words, url=server.url) as collection:
            collection.add(["red apple"])


def test_one_that_is_away_when_it_is_asked_is_asked_again(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = ""
    with MultivectorCollection("old", words, url=server.url) as collection:
        collection.add(["red apple"])
        server.version = "1.16.3"
        with pytest.raises(UnsupportedByEngine, match=r"is 1\.16\.3"):
            collection.count(models.Filter(must=[substring("metadata.name", "om")]))


def test_what_it_lacks_is_refused_before_it_is_asked(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = "1.16.3"
    with MultivectorCollection("old", words, url=server.url) as collection:
        collection.add(["red apple", "blue sky"], [{"name": "pomme"}, {"name": "ciel"}])
        asked = len(server.requests)
        part = models.Filter(must=[models.Filter(should=[substring("metadata.name", "om")])])
        for refused in (
            lambda: collection.search("apple", filter=part),
            lambda: collection.search_batch(["apple"], filter=part),
            lambda: collection.count(part),
            lambda: collection.delete(filter=part),
            lambda: list(collection.scroll(part)),
        ):
            with pytest.raises(UnsupportedByEngine, match=r"MatchSubstring\) needs Qdrant 1\.20\.0.* is 1\.16\.3"):
                refused()
        assert len(server.requests) == asked
        with pytest.raises(UnsupportedByEngine, match=r"needs Qdrant 1\.18\.0"):
            collection.add_stage(Muvera.from_embedder(words))


def test_a_full_text_match_that_minds_case_is_said(server: FaultyServer, words: WordEmbedder) -> None:
    with MultivectorCollection("old", words, url=server.url) as collection:
        collection.add(["red apple"], [{"name": "Pomme"}])
        with pytest.warns(UserWarning, match=r"is 1\.19\.0: before 1\.19\.1 a full-text match.*create_index"):
            collection.count(models.Filter(must=[has_words("metadata.name", "pomme")]))


async def test_asynchronously(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = "1.16.3"
    async with AsyncMultivectorCollection("old", words, url=server.url) as collection:
        with pytest.raises(UnsupportedByEngine, match=r"MatchSubstring\) needs Qdrant 1\.20\.0"):
            await collection.count(models.Filter(must=[substring("metadata.name", "om")]))


def test_storage_that_is_newer_is_refused_and_makes_no_collection(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = "1.17.0"
    with pytest.raises(UnsupportedByEngine, match=r"turbo quantisation needs Qdrant 1\.18\.0"):
        MultivectorCollection("old", words, url=server.url, storage=Storage(quantization="turbo"))
    assert not server.qdrant.collection_exists("old")


def test_fusion_by_weights(server: FaultyServer, words: WordEmbedder) -> None:
    server.version = "1.16.3"
    with MultivectorCollection("old", words, url=server.url, stages=[Muvera.from_embedder(words)]) as collection:
        collection.add(["red apple", "blue sky"])
        assert collection.search("apple", final=Blend({"maxsim": 1.0}))
        with pytest.raises(UnsupportedByEngine, match=r"weights needs Qdrant 1\.17\.0"):
            collection.search("apple", final=Blend({"maxsim": 1.0, "muvera": 0.5}, by="ranks"))


ON_DISK = Storage(on_disk=True, on_disk_payload=False, quantization="int8", hnsw=models.HnswConfigDiff(memory="cold"))


@pytest.mark.parametrize("version", ["1.19.0", "1.18.3"])
def test_where_vectors_are_kept_is_said_in_the_servers_words(
    version: str, server: FaultyServer, words: WordEmbedder
) -> None:
    server.version = version
    MultivectorCollection("docs", words, url=server.url, storage=ON_DISK, stages=[Muvera.from_embedder(words)]).close()
    sent = server.created["docs"]
    vectors = sent["vectors"]
    kept = (
        vectors["colbert"],
        vectors["colbert"]["quantization_config"]["scalar"],
        vectors["muvera"],
        vectors["muvera"]["quantization_config"]["binary"],
        sent["hnsw_config"],
    )
    said = [{key: each[key] for key in ("memory", "on_disk", "always_ram") if key in each} for each in kept]
    if version >= "1.19":
        assert said == [{"memory": tier} for tier in ("cold", "pinned", "cold", "pinned", "cold")]
        assert (sent.get("payload"), sent.get("on_disk_payload")) == ({"memory": "cached"}, None)
    else:
        flags = ("on_disk", "always_ram", "on_disk", "always_ram", "on_disk")
        assert said == [{flag: True} for flag in flags]
        assert (sent.get("payload"), sent.get("on_disk_payload")) == (None, False)


@pytest.mark.parametrize(("tier", "is_on_disk"), [("cold", True), ("cached", False), ("pinned", False)])
def test_an_index_of_ones_own_too(tier: str, is_on_disk: bool) -> None:
    index = models.KeywordIndexParams(type="keyword", memory=tier)
    asked = {"collection_name": "docs", "field_name": "metadata.name", "field_schema": index}
    assert in_words_of((1, 19, 0), asked) == asked
    told = in_words_of((1, 18, 3), asked)["field_schema"]
    assert (told.memory, told.on_disk) == (None, is_on_disk)
    assert index.memory == tier
