"""What most tests need: the offline model, a tiny ColBERT, and collections on every engine there is."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import servers
import tiny_models
from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.errors import UnsupportedByEngine
from servers import SERVER, server_place

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared machines", deadline=None)
settings.load_profile("shared machines")

OFFLINE = "all-MiniLM-L6-v2-int8"


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the package remembers between processes out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def offline() -> ColbertEmbedder:
    """The model that needs no hub, loaded once."""
    return ColbertEmbedder(OFFLINE, threads=2)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small BERT of ColBERT's shape: markers, expansion, projection to 128, L2."""
    return tiny_models.build_colbert(tmp_path_factory.mktemp("models") / "tiny-colbert")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> ColbertEmbedder:
    return ColbertEmbedder(tiny_folder, threads=2)


@cache
def drawn(seed: int, dim: int) -> np.ndarray:
    return np.random.RandomState(seed % 2**32).standard_normal(dim)


class WordEmbedder:
    """An honest small embedder: a word is a vector that depends on the word alone, so equal words score 1."""

    model_name = "words"
    dim = 16

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        return (self._encode(text) for text in ([documents] if isinstance(documents, str) else documents))

    query_embed = embed

    def _encode(self, text: str) -> np.ndarray:
        rows = [drawn(sum(map(ord, word)), self.dim) for word in text.split()]
        vectors = np.array(rows or [np.ones(self.dim)], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def words() -> WordEmbedder:
    return WordEmbedder()


def shown(value: object) -> str:
    """Return a value as the name of a test, which is the same in each process: no addresses, sets in order."""
    return str(sorted(value)) if isinstance(value, set) else re.sub(r" at 0x\w+", "", str(value))


def engines() -> list[Any]:
    return ["memory", "edge", SERVER]


@pytest.fixture(params=engines())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where a collection lives, as arguments: each engine in turn."""
    if request.param == "memory":
        from qdrant_client import QdrantClient

        return {"client": QdrantClient(":memory:")}
    if request.param == "edge":
        pytest.importorskip("qdrant_edge")
        return {"path": tmp_path / "edge"}
    return server_place()


@pytest.fixture
def make_collection(place: dict[str, Any], words: WordEmbedder) -> Iterator[Callable[..., MultivectorCollection]]:
    """Open a collection of a name of its own at the place; another of the same name with ``name=``."""
    opened: list[MultivectorCollection] = []

    def make(embedder: Any = words, **options: Any) -> MultivectorCollection:
        name = options.pop("name", f"test-{uuid.uuid4().hex[:12]}")
        opened.append(MultivectorCollection(name, embedder, **place, **options))
        return opened[-1]

    yield make
    for collection in opened:
        collection.close()
    if "url" in place:
        servers.drop({collection.name for collection in opened})


@pytest.fixture
def collection(make_collection: Callable[..., MultivectorCollection]) -> MultivectorCollection:
    return make_collection()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need the hub run when they are asked for, with ``-m hub``."""
    if "hub" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="needs the Hugging Face hub; run with -m hub")
    for item in items:
        if "hub" in item.keywords:
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Skip what the server that the tests are told of is too old for, with what it says."""
    return (yield from skipped_on_old_servers())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip it here, too, where another error or a warning was waited for."""
    return (yield from skipped_on_old_servers())


def skipped_on_old_servers() -> Generator[None, object, object]:
    try:
        return (yield)
    except (Exception, pytest.fail.Exception) as error:
        cause: BaseException | None = error
        while cause is not None:
            if servers.URL and isinstance(cause, UnsupportedByEngine) and "needs Qdrant" in str(cause):
                pytest.skip(str(cause))
            cause = cause.__cause__ or cause.__context__
        raise
