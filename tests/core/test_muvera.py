"""Muvera gives FastEmbed's encodings (see data/make_muvera_golden.py)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from colbert_qdrant.embedding.muvera import Muvera
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.scoring import maxsim

GOLDEN = Path(__file__).parents[1] / "data/muvera_golden.npz"
TOLERANCE = 1e-5

Vectors = npt.NDArray[np.float32]


def cases_of(kind: str) -> list[str]:
    with np.load(GOLDEN) as golden:
        return [key for key in golden if key.endswith(f"|{kind}")]


@pytest.mark.parametrize("case", cases_of("document"))
def test_documents_are_fastembeds(case: str) -> None:
    muvera, tokens, expected, norm = recorded(case)

    encoding = muvera.process_document(tokens)

    np.testing.assert_allclose(kept(encoding), expected, atol=TOLERANCE)
    assert np.linalg.norm(encoding) == pytest.approx(norm, rel=TOLERANCE)


@pytest.mark.parametrize("case", cases_of("query"))
def test_queries_are_fastembeds(case: str) -> None:
    muvera, tokens, expected, norm = recorded(case)

    encoding = muvera.process_query(tokens)

    np.testing.assert_allclose(kept(encoding), expected, atol=TOLERANCE)
    assert np.linalg.norm(encoding) == pytest.approx(norm, rel=TOLERANCE)


def test_document_has_the_values_fastembed_tests_itself_with() -> None:
    """https://github.com/qdrant/fastembed/blob/main/tests/test_postprocess.py."""
    tokens = np.random.default_rng(42).random((10, 128))

    encoding = Muvera(128).process_document(tokens)

    np.testing.assert_allclose(encoding[:3], [-2.61810007e-04, 1.89005750, -2.32070747], atol=TOLERANCE)


def test_query_has_the_values_fastembed_tests_itself_with() -> None:
    tokens = np.random.default_rng(42).random((10, 128))

    encoding = Muvera(128).process_query(tokens)

    np.testing.assert_allclose(encoding[encoding.nonzero()][:3], [-0.85783903, 1.1077204, -0.09522747], atol=TOLERANCE)


def test_a_token_on_a_hyperplane_falls_on_float64s_side() -> None:
    """Where float32 would decide by its rounding, FastEmbed's float64 decides."""
    muvera = Muvera(128)
    normals = np.random.default_rng(42).normal(size=(128, 5))[:, 0]
    tokens = multivector(2000, 128).astype(np.float64)
    tokens -= np.outer(tokens @ normals / (normals @ normals), normals)
    tokens = tokens.astype(np.float32)

    bits = muvera._cells(tokens)[0] & 1

    np.testing.assert_array_equal(bits, tokens.astype(np.float64) @ normals > 0)


def test_documents_together_are_as_alone() -> None:
    muvera = Muvera(16, r_reps=4)
    documents = [multivector(rows, 16) for rows in (3, 400, 1, 90, 90, 90, 7, 256, 2)]

    together = muvera.process_documents(documents)

    alone = [muvera.process_document(document) for document in documents]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_no_documents_give_no_rows() -> None:
    assert Muvera(16).process_documents([]).shape == (0, Muvera(16).embedding_size)


@pytest.mark.parametrize("tokens", [1, 30, 700])
def test_encoding_is_float32_of_embedding_size(tokens: int) -> None:
    muvera = Muvera(32, k_sim=4, dim_proj=8, r_reps=10)

    encoding = muvera.process_document(multivector(tokens, 32))

    assert encoding.dtype == np.float32
    assert encoding.shape == (muvera.embedding_size,) == (10 * 2**4 * 8,)


def test_half_precision_is_encoded_in_single_precision() -> None:
    tokens = multivector(30, 32).astype(np.float16)
    muvera = Muvera(32)

    encoding = muvera.process_document(tokens)

    np.testing.assert_array_equal(encoding, muvera.process_document(tokens.astype(np.float32)))


def test_center_is_taken_from_every_token() -> None:
    tokens, center = multivector(50, 32), np.full(32, 0.1, dtype=np.float32)

    centered = Muvera(32, center=center).process_query(tokens)

    np.testing.assert_array_equal(centered, Muvera(32).process_query(tokens - center))


