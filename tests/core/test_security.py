"""API keys stay where they belong, our payload keys stay ours, and no file that is read can run code."""

from __future__ import annotations

import ast
import logging
import pickle
import socket
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

import colbert_qdrant
import tiny_models
from colbert_qdrant import AsyncMultivectorCollection, ColbertEmbedder, MultivectorCollection
from colbert_qdrant.collection.engines import Place, connect, connect_async
from colbert_qdrant.errors import EngineError, EngineUnavailable, InvalidInput, InvalidModel
from conftest import WordEmbedder
from faulty_server import Fault, serving

KEY = "s3cret-k3y"
CORE = Path(colbert_qdrant.__file__).parent
ADAPTERS = CORE.parents[1] / "integrations"

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

Make = Callable[..., MultivectorCollection]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give all that was logged, by whomever, and printed, beside the representations of what is passed in."""
    caplog.set_level(logging.DEBUG)

    def everything(*objects: Any) -> str:
        shown = [f"{each!r} {each!s}" for each in objects]
        shown += ["".join(traceback.format_exception(each)) for each in objects if isinstance(each, BaseException)]
        records = [f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records]
        return "\n".join([*shown, *records, caplog.text, *capfd.readouterr()])

    return everything


def test_an_api_key_is_not_said_while_all_goes_well(words: WordEmbedder, said: Callable[..., str]) -> None:
    with serving(KEY) as (server, url):
        collection = MultivectorCollection("quiet", words, url=url, api_key=KEY)
        collection.add(["red apple"], show_progress=True)
        [hit] = collection.search("apple")

        heard = said(collection, collection.place, collection.engine, collection.layout, hit)

    assert "HTTP Request: POST" in heard
    assert KEY not in heard
    assert {request.headers["api-key"] for request in server.requests} == {KEY}


async def test_an_api_key_is_not_said_on_an_event_loop(words: WordEmbedder, said: Callable[..., str]) -> None:
    with serving(KEY) as (_, url):
        async with AsyncMultivectorCollection("quiet", words, url=url, api_key=KEY) as collection:
            await collection.add(["red apple"])

            heard = said(collection, collection.place, collection.engine)

    assert "HTTP Request: PUT" in heard
    assert KEY not in heard


def test_an_api_key_is_not_stored(words: WordEmbedder) -> None:
    with serving(KEY) as (server, url):
        MultivectorCollection("stored", words, url=url, api_key=KEY).add(["red apple"], [{"a": 1}])

        info = server.qdrant.get_collection("stored")
        [point] = server.qdrant.scroll("stored", with_vectors=True)[0]

    assert info.config.metadata is not None
    assert KEY not in info.model_dump_json() + point.model_dump_json()


def test_a_refused_connection_does_not_tell_the_key(words: WordEmbedder, said: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_and_given_back:
        port = taken_and_given_back.getsockname()[1]

    with pytest.raises(EngineUnavailable, match="refused") as caught:
        MultivectorCollection("nowhere", words, url=f"http://127.0.0.1:{port}", api_key=KEY)

    assert KEY not in said(caught.value)


def test_a_wrong_key_is_not_repeated(words: WordEmbedder, said: Callable[..., str]) -> None:
    with serving("another key") as (_, url), pytest.raises(EngineError, match="401 Unauthorized") as caught:
        MultivectorCollection("locked", words, url=url, api_key=KEY)

    assert KEY not in said(caught.value)


@pytest.mark.parametrize("fault", ["500", "429", "reset", "garble", "truncate"])
def test_a_fault_does_not_tell_the_key(words: WordEmbedder, said: Callable[..., str], fault: Fault) -> None:
    with serving(KEY) as (server, url):
        collection = MultivectorCollection("faulty", words, url=url, api_key=KEY)
        server.faults = iter([fault] * 3)

        with pytest.raises(EngineUnavailable) as caught:
            collection.search("apple")

    assert KEY not in said(caught.value, collection)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\0", "é"], ids=repr)
def test_a_key_that_no_header_can_hold_is_not_said(words: WordEmbedder, said: Callable[..., str], ending: str) -> None:
    with serving() as (_, url), pytest.raises(InvalidInput, match="api_key") as caught:
        MultivectorCollection("line-break", words, url=url, api_key=KEY + ending)

    assert KEY not in said(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\0"], ids=repr)
def test_an_error_does_not_quote_the_header_of_a_callers_own_client(words: WordEmbedder, ending: str) -> None:
    with serving() as (server, url), pytest.raises(EngineError, match="line break in the api_key") as caught:
        MultivectorCollection(
            "line-break", words, client=QdrantClient(url, api_key=KEY + ending, check_compatibility=False)
        )

    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert server.requests == []


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_the_adapters_do_not_tell_the_key(words: WordEmbedder, said: Callable[..., str], framework: str) -> None:
    pytest.importorskip(f"{framework}_core" if framework == "langchain" else "llama_index.core")
    adapter: Any = pytest.importorskip(f"{framework}_colbert_qdrant")
    with serving(KEY) as (_, url):
        store = adapter.ColbertQdrantVectorStore("adapted", words, url=url, api_key=KEY)

        heard = said(store, vars(store))
        if framework == "llama_index":
            heard += str(store.to_dict())

    assert KEY not in heard


def test_tls_and_the_key_reach_the_client() -> None:
    client: Any = connect(Place(url="https://qdrant.example:6333", api_key=KEY)).client._client  # type: ignore[attr-defined]

    assert client.rest_uri == "https://qdrant.example:6333"
    assert client.openapi_client.client._client.headers["api-key"] == KEY
    assert is_verified(client.openapi_client.client._client)


async def test_tls_and_the_key_reach_the_asynchronous_client() -> None:
    engine: Any = connect_async(Place(url="https://qdrant.example:6333", api_key=KEY))
    client = engine.client._client

    assert client.rest_uri == "https://qdrant.example:6333"
    assert client.openapi_client.client._async_client.headers["api-key"] == KEY
    assert is_verified(client.openapi_client.client._async_client)
    await engine.close()


def test_tls_the_key_and_the_timeout_reach_grpc() -> None:
    place = Place(url="https://qdrant.example:6333", api_key=KEY, prefer_grpc=True, timeout=7)
    client: Any = connect(place).client._client  # type: ignore[attr-defined]

    assert (client._https, client._prefer_grpc, client._timeout) == (True, True, 7)
    assert ("api-key", KEY) in client._grpc_headers


def is_verified(http: Any) -> bool:
    import ssl

    context = http._transport._pool._ssl_context
    return bool(context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname)


RESERVED = {"_id": "x", "_hash": "y", "_node": "z", "page_content": "other text", "metadata": {"_id": 1}, "id": 2}


def test_metadata_may_be_called_like_our_keys_and_changes_none(make_collection: Make) -> None:
    collection = make_collection()
    collection.add(["a text"], [RESERVED], ["own-id"])

    [record] = collection.get(["own-id"])

    assert (record.id, record.text, record.metadata) == ("own-id", "a text", RESERVED)
    assert collection.add(["a text"], [RESERVED], ["own-id"]).unchanged == 1
    assert collection.count(models.Filter(must=[is_value("_id", "x")])) == 0


def is_value(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


@pytest.mark.parametrize("key", ["_id", "_hash", "page_content", "metadata", "colbert"])
def test_extras_replace_no_key_of_ours(collection: MultivectorCollection, key: str) -> None:
    with pytest.raises(InvalidInput, match=f"has the key '{key}'"):
        collection.add(["a text"], extras=[{key: "theirs"}])

    assert collection.count() == 0


@pytest.mark.parametrize("key", ["_id", "_hash", "_node", ""])
def test_the_users_keys_can_not_be_set_to_ours(make_collection: Make, key: str) -> None:
    with pytest.raises(InvalidInput, match="underscore"):
        make_collection(metadata_key=key)


MAKE_OBJECTS = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "joblib.load",
    "torch.load",
    "yaml.load",
    "np.load",
    "numpy.load",
    "eval",
    "exec",
}


def test_nothing_that_can_run_code_is_read() -> None:
    found = {
        (path.relative_to(CORE.parents[1]).as_posix(), name)
        for folder in (CORE, *ADAPTERS.glob("*_colbert_qdrant"))
        for path in folder.rglob("*.py")
        for name in names(ast.parse(path.read_bytes()))
        if name in MAKE_OBJECTS
    }

    assert found == set()


def names(tree: ast.AST) -> set[str]:
    """Return all names, dotted ones whole; those that are imported under another name, by their own."""
    found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


class RunsCode:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.folder,)


def test_a_checkpoint_with_a_harmful_head_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.build_colbert(tmp_path / "model", dim=64)
    with zipfile.ZipFile(folder / "colbert_linear.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": RunsCode(tmp_path / "made")}, protocol=2))

    with pytest.raises(InvalidModel, match=r"colbert_linear\.pt can't be read as weights \(it asks for"):
        list(ColbertEmbedder(folder).embed("a text"))

    assert not (tmp_path / "made").exists()


def test_a_key_that_a_server_repeats_is_not_repeated_by_us(words: WordEmbedder) -> None:
    with serving() as (server, url):
        collection = MultivectorCollection("repeats", words, url=url, api_key=KEY)
        server.faults = iter(["hostile"])
        with pytest.raises(EngineError) as caught:
            collection.count()
        heard = "".join(traceback.format_exception(caught.value)) + str(pickle.loads(pickle.dumps(caught.value)))

    assert "your key ***" in heard
    assert KEY not in heard
    assert caught.value.__context__ is None


def test_a_collection_that_could_not_be_made_has_a_representation(words: WordEmbedder) -> None:
    half = MultivectorCollection.__new__(MultivectorCollection)
    half_face = AsyncMultivectorCollection.__new__(AsyncMultivectorCollection)

    assert repr(half) == "MultivectorCollection(not opened)"
    assert repr(half_face) == "AsyncMultivectorCollection(not opened)"
