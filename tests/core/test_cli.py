from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, __version__
from colbert_qdrant.embedding.embedder import DEFAULT_MODEL
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.errors import CollectionNotFound
from faulty_server import serving
from movies import MOVIES

pytest.importorskip("qdrant_edge")
CliRunner = pytest.importorskip("click.testing").CliRunner

QUESTION = "a young boy in a suit of armour"


def run(*arguments: object, env: Mapping[str, str] | None = None) -> Any:
    from colbert_qdrant.cli.commands import commands

    return CliRunner().invoke(commands, [str(argument) for argument in arguments], env=env)


def answer(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write_rows(file: Path, rows: Sequence[Any]) -> Path:
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return file


def make_by_hand(folder: Path, payload: Mapping[str, Any]) -> None:
    from qdrant_client import models

    from colbert_qdrant.collection.engines.edge import EdgeClient

    multivector = models.VectorParams(
        size=384,
        distance=models.Distance.COSINE,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )
    [vectors] = ColbertEmbedder(OFFLINE_MODEL).embed(payload["description"])
    with EdgeClient(folder) as client:
        client.create_collection("documents", vectors_config=multivector)
        point = models.PointStruct.model_construct(id=1, vector=vectors, payload=dict(payload))
        client.upsert("documents", [point])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tutorial's movies in the collection "documents"; tests only read it."""
    folder = tmp_path_factory.mktemp("cli")
    rows = [
        {"_id": f"m{number}", "title": movie.name, "text": movie.description, "minutes": movie.minutes}
        for number, movie in enumerate(MOVIES)
    ]
    indexed = answer(
        "index", write_rows(folder / "movies.jsonl", rows), "--path", folder / "store", "--model", OFFLINE_MODEL
    )
    assert indexed["added"] == len(MOVIES)
    return folder / "store"


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., Any]:
    """Index a file or folder with the offline model into a store of the test's own."""

    def index(source: Path, *options: object) -> Any:
        return run("index", source, "--path", tmp_path / "store", "--model", OFFLINE_MODEL, *options)

    return index


def test_rows_keep_their_ids_and_their_metadata(store: Path) -> None:
    [hit] = answer("search", "Kubo", "--path", store, "-k", 1)["hits"]

    kubo = next(movie for movie in MOVIES if "Kubo" in movie.description)
    assert hit["id"] == f"m{MOVIES.index(kubo)}"
    assert hit["metadata"] == {"title": kubo.name, "minutes": kubo.minutes}
    assert hit["text"] == f"{kubo.name}\n\n{kubo.description}"


def test_indexing_again_changes_nothing(index: Callable[..., Any], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "one"}, {"id": 2, "text": "two"}])
    index(rows)

    again = index(rows)

    assert again.exit_code == 0
    assert again.stdout.startswith("2 unchanged\n2 documents in collection 'documents'")


def test_a_collection_is_filled_as_it_was_made(offline: ColbertEmbedder, tmp_path: Path) -> None:
    made_with = ColbertEmbedder(OFFLINE_MODEL, pool_factor=2, document_length=64, long_documents="error")
    with MultivectorCollection("documents", made_with, path=tmp_path / "store") as collection:
        collection.add(["a text of its own"], ids=["a"])
    rows = write_rows(tmp_path / "rows.jsonl", [{"_id": "a", "text": "a text of its own"}])

    indexed = answer("index", rows, "--path", tmp_path / "store")

    assert (indexed["model"], indexed["added"], indexed["updated"]) == (OFFLINE_MODEL, 0, 1)  # its file is remembered


def test_rows_that_fail_are_named_and_the_others_stored(index: Callable[..., Any], tmp_path: Path) -> None:
    rows = ['{"text": "good"}', "{broken", '{"title": "no text"}', "[]", '{"_id": 1.5, "text": "odd id"}']

    result = index(write_rows(tmp_path / "rows.jsonl", rows))

    assert result.exit_code == 1
    assert result.stdout.startswith("1 added, 4 failed\n")
    places = [Path(line.split(": ")[1]).name for line in result.stderr.splitlines()]
    assert places == ["rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4", "rows.jsonl:5"]


