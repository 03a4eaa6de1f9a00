"""A model's folder comes from anywhere: what is wrong in it is named, costs little, and does nothing."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.embedding.reader import is_plain, read_bytes
from colbert_qdrant.embedding.weights import read_weights
from colbert_qdrant.errors import InvalidInput, InvalidModel

PROTOCOL_2 = b"\x80\x02"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to spoil."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def encode(folder: Path) -> list[Any]:
    return list(ColbertEmbedder(folder, threads=1).embed("Hello World"))


# Weights


def archive(path: Path, index: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", index)
    return path


def nested(depth: int) -> bytes:
    """A tuple in a tuple ..., as the key of a dictionary: hashing it takes a stack as deep."""
    return PROTOCOL_2 + b"})" + b"\x85" * depth + b"K\x01s."


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (nested(50), "key that is no text"),
        (nested(90_000), "key that is no text"),
        (nested(1_000_000), "larger than can be|longer than can be"),
        (PROTOCOL_2 + b"}" * 200_000 + b".", "longer than can be"),
        (PROTOCOL_2 + b"cos\nsystem\n(X\x04\x00\x00\x00echotR.", "asks for 'os system'"),
        (PROTOCOL_2 + b"ccollections\nOrderedDict\n(K\x01tR.", "in a way that torch.save does not"),
        (PROTOCOL_2 + b"cos\nsystem\n.", "asks for 'os system'"),
        (PROTOCOL_2 + b"\x8c\x02os\x8c\x06system\x93.", "instruction STACK_GLOBAL"),
        (PROTOCOL_2 + b"u.", "pop from empty list"),
        (PROTOCOL_2 + b"N.", "no dictionary of tensors"),
        (b"", "exhausted before seeing STOP"),
    ],
)
def test_a_pickle_is_read_as_tensors_or_not_at_all(tmp_path: Path, index: bytes, reason: str) -> None:
    with pytest.raises(InvalidModel, match=reason):
        read_weights(archive(tmp_path / "colbert_linear.pt", index), ["weight"])


def test_a_deflated_member_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = archive(tmp_path / "colbert_linear.pt", b"\0" * 2**27, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18

    with pytest.raises(InvalidModel, match="deflated"):
        read_weights(path, ["weight"])


def test_a_safetensors_file_can_not_claim_more_than_a_projection(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**35], "data_offsets": [0, 2**37]}}).encode()
    with path.open("wb") as file:  # sparse
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(len(header) + 8 + 2**37)

    with pytest.raises(InvalidModel, match=r"could be|larger than can be"):
        read_weights(path, ["w"])


# Config files

CONFIGS = [
    "artifact.metadata",
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "modules.json",
]


NO_OBJECTS = {"deep": b"[" * 100_000, "python": b"{'a': 1}", "utf16": b"\xff\xfe{}", "number": b"7", "empty": b""}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("content", NO_OBJECTS.values(), ids=NO_OBJECTS.keys())
def test_a_config_file_that_is_no_json_object_is_named(folder: Path, name: str, content: bytes) -> None:
    if name == "sentence_bert_config.json":  # which is read for a checkpoint of PyLate
        (folder / "config_sentence_transformers.json").write_text('{"model_type": "ColBERT"}')
    (folder / name).write_bytes(content)

    with pytest.raises(InvalidModel, match=name):
        encode(folder)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("artifact.metadata", "query_token_id", 7),
        ("artifact.metadata", "query_maxlen", "32"),
        ("artifact.metadata", "query_maxlen", 3),
        ("artifact.metadata", "query_maxlen", 2**19),
        ("artifact.metadata", "query_maxlen", -1),
        ("artifact.metadata", "doc_maxlen", 1.5),
        ("artifact.metadata", "doc_maxlen", True),
        ("artifact.metadata", "mask_punctuation", "yes"),
        ("artifact.metadata", "dim", [128]),
        ("artifact.metadata", "dim", 10**400),
        ("config.json", "max_position_embeddings", "512"),
        ("config.json", "max_position_embeddings", 1),
        ("config.json", "model_type", None),
        ("tokenizer_config.json", "mask_token", ["[MASK]"]),
        ("tokenizer_config.json", "mask_token", {"content": 7}),
    ],
)
def test_a_value_of_another_type_is_named_with_its_file(folder: Path, name: str, key: str, value: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if value is None:  # `null` is what is not stated
        encode(folder)
        return

    with pytest.raises(InvalidModel, match=rf"{name}: {key}(: content)? is|query_length=|padded to") as caught:
        encode(folder)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "1_Dense/../../x", "1_Dense"])
def test_a_module_outside_of_the_folder_or_missing_is_named(folder: Path, place: str) -> None:
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "pylate.models.Dense.Dense", "path": place}]
    (folder / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(InvalidModel, match=r"a folder inside the model's|config\.json is missing"):
        encode(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    with pytest.raises(InvalidModel, match="is no file"):
        read_bytes(folder / "pipe")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "config.json").chmod(0)

    with pytest.raises(InvalidModel, match="Permission denied"):
        encode(folder)


@pytest.mark.parametrize("name", ["a", "a/b.bin", "model.onnx_data", "ü"])
def test_plain_names_stay_inside(name: str) -> None:
    assert is_plain(name)


@pytest.mark.parametrize("name", ["", ".", "/a", "..", "a/../b", "a\\..\\b", "C:a", "\\\\host\\share", "a\nb", "a\0"])
def test_other_names_do_not_count(name: str) -> None:
    assert not is_plain(name)


# What a text brings to light


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def test_a_token_beyond_the_graph_is_named_and_such_texts_are_skipped(folder: Path) -> None:
    edited(folder, lambda content: content["model"]["vocab"].update(zebra=40_000))
    collection = MultivectorCollection("skips", ColbertEmbedder(folder, threads=1))

    report = collection.add(["an apple", "a zebra", "a pear"], on_error="skip")

    assert (report.added, [failure.position for failure in report.failed]) == (2, [1])
    with pytest.raises(InvalidInput, match=r"the token 40000, and .*model\.onnx knows 30522"):
        collection.search("zebra")


def test_a_regular_expression_that_backtracks_is_named(folder: Path) -> None:
    splits = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    edited(folder, lambda content: content.update(pre_tokenizer=splits))
    with pytest.raises(InvalidInput, match="the tokenizer gave up on one of 1 texts"):
        list(ColbertEmbedder(folder, threads=1).embed("a" * 40 + "!"))


def test_a_graph_that_gives_something_else_than_vectors_is_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x08")

    with pytest.raises(InvalidModel, match="can't be loaded as an ONNX model"):
        encode(folder)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A graph that reads fewer tokens than its files say."""
    folder = tiny_models.build_colbert(tmp_path / "short", positions=16)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    return folder


def test_a_graph_that_fails_on_a_long_text_is_named(short: Path) -> None:
    with pytest.raises(InvalidModel, match=r"fails on 1 texts of up to 32 tokens .* give document_length="):
        list(ColbertEmbedder(short, threads=1).embed("word " * 29))
