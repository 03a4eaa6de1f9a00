"""The keywords of a store: ours, and langchain-qdrant's by their names, as arguments of a collection. No I/O."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import httpx
from langchain_core.embeddings import Embeddings
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.stages import Dense, StageLike
from colbert_qdrant.collection.storage import Storage
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder

if TYPE_CHECKING:
    from langchain_colbert_qdrant.filters import FilterLike

TokenEmbedding: TypeAlias = Embedder | str | os.PathLike[str]
"""What makes token vectors: an embedder, or the name or folder of a model."""


class StoreOptions(TypedDict, total=False):
    """Keywords of `ColbertQdrantVectorStore`; those from `host` on are langchain-qdrant's."""

    client: QdrantClient | None
    async_client: AsyncQdrantClient | None
    url: str | None
    path: str | os.PathLike[str] | None
    location: str | None
    api_key: str | None
    prefer_grpc: bool
    timeout: float | None
    client_options: Mapping[str, Any] | None
    vector_name: str
    content_payload_key: str
    metadata_payload_key: str
    stages: Iterable[StageLike] | None
    dense: Embeddings | None
    storage: Storage | None
    indexes: Mapping[str, Index] | None
    tenant: str | None
    shard_key: str | int | None
    create: bool
    force_recreate: bool

    host: str | None
    port: int | None
    grpc_port: int
    https: bool | None
    prefix: str | None
    distance: models.Distance
    retrieval_mode: str
    validate_embeddings: bool
    validate_collection_config: bool
    collection_create_options: Mapping[str, Any] | None
    vector_params: Mapping[str, Any] | None


class TextsOptions(StoreOptions, total=False):
    """Keywords of ``from_texts`` and its kin."""

    collection_name: str | None
    batch_size: int | None


class RetrieverFields(TypedDict, total=False):
    """Fields of the retriever, as keywords of its constructors."""

    k: int
    filter: FilterLike | None
    score_threshold: float | None
    search_type: Literal["similarity", "mmr", "similarity_score_threshold"]
    search_kwargs: dict[str, Any]
    with_score: bool
    tags: list[str] | None
    metadata: dict[str, Any] | None


class RetrieverOptions(RetrieverFields, StoreOptions, total=False):
    """Keywords of ``from_existing``: fields of the retriever, and where its store lives."""


class RetrieverTextsOptions(RetrieverFields, TextsOptions, total=False):
    """Keywords of the retriever's other constructors."""


_OURS = ("collection_name", "embedding")
_THEIRS = (
    "client",
    "collection_name",
    "embedding",
    "retrieval_mode",
    "vector_name",
    "content_payload_key",
    "metadata_payload_key",
    "distance",
    "sparse_embedding",
    "sparse_vector_name",
    "validate_embeddings",
    "validate_collection_config",
)
"""The order of ``QdrantVectorStore(...)``."""

_RENAMED = {"content_payload_key": "content_key", "metadata_payload_key": "metadata_key"}
_WITHOUT_EFFECT = ("validate_embeddings", "validate_collection_config", "batch_size")
_OF_CREATION = ("on_disk_payload", "shard_number", "replication_factor", "write_consistency_factor")
_OF_VECTORS = ("on_disk",)


def by_name(positional: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Name the arguments of a store; a client stands before the collection's name, as in langchain-qdrant."""
    names = _OURS if positional and isinstance(positional[0], str) else _THEIRS
    if len(positional) > len(names):
        raise TypeError(f"a store takes {len(names)} arguments by position ({', '.join(names)}), not {len(positional)}")
    named = dict(zip(names, positional, strict=False))
    twice = named.keys() & keywords.keys()
    if twice:
        raise TypeError(f"{min(twice)} is given twice, by position and by name")
    return named | dict(keywords)


def collection_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a store's keywords as those of `MultivectorCollection`.

    Raises
    ------
    InvalidInput
        What langchain-qdrant takes and token vectors have no use for; the message says what to write instead.
    TypeError
        A keyword that neither knows.
    """
    given = {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}
    _refuse_other_vectors(given)
    arguments: dict[str, Any] = {}
    client: dict[str, Any] = dict(given.pop("client_options", None) or {})
    location = given.pop("location", None)
    if location is not None and "://" in location:  # QdrantClient takes a url there too
        given["url"], location = location, None
    dense = given.pop("dense", None)
    if dense is not None:
        given["stages"] = [*(given.get("stages") or ()), Dense(dense)]
    storage = _storage(given.pop("storage", None), given)
    for name, value in given.items():
        if name in StoreOptions.__annotations__ and name not in _CLIENTS:
            arguments[_RENAMED.get(name, name)] = value
        elif name in _CLIENTS or name in _further_keywords():
            client |= {} if value is None else {name: value}
        else:
            raise TypeError(_unknown(name))
    return {**arguments, "location": location, "client_options": client or None, "storage": storage}


_CLIENTS = ("host", "port", "grpc_port", "https", "prefix")


def _refuse_other_vectors(given: dict[str, Any]) -> None:
    """Take away what says no more than what is the case; refuse what asks for other vectors than a token's."""
    distance = given.pop("distance", models.Distance.COSINE)
    if distance != models.Distance.COSINE:
        raise InvalidInput(f"distance={distance!r}: token vectors are compared by cosine; leave it out")
    mode = given.pop("retrieval_mode", "dense")
    if getattr(mode, "value", mode) != "dense":
        raise InvalidInput(
            f"retrieval_mode={mode!r}: documents are found by MaxSim over token vectors; for candidates by words give "
            "stages=[Bm25()], by dense vectors dense=embeddings, or both"
        )
    for name in ("sparse_embedding", "sparse_vector_name", "sparse_vector_params"):
        if given.pop(name, None) is not None:
            raise InvalidInput(f"{name}: for candidates by words give stages=[Bm25()], which needs no embedding")


def _storage(storage: Storage | None, given: dict[str, Any]) -> Storage | None:
    """Take langchain-qdrant's options of a new collection for ours, by name."""
    options: dict[str, Any] = {}
    for source, known in (("collection_create_options", _OF_CREATION), ("vector_params", _OF_VECTORS)):
        for name, value in (given.pop(source, None) or {}).items():
            if name not in known:
                raise InvalidInput(f"{source}: {name!r} is not among {', '.join(known)}; see storage=Storage(...)")
            options[name] = value
    if options and storage is not None:
        raise InvalidInput(f"{', '.join(options)} beside storage=: give it to the Storage")
    return Storage(**options) if options else storage


def _further_keywords() -> set[str]:
    """Return what `QdrantClient` takes, and the HTTP client behind it."""
    return {*inspect.signature(QdrantClient).parameters, *inspect.signature(httpx.Client).parameters}


def _unknown(name: str) -> str:
    close = get_close_matches(name, StoreOptions.__annotations__, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"a store takes no keyword {name!r}{hint}"
