"""A process that adds to an embedded collection loses nothing that it was told is stored: killed, forked, out of disk.

    python tests/core/test_crash.py [--rounds N]

As a script it says how often the kill found a write under way, and what was found afterwards. Full disks need root.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

sys.path.insert(0, str(Path(__file__).parent.parent))  # where pytest finds it by itself

from colbert_qdrant import MultivectorCollection, Muvera
from colbert_qdrant.errors import CollectionLocked, EngineError
from disks import KINDS, can_mount, disk, fill_with

pytest.importorskip("qdrant_edge")

DIM = 16
BATCH = 100
TEXTS = 5_000
ROUNDS = 2


class Hashing:
    """A cheap embedder: a text's vectors depend on the text alone. It counts what it encodes."""

    model_name = "hashing"
    dim = DIM

    def __init__(self) -> None:
        self.encoded = 0

    def embed(self, documents: Any) -> Iterator[np.ndarray]:
        for text in [documents] if isinstance(documents, str) else documents:
            self.encoded += 1
            number = int(text.rpartition(" ")[2])
            vectors = np.random.RandomState(number).standard_normal((8, self.dim)).astype(np.float32)
            yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    query_embed = embed


def open_collection(path: Path) -> MultivectorCollection:
    stage = Muvera(DIM, k_sim=3, dim_proj=8, r_reps=4)
    return MultivectorCollection("crash", Hashing(), path=path, stages=[stage])


def text_of(number: int) -> str:
    return f"text number {number}"


@dataclass(frozen=True)
class Killed:
    """What a process had printed when it was killed, and whether it was in the middle of a write."""

    acknowledged: int
    in_a_write: bool


@dataclass(frozen=True)
class Forked:
    """What a process had printed when it was killed, and how often its children asked and were refused."""

    acknowledged: int
    asked: int
    refused: int


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_what_was_acknowledged_is_there_when_the_writer_was_killed(tmp_path: Path, seed: int) -> None:
    killed = kill_a_writer(tmp_path, random.Random(seed))

    found = stored(tmp_path)

    assert {text_of(number) for number in range(killed.acknowledged)} <= found.keys()


def test_what_is_there_is_whole(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, random.Random(ROUNDS))

    with open_collection(tmp_path) as collection:
        for record in collection.scroll(with_vectors=True):
            [vectors] = Hashing().embed(record.text)
            np.testing.assert_allclose(record.vectors, vectors, atol=1e-3)  # half precision
            assert collection.search(record.text, limit=1)[0].text == record.text


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_second_run_finishes_a_killed_one_and_encodes_only_what_is_missing(tmp_path: Path, seed: int) -> None:
    kill_a_run(tmp_path, random.Random(seed))
    before = sum(stored(tmp_path).values())

    encoded = finish_the_run(tmp_path)

    assert encoded == TEXTS - before
    assert stored(tmp_path) == {text_of(number): 1 for number in range(TEXTS)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_forks_of_the_writer_write_nothing_and_lose_nothing(tmp_path: Path, seed: int) -> None:
    forked = kill_a_forking_writer(tmp_path, random.Random(seed))

    found = stored(tmp_path)

    assert forked.refused == forked.asked
    assert {text_of(number) for number in range(forked.acknowledged)} <= found.keys()
    assert all(text.startswith("text number") for text in found)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_is_there_when_the_disk_was_full(tmp_path: Path, kind: str) -> None:
    with disk(kind, KINDS[kind], tmp_path / "disk") as path:
        acknowledged, returncode = fill_the_disk(path, random.Random(0))

        found = stored(path)

    assert returncode == 0, "ended by a signal"
    assert {text_of(number) for number in range(acknowledged)} <= found.keys()


# --- the parent's side


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_stage_added_beside_writers_hides_nothing_that_they_stored(tmp_path: Path, seed: int) -> None:
    raced = add_a_stage_beside_writers(tmp_path, random.Random(seed))

    assert raced.acknowledged >= 400
    assert (raced.lost, raced.without_vector, raced.hidden) == (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Raced:
    """What became of documents that were written while a stage was added: none lacks its vector, and it finds all."""

    acknowledged: int
    lost: int
    without_vector: int
    hidden: int


def add_a_stage_beside_writers(path: Path, chance: random.Random) -> Raced:
    """Let four threads add, by handles of their own that know of no stage, while another adds one."""
    acknowledged: list[int] = []
    with open_plain(path) as collection:
        collection.add(map(text_of, range(100)), ids=[str(number) for number in range(100)])

    def add(writer: int) -> None:
        with open_plain(path) as own:
            for at in range(100 + writer * 1000, 600 + writer * 1000, 50):
                numbers = range(at, at + 50)
                own.add([text_of(number) for number in numbers], ids=[str(number) for number in numbers])
                acknowledged.extend(numbers)

    writers = [threading.Thread(target=add, args=(writer,)) for writer in range(4)]
    with open_plain(path) as collection:
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0, 0.5))
        collection.add_stage(Muvera(DIM, k_sim=3, dim_proj=8, r_reps=4))
        for writer in writers:
            writer.join()
        lacking = collection.count(models.Filter(must_not=[models.HasVectorCondition(has_vector="muvera")]))
    with open_plain(path) as collection:
        found = {record.text for record in collection.scroll()}
        some = chance.sample(acknowledged, 50)
        hits = [collection.search(text_of(number), 1, candidates=200)[0].text for number in some]
    return Raced(
        acknowledged=len(acknowledged),
        lost=sum(text_of(number) not in found for number in acknowledged),
        without_vector=lacking,
        hidden=sum(text_of(number) != text for number, text in zip(some, hits, strict=True)),
    )


