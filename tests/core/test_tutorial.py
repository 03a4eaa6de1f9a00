"""Qdrant's ColBERT tutorial, its imports changed and nothing else, is what a newcomer tries first.

https://qdrant.tech/documentation/fastembed/fastembed-colbert
"""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import ColbertEmbedder, LateInteractionTextEmbedding, MultivectorCollection
from movies import MOVIES

QUESTION = "A movie for kids with fantasy elements and wonders"

descriptions = [movie.description for movie in MOVIES]
metadata = [
    {"movie_name": m.name, "movie_watch_time_min": m.minutes, "movie_description": m.description} for m in MOVIES
]


def run_tutorial(embedding_model: LateInteractionTextEmbedding) -> tuple[QdrantClient, models.ScoredPoint]:
    descriptions_embeddings = list(embedding_model.embed(descriptions))
    qdrant_client = QdrantClient(":memory:")
    qdrant_client.create_collection(
        collection_name="movies",
        vectors_config=models.VectorParams(
            size=embedding_model.embedding_size,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        ),
    )
    qdrant_client.upload_points(
        collection_name="movies",
        points=[
            models.PointStruct(id=idx, payload=metadata[idx], vector=vector)
            for idx, vector in enumerate(descriptions_embeddings)
        ],
    )
    answer = qdrant_client.query_points(
        collection_name="movies",
        query=next(iter(embedding_model.query_embed(QUESTION))),
        limit=1,
        with_payload=True,
    )
    return qdrant_client, answer.points[0]


def test_the_tutorial_runs_with_its_import_changed() -> None:
    _, hit = run_tutorial(LateInteractionTextEmbedding("all-MiniLM-L6-v2-int8"))

    assert hit.id == 4
    assert hit.payload == metadata[4]


def test_supported_models_are_listed_in_the_tutorials_shape() -> None:
    rows = {row["model"]: row for row in LateInteractionTextEmbedding.list_supported_models()}

    assert (
        rows["colbert-ir/colbertv2.0"].items()
        >= {
            "dim": 128,
            "size_in_GB": 0.44,
            "sources": {"hf": "colbert-ir/colbertv2.0"},
            "model_file": "model.onnx",
            "license": "mit",
        }.items()
    )
    assert {
        "answerdotai/answerai-colbert-small-v1",
        "jinaai/jina-colbert-v2",
        "sentence-transformers/all-MiniLM-L6-v2",
    } <= set(rows)
    assert all(row["description"] for row in rows.values())


def test_a_collection_made_by_the_tutorial_is_attached_to_and_searched(offline: ColbertEmbedder) -> None:
    client, tutorials_hit = run_tutorial(LateInteractionTextEmbedding("all-MiniLM-L6-v2-int8"))

    with MultivectorCollection("movies", offline, client=client, content_key="movie_description") as movies:
        [hit] = movies.search(QUESTION, limit=1)

    assert (hit.id, hit.text) == ("4", descriptions[4])
    assert hit.metadata == {"movie_name": "Kubo and the Two Strings", "movie_watch_time_min": 101}
    assert hit.score == pytest.approx(tutorials_hit.score, abs=1e-4)


@pytest.mark.hub
def test_the_tutorials_model_gives_the_tutorials_score() -> None:
    _, hit = run_tutorial(LateInteractionTextEmbedding("colbert-ir/colbertv2.0"))

    assert hit.payload is not None
    assert hit.payload["movie_name"] == "Kubo and the Two Strings"
    assert hit.score == pytest.approx(12.063469, abs=1e-2)


@pytest.mark.hub
def test_the_first_description_has_the_tutorials_shape() -> None:
    model = LateInteractionTextEmbedding("colbert-ir/colbertv2.0")

    assert next(iter(model.embed(descriptions))).shape == (48, 128)


HELLO_WORLD = {
    "colbert-ir/colbertv2.0": (
        [
            [0.0759, 0.0841, -0.0299, 0.0374, 0.0254],
            [0.0005, -0.0163, -0.0127, 0.2165, 0.1517],
            [-0.0257, -0.0575, 0.0135, 0.2202, 0.1896],
            [0.0846, 0.0122, 0.0032, -0.0109, -0.1041],
            [0.0477, 0.1078, -0.0314, 0.016, 0.0156],
        ],
        [
            [0.0824, 0.0872, -0.0324, 0.0418, 0.024],
            [-0.0007, -0.0154, -0.0113, 0.2277, 0.1528],
            [-0.0251, -0.0565, 0.0136, 0.2236, 0.1838],
            [0.0848, 0.0056, 0.0041, -0.0036, -0.1032],
            [0.0574, 0.1072, -0.0332, 0.0233, 0.0209],
            [0.1041, 0.0364, -0.0058, -0.027, -0.0704],
        ],
    ),
    "answerdotai/answerai-colbert-small-v1": (
        [
            [-0.07281, 0.04632, -0.04711, 0.00762, -0.07374],
            [-0.04464, 0.04426, -0.074, 0.01801, -0.05233],
            [0.09936, -0.05123, -0.04925, -0.05276, -0.08944],
            [0.01644, 0.0203, -0.03789, 0.03165, -0.06501],
            [-0.07281, 0.04633, -0.04711, 0.00762, -0.07374],
        ],
        [
            [-0.07284, 0.04657, -0.04746, 0.00786, -0.07342],
            [-0.0473, 0.04615, -0.07551, 0.01591, -0.0517],
            [0.09658, -0.0506, -0.04593, -0.05225, -0.09086],
            [0.01815, 0.0165, -0.03366, 0.03214, -0.07019],
            [-0.07284, 0.04657, -0.04746, 0.00787, -0.07342],
            [-0.07748, 0.04493, -0.055, 0.00481, -0.0486],
        ],
    ),
    "jinaai/jina-colbert-v2": (
        [
            [0.0742, 0.0591, -0.2403, -0.1774, 0.02],
            [0.1318, 0.0882, -0.1138, -0.2066, 0.146],
            [-0.0183, -0.1354, -0.0139, -0.1079, -0.051],
            [0.0003, -0.1184, -0.07, -0.0479, -0.0649],
            [0.0766, 0.0452, -0.2343, -0.183, 0.0058],
        ],
        [
            [0.0477, 0.0255, -0.2224, -0.1085, -0.03],
            [0.0206, -0.0845, -0.0075, -0.1712, 0.0156],
            [-0.0056, -0.0957, -0.0147, -0.1277, -0.0225],
            [0.0486, -0.0499, -0.1609, 0.0194, 0.0274],
            [0.0481, 0.0253, -0.2278, -0.1126, -0.0294],
            [0.0599, -0.0678, -0.0956, -0.0757, 0.0236],
        ],
    ),
}


@pytest.mark.hub
@pytest.mark.parametrize("model", HELLO_WORLD)
def test_the_real_checkpoints_give_their_canonical_vectors(model: str) -> None:
    """The values are those of FastEmbed's own tests, for "Hello World", five numbers a vector."""
    documents, queries = HELLO_WORLD[model]
    embedder = ColbertEmbedder(model)

    [document] = embedder.embed("Hello World")
    [query] = embedder.query_embed("Hello World")

    assert (len(document), len(query)) == (5, 32)
    np.testing.assert_allclose(document[:, :5], documents, atol=2e-3)
    np.testing.assert_allclose(query[:6, :5], queries, atol=2e-3)
