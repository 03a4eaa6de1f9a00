from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant.embedding.checkpoint import PUNCTUATION, read_checkpoint
from colbert_qdrant.embedding.spec import ColbertSpec, resolve_spec
from colbert_qdrant.errors import InvalidInput, InvalidModel


def write(folder: Path, **files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content))
    return folder


PYLATE = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 48}


def test_a_folder_that_says_nothing_is_a_plain_sentence_encoder(tmp_path: Path) -> None:
    assert resolve_spec({}, {}, tmp_path) == ColbertSpec()


def test_an_explicit_argument_beats_the_registry_and_that_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, artifact__metadata={"doc_maxlen": 180, "query_maxlen": 24, "dim": 128})

    spec = resolve_spec({"document_length": 64}, {"document_length": 512, "query_length": 32}, tmp_path)

    assert (spec.document_length, spec.query_length, spec.dim) == (64, 32, 128)


def test_stanfords_defaults_fill_what_its_file_leaves_out(tmp_path: Path) -> None:
    fields = read_checkpoint(write(tmp_path, artifact__metadata={"mask_punctuation": False}))

    assert (fields["query_marker"], fields["document_marker"]) == ("[unused0]", "[unused1]")
    assert (fields["query_length"], fields["document_length"], fields["skiplist"]) == (32, 220, ())


def test_pylates_defaults_fill_what_its_file_leaves_out(tmp_path: Path) -> None:
    fields = read_checkpoint(write(tmp_path, config_sentence_transformers__json=PYLATE))

    assert (fields["query_length"], fields["document_length"]) == (48, 180)
    assert fields["query_expansion"] == "min"
    assert fields["skiplist"] == PUNCTUATION


def test_pylate_models_without_expansion_are_not_padded(tmp_path: Path) -> None:
    folder = write(tmp_path, config_sentence_transformers__json=PYLATE | {"do_query_expansion": False})

    assert resolve_spec({}, {}, folder).query_padding == 0


def test_a_plain_sentence_transformers_file_is_no_colbert(tmp_path: Path) -> None:
    folder = write(tmp_path, config_sentence_transformers__json={"__version__": {"sentence_transformers": "2.0.0"}})

    assert read_checkpoint(folder) == {}


def test_next_plaids_expansion_flag_is_not_believed(tmp_path: Path) -> None:
    folder = write(tmp_path, onnx_config__json={"query_prefix": "[Q] ", "do_query_expansion": False})

    assert read_checkpoint(folder)["query_expansion"] == "min"


@pytest.mark.parametrize(
    ("arguments", "padding", "limit"),
    [
        ({}, 32, None),
        ({"query_expansion": "fixed"}, 32, 32),
        ({"query_expansion": "none"}, 0, None),
        ({"query_length": 48}, 48, 48),
        ({"query_length": 48, "query_expansion": "min"}, 48, None),
    ],
)
def test_query_handling_by_name(tmp_path: Path, arguments: dict[str, Any], padding: int, limit: int | None) -> None:
    spec = resolve_spec(arguments, {}, write(tmp_path, artifact__metadata={}))

    assert (spec.query_padding, spec.query_limit) == (padding, limit)


@pytest.mark.parametrize("arguments", [{"query_length": 0}, {"document_length": 3}, {"query_expansion": "maximal"}])
def test_what_no_checkpoint_can_mean_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(arguments))):
        resolve_spec(arguments, {}, tmp_path)


def test_a_config_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "artifact.metadata").write_text("{")

    with pytest.raises(InvalidModel, match=r"artifact\.metadata is not JSON"):
        read_checkpoint(tmp_path)
