"""Collections of single vectors as other programs write them: `data/single_vector_programs.py` made them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection import schema
from colbert_qdrant.collection.engines import Place, connect
from conftest import WordEmbedder

DATA = Path(__file__).parent / "data"
WRITTEN: dict[str, Any] = json.loads((DATA / "single_vector_collections.json").read_text())
TEXTS = {"red apple on a table", "green violin in a case", "red violin at night", "blue sky", "black tiger by a river"}


def mean_vector(texts: list[str]) -> list[np.ndarray]:
    """Encode as the programs' model does, in the tests."""
    return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]


def other_model(texts: list[str]) -> list[np.ndarray]:
    return [np.random.RandomState(len(text)).standard_normal(16) for text in texts]


def point_of(text: str, point_id: str | None = None) -> dict[str, Any]:
    """Return a point as langchain-qdrant writes it."""
    vector = {"": mean_vector([text])[0].tolist()}  # what a plain list stands for; local mode wants the name
    payload = {"page_content": text, "metadata": {"n": 9}}
    return {"id": point_id or str(uuid.uuid4()), "payload": payload, "vector": vector}


class Store:
    """A collection as a program wrote it, and what of it is there."""

    def __init__(self, program: str, place: dict[str, Any]) -> None:
        self.written, self.place = WRITTEN[program], place
        self.name = f"docs-{uuid.uuid4().hex[:8]}"
        vectors = {name: models.VectorParams(**params) for name, params in self.written["vectors"].items()}
        config = vectors[""] if list(vectors) == [""] else vectors
        self.call("create_collection", vectors_config=config)
        self.upsert(self.written["points"])

    def upsert(self, points: list[dict[str, Any]]) -> None:
        self.call("upsert", points=[models.PointStruct(**point) for point in points], wait=True)

    def call(self, method: str, **arguments: Any) -> Any:
        engine = connect(Place(**self.place))
        try:
            return engine.call(method, {"collection_name": self.name, **arguments})
        finally:
            if "client" not in self.place:
                engine.close()

    def old(self) -> dict[str, Any]:
        """Payloads and vectors by id, without the new ones."""
        found, _ = self.call("scroll", limit=100, with_payload=True, with_vectors=True)
        return {str(point.id): (point.payload, self._vector(point.vector)) for point in found}

    def vector_names(self) -> list[str]:
        return sorted(schema.vector_names(self.call("get_collection")))

    def _vector(self, vector: Any) -> list[float]:
        [name] = self.written["vectors"]
        values = vector[name] if isinstance(vector, dict) else vector
        return [round(float(value), 4) for value in values]

    def upgrade(self, embedder: Any = None, **options: Any) -> MultivectorCollection:
        return MultivectorCollection.upgrade(self.name, embedder or WordEmbedder(), **options, **self.place)
