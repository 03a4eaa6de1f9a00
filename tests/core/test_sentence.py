"""One vector a text: the mean of what the graph gives for its tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
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
    ("modules", "pooling"),
    [
        (["Transformer", "Pooling", "Normalize"], {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_mean_tokens": True}),
    ],
)
def test_a_checkpoint_that_makes_its_vectors_otherwise_is_refused(
    hidden_folder: Path, modules: list[str], pooling: dict[str, bool]
) -> None:
    say_modules(hidden_folder, modules, pooling)

    with pytest.raises(InvalidModel, match="another way than by the mean"):
        SentenceEmbedder(hidden_folder)


def test_a_checkpoint_that_takes_the_mean_is_taken(hidden_folder: Path) -> None:
    say_modules(hidden_folder, ["Transformer", "Pooling", "Normalize"], {"pooling_mode_mean_tokens": True})

    assert SentenceEmbedder(hidden_folder).dim == 128


def test_it_is_a_first_stage(sentences: SentenceEmbedder, offline: ColbertEmbedder) -> None:
    stage = Dense(sentences)

    with MultivectorCollection("films", offline, stages=[stage]) as films:
        films.add(TEXTS)
        [hit] = films.search("toys at a day-care", limit=1, candidates=1)

    assert hit.text == TEXTS[2]
    assert {"kind": "dense", "model": "all-MiniLM-L6-v2-int8", "dim": 384}.items() <= stage.settings.items()
    assert stage.settings["graph"]


def say_modules(folder: Path, modules: list[str], pooling: dict[str, bool]) -> None:
    package = "sentence_transformers.models."
    rows = [{"path": f"{number}_{name}", "type": package + name} for number, name in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(rows))
    shutil.rmtree(folder / "1_Pooling", ignore_errors=True)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
