"""Checkpoints without ONNX become ones with it, and compute what torch does with them.

The checkpoints and what torch made of them are those of ``tests/data/make_export_goldens.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import InvalidInput, InvalidModel, ModelFilesNotFound
from colbert_qdrant.export import export

EXPORTS = Path(__file__).parents[1] / "data" / "exports"
NAMES = ("bert", "bert-head", "modernbert", "modernbert-old")


def copied(name: str, folder: Path) -> Path:
    return shutil.copytree(EXPORTS / name, folder / name)


def write_config(folder: Path, **changed: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_are_torchs(name: str, tmp_path: Path) -> None:
    folder, golden = copied(name, tmp_path), np.load(EXPORTS / name / "golden.npz")

    session = onnxruntime.InferenceSession(export(folder), providers=["CPUExecutionProvider"])
    [hidden] = session.run(None, {"input_ids": golden["ids"], "attention_mask": golden["attention"]})

    np.testing.assert_allclose(hidden, golden["hidden"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["documents", "queries"])
@pytest.mark.parametrize("name", ["modernbert", "stanford"])
def test_vectors_are_those_of_the_library_that_reads_the_checkpoint(name: str, kind: str, tmp_path: Path) -> None:
    folder, golden = copied(name, tmp_path), np.load(EXPORTS / name / "golden.npz")
    export(folder)
    texts, embedder = json.loads(str(golden[kind])), ColbertEmbedder(folder, compat="pylate")

    encoded = list(embedder.embed(texts) if kind == "documents" else embedder.query_embed(texts))

    assert [len(vectors) for vectors in encoded] == golden[f"{kind}_rows"].tolist()
    np.testing.assert_allclose(np.concatenate(encoded), golden[f"{kind}_vectors"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_has_the_same_vectors_in_any_company(name: str, tmp_path: Path) -> None:
    golden = np.load(EXPORTS / name / "golden.npz")
    session = onnxruntime.InferenceSession(export(copied(name, tmp_path)), providers=["CPUExecutionProvider"])
    ids, attention = golden["ids"][2:3, :20], golden["attention"][2:3, :20]
    longer = {"input_ids": np.pad(ids, [(0, 1), (0, 15)]), "attention_mask": np.pad(attention, [(0, 1), (0, 15)])}
    longer["attention_mask"][1] = 1

    [alone] = session.run(None, {"input_ids": ids, "attention_mask": attention})
    [beside] = session.run(None, longer)

    np.testing.assert_allclose(beside[:1, :20], alone, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_valid_by_the_onnx_package(name: str, tmp_path: Path) -> None:
    onnx.checker.check_model(str(export(copied(name, tmp_path))), full_check=True)


@pytest.mark.parametrize("name", ["modernbert", "stanford"])
def test_an_exported_graph_takes_integer_products(name: str, tmp_path: Path) -> None:
    folder = copied(name, tmp_path)
    export(folder)

    [exact] = ColbertEmbedder(folder).embed("late interaction")
    [rounded] = ColbertEmbedder(folder, precision="int8", cache_dir=tmp_path).embed("late interaction")

    assert np.einsum("ij,ij->i", exact, rounded).min() > 0.97


def test_a_model_that_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    (folder / "model.onnx").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match=r"model\.onnx is there already; overwrite it with --overwrite"):
        export(folder)
    assert (folder / "model.onnx").read_bytes() == b"mine"

    assert export(folder, overwrite=True).stat().st_size > 10_000


def test_a_failed_export_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied("bert", tmp_path)
    (folder / "model.onnx").write_bytes(b"mine")
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr("colbert_qdrant.export._runs", lambda path: path.open("rb").read(1) and 1 / 0)

    with pytest.raises(ZeroDivisionError):
        export(folder, overwrite=True)

    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "model.onnx").read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_the_file_may_be_read_by_whoever_reads_the_checkpoint(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    (folder / "config.json").chmod(0o644)

    assert stat.S_IMODE(export(folder).stat().st_mode) == 0o644


REFUSED = {
    "another architecture": ({"model_type": "xlm-roberta"}, r"'xlm-roberta'.* bert and modernbert.*optimum-cli export"),
    "no architecture": ({"model_type": None}, "architecture ''"),
    "relative positions": ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    "a decoder": ({"is_decoder": True}, "is_decoder is True"),
    "an unknown activation": ({"hidden_act": "laplace"}, "hidden_act is 'laplace'.*gelu_new"),
    "an uneven head": ({"num_attention_heads": 5}, "num_attention_heads is 5.*divisor of hidden_size, 32"),
    "more layers than weights": ({"num_hidden_layers": 3}, r"lacks encoder\.layer\.2\.attention"),
    "another width": ({"intermediate_size": 64}, r"\[48, 32\], and \[64, 32\] by its config\.json"),
    "no width": ({"hidden_size": None}, "hidden_size"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_exported_is_named(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    write_config(folder, **changed)

    with pytest.raises(InvalidModel, match=message):
        export(folder)
    assert not (folder / "model.onnx").exists()


REFUSED_MODERN = {
    "scaled rotations": (
        {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1e4}}},
        "rope_type is 'yarn'",
    ),
    "scaled rotations as they were written": ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "type is 'linear'"),
    "unknown layers": ({"layer_types": ["full_attention", "chunked"]}, "layer_types"),
    "no global layers": ({"layer_types": None, "global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED_MODERN.values(), ids=REFUSED_MODERN)
def test_variants_of_modernbert_that_are_not_known_are_named(
    changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = copied("modernbert", tmp_path)
    write_config(folder, **changed)

    with pytest.raises(InvalidModel, match=message):
        export(folder)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")

    with pytest.raises(InvalidModel, match=r"has no weights to export.*lie in several files"):
        export(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    (folder / "model.safetensors").write_bytes(header.ljust(len(content), b"\xff"))

    with pytest.raises(InvalidModel, match="NaN or infinity"):
        export(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a folder"):
        export(tmp_path / "absent")


@pytest.mark.parametrize("name", ["modernbert", "stanford"])
def test_a_folder_without_onnx_is_told_the_command(name: str, tmp_path: Path) -> None:
    folder = copied(name, tmp_path)

    with pytest.raises(ModelFilesNotFound, match=f"`colbert-qdrant export {folder}`"):
        ColbertEmbedder(folder)


def test_a_folder_of_another_architecture_is_told_what_else_exports_it(tmp_path: Path) -> None:
    folder = copied("modernbert", tmp_path)
    write_config(folder, model_type="xlm-roberta")

    with pytest.raises(ModelFilesNotFound, match=r"optimum-cli export onnx --model .* --task feature-extraction"):
        ColbertEmbedder(folder)


def test_the_command_line_exports(tmp_path: Path) -> None:
    testing = pytest.importorskip("click.testing")
    from colbert_qdrant.cli.commands import commands

    folder = copied("stanford", tmp_path)
    done = testing.CliRunner().invoke(commands, ["export", str(folder), "--json"])
    again = testing.CliRunner().invoke(commands, ["export", str(folder)])

    assert json.loads(done.stdout)["file"] == str(folder / "model.onnx")
    assert next(ColbertEmbedder(folder).embed("late interaction")).shape[1] == 16
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    assert testing.CliRunner().invoke(commands, ["export", str(folder), "--overwrite"]).exit_code == 0