def test_a_file_that_became_shorter_leaves_nothing_behind(index: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "notes" / "long.md"
    file.parent.mkdir()
    file.write_text("\n\n".join(f"Paragraph {number}. " + "words " * 150 for number in range(4)))
    index(file.parent)
    file.write_text("Paragraph 0. " + "words " * 150)

    result = index(file.parent)

    assert result.stdout.startswith("1 unchanged, 3 removed\n1 documents")


def test_long_documents_are_not_cut(index: Callable[..., Any], tmp_path: Path) -> None:
    text = "filler " * 700 + "a zebra at the end"
    index(write_rows(tmp_path / "rows.jsonl", [{"text": text}]))

    [hit] = answer("search", "zebra", "--path", tmp_path / "store")["hits"]

    assert "zebra" in [word["text"] for word in hit["highlights"]]


def test_nothing_to_index_is_an_error(index: Callable[..., Any], tmp_path: Path) -> None:
    result = index(write_rows(tmp_path / "rows.jsonl", []))

    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / 'rows.jsonl'} holds nothing to index\n"


def test_the_words_that_answered_are_marked(store: Path) -> None:
    result = run("search", QUESTION, "--path", store, "--limit", 1)

    assert "Kubo and the Two Strings" in result.stdout
    assert "[armour]" in result.stdout
    assert "\x1b" not in result.stdout


def test_in_a_terminal_they_are_marked_by_colour(store: Path) -> None:
    result = run("search", QUESTION, "--path", store, "--limit", 1, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})

    assert "[armour]" not in result.stdout
    assert "armour\x1b[0m" in result.stdout


def test_highlights_stand_where_they_say(store: Path) -> None:
    for hit in answer("search", QUESTION, "--path", store)["hits"]:
        assert hit["highlights"]
        assert all(hit["text"][slice(*word["span"])] == word["text"] for word in hit["highlights"])


@pytest.mark.parametrize("pool_factor", [1, 2])  # vectors that were pooled stand nowhere: the text is encoded anew
def test_what_was_encoded_around_a_text_is_not_marked_in_it(pool_factor: int, tmp_path: Path) -> None:
    text = "The landlord mends the roof. Professional thieves leave a clue at their heist."
    embedder = ColbertEmbedder(OFFLINE_MODEL, pool_factor=pool_factor)
    with MultivectorCollection("documents", embedder, path=tmp_path / "store") as collection:
        collection.add([text], ids=["lease"], encoded_as=[f"file_name: thieves.pdf\n\n{text}\n\npage: 2"])

    [hit] = answer("search", "professional thieves", "--path", tmp_path / "store")["hits"]

    assert {word["text"] for word in hit["highlights"]} >= {"Professional"}
    assert all(text[slice(*word["span"])] == word["text"] for word in hit["highlights"])
    assert "[Professional]" in run("search", "professional thieves", "--path", tmp_path / "store").stdout


@pytest.mark.parametrize("question", ["屋" * 100, "why/ " * 1000, "**", "[a-", "../*", "a\0b"], ids=lambda it: it[:4])
def test_whatever_a_question_is_made_of_it_is_searched_for(store: Path, question: str) -> None:
    assert len(answer("search", question, "--path", store, "-k", 1)["hits"]) == 1


def test_hits_come_best_first_and_no_more_than_asked_for(store: Path) -> None:
    scores = [hit["score"] for hit in answer("search", QUESTION, "--path", store, "-k", 3)["hits"]]

    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_a_collection_that_is_missing_is_not_made(store: Path) -> None:
    result = run("search", QUESTION, "--path", store, "--collection", "films")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: there is no collection 'films' in {store}; there are documents: choose with --collection\n"
    )
    assert not (store / "films").exists()


@pytest.mark.parametrize("kind", ["pylate-bert", "st-bert", "stanford-bert", "st-modules/pooled-as-they-are"])
def test_a_collection_of_a_model_in_a_folder_is_filled_and_searched_again(tmp_path: Path, kind: str) -> None:
    checkpoint = Path(__file__).parents[1] / "data/checkpoints" / kind
    model = shutil.copytree(checkpoint, tmp_path / "model")
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copy((checkpoint if (checkpoint / name).exists() else checkpoint.parent) / name, model)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("The landlord mends the roof.")
    place = ["--path", tmp_path / "store", "--model", model]

    for said in ("1 added", "1 unchanged"):
        assert said in run("index", tmp_path / "docs", *place).output
    assert "landlord" in run("search", "who mends the roof?", *place).output


def test_another_model_than_the_collections_is_an_error(store: Path, tiny_folder: Path) -> None:
    result = run("search", QUESTION, "--path", store, "--model", tiny_folder)

    assert result.exit_code == 1
    assert "was made with the model 'all-MiniLM-L6-v2-int8', this is 'tiny-colbert'" in result.stderr


def test_a_collection_made_by_hand_is_searched_with_the_model_named(tmp_path: Path) -> None:
    make_by_hand(tmp_path / "store", {"description": "A boy named Kubo must locate a magical suit of armour."})

    without = run("search", QUESTION, "--path", tmp_path / "store")
    named = run("search", QUESTION, "--path", tmp_path / "store", "--model", OFFLINE_MODEL)

    assert "does not say which model its vectors are from: name it with --model" in without.stderr
    assert '{"description": "A boy named Kubo' in named.stdout


