"""Who may hold an embedded collection: everybody in the process that opened it, nobody in another, not even its fork.

Forks are made by a process of their own, as a server makes its workers.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import Bm25, MultivectorCollection
from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import ColbertQdrantError, CollectionNotFound, EngineError
from conftest import WordEmbedder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture
def open_one(tmp_path: Path) -> Iterator[Callable[[], EdgeClient]]:
    """Open a client of the one folder; the first time with a collection "small" of vectors of two numbers."""
    opened: list[EdgeClient] = []

    def open_it() -> EdgeClient:
        opened.append(EdgeClient(tmp_path))
        if not opened[-1].collection_exists("small"):
            opened[-1].create_collection(
                "small", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
            )
        return opened[-1]

    yield open_it
    for client in opened:
        client.close()


def some(*numbers: int) -> list[models.PointStruct]:
    return [models.PointStruct(id=number, vector=[1.0, number], payload={"year": number}) for number in numbers]


# --- one process


def test_a_folder_opened_twice_in_a_process_is_the_same_folder(open_one):
    one, other = open_one(), open_one()
    one.create_payload_index("small", "year", models.PayloadSchemaType.INTEGER)

    one.upsert("small", some(1))
    other.upsert("small", some(2))

    assert (one.count("small").count, other.count("small").count) == (2, 2)
    assert other.get_collection("small").payload_schema["year"].points == 2


def test_it_stays_open_until_its_last_user_closes(open_one, tmp_path):
    one, other = open_one(), open_one()
    one.upsert("small", some(1))
    other.count("small")

    one.close()

    other.upsert("small", some(2))
    assert run_in_another_process(COUNT, tmp_path).startswith("CollectionLocked")
    other.close()
    assert run_in_another_process(COUNT, tmp_path) == "2"


def test_a_user_that_was_forgotten_counts_no_more(open_one, tmp_path):
    open_one().upsert("small", some(1))
    forgotten = EdgeClient(tmp_path)
    forgotten.count("small")
    del forgotten
    gc.collect()

    for client in [open_one()]:
        client.close()
    gc.collect()

    assert open_one().count("small").count == 1


def test_what_nobody_holds_any_more_can_be_opened_by_others(tmp_path, open_one):
    open_one().close()
    forgotten = EdgeClient(tmp_path)
    forgotten.upsert("small", some(1))
    del forgotten
    gc.collect()

    assert run_in_another_process(COUNT, tmp_path) == "1"


def test_links_to_a_folder_are_the_folder(open_one, tmp_path):
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path, target_is_directory=True)
    one = open_one()
    one.upsert("small", some(1))

    with EdgeClient(link) as other:
        assert other.count("small").count == 1


def test_both_see_what_one_made_of_the_description(open_one):
    one, other = open_one(), open_one()
    other.count("small")

    one.update_collection("small", metadata={"model": "a"})
    config = models.DenseVectorConfig(size=3, distance=models.Distance.DOT)
    one.create_vector_name("small", "late", models.DenseVectorNameConfig(dense=config))

    info = other.get_collection("small").config
    assert info.metadata == {"model": "a"}
    assert info.params.vectors["late"].size == 3


def test_a_deleted_collection_is_gone_for_both_and_may_be_made_anew(open_one):
    one, other = open_one(), open_one()
    other.upsert("small", some(1))

    one.delete_collection("small")

    with pytest.raises(CollectionNotFound):
        other.count("small")
    one.create_collection("small", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    assert other.count("small").count == 0


def test_a_folder_that_was_deleted_beneath_us_is_opened_as_it_is_now(open_one, tmp_path):
    one = open_one()
    one.upsert("small", some(1))
    shutil.rmtree(tmp_path / "small")

    other = open_one()
    other.upsert("small", some(2, 3))

    assert other.count("small").count == 2
    assert one.count("small").count == 2
    one.close()
    assert other.count("small").count == 2


def test_a_notebooks_cell_may_be_run_again(tmp_path: Path, words: WordEmbedder) -> None:
    for _ in range(3):
        docs = MultivectorCollection("docs", words, path=tmp_path, stages=[Bm25()])
        docs.add(["a red fox", "a blue sky"])

    assert docs.count() == 2
    assert docs.search("red fox", 1)[0].text == "a red fox"
    docs.close()


# --- closing beside calls


def test_closing_waits_for_the_call_that_runs_and_later_calls_are_named(open_one, tmp_path):
    client = open_one()
    outcomes: list[ColbertQdrantError | None] = []

    def write(first: int) -> None:
        try:
            for number in range(first, first + 100_000):
                client.upsert("small", some(*range(number * 50, number * 50 + 50)))
        except ColbertQdrantError as error:
            outcomes.append(error)

    for round_ in range(5):
        client = open_one()
        threads = [threading.Thread(target=write, args=(first,)) for first in (0, 200_000, 400_000)]
        for thread in threads:
            thread.start()
        time.sleep(0.01 + round_ / 100)
        client.close()
        for thread in threads:
            thread.join()

    assert {str(error) for error in outcomes} == {f"The EdgeClient of {tmp_path} is closed."}
    assert len(outcomes) == 15
    assert open_one().count("small").count > 0


def test_a_collection_may_be_closed_in_the_middle_of_adding(tmp_path: Path, words: WordEmbedder) -> None:
    docs = MultivectorCollection("docs", words, path=tmp_path)
    texts = (f"text {number}" for number in range(10**9))

    def close_soon(report: Any) -> None:
        if report.stored > 300:
            docs.close()

    with pytest.raises(EngineError, match="closed"):
        docs.add(texts, progress=close_soon)

    with MultivectorCollection("docs", words, path=tmp_path) as again:
        assert again.count() > 300


# --- another process, and a fork

COUNT = """
    import sys
    from colbert_qdrant.collection.engines.edge import EdgeClient
    try:
        print(EdgeClient(sys.argv[1]).count("small").count)
    except Exception as error:
        print(type(error).__name__, error)