def open_plain(path: Path) -> MultivectorCollection:
    """Open the collection as it was made, by a handle that takes what stages it remembers then."""
    return MultivectorCollection("documents", Hashing(), path=path)


def kill_a_writer(path: Path, chance: random.Random) -> Killed:
    """Have a process add batch after batch, and kill it a moment after it has begun to write one."""
    with start("write", path) as process:
        last = chance.randrange(1, 20)
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1] == ["begin", last * BATCH]:
                break
        time.sleep(chance.uniform(0, 0.005))
        process.kill()
        lines += [json.loads(line) for line in process.stdout if line.endswith("\n")]
    acknowledged = max((number for what, number in lines if what == "done"), default=0)
    return Killed(acknowledged, lines[-1][0] == "begin")


def kill_a_forking_writer(path: Path, chance: random.Random) -> Forked:
    """Have a process add batch after batch beside children that it forks, and kill it after some of them."""
    with start("fork", path) as process:
        children = chance.randrange(2, 6)
        acknowledged = asked = refused = 0
        for line in process.stdout:
            what, number = json.loads(line)
            acknowledged = max(acknowledged, number) if what == "done" else acknowledged
            asked += number if what == "asked" else 0
            refused += number if what == "refused" else 0
            children -= what == "refused"
            if not children:
                break
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        rest = [json.loads(line) for line in process.stdout if line.endswith("\n")]
    return Forked(max([acknowledged, *(number for what, number in rest if what == "done")]), asked, refused)


def fill_the_disk(path: Path, chance: random.Random) -> tuple[int, int]:
    """Have a process add until it is refused, with some of the disk taken by others; then make room.

    Returns how many documents were acknowledged, and how the process ended.
    """
    ballast = path / "ballast"
    ballast.write_bytes(b"x" * chance.randrange(4 * 2**20))
    with start("fill", path) as process:
        acknowledged = max((json.loads(line) for line in process.stdout), default=0)
    ballast.unlink()
    (path / "more ballast").unlink(missing_ok=True)
    return acknowledged, process.returncode


def kill_a_run(path: Path, chance: random.Random) -> None:
    """Have a process add all texts in one call, and kill it at a random moment of that."""
    with start("run", path) as process:
        target = chance.randrange(TEXTS)
        for line in process.stdout:
            if json.loads(line) >= target:
                break
        time.sleep(chance.uniform(0, 0.03))
        process.kill()


def finish_the_run(path: Path) -> int:
    """Have another process make the same call; return how many texts its embedder encoded."""
    with start("run", path) as process:
        lines = process.stdout.read().splitlines()
    assert process.returncode == 0
    return int(json.loads(lines[-1]))


