"""`LateInteractionTextEmbedding` gives the vectors of FastEmbed 0.9.1 (see data/make_fastembed_golden.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from colbert_qdrant import LateInteractionTextEmbedding
from tiny_models import build_colbert, weights_sha256

GOLDEN = Path(__file__).parents[1] / "data/fastembed_golden.npz"
TOLERANCE = 1e-5

Golden = Mapping[str, npt.NDArray[np.generic]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def folder(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_colbert(tmp_path_factory.mktemp("golden") / "model")
    assert weights_sha256(folder) == str(golden["weights_sha256"]), (
        "tests/tiny_models.py builds other weights than those FastEmbed was run with, so nothing can be "
        "compared: undo that change, or record again with tests/data/make_fastembed_golden.py"
    )
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LateInteractionTextEmbedding:
    return LateInteractionTextEmbedding("colbert-ir/colbertv2.0", specific_model_path=str(folder))


def test_documents_in_one_batch(model: LateInteractionTextEmbedding, golden: Golden) -> None:
    vectors = model.embed(texts(golden, "documents"))

    assert differences(vectors, golden, "documents") == {}


def test_documents_one_by_one(model: LateInteractionTextEmbedding, golden: Golden) -> None:
    vectors = [only(model.embed(text)) for text in texts(golden, "documents")]

    assert differences(vectors, golden, "documents") == {}


def test_queries_in_one_batch(model: LateInteractionTextEmbedding, golden: Golden) -> None:
    vectors = model.query_embed(texts(golden, "queries"))

    assert differences(vectors, golden, "queries") == {}


def test_queries_one_by_one(model: LateInteractionTextEmbedding, golden: Golden) -> None:
    vectors = [only(model.query_embed(text)) for text in texts(golden, "queries")]

    assert differences(vectors, golden, "queries") == {}


def texts(golden: Golden, kind: str) -> list[str]:
    return json.loads(str(golden[kind]))


def only(vectors: Iterable[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    [array] = vectors
    return array


def differences(
    vectors: Iterable[npt.NDArray[np.float32]], golden: Golden, kind: str
) -> dict[str, tuple[int, ...] | float]:
    """Map the texts whose arrays differ to the shape that came, or to the largest difference."""
    found: dict[str, tuple[int, ...] | float] = {}
    for i, (text, actual) in enumerate(zip(texts(golden, kind), vectors, strict=True)):
        kept = golden[f"{kind}_text"] == i
        if actual.shape != tuple(golden[f"{kind}_shape"][i]):
            found[text] = actual.shape
        else:
            difference = np.abs(actual[golden[f"{kind}_row"][kept]] - golden[f"{kind}_vectors"][kept]).max()
            if not difference <= TOLERANCE:
                found[text] = float(difference)
    return found
