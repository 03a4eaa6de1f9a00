"""One vector a text: the mean of what the graph gives for its tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from tokenizers import Tokenizer

import tiny_models
from colbert_qdrant import ColbertEmbedder, Dense, MultivectorCollection
from colbert_qdrant.embedding.sentence import SentenceEmbedder
from colbert_qdrant.errors import InvalidInput, InvalidModel

TEXTS = ["A soldier relives the same day.", "", "Toys are left at a day-care center; they want to go home.", "Toys"]


@pytest.fixture(scope="module")
def sentences() -> SentenceEmbedder:
    return SentenceEmbedder(threads=2)


@pytest.fixture
def hidden_folder(tmp_path: Path) -> Path:
    """A tiny float32 encoder whose rows are not of length 1: its batches hold texts of several lengths."""
    return tiny_models.build_colbert(tmp_path / "hidden", normalize=False)


def mean_by_hand(folder: Path, onnx: Path, text: str) -> np.ndarray:
    """Run the graph on one text without padding, take the mean of its rows and bring it to length 1."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    session = onnxruntime.InferenceSession(str(onnx))
    ids = np.array([tokenizer.encode(text).ids])
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    names = [argument.name for argument in session.get_inputs()]
    [hidden] = session.run(None, {name: given[name] for name in names})
    mean = hidden[0].astype(np.float64).mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_a_vector_is_the_mean_of_the_graphs_rows(sentences: SentenceEmbedder) -> None:
    vectors = list(sentences.embed(TEXTS))

    for text, vector in zip(TEXTS, vectors, strict=True):
        by_hand = mean_by_hand(sentences._files.folder, sentences._files.onnx, text)
        np.testing.assert_allclose(vector, by_hand, atol=1e-5)


def test_rows_weigh_as_much_as_they_are_long_and_padding_nothing(hidden_folder: Path) -> None:
    vectors = list(SentenceEmbedder(hidden_folder).embed(TEXTS))

    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, mean_by_hand(hidden_folder, hidden_folder / "model.onnx", text), atol=1e-5)


def test_a_mean_of_unit_vectors_would_be_another(sentences: SentenceEmbedder, offline: ColbertEmbedder) -> None:
    [vector], [tokens] = sentences.embed(TEXTS[0]), offline.embed(TEXTS[0])

    of_units = tokens.mean(axis=0) / np.linalg.norm(tokens.mean(axis=0))

    assert np.abs(vector - of_units).max() > 1e-3


def test_one_float32_vector_of_length_one_a_text(sentences: SentenceEmbedder) -> None:
    vectors = list(sentences.embed(TEXTS))

    assert {(vector.shape, vector.dtype) for vector in vectors} == {((384,), np.dtype(np.float32))}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert sentences.dim == sentences.embedding_size == 384


def test_a_query_is_encoded_as_a_document(sentences: SentenceEmbedder) -> None:
    documents, queries = list(sentences.embed(TEXTS)), list(sentences.query_embed(TEXTS))

    np.testing.assert_allclose(queries, documents, atol=1e-5)


def test_a_long_text_stands_for_its_beginning() -> None:
    short = SentenceEmbedder(length=8)

    [whole], [beginning] = (
        short.embed("one two three four five six seven eight"),
        short.embed("one two three four five six"),
    )

    np.testing.assert_array_equal(whole, beginning)


def test_what_is_no_text_is_refused(sentences: SentenceEmbedder) -> None:
    with pytest.raises(InvalidInput, match="text 1 is 5"):
        list(sentences.embed(["fine", 5]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_cls_token": True},
        {"embedding_dimension": 128, "pooling_mode": "cls", "include_prompt": True},
        {"embedding_dimension": 128, "pooling_mode": ["mean", "max"], "include_prompt": True},
    ],
)
def test_a_checkpoint_that_pools_otherwise_is_refused(hidden_folder: Path, pooling: dict[str, Any]) -> None:
    """One flag a way to pool, several of them for a concatenation; since sentence-transformers 6 they are named."""
    say_modules(hidden_folder, ["Transformer", "Pooling", "Normalize"], pooling)

    with pytest.raises(InvalidModel, match=r"another way than by the mean .* modules.json has Pooling;"):
        SentenceEmbedder(hidden_folder)


@pytest.mark.parametrize("other", ["Dense", "LayerNorm", "LSTM", "CNN", "WeightedLayerPooling", "WordWeights"])
def test_another_module_is_refused_by_name(hidden_folder: Path, other: str) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling", other], {"pooling_mode_mean_tokens": True})

    with pytest.raises(InvalidModel, match=rf"modules.json has {other};"):
        SentenceEmbedder(hidden_folder)


def test_modules_that_do_not_pool_are_refused(hidden_folder: Path) -> None:
    say_modules(hidden_folder, ["Transformer", "Normalize"], {})

    with pytest.raises(InvalidModel, match=r"modules.json has no Pooling;"):
        SentenceEmbedder(hidden_folder)


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        {"embedding_dimension": 128, "pooling_mode": "mean", "include_prompt": True},
        {"embedding_dimension": 128, "pooling_mode": "mean", "include_prompt": False},
    ],
)
def test_a_checkpoint_that_takes_the_mean_is_taken(hidden_folder: Path, pooling: dict[str, Any]) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling", "Dropout", "Normalize"], pooling)

    assert SentenceEmbedder(hidden_folder).dim == 128


