"""``colbert-qdrant upgrade`` and ``downgrade``: another program's collection, searched from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from other_programs import TEXTS, Store
from servers import SERVER, server_place

pytest.importorskip("qdrant_edge")
CliRunner = pytest.importorskip("click.testing").CliRunner


@pytest.fixture(params=["edge", SERVER])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = {"path": tmp_path / "edge"} if request.param == "edge" else {"url": server_place()["url"]}
    store = Store("langchain", place)
    yield store
    if "url" in place:
        store.call("delete_collection")


def run(command: str, store: Store, *arguments: object) -> Any:
    from colbert_qdrant.cli.commands import commands

    place = ["--path", store.place["path"]] if "path" in store.place else ["--url", store.place["url"]]
    result = CliRunner().invoke(
        commands, [str(each) for each in (command, *arguments, *place, "--collection", store.name)]
    )
    if "url" in store.place and "needs Qdrant" in result.stderr:
        pytest.skip(result.stderr)
    return result


def test_it_is_searched_and_given_back(store: Store) -> None:
    before = store.old()

    upgraded = run("upgrade", store, "--model", OFFLINE_MODEL)
    again = json.loads(run("upgrade", store, "--json").stdout)
    found = run("search", store, "who plays the violin after dark")
    taken_back = run("downgrade", store)

    assert upgraded.stdout.startswith(f"5 encoded\n5 documents in collection {store.name!r}")
    assert (again["encoded"], again["unchanged"], again["model"]) == (0, len(TEXTS), OFFLINE_MODEL)
    assert "red [violin] [at] [night]" in found.stdout.split("\n\n")[0]
    assert taken_back.stdout.endswith("has the vectors that it had\n")
    assert store.old() == before
    assert run("downgrade", store).stderr.startswith("Error: collection")


def test_another_payload_is_named(store: Store) -> None:
    from qdrant_client import models

    store.call("overwrite_payload", payload={"body": "text"}, points=models.Filter())

    assert "keys ['body']" in run("upgrade", store, "--model", OFFLINE_MODEL).stderr
    assert run("upgrade", store, "--model", OFFLINE_MODEL, "--content-key", "body").exit_code == 0


def test_nothing_is_made_where_there_is_none(tmp_path: Path) -> None:
    from colbert_qdrant.cli.commands import commands

    for command in ("upgrade", "downgrade"):
        result = CliRunner().invoke(commands, [command, "--path", str(tmp_path / "none")])
        assert (result.exit_code, (tmp_path / "none").exists()) == (1, False)
