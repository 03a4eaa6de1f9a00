"""The steps that an operation is made of; see `operations`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from colbert_qdrant.types import Embedder

T = TypeVar("T")

WRITES = (
    "upsert",
    "delete",
    "update_vectors",
    "delete_vectors",
    "set_payload",
    "overwrite_payload",
    "create_collection",
    "create_vector_name",
    "delete_vector_name",
    "create_payload_index",
    "delete_payload_index",
    "create_shard_key",
    "update_collection",
    "delete_collection",
    "update_collection_aliases",
)
"""Methods after which there is something else than before."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the engine: a method of ``QdrantClient`` and its arguments."""

    method: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EncodeQueries:
    """Texts to encode as queries; a list of multivectors comes back."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Compute:
    """Work without I/O; what it returns comes back."""

    work: Callable[[Embedder], Any]


@dataclass(frozen=True, slots=True)
class Start:
    """Work to begin while other steps go on; a job comes back."""

    work: Callable[[Embedder], Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """A request to make while other steps go on; a job comes back."""

    call: Call


@dataclass(frozen=True, slots=True)
class Finish:
    """A job to wait for; what its work returned comes back."""

    job: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to let pass, in seconds."""

    seconds: float


Step: TypeAlias = Call | EncodeQueries | Compute | Start | Begin | Finish | Pause
Operation: TypeAlias = Generator[Step, Any, T]
