"""Points as gRPC messages, their arrays copied as bytes and not turned into Python's numbers. No I/O.

``qdrant_client`` takes lists, and a list of floats takes longer to make and to convert than a fast encoder takes for
the document (`upload` in tests/benchmarks). A message of Qdrant's that holds floats is, in protobuf's encoding, a few
bytes before each row and the row's own bytes: https://protobuf.dev/programming-guides/encoding/#packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

_DATA = b"\x0a"
"""Field 1, by length: ``DenseVector.data`` and ``MultiDenseVector.vectors`` both."""


_SENT = {"collection_name", "points", "wait", "shard_key_selector"}


def as_request(arguments: Mapping[str, Any]) -> grpc.UpsertPoints | None:
    """Return the request of an upsert; ``None`` where it says what is not known here, and is left to the client."""
    if set(arguments) - _SENT or not isinstance(arguments["points"], list):
        return None
    shards = arguments.get("shard_key_selector")
    return grpc.UpsertPoints(
        collection_name=arguments["collection_name"],
        wait=arguments.get("wait", True),
        points=[as_message(point) for point in arguments["points"]],
        shard_key_selector=None if shards is None else RestToGrpc.convert_shard_key_selector(shards),
    )


def as_message(point: models.PointStruct) -> grpc.PointStruct:
    """Return a point as the message that an upsert carries."""
    vector: Any = point.vector  # the client's type knows of no arrays
    if isinstance(vector, Mapping):
        made = {name: as_vector(value) for name, value in vector.items() if isinstance(value, np.ndarray)}
        others = {name: value for name, value in vector.items() if name not in made}
        vectors = grpc.Vectors(vectors=grpc.NamedVectors(vectors={**made, **_converted(others)}))
    elif isinstance(vector, np.ndarray):
        vectors = grpc.Vectors(vector=as_vector(vector))
    else:
        vectors = RestToGrpc.convert_vector_struct(vector)
    return grpc.PointStruct(
        id=RestToGrpc.convert_extended_point_id(point.id),
        payload=None if point.payload is None else RestToGrpc.convert_payload(point.payload),
        vectors=vectors,
    )


def as_vector(array: np.ndarray) -> grpc.Vector:
    """Return an array as a message: a multivector where it has two axes, else a dense vector."""
    floats = np.ascontiguousarray(array, dtype="<f4")
    if floats.ndim == 1:
        return grpc.Vector(dense=grpc.DenseVector.FromString(_by_length(floats.nbytes) + floats.tobytes()))
    row = _by_length(floats.shape[1] * 4)
    head = np.frombuffer(_by_length(len(row) + floats.shape[1] * 4) + row, dtype=np.uint8)
    rows = np.empty((len(floats), len(head) + floats.shape[1] * 4), dtype=np.uint8)
    rows[:, : len(head)] = head
    rows[:, len(head) :] = floats.view(np.uint8)
    return grpc.Vector(multi_dense=grpc.MultiDenseVector.FromString(rows.tobytes()))


def _by_length(size: int) -> bytes:
    """Return what stands before so many bytes: the field's tag and the number as a varint."""
    digits = []
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    return _DATA + bytes([*digits, size])


def _converted(vectors: Mapping[str, Any]) -> Mapping[str, grpc.Vector]:
    return RestToGrpc.convert_vector_struct(dict(vectors)).vectors.vectors if vectors else {}