def start(task: str, path: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    command = [sys.executable, __file__, task, str(path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def stored(path: Path) -> Counter[str]:
    """Return how often each text is in the collection."""
    with open_collection(path) as collection:
        return Counter(record.text for record in collection.scroll())


# --- the child's side


def write(path: Path) -> None:
    """Add batches until killed; print the count when a batch goes to the engine, and when it is acknowledged."""
    with open_collection(path) as collection:
        call = collection.engine.call

        def announced(method: str, arguments: Any) -> Any:
            if method == "upsert":
                print(json.dumps(["begin", first]), flush=True)
            return call(method, arguments)

        collection.engine.call = announced
        for first in range(0, 10**6, BATCH):
            numbers = range(first, first + BATCH)
            collection.add([text_of(number) for number in numbers], ids=numbers)
            print(json.dumps(["done", first + BATCH]), flush=True)


def run(path: Path) -> None:
    """Add all texts in one call; print how many are stored as it goes on, at last how many were encoded."""
    with open_collection(path) as collection:
        texts = (text_of(number) for number in range(TEXTS))
        collection.add(texts, ids=range(TEXTS), progress=lambda report: print(report.stored, flush=True))
        assert isinstance(collection.embedder, Hashing)
        print(collection.embedder.encoded, flush=True)


def fork(path: Path) -> None:
    """Add batches until killed, and fork a child beside each fifth, which tries everything, and exits."""
    collection = open_collection(path)
    for first in range(0, 10**6, BATCH):
        children = [] if first % (5 * BATCH) else [child_that_tries(collection) for _ in range(2)]
        numbers = range(first, first + BATCH)
        collection.add([text_of(number) for number in numbers], ids=numbers)
        print(json.dumps(["done", first + BATCH]), flush=True)
        for child in children:
            os.waitpid(child, 0)


def child_that_tries(collection: MultivectorCollection) -> int:
    """Return the process that tries to use a collection which it has from its parent."""
    if child := os.fork():
        return child
    calls: list[Callable[[], Any]] = [
        lambda: collection.add(["in a child"]),
        lambda: collection.delete(["1"]),
        lambda: collection.search(text_of(1)),
        collection.count,
        collection.optimize,
    ]
    refused = 0
    for call in calls:
        try:
            call()
        except CollectionLocked:
            refused += 1
    collection.close()
    # One write each: the parent prints into the same pipe.
    os.write(1, (json.dumps(["asked", len(calls)]) + "\n" + json.dumps(["refused", refused]) + "\n").encode())
    sys.exit(0)  # everything is taken down, the collection too


def fill(path: Path) -> None:
    """Add batches until there is no room, and have somebody else take what is left; print what is acknowledged."""
    collection = open_collection(path)
    first = 0
    with suppress(EngineError):
        for first in range(0, 10**6, BATCH):
            numbers = range(first, first + BATCH)
            collection.add([text_of(number) for number in numbers], ids=numbers)
            print(first + BATCH, flush=True)
    fill_with(path / "more ballast")
    for call in (collection.optimize, collection.close):
        with suppress(EngineError):
            call()


# --- as a script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each kind, default: %(default)s")
    rounds = parser.parse_args().rounds

    lost = in_a_write = acknowledged = 0
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            killed = kill_a_writer(Path(folder), random.Random(seed))
            found = stored(Path(folder))
        in_a_write += killed.in_a_write
        acknowledged += killed.acknowledged
        lost += sum(text_of(number) not in found for number in range(killed.acknowledged))
    print(f"{rounds} writers killed, {in_a_write} of them in the middle of a write.")
    print(f"Of {acknowledged:,} acknowledged documents {lost} were lost.", flush=True)

    exact = once = found_before = 0
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            kill_a_run(Path(folder), random.Random(seed))
            before = sum(stored(Path(folder)).values())
            encoded = finish_the_run(Path(folder))
            once += stored(Path(folder)) == {text_of(number): 1 for number in range(TEXTS)}
        exact += encoded == TEXTS - before
        found_before += before
    print(f"{rounds} runs over {TEXTS:,} texts killed, {found_before / rounds:,.0f} stored on average, and repeated.")
    print(f"Every text was there once in {once}; only what was missing was encoded in {exact}.")

    asked = refused = acknowledged = hidden = 0
    for seed in range(rounds if hasattr(os, "fork") else 0):
        with tempfile.TemporaryDirectory() as folder:
            forked = kill_a_forking_writer(Path(folder), random.Random(seed))
            found = stored(Path(folder))
            hidden += hidden_in(Path(folder))
        asked, refused = asked + forked.asked, refused + forked.refused
        acknowledged += forked.acknowledged
        lost += sum(text_of(number) not in found for number in range(forked.acknowledged))
    print(f"{rounds} forking writers killed; their children were refused {refused} of {asked} times.")
    print(f"Of {acknowledged:,} acknowledged documents {lost} were lost, {hidden} hidden.", flush=True)

    signals = acknowledged = full = 0
    for seed in range(rounds):
        for kind in KINDS if can_mount() else ():
            with tempfile.TemporaryDirectory() as folder, disk(kind, KINDS[kind], Path(folder) / "disk") as path:
                stored_before_full, returncode = fill_the_disk(path, random.Random(seed))
                found = stored(path)
                hidden += hidden_in(path)
            full += 1
            signals += returncode != 0
            acknowledged += stored_before_full
            lost += sum(text_of(number) not in found for number in range(stored_before_full))
    print(f"{full} disks filled up, {signals} of their processes ended by a signal.")
    print(f"Of {acknowledged:,} acknowledged documents {lost} were lost, {hidden} hidden.", flush=True)
    added = 0
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            raced = add_a_stage_beside_writers(Path(folder), random.Random(seed))
        added += raced.acknowledged
        lost += raced.lost
        hidden += raced.hidden + raced.without_vector
    print(f"{rounds} stages added beside four writers each.")
    print(f"Of {added:,} acknowledged documents {lost} were lost, {hidden} hidden.", flush=True)
    if lost or hidden or signals or refused < asked or once < rounds or exact < rounds:
        sys.exit("Missed")


def hidden_in(path: Path) -> int:
    """Return how many of some stored documents no search finds."""
    with open_collection(path) as collection:
        some = [record.text for record, _ in zip(collection.scroll(), range(50), strict=False)]
        return sum(collection.search(text, 1)[0].text != text for text in some)


if __name__ == "__main__":
    tasks = {"write": write, "run": run, "fork": fork, "fill": fill}
    if sys.argv[1:2] and sys.argv[1] in tasks:
        tasks[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
