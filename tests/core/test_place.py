"""Where a collection lives: what is no place is refused by every class, and never means another place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from colbert_qdrant import AsyncMultivectorCollection, MultivectorCollection
from colbert_qdrant.collection.engines import Place, connect, connect_async
from colbert_qdrant.errors import InvalidInput
from conftest import WordEmbedder
from faulty_server import serving

URL = "http://localhost:6333"


def langchain_store(name: str, embedder: Any, **place: Any) -> Any:
    return pytest.importorskip("langchain_colbert_qdrant").ColbertQdrantVectorStore(name, embedder, **place)


def llama_index_store(name: str, embedder: Any, **place: Any) -> Any:
    kind = pytest.importorskip("llama_index_colbert_qdrant").ColbertQdrantVectorStore
    return kind(collection_name=name, embedder=embedder, **place)


CLASSES: list[Callable[..., Any]] = [
    MultivectorCollection,
    AsyncMultivectorCollection,
    langchain_store,
    llama_index_store,
]

NO_PLACES: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url='' is empty: is the variable unset"),
    ({"url": " "}, "is empty"),
    ({"url": "", "api_key": "s3cret"}, "url='' is empty"),
    ({"url": None, "api_key": "s3cret"}, "api_key= without url=.*in memory and gone at exit"),
    ({"path": "p", "api_key": "s3cret"}, "api_key= without url=.*in the folder"),
    ({"prefer_grpc": True}, "prefer_grpc= without url="),
    ({"client": QdrantClient(":memory:"), "api_key": "s3cret"}, "beside client="),
    ({"url": URL, "api_key": ""}, "api_key='' is empty"),
    ({"url": URL, "api_key": 5}, "api_key is of type int"),
    ({"path": ""}, "path='' is empty"),
    ({"path": "http://localhost:6333"}, "give url="),
    ({"path": Path("https://localhost:6333")}, "give url="),
    ({"path": ":memory:"}, "give location="),
    ({"path": b"data"}, "path is b'data' of type bytes"),
    ({"path": 3}, "path is 3 of type int"),
    ({"path": "a\0b"}, "NUL"),
    ({"url": "./data"}, "give path="),
    ({"url": "/data"}, "give path="),
    ({"url": "~/data"}, "give path="),
    ({"url": "C:\\data"}, "give path="),
    ({"url": ":memory:"}, "give location="),
    ({"url": Path("data")}, "url is .* of type PosixPath"),
    ({"url": "htp://"}, "the scheme is 'htp'"),
    ({"url": "ftp://x"}, "the scheme is 'ftp'"),
    ({"url": "http://"}, "names no host"),
    ({"url": "http://h:99999"}, "is no address"),
    ({"url": "http://h:port"}, "is no address"),
    ({"url": "http://h:0"}, "no port 0"),
    ({"url": "http://[::1"}, "is no address"),
    ({"url": "http://a..b"}, "no host's name"),
    ({"url": f"http://{'a' * 64}"}, "no host's name"),
    ({"url": f"{URL}\n"}, "a space or a line break"),
    ({"url": f"{URL}?api-key=s3cret"}, "url has a query"),
    ({"url": "http://me:s3cret@localhost"}, "url has a user name"),
    ({"url": URL, "path": "p"}, "url and path name different places"),
    ({"location": "disk"}, "it can only be ':memory:'"),
    ({"url": URL, "timeout": "5"}, "timeout='5'"),
    ({"url": URL, "timeout": float("nan")}, "timeout=nan"),
    ({"url": URL, "timeout": float("inf")}, "timeout=inf"),
    ({"url": URL, "timeout": 0}, "timeout=0"),
    ({"url": URL, "timeout": -1}, "timeout=-1"),
    ({"url": URL, "timeout": True}, "timeout=True"),
    ({"timeout": 10**30}, "timeout=1"),
]


@pytest.mark.parametrize("make", CLASSES, ids=["sync", "async", "langchain", "llama_index"])
@pytest.mark.parametrize(("given", "reason"), NO_PLACES, ids=[reason for _, reason in NO_PLACES])
def test_what_is_no_place_is_refused_by_every_class(
    make: Callable[..., Any],
    given: dict[str, Any],
    reason: str,
    words: WordEmbedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidInput, match=reason) as caught:
        make("m", words, **given)

    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


NO_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"client_options": {"prefix": "/q"}}, "client_options= without url="),
    ({"url": URL, "client_options": {"host": "h"}}, r"url and client_options\['host'\] name different places"),
    ({"path": "p", "client_options": {"host": "h"}}, "name different places"),
    ({"client_options": {"host": ""}}, "names no host"),
    ({"client_options": {"host": URL}}, "a host's name alone"),
    ({"client_options": {"host": 5}}, "a host's name alone"),
    ({"url": URL, "client_options": {"port": 0}}, "from 1 to 65535"),
    ({"url": URL, "client_options": {"grpc_port": "6334"}}, "from 1 to 65535"),
    ({"url": URL, "client_options": {"api_key": "s3cret"}}, "give api_key="),
    ({"url": URL, "client_options": {"timeout": 5}}, "give timeout="),
    ({"client_options": {"url": URL}}, "give url="),
    ({"url": URL, "client_options": {"client": 5}}, "given as client="),
    ({"url": URL, "client_options": {"check_compatibility": True}}, "the collection sets itself"),
    ({"url": URL, "client_options": {"cloud_inference": False}}, "the collection sets itself"),
    ({"url": URL, "client_options": {"speed": 11}}, "client_options .speed.: QdrantClient refuses them: .*'speed'"),
    ({"url": URL, "client_options": {"verify": "no-such-file.pem"}}, "QdrantClient refuses them"),
    ({"url": URL, "client_options": [("a", 1)]}, "give a dict"),
]


@pytest.mark.parametrize("make", CLASSES[:2], ids=["sync", "async"])
@pytest.mark.parametrize(("given", "reason"), NO_OPTIONS, ids=[str(given) for given, _ in NO_OPTIONS])
def test_options_that_nobody_takes_are_refused_by_name(
    make: Callable[..., Any], given: dict[str, Any], reason: str, words: WordEmbedder
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        make("m", words, **given)


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        (Place(url="https://q.example:6334/prefix"), "https://q.example:6334/prefix"),
        (Place(url="localhost:6333"), "http://localhost:6333"),
        (Place(url="qdrant:6333"), "http://qdrant:6333"),
        (Place(url="qdrant"), "http://qdrant:6333"),
        (Place(url="http://[::1]:6333"), "http://[::1]:6333"),
        (Place(url="HTTP://q.example"), "http://q.example:6333"),
        (Place(url=URL, client_options={"prefix": "tenant"}), "http://localhost:6333/tenant"),
        (Place(client_options={"host": "q.example"}), "http://q.example:6333"),
        (Place(client_options={"host": "q.example", "port": 443, "https": True}), "https://q.example:443"),
    ],
    ids=str,
)
async def test_a_server_is_reached_where_it_was_said_to_be(place: Place, uri: str) -> None:
    engine: Any = connect(place)
    asynchronous: Any = connect_async(place)

    assert engine.client._client.rest_uri == uri
    assert asynchronous.client._client.rest_uri == uri
    engine.close()
    await asynchronous.close()


def test_further_keywords_of_the_client_reach_it(words: WordEmbedder) -> None:
    with serving() as (server, url):
        host, _, port = url.removeprefix("http://").partition(":")
        options = {"host": host, "port": int(port), "headers": {"x-tenant": "a"}}
        with MultivectorCollection("m", words, client_options=options) as collection:
            collection.add(["red apple"])

        assert {request.headers["x-tenant"] for request in server.requests} == {"a"}


async def test_further_keywords_of_the_client_reach_the_asynchronous_one(words: WordEmbedder) -> None:
    with serving() as (server, url):
        options = {"headers": {"x-tenant": "a"}}
        async with AsyncMultivectorCollection("m", words, url=url, client_options=options) as collection:
            await collection.add(["red apple"])
        with MultivectorCollection("m", words, url=url, client_options=options) as open_collection:
            assert await open_collection.as_async().count() == 1

        assert {request.headers["x-tenant"] for request in server.requests} == {"a"}


def test_headers_of_the_client_are_in_no_representation() -> None:
    place = Place(url=URL, client_options={"headers": {"authorization": "s3cret"}})

    assert "s3cret" not in repr(place)