def test_center_tells_apart_tokens_that_point_the_same_way() -> None:
    documents = [multivector(40, 64, seed) for seed in range(100)]
    queries = [document[:12] for document in documents]
    shared = np.full(64, 4 / 8, dtype=np.float32)
    documents, queries = [unit(d + shared) for d in documents], [unit(q + shared) for q in queries]
    center = np.concatenate(documents).mean(axis=0)

    def found(muvera: Muvera) -> int:
        scores = np.stack([muvera.process_query(q) for q in queries]) @ muvera.process_documents(documents).T
        return int((scores.argmax(axis=1) == np.arange(len(queries))).sum())

    assert found(Muvera(64, center=center)) > 90
    assert found(Muvera(64)) < 50


def test_dot_products_approximate_maxsim() -> None:
    """Query tokens are found in the document they come from, out of 200."""
    documents = [multivector(60, 64, seed) for seed in range(200)]
    query = documents[17][:16]
    muvera = Muvera(64)

    scores = muvera.process_documents(documents) @ muvera.process_query(query)

    assert scores.argmax() == maxsim(query, documents).argmax() == 17


def test_dim_of_an_embedder() -> None:
    assert Muvera.from_embedder(Fake(dim=96)).dim == 96


def test_embedding_size_of_an_embedder_without_dim() -> None:
    assert Muvera.from_embedder(Fake(embedding_size=128)).dim == 128


def test_settings_reach_the_encoder_through_an_embedder() -> None:
    center = np.full(24, 0.1)
    tokens = multivector(9, 24)

    made = Muvera.from_embedder(Fake(dim=24), 3, 8, 5, 7, center=center)

    np.testing.assert_array_equal(
        made.process_query(tokens), Muvera(24, 3, 8, 5, 7, center=center).process_query(tokens)
    )


def test_embedder_without_a_dimension_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Fake has neither dim nor embedding_size"):
        Muvera.from_embedder(Fake())


@pytest.mark.parametrize("shape", [(0, 16), (3, 15), (16,), (2, 3, 16)])
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"no tokens|expected \(tokens, 16\)"):
        Muvera(16).process_document(np.ones(shape, dtype=np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    tokens = multivector(4, 16)
    tokens[2, 3] = value

    with pytest.raises(InvalidInput, match="NaN or infinity"):
        Muvera(16).process_query(tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_sim": 0}, "k_sim is 0"),
        ({"k_sim": 11}, "k_sim is 11"),
        ({"dim_proj": 0}, "dim_proj is 0"),
        ({"dim_proj": 17}, "dim_proj is 17"),
        ({"r_reps": 0}, "r_reps is 0"),
        ({"center": np.zeros(15)}, "center has shape \\(15,\\)"),
        ({"center": np.full(16, np.nan)}, "16 finite numbers"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Muvera(16, **settings)


class Fake:
    """An embedder that only says how long its vectors are."""

    model_name = "fake"

    def __init__(self, **attributes: int) -> None:
        self.__dict__.update(attributes)

    def embed(self, documents: Iterable[str]) -> Iterable[Vectors]:
        raise NotImplementedError

    def query_embed(self, query: str | Iterable[str]) -> Iterable[Vectors]:
        raise NotImplementedError


def recorded(case: str) -> tuple[Muvera, Vectors, Vectors, float]:
    settings, tokens, _ = case.split("|")
    muvera = Muvera(*(int(value) for value in settings.split(",")))
    with np.load(GOLDEN) as golden:
        return muvera, golden[tokens], golden[case], float(golden[f"{case}|norm"])


def kept(encoding: Vectors) -> Vectors:
    return encoding[:: -(-len(encoding) // 1024)]


def multivector(tokens: int, dim: int, seed: int = 0) -> Vectors:
    return unit(np.random.RandomState(seed).normal(size=(tokens, dim)))


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_models_name_gives_its_dimension() -> None:
    assert Muvera.from_embedder("all-MiniLM-L6-v2-int8").dim == 384
