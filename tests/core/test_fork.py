"""A process that has used everything forks, and everything works in the child as well.

That is what ``multiprocessing`` does on Linux, and a server that loads the program before it forks its workers.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from colbert_qdrant import ColbertEmbedder, ColbertReranker, MultivectorCollection
from colbert_qdrant.errors import InvalidModel
from conftest import WordEmbedder
from faulty_server import serving
from tiny_models import build_colbert

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

SECONDS = 60
MANY = [f"text number {number} of a few words" for number in range(300)]


def in_a_child(work: Callable[[], Any]) -> None:
    """Run `work` in a forked process; one that hangs is ended, and is a failure."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the child was not done after {SECONDS} s")


def check(condition: object) -> None:
    if not condition:
        raise AssertionError


@pytest.fixture
def used(tiny_folder: Any) -> ColbertEmbedder:
    """An embedder whose threads have run."""
    embedder = ColbertEmbedder(tiny_folder, threads=2)
    list(embedder.embed(MANY))
    list(embedder.query_embed(MANY[:3]))
    return embedder


def test_an_embedder_gives_the_same_vectors_in_a_child(used: ColbertEmbedder) -> None:
    documents, [query] = list(used.embed(MANY)), used.query_embed("few words")

    def work() -> None:
        for ours, theirs in zip(used.embed(MANY), documents, strict=True):
            check(np.array_equal(ours, theirs))
        check(np.array_equal(next(used.query_embed("few words")), query))

    in_a_child(work)


def test_a_child_does_not_mix_a_model_with_the_one_in_its_place(tmp_path: Path) -> None:
    """It opens sessions of its own, of the parent's graph, and the file is a newer model's by then."""
    embedder = ColbertEmbedder(build_colbert(tmp_path / "model", hidden=256), threads=2)
    list(embedder.query_embed("few words"))
    (build_colbert(tmp_path / "newer", hidden=256, seed=1) / "model.onnx").replace(tmp_path / "model/model.onnx")

    def work() -> None:
        with pytest.raises(InvalidModel, match="make the embedder anew"):
            list(embedder.query_embed("few words"))

    in_a_child(work)


def test_a_child_of_a_child_works_too(used: ColbertEmbedder) -> None:
    in_a_child(lambda: (list(used.embed(MANY)), in_a_child(lambda: list(used.query_embed(MANY)))))


def test_a_reranker_works_in_a_child(used: ColbertEmbedder) -> None:
    reranker = ColbertReranker(used)
    reranker.rerank("few words", MANY[:4])

    in_a_child(lambda: check(len(reranker.rerank("few words", MANY[:4])) == 4))


def test_a_collection_in_memory_works_in_a_child(used: ColbertEmbedder) -> None:
    collection = MultivectorCollection("fork", used)
    collection.add(MANY[:3])
    collection.search("words")

    def work() -> None:
        check(collection.add(MANY[3:6]).added == 3)
        check(len(collection.search("words")) == 6)

    in_a_child(work)
    assert collection.count() == 3


def test_parent_and_children_do_not_share_a_connection(words: WordEmbedder) -> None:
    """Answers that are read by whoever comes first are answers to somebody else's question."""
    with serving() as (_, url):
        collection = MultivectorCollection("fork", words, url=url)
        collection.add([f"word{number}" for number in range(20)], ids=[str(number) for number in range(20)])

        def ask(first: int) -> None:
            for number in range(first, 20, 2):
                check([record.id for record in collection.get([str(number)])] == [str(number)])

        asking = threading.Thread(target=ask, args=(0,))
        asking.start()
        in_a_child(lambda: ask(1))
        asking.join()
        ask(0)


@contextmanager
def busy(work: Callable[[], Any]) -> Iterator[None]:
    """Repeat `work` in two threads."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            work()

    threads = [threading.Thread(target=repeat) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_fork_beside_working_threads_works(used: ColbertEmbedder) -> None:
    collection = MultivectorCollection("fork", used, client=QdrantClient(":memory:"))
    collection.add(MANY[:5])

    with busy(lambda: collection.search("words")):
        for _ in range(5):
            in_a_child(lambda: check(list(used.embed(MANY[:40])) and list(used.query_embed("words"))))