def test_a_mean_without_the_prompt_is_refused(hidden_folder: Path) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling"], {"pooling_mode": "mean", "include_prompt": False})
    say_prompts(hidden_folder)

    with pytest.raises(InvalidModel, match=r"modules.json has Pooling"):
        SentenceEmbedder(hidden_folder)


def test_tokens_of_length_one_before_the_mean_are_refused(hidden_folder: Path) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling", "Normalize"], {"pooling_mode": "mean"})
    (hidden_folder / "2_Normalize").mkdir()
    (hidden_folder / "2_Normalize/config.json").write_text('{"module_input_name": "token_embeddings"}')

    with pytest.raises(InvalidModel, match=r"modules.json has Normalize"):
        SentenceEmbedder(hidden_folder)


def test_pooling_that_is_named_and_not_there_is_refused(hidden_folder: Path) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True})
    (hidden_folder / "1_Pooling/config.json").unlink()

    with pytest.raises(InvalidModel, match=r"1_Pooling/config.json is missing; fetch"):
        SentenceEmbedder(hidden_folder)


def test_how_a_model_pools_is_fetched_with_it(
    hidden_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling"], {"pooling_mode": "cls"})

    def fetched(_: str, *, allow_patterns: list[str], local_files_only: bool = False, **__: Any) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("nothing yet")
        names = [path.relative_to(hidden_folder).as_posix() for path in hidden_folder.rglob("*") if path.is_file()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(hidden_folder / name, tmp_path / "hub" / name)
        return str(tmp_path / "hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)

    with pytest.raises(InvalidModel, match=r"modules.json has Pooling"):
        SentenceEmbedder("me/by-cls", model_file="model.onnx")


def test_text_is_lower_cased_where_the_checkpoint_does_so(hidden_folder: Path) -> None:
    tokenizer = json.loads((hidden_folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (hidden_folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (hidden_folder / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))

    upper, lower = SentenceEmbedder(hidden_folder).embed(["Toys Are Left", "toys are left"])

    np.testing.assert_array_equal(upper, lower)


def test_prompts_of_the_checkpoint_are_put_before_texts(hidden_folder: Path) -> None:
    by_hand = {prompt: mean_by_hand(hidden_folder, hidden_folder / "model.onnx", f"{prompt}toys") for prompt in PROMPTS}
    say_prompts(hidden_folder)
    sentences = SentenceEmbedder(hidden_folder)

    [document], [query] = sentences.embed("toys"), sentences.query_embed("toys")

    np.testing.assert_allclose([document, query], list(by_hand.values()), atol=1e-5)


def test_a_length_that_the_encoder_does_not_read_is_refused(hidden_folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"length=5000: the encoder reads 512 tokens"):
        SentenceEmbedder(hidden_folder, length=5000)


def test_a_text_without_a_token_is_a_row_of_zeros_that_a_collection_takes(
    hidden_folder: Path, offline: ColbertEmbedder
) -> None:
    """As sentence-transformers has it, which divides by no less than 1e-9."""
    tokenizer = json.loads((hidden_folder / "tokenizer.json").read_text())
    (hidden_folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    sentences = SentenceEmbedder(hidden_folder)

    assert [float(np.linalg.norm(vector)) for vector in sentences.embed(["", "sea"])] == [0.0, pytest.approx(1)]
    assert not next(sentences.query_embed("")).any()
    with MultivectorCollection("films", offline, stages=[Dense(sentences)]) as films:
        films.add(["", "the sea"])
        assert films.search("the sea", limit=1)[0].text == "the sea"


def test_documents_and_queries_are_of_one_model(hidden_folder: Path, tmp_path: Path) -> None:
    sentences = SentenceEmbedder(hidden_folder, threads=2)
    list(sentences.embed(TEXTS))
    other = tiny_models.build_colbert(tmp_path / "other", normalize=False, seed=1)
    (other / "model.onnx").replace(hidden_folder / "model.onnx")

    with pytest.raises(InvalidModel, match=r"model\.onnx was changed .* make the embedder anew"):
        list(sentences.query_embed("toys"))
    with pytest.raises(InvalidModel, match="make the embedder anew"):
        sentences.graph  # noqa: B018  # which a collection would remember


def test_it_is_a_first_stage(sentences: SentenceEmbedder, offline: ColbertEmbedder) -> None:
    stage = Dense(sentences)

    with MultivectorCollection("films", offline, stages=[stage]) as films:
        films.add(TEXTS)
        [hit] = films.search("toys at a day-care", limit=1, candidates=1)

    assert hit.text == TEXTS[2]
    assert {"kind": "dense", "model": "all-MiniLM-L6-v2-int8", "dim": 384}.items() <= stage.settings.items()
    assert stage.settings["graph"]


PROMPTS = ("passage: ", "Represent: ")
"""Of documents, and of whatever has none of its own."""


def say_prompts(folder: Path) -> None:
    stated = {"prompts": {"passage": PROMPTS[0], "retrieval": PROMPTS[1]}, "default_prompt_name": "retrieval"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))


def say_modules(folder: Path, modules: list[str], pooling: dict[str, Any]) -> None:
    package = "sentence_transformers.models."
    rows = [{"path": f"{number}_{name}", "type": package + name} for number, name in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(rows))
    shutil.rmtree(folder / "1_Pooling", ignore_errors=True)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