def test_a_collection_with_keys_of_its_own_is_searched_and_filled_by_them(tmp_path: Path) -> None:
    place = {"path": tmp_path / "store", "content_key": "text", "metadata_key": "about"}
    with MultivectorCollection("documents", OFFLINE_MODEL, **place) as collection:
        collection.add(["A boy named Kubo must locate a magical suit of armour."], [{"year": 2016}])

    [hit] = answer("search", QUESTION, "--path", tmp_path / "store", "--filter", "year>=2016")["hits"]
    answer("index", write_rows(tmp_path / "rows.jsonl", [{"text": "clear me"}]), "--path", tmp_path / "store")

    assert hit["text"].startswith("A boy named Kubo")
    with MultivectorCollection("documents", OFFLINE_MODEL, **place) as collection:
        assert {record.text for record in collection.scroll()} == {hit["text"], "clear me"}


def test_what_a_document_holds_does_not_steer_the_terminal(index: Callable[..., Any], tmp_path: Path) -> None:
    index(write_rows(tmp_path / "rows.jsonl", [{"_id": "\x1b[2Jid", "title": "\x1b]0;", "text": "clear \x1b[2J me"}]))

    result = run("search", "clear", "--path", tmp_path / "store")

    assert "me" in result.stdout
    assert "\x1b" not in result.stdout


def test_the_best_hit_is_explained(store: Path) -> None:
    result = run("explain", QUESTION, "--path", store)

    assert result.stdout.startswith("Kubo and the Two Strings")
    assert "[armour]" in result.stdout


def test_the_similarities_add_up_to_the_score(store: Path) -> None:
    [hit] = answer("search", QUESTION, "--path", store, "-k", 1)["hits"]

    explained = answer("explain", QUESTION, "--path", store, "--id", hit["id"])

    assert explained["id"] == hit["id"]
    assert sum(match["similarity"] for match in explained["matches"]) == pytest.approx(hit["score"], abs=1e-2)


def test_the_page_is_written(store: Path, tmp_path: Path) -> None:
    run("explain", QUESTION, "--path", store, "--html", tmp_path / "why.html")

    assert "armour" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_one_line(store: Path, tmp_path: Path) -> None:
    result = run("explain", QUESTION, "--path", store, "--html", tmp_path / "none" / "why.html")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: [Errno 2]")
    assert result.stderr.count("\n") == 1


def test_an_id_that_is_not_there_is_an_error(store: Path) -> None:
    result = run("explain", QUESTION, "--path", store, "--id", "m99")

    assert result.exit_code == 1
    assert result.stderr == "Error: collection 'documents' has no document with the id 'm99'\n"


def test_models_are_those_of_the_embedder() -> None:
    assert answer("models") == ColbertEmbedder.list_supported_models()
    assert all(row["model"] in run("models").stdout for row in ColbertEmbedder.list_supported_models())


def test_the_help_names_the_models_that_are_chosen() -> None:
    help_text = "".join(run("index", "--help").stdout.split())

    assert DEFAULT_MODEL in help_text
    assert OFFLINE_MODEL in help_text


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"colbert-qdrant, version {__version__}\n"


@pytest.mark.parametrize("places", [[], ["--path", "store", "--url", "http://localhost:6333"]])
def test_one_place_must_be_named(places: list[str]) -> None:
    result = run("search", QUESTION, *places)

    assert result.exit_code == 2
    assert "Give one of --path" in result.stderr


def test_a_server_that_does_not_answer_is_one_line() -> None:
    result = run("search", QUESTION, "--url", "http://localhost:1")

    assert result.exit_code == 1
    assert "Qdrant did not answer" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_is_used_with_the_key_of_the_environment(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"_id": "a", "text": "a rock band on tour"}])
    with serving(api_key="sesame") as (_, url):
        key = {"QDRANT_API_KEY": "sesame"}
        indexed = run("index", rows, "--url", url, "--model", OFFLINE_MODEL, env=key)
        found = run("search", "music", "--url", url, "--json", env=key)
        refused = run("search", "music", "--url", url)

    assert indexed.stdout.startswith("1 added\n")
    assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == ["a"]
    assert "401 Unauthorized" in refused.stderr


def test_debug_shows_where_an_error_comes_from(store: Path) -> None:
    result = run("search", QUESTION, "--path", store, "--collection", "films", "--debug")

    assert isinstance(result.exception, CollectionNotFound)