"""


def run_in_another_process(script: str, *arguments: object) -> str:
    """Return what a script prints in a process of its own; one that hangs is killed, with all it has forked."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FORKED = """
    import gc, os, sys
    from colbert_qdrant import MultivectorCollection
    from colbert_qdrant.errors import CollectionLocked
    from conftest import WordEmbedder

    path = sys.argv[1]
    docs = MultivectorCollection("docs", WordEmbedder(), path=path)
    docs.add([f"before {number}" for number in range(100)])

    def in_child(work):
        if child := os.fork():
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            return
        import signal
        signal.alarm(30)
        work()
        sys.exit(0)  # not os._exit: everything is taken down, as when a worker ends

    def refused(call):
        try:
            call()
        except CollectionLocked as error:
            print(type(error).__name__, "fork" in str(error) or "another process" in str(error), flush=True)
        else:
            print("not refused", flush=True)
"""


@needs_fork
def test_a_fork_is_refused_whatever_it_calls(tmp_path: Path) -> None:
    script = (
        FORKED
        + """
    def work():
        refused(lambda: docs.search("before 1"))
        refused(docs.count)
        refused(lambda: docs.add(["in the child"]))
        refused(lambda: docs.delete(["1"]))
        refused(docs.optimize)
        refused(docs.drop)
        refused(lambda: MultivectorCollection("docs", WordEmbedder(), path=path))
        docs.close()

    in_child(work)
    docs.add(["after"])
    print(docs.count())
    """
    )

    assert run_in_another_process(script, tmp_path).split("\n") == ["CollectionLocked True"] * 7 + ["101"]


@needs_fork
def test_a_fork_that_lets_go_of_everything_writes_nothing(tmp_path: Path) -> None:
    script = (
        FORKED
        + """
    import time

    child = os.fork()
    if child == 0:
        time.sleep(1)  # the parent writes meanwhile
        del docs
        gc.collect()
        sys.exit(0)
    docs.add([f"after {number}" for number in range(100)])
    os.waitpid(child, 0)
    os.kill(os.getpid(), 9)
    """
    )
    with pytest.raises(AssertionError):  # killed, so that nothing is flushed: what is there is what the child left
        run_in_another_process(script, tmp_path)

    with MultivectorCollection("docs", WordEmbedder(), path=tmp_path) as docs:
        assert sorted(record.text for record in docs.scroll()) == sorted(
            f"{when} {number}" for when in ("before", "after") for number in range(100)
        )


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork keeps the engine's files open")
def test_a_fork_that_lives_on_keeps_nobody_out(tmp_path: Path) -> None:
    script = (
        FORKED
        + """
    import time

    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    docs.close()
    with MultivectorCollection("docs", WordEmbedder(), path=path) as again:
        print(again.count())
    os.kill(child, 9)
    """
    )

    assert run_in_another_process(script, tmp_path) == "100"


@needs_fork
def test_a_fork_works_on_folders_of_its_own(tmp_path: Path) -> None:
    script = (
        FORKED
        + """
    def work():
        with MultivectorCollection("docs", WordEmbedder(), path=path + "/mine") as mine:
            mine.add(["red fox", "blue sky"])
            print(mine.search("red fox", 1)[0].text, flush=True)

    in_child(work)
    docs.close()
    in_child(lambda: print(MultivectorCollection("docs", WordEmbedder(), path=path).count(), flush=True))
    """
    )

    assert run_in_another_process(script, tmp_path).split("\n") == ["red fox", "100"]


@needs_fork
def test_a_fork_while_another_thread_opens_does_not_hang(tmp_path: Path) -> None:
    script = (
        FORKED
        + """
    import threading

    def churn():
        for number in range(15):
            with MultivectorCollection(f"other{number}", WordEmbedder(), path=path) as other:
                other.add(["text"])

    thread = threading.Thread(target=churn)
    thread.start()
    for _ in range(10):
        in_child(lambda: refused(docs.count))
    thread.join()
    """
    )

    assert run_in_another_process(script, tmp_path).split("\n") == ["CollectionLocked True"] * 10
