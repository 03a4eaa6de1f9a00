"""The models that are known by name, under whatever name they go, and those that have to be exported first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding import registry
from colbert_qdrant.embedding.spec import ColbertSpec
from colbert_qdrant.errors import ModelFilesNotFound, UnknownModel
from colbert_qdrant.export import export

MODELS = registry.registered()
EXPORTS = Path(__file__).parents[1] / "data" / "exports"


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.model)
def test_every_row_is_a_spec_of_its_length(row: registry.RegisteredModel) -> None:
    spec = ColbertSpec(**row.spec)

    assert spec.dim in (None, row.dim)
    assert registry.find(row.model.upper()) is row
    assert all(20 < figure < 100 for figure in row.ndcg.values())


def test_no_alias_hides_a_model() -> None:
    aliases = [alias.lower() for row in MODELS for alias in row.aliases]

    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & {row.model.lower() for row in MODELS}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mixedbread-ai/mxbai-edge-colbert-v0-32m", "lightonai/mxbai-edge-colbert-v0-32m-onnx"),
        ("mixedbread-ai/mxbai-edge-colbert-v0-17m", "ryandono/mxbai-edge-colbert-v0-17m-onnx-int8"),
        ("lightonai/ColBERTv2.0", "colbert-ir/colbertv2.0"),
    ],
)
def test_a_checkpoint_for_torch_is_found_as_its_onnx_twin(name: str, model: str) -> None:
    row = registry.find(name)

    assert row is not None
    assert row.model == model
    assert ColbertEmbedder.get_embedding_size(name) == row.dim


def test_a_model_of_ones_own_goes_before_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    ColbertEmbedder.add_custom_model("mixedbread-ai/mxbai-edge-colbert-v0-17m", dim=48, model_file="mine.onnx")

    row = registry.find("mixedbread-ai/mxbai-edge-colbert-v0-17m")

    assert row is not None
    assert row.model_file == "mine.onnx"


def test_a_model_known_to_lack_onnx_says_how_to_make_it() -> None:
    steps = (
        r"no ONNX file.*`hf download lightonai/ColBERT-Zero --local-dir FOLDER`.*`colbert-qdrant export FOLDER`.*path="
    )

    with pytest.raises(ModelFilesNotFound, match=steps):
        ColbertEmbedder("lightonai/ColBERT-Zero")


def test_what_was_exported_keeps_its_models_name(tmp_path: Path) -> None:
    folder = shutil.copytree(EXPORTS / "modernbert", tmp_path / "model")
    export(folder)

    assert ColbertEmbedder("lightonai/ColBERT-Zero", model_path=folder).model_name == "lightonai/ColBERT-Zero"


def test_a_checkpoint_that_is_not_exported_here_says_so() -> None:
    with pytest.raises(
        UnknownModel, match=r"no ONNX file of it is known, .* not one that is exported here.*optimum-cli"
    ):
        ColbertEmbedder("LiquidAI/LFM2-ColBERT-350M")


def test_any_other_repository_is_told_both_ways() -> None:
    with pytest.raises(
        UnknownModel, match=r"model_file=; if it has none: `hf download me/mine .*colbert-qdrant export"
    ):
        ColbertEmbedder("me/mine")


def test_published_figures_are_listed_with_their_benchmark() -> None:
    listed = {row["model"]: row["ndcg@10"] for row in ColbertEmbedder.list_supported_models()}

    assert listed["lightonai/LateOn"] == {"BEIR": 57.22}
    assert listed["jinaai/jina-colbert-v2"] == {}
