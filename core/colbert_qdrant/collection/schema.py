"""What a collection must be, as Qdrant parameters, and an existing one held against it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from colbert_qdrant.errors import CollectionMismatch, InvalidInput

DEFAULT_VECTOR = "colbert"
UNNAMED_VECTOR = ""
"""Qdrant's name for the vector of a collection that was made with a single, unnamed one."""

METADATA_KEY = "colbert_qdrant"
"""Where the collection's own metadata keeps what its vectors were made with."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a collection.

    Parameters
    ----------
    name
        The collection's name.
    vector_name
        Its multivector; empty: the unnamed one.
    content_key, metadata_key
        Payload keys of the text and of the user's metadata.
    dim
        Length of a token vector.
    """

    name: str
    vector_name: str
    content_key: str
    metadata_key: str
    dim: int

    def __post_init__(self) -> None:
        """Refuse names that would make the payload ambiguous."""
        if not self.name or not isinstance(self.name, str):
            raise InvalidInput(f"collection name {self.name!r}: give a non-empty string")
        keys = (self.content_key, self.metadata_key)
        if self.content_key == self.metadata_key or any(not key or key.startswith("_") for key in keys):
            raise InvalidInput(
                f"content_key={self.content_key!r} and metadata_key={self.metadata_key!r}: give two different names "
                "that don't begin with an underscore, which is kept for our own"
            )

    @property
    def using(self) -> str | None:
        """The vector's name as a query states it."""
        return self.vector_name or None


def creation(layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``create_collection``.

    Parameters
    ----------
    layout
        Names and dimension.
    settings
        What the vectors are made with; kept in the collection's metadata.
    """
    params = models.VectorParams(
        size=layout.dim,
        distance=models.Distance.COSINE,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )
    return {
        "collection_name": layout.name,
        "vectors_config": {layout.vector_name: params} if layout.vector_name else params,
        "metadata": {METADATA_KEY: dict(settings)},
    }


def attach(layout: Layout, info: models.CollectionInfo, settings: Mapping[str, Any]) -> Layout:
    """Return the layout of a collection that exists, if it fits.

    A collection whose only vector is unnamed, as in Qdrant's ColBERT tutorial, fits as well as one of our own.

    Raises
    ------
    CollectionMismatch
        Names each difference and what would fit.
    """
    vectors = info.config.params.vectors or {}
    by_name = dict(vectors) if isinstance(vectors, Mapping) else {UNNAMED_VECTOR: vectors}
    name = layout.vector_name
    if name == DEFAULT_VECTOR and name not in by_name and UNNAMED_VECTOR in by_name:
        name = UNNAMED_VECTOR
    differences = [*_vector_differences(name, by_name, layout.dim), *_making_differences(info, settings)]
    if differences:
        raise CollectionMismatch(
            f"collection {layout.name!r} exists and is not what was asked for: {'; '.join(differences)}. "
            "Open it with the model it was made with, or choose another collection name"
        )
    return Layout(layout.name, name, layout.content_key, layout.metadata_key, layout.dim)


def _vector_differences(name: str, by_name: Mapping[str, models.VectorParams], dim: int) -> list[str]:
    params = by_name.get(name)
    if params is None:
        known = ", ".join(repr(known) if known else "an unnamed one" for known in by_name) or "none"
        return [f"it has no vector {name!r}, its vectors: {known} (choose with vector_name=)"]
    differences = []
    if params.size != dim:
        differences.append(f"its vectors have {params.size} dimensions, the model's {dim}")
    if params.multivector_config is None:
        differences.append(f"vector {name!r} holds one vector a point, not a multivector")
    if params.distance not in (models.Distance.COSINE, models.Distance.DOT):
        differences.append(f"its distance is {params.distance.value}, not Cosine (or Dot) as MaxSim needs")
    return differences


def _making_differences(info: models.CollectionInfo, settings: Mapping[str, Any]) -> list[str]:
    made_with = (getattr(info.config, "metadata", None) or {}).get(METADATA_KEY, {})
    model, ours = made_with.get("model"), settings.get("model")
    if model is None or ours is None or _same_model(str(model), str(ours)):
        return []
    return [f"it was made with the model {model!r}, this is {ours!r}"]


def _same_model(one: str, other: str) -> bool:
    """Compare without the owner: a local folder of a hub's model is the same model."""
    return one.rsplit("/", 1)[-1].lower() == other.rsplit("/", 1)[-1].lower()
