"""Whatever may stand where an embedder is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder, Multivector

T = TypeVar("T")


class NoEmbedder:
    """Stands where a collection has no embedder: vectors are given to it, and texts refused.

    Parameters
    ----------
    dim
        Length of the token vectors.
    """

    model_name = "none"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.settings = {"dim": dim}

    def embed(self, documents: Iterable[str]) -> Iterable[Multivector]:
        """Refuse documents."""
        raise InvalidInput("the collection has no embedder: give each text's token vectors, add(..., vectors=)")

    def query_embed(self, query: str | Iterable[str]) -> Iterable[Multivector]:
        """Refuse queries."""
        raise InvalidInput("the collection has no embedder: search with the query's (tokens, dim) vectors")


def as_embedder(embedder: Embedder | str | os.PathLike[str] | None, dim: int | None = None) -> Embedder:
    """Return the embedder; a name is that of a model; ``None``: one that takes vectors of `dim` numbers only."""
    if embedder is None:
        if not isinstance(dim, int) or dim < 1:
            raise InvalidInput(f"dim={dim!r}: without an embedder say how long the token vectors are, such as dim=128")
        return NoEmbedder(dim)
    if dim is not None:
        raise InvalidInput(f"dim={dim}: an embedder knows the length of its vectors; dim= goes with embedder=None")
    if isinstance(embedder, str | os.PathLike):
        from colbert_qdrant.embedding.embedder import ColbertEmbedder

        return ColbertEmbedder(os.fspath(embedder))
    if not isinstance(embedder, Embedder):
        if hasattr(embedder, "embed_documents") or hasattr(embedder, "get_text_embedding"):
            raise InvalidInput(
                f"embedder (LangChain: embedding) is a {type(embedder).__name__}, which makes one vector a text: here "
                "goes a ColBERT, by its name or as a ColbertEmbedder; yours can find its candidates: "
                "stages=[Dense(model)] (LangChain: dense=)"
            )
        raise InvalidInput(
            f"embedder is a {type(embedder).__name__}; give a ColbertEmbedder, a model's name, an object with "
            "model_name, dim, embed and query_embed, or None and dim="
        )
    return embedder


def windowed(embedder: Embedder | str | os.PathLike[str] | None) -> Embedder:
    """Return the embedder for an adapter: one that cuts no document, unless whoever made it said what to do.

    A model's name, or ``None`` for the default model, becomes such an embedder; one of the caller's own class stays as
    it is.
    """
    if embedder is None:
        from colbert_qdrant.embedding.embedder import ColbertEmbedder

        return ColbertEmbedder().windowed()
    embedder = as_embedder(embedder)
    from_unsaid = getattr(embedder, "windowed", None)
    whole: Embedder = embedder if from_unsaid is None else from_unsaid()
    return whole


def encoded_all(vectors: Iterable[T], count: int, encoder: str) -> Iterator[T]:
    """Yield what came of texts, one each.

    Raises
    ------
    InvalidInput
        There are fewer or more than texts, so that nobody knows whose is whose.
    """
    made = iter(vectors)
    for position in range(count):
        for one in made:
            yield one
            break
        else:
            raise InvalidInput(f"{encoder} gave {position} results for {count} texts: give one for each, in order")
    for _ in made:
        raise InvalidInput(f"{encoder} gave more results than {count} texts: give one for each, in order")


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


def check_collection_name(name: object, embedder: object = None) -> None:
    """Refuse an embedder in the name's place, before the name is taken for a model's.

    Raises
    ------
    InvalidInput
        It is no string, or a model's name where `embedder` is none.
    """
    if not isinstance(name, str):
        raise InvalidInput(
            f"the collection's name is a {type(name).__name__}, not a string; the name comes first, then the embedder"
        )
    if isinstance(embedder, str):
        from colbert_qdrant.embedding import registry

        if registry.find(name) is not None and registry.find(embedder) is None and not os.path.isdir(embedder):
            raise InvalidInput(
                f"the collection's name is {name!r}, a model, and the model {embedder!r}: the name comes first, "
                f"({embedder!r}, {name!r})"
            )
