"""Whatever may stand where an embedder is asked for."""

from __future__ import annotations

import os
from typing import Any

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder


def as_embedder(embedder: Embedder | str | os.PathLike[str]) -> Embedder:
    """Return the embedder; a name is that of a model."""
    if isinstance(embedder, str | os.PathLike):
        from colbert_qdrant.embedding.embedder import ColbertEmbedder

        return ColbertEmbedder(os.fspath(embedder))
    if not isinstance(embedder, Embedder):
        raise InvalidInput(
            f"embedder is a {type(embedder).__name__}; give a ColbertEmbedder, a model's name, or an object with "
            "model_name, dim, embed and query_embed"
        )
    return embedder


def embedder_dim(embedder: Embedder) -> int:
    """Return the length of an embedder's token vectors, by our name for it or FastEmbed's."""
    dim = getattr(embedder, "dim", None) or getattr(embedder, "embedding_size", None)
    if not isinstance(dim, int):
        raise InvalidInput(f"{type(embedder).__name__} has neither dim nor embedding_size; give it one")
    return dim


def embedder_settings(embedder: Embedder) -> dict[str, Any]:
    """Return what an embedder's vectors depend on besides the text."""
    return getattr(embedder, "settings", None) or {
        "model": embedder.model_name,
        "dim": embedder_dim(embedder),
    }


def same_model(one: str, other: str) -> bool:
    """Compare names without the owner: a local folder of a hub's model is the same model."""
    return one.rsplit("/", 1)[-1].lower() == other.rsplit("/", 1)[-1].lower()
