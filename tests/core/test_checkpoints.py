"""Every checkpoint by its own files: read, and held against the library that made it.

The checkpoints are those of ``tests/data/make_checkpoint_goldens.py``. What is allowed to differ from the libraries:

==========================================  =========================  ==========================================
what                                        who does otherwise         why
==========================================  =========================  ==========================================
a skip-listed word that the vocabulary      PyLate: looks it up as     every unknown word would be dropped from
lacks is ignored                            [UNK] and drops all [UNK]  documents; sentence-transformers agrees
a text that spells Stanford's marker, such  PyLate: makes it a         colbert-ai takes it for text too, and a
as "[unused0]", is text                     special token              text should not be able to pose as one
Dense modules behind ``Pooling`` are left   both make them map tokens  they were trained on means, and the model
out                                                                    to be trained again after
==========================================  =========================  ==========================================
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, maxsim
from colbert_qdrant.embedding.checkpoint import PUNCTUATION, read_checkpoint
from colbert_qdrant.errors import InvalidInput, InvalidModel

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"
BY_PYLATE = ("pylate-bert", "pylate-modernbert", "stanford-bert")
BY_SENTENCE_TRANSFORMERS = ("st-bert", "st-modernbert")


MODULES = CHECKPOINTS / "st-modules"


def built(name: str, folder: Path) -> ColbertEmbedder:
    """Put a variant of ``st-modules`` together with the encoder that all of them share."""
    shutil.copytree(MODULES / name, folder)
    for file in ("model.onnx", "tokenizer.json"):
        shutil.copyfile(MODULES / file, folder / file)
    return ColbertEmbedder(folder)


@pytest.mark.filterwarnings("ignore:.* documents were longer")
@pytest.mark.parametrize("kind", ["documents", "queries"])
@pytest.mark.parametrize("name", sorted(path.name for path in MODULES.iterdir() if path.is_dir()))
def test_modules_are_walked_in_their_order(name: str, kind: str, tmp_path: Path) -> None:
    embedder, golden = built(name, tmp_path / name), dict(np.load(MODULES / name / "golden.npz"))
    texts = json.loads(str(golden[kind]))

    encoded = list(embedder.embed(texts) if kind == "documents" else embedder.query_embed(texts))

    assert [len(vectors) for vectors in encoded] == golden[f"{kind}_rows"].tolist()
    ends = np.cumsum(golden[f"{kind}_rows"])[:-1]
    for ours, theirs in zip(encoded, np.split(golden[f"{kind}_vectors"], ends), strict=True):
        if name.startswith("pooled") and kind == "documents":  # the order of means is that of SciPy's tree
            ours, theirs = (rows[np.lexsort(rows.T.round(3))] for rows in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_pooling_that_is_asked_for_goes_before_the_checkpoints_own(tmp_path: Path) -> None:
    built("pooled", tmp_path / "pooled")

    [whole] = ColbertEmbedder(tmp_path / "pooled", pool_factor=1).embed("Vectors for every token")
    [pooled] = ColbertEmbedder(tmp_path / "pooled").embed("Vectors for every token")

    assert len(pooled) < len(whole)


def test_rows_of_other_lengths_are_compared_by_their_products(tmp_path: Path) -> None:
    embedder = built("no-normalize", tmp_path / "model")
    collection = MultivectorCollection("lengths", embedder)
    collection.add(["late interaction", "an index"], ids=["a", "b"])

    [query], documents = embedder.query_embed("interaction"), list(embedder.embed(["late interaction", "an index"]))

    exact = dict(zip("ab", maxsim(query, documents), strict=True))
    assert collection.score("interaction", ["a", "b"]) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("kind", ["a.b.LayerNorm", "WeightedLayerPooling", "x.Router"])
def test_a_module_that_is_not_known_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    built("empty-prompts", tmp_path / "model")
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    write(tmp_path / "model", modules__json=[*modules, {"type": kind, "path": ""}])

    with pytest.raises(InvalidModel, match=kind.rpartition(".")[2]):
        list(ColbertEmbedder(tmp_path / "model").embed("text"))


@pytest.mark.filterwarnings("ignore:.* documents were longer")
@pytest.mark.parametrize("left_behind", [31, 47, 299])
def test_the_length_of_somebodys_last_call_is_not_the_encoders(left_behind: int, tmp_path: Path) -> None:
    """PyLate leaves it in ``model_max_length`` and does not look at it: its vectors stay those of the golden."""
    folder = shutil.copytree(CHECKPOINTS / "pylate-bert", tmp_path / "saved-again")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder, tokenizer_config__json=config | {"model_max_length": left_behind})
    golden = np.load(folder / "golden.npz")

    encoded = list(ColbertEmbedder(folder, compat="pylate").embed(json.loads(str(golden["documents"]))))

    assert [len(vectors) for vectors in encoded] == golden["documents_rows"].tolist()
    np.testing.assert_allclose(np.concatenate(encoded), golden["documents_vectors"], atol=1e-4, rtol=0)


def test_a_length_that_the_encoder_does_not_read_is_refused() -> None:
    with pytest.raises(InvalidInput, match="document_length=2000: the encoder reads 128 tokens"):
        ColbertEmbedder(CHECKPOINTS / "pylate-bert", document_length=2000)


def test_a_length_is_taken_where_the_files_say_nothing_else(tmp_path: Path) -> None:
    folder = shutil.copytree(CHECKPOINTS / "pylate-bert", tmp_path / "silent")
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).unlink()

    assert ColbertEmbedder(folder, document_length=2000).settings["document_length"] == 2000


@pytest.fixture(scope="module", params=[*BY_PYLATE, *BY_SENTENCE_TRANSFORMERS])
def checkpoint(request: pytest.FixtureRequest) -> tuple[ColbertEmbedder, dict[str, Any]]:
    folder = CHECKPOINTS / request.param
    compat = "pylate" if request.param in BY_PYLATE else None
    return ColbertEmbedder(folder, compat=compat), dict(np.load(folder / "golden.npz"))


@pytest.mark.filterwarnings("ignore:.* documents were longer")
@pytest.mark.parametrize("kind", ["documents", "queries"])
def test_vectors_are_those_of_the_library_that_made_the_checkpoint(
    checkpoint: tuple[ColbertEmbedder, dict[str, Any]], kind: str
) -> None:
    embedder, golden = checkpoint
    texts = json.loads(str(golden[kind]))

    encoded = list(embedder.embed(texts) if kind == "documents" else embedder.query_embed(texts))

    assert [len(vectors) for vectors in encoded] == golden[f"{kind}_rows"].tolist()
    np.testing.assert_allclose(np.concatenate(encoded), golden[f"{kind}_vectors"], atol=1e-4, rtol=0)


# The settings files


def write(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def pylate(folder: Path, **settings: object) -> dict[str, Any]:
    return read_checkpoint(write(folder, config_sentence_transformers__json={"model_type": "ColBERT", **settings}))


def multi_vector_encoder(folder: Path, transformer: object = None, mask: object = None) -> dict[str, Any]:
    write(
        folder,
        config_sentence_transformers__json={"model_type": "MultiVectorEncoder", "prompts": {"query": "[Q] "}},
        sentence_bert_config__json=transformer or {},
        modules__json=[{"path": "1_Mask", "type": "sentence_transformers.multi_vector_encoder.MultiVectorMask"}],
    )
    write(folder / "1_Mask", config__json=mask or {})
    return read_checkpoint(folder)


def test_a_pylate_setting_that_is_null_is_not_stated(tmp_path: Path) -> None:
    fields = pylate(tmp_path, query_prefix=None, query_length=None, skiplist_words=None, do_query_expansion=None)

    assert (fields["query_marker"], fields["query_length"], fields["query_expansion"]) == ("[Q] ", 32, "min")
    assert fields["skiplist"] == PUNCTUATION


def test_an_empty_prefix_is_no_marker(tmp_path: Path) -> None:
    assert pylate(tmp_path, query_prefix="")["query_marker"] is None


def test_prompts_go_by_their_kind_and_else_by_the_default(tmp_path: Path) -> None:
    prompts = {"query": "search: ", "clustering": "cluster: "}

    fields = pylate(tmp_path, prompts=prompts, default_prompt_name="clustering")

    assert (fields["query_prompt"], fields["document_prompt"]) == ("search: ", "cluster: ")


def test_queries_are_padded_with_the_end_of_text_where_there_is_no_mask_token(tmp_path: Path) -> None:
    write(tmp_path, tokenizer_config__json={"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|pad|>"})

    assert pylate(tmp_path)["expansion_token"] == "<|im_end|>"


def test_the_mask_token_goes_before_the_end_of_text(tmp_path: Path) -> None:
    write(tmp_path, tokenizer_config__json={"eos_token": "</s>"}, special_tokens_map__json={"mask_token": "<mask>"})

    assert pylate(tmp_path)["expansion_token"] == "<mask>"


def test_sentence_transformers_prompts_hold_the_markers(tmp_path: Path) -> None:
    fields = multi_vector_encoder(tmp_path)

    assert fields["query_prompt"] == "[Q] "
    assert "query_marker" not in fields


def test_sentence_transformers_expansion_is_read_as_it_is_stated(tmp_path: Path) -> None:
    expansion = {"strategy": "fixed", "attend": True, "token": "[unused9]", "length": 24}

    fields = multi_vector_encoder(tmp_path, {"query_expansion": expansion, "document_length": 300})

    stated = ("query_expansion", "attend_to_expansion", "expansion_token", "query_length", "document_length")
    assert [fields[name] for name in stated] == ["fixed", True, "[unused9]", 24, 300]


def test_sentence_transformers_query_length_cuts_where_nothing_expands(tmp_path: Path) -> None:
    fields = multi_vector_encoder(tmp_path, {"query_length": 48})

    assert (fields["query_length"], fields["cut_queries"]) == (48, True)
    assert "query_expansion" not in fields


@pytest.mark.parametrize(
    ("tasks", "skipped"),
    [(None, {"skiplist": (".",)}), (["query"], {"skiplist": (), "query_skiplist": (".",)})],
)
def test_the_skiplist_is_for_the_tasks_it_names(tmp_path: Path, tasks: object, skipped: dict[str, Any]) -> None:
    fields = multi_vector_encoder(tmp_path, mask={"skiplist_words": ["."], "skiplist_tasks": tasks})

    assert {name: words for name, words in fields.items() if "skiplist" in name} == skipped


def test_a_checkpoint_that_keeps_image_tokens_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"config\.json keeps only the tokens of images"):
        multi_vector_encoder(tmp_path, mask={"keep_only_token_ids": [257152]})


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_the_encoders_settings_are_read_by_each_of_their_names(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"sentence_{kind}_config.json").write_text(json.dumps({"max_seq_length": 128, "do_lower_case": True}))

    assert read_checkpoint(tmp_path) == {"lowercase": True}


def test_bges_head_says_that_the_first_row_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "colbert_linear.pt").touch()

    assert read_checkpoint(tmp_path) == {"drop_first": True}
