"""The same points for both engines, and what is asked of them, for the tests of the embedded engine."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant.collection.engines.edge import EdgeClient

DIM, DENSE_DIM, POINTS = 8, 6, 40
MAX_SIM = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
VECTORS = {
    "colbert": models.VectorParams(
        size=DIM,
        distance=models.Distance.COSINE,
        multivector_config=MAX_SIM,
        hnsw_config=models.HnswConfigDiff(m=0),
    ),
    "dense": models.VectorParams(size=DENSE_DIM, distance=models.Distance.DOT),
}
SPARSE = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}


def uuid_of(number: int) -> str:
    return str(uuid.UUID(int=number + 2**64))


def make_points() -> list[models.PointStruct]:
    random = np.random.default_rng(7)
    points = []
    for i in range(POINTS):
        words = random.choice(12, size=4, replace=False)
        payload = {
            "tag": "abc"[i % 3],
            "tags": ["abcde"[i % 5], "vwxyz"[i % 4]],
            "year": 1990 + i,
            "price": i * 1.5,
            "text": f"the {['red', 'green', 'blue'][i % 3]} fox number {i}",
            "written": f"2024-01-{i % 28 + 1:02d}T12:00:00Z",
            "public": i % 2 == 0,
            "parts": [{"name": "wheel", "count": i % 4}, {"name": "door", "count": (i + 2) % 4}],
            "where": {"lon": float(i), "lat": i / 2},
            "note": [None, "", "some", []][i % 4],
            "owner": {"name": f"o{i % 6}", "id": uuid_of(i % 7)},
        }
        if i % 5 == 0:
            payload["rare"] = i
        vector = {
            "colbert": random.standard_normal((random.integers(2, 6), DIM)).tolist(),
            "dense": random.standard_normal(DENSE_DIM).tolist(),
            "bm25": models.SparseVector(indices=words.tolist(), values=random.uniform(0.1, 2, 4).tolist()),
        }
        points.append(models.PointStruct(id=i if i % 4 else uuid_of(i), vector=vector, payload=payload))
    return points


RANDOM = np.random.default_rng(11)
QUERY = RANDOM.standard_normal((4, DIM)).astype(np.float32)
DENSE_QUERY = RANDOM.standard_normal(DENSE_DIM).tolist()
SPARSE_QUERY = models.SparseVector(indices=[0, 3, 5, 7], values=[1.0, 0.5, 0.25, 0.7])
PUBLIC = models.Filter(must=[models.FieldCondition(key="public", match=models.MatchValue(value=True))])
NEAREST_COLBERT = {"query": QUERY, "using": "colbert"}


class Pair:
    """The same calls to both engines."""

    def __init__(self, path: Path) -> None:
        self.edge = EdgeClient(path)
        self.local = QdrantClient(":memory:")
        for client in (self.edge, self.local):
            client.create_collection("docs", vectors_config=VECTORS, sparse_vectors_config=SPARSE)
            client.upsert("docs", make_points())

    def both(self, method: str, *args: object, **kwargs: object):
        return [getattr(client, method)("docs", *args, **kwargs) for client in (self.edge, self.local)]

    def ids(self, query_filter: models.Filter | None = None) -> tuple[list, list]:
        pages = self.both("scroll", scroll_filter=query_filter, limit=POINTS * 2)
        return tuple([record.id for record in page] for page, _ in pages)

    def close(self) -> None:
        self.edge.close()
        self.local.close()


def same_hits(edge: models.QueryResponse, local: models.QueryResponse) -> None:
    assert [hit.id for hit in edge.points] == [hit.id for hit in local.points]
    assert [hit.score for hit in edge.points] == pytest.approx([hit.score for hit in local.points], abs=1e-3)
    assert [hit.payload for hit in edge.points] == [hit.payload for hit in local.points]
    assert edge.points
