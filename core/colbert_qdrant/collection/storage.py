"""How a collection is stored: precision, quantisation, disk, shards; and what that will take. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from qdrant_client import models

from colbert_qdrant.collection.tiers import is_cold
from colbert_qdrant.errors import InvalidInput

Datatype: TypeAlias = Literal["float32", "float16", "uint8", "turbo8", "turbo4"]
Quantization: TypeAlias = Literal[
    "int8", "binary", "binary1.5", "binary2", "product", "turbo", "turbo1", "turbo1.5", "turbo2", "turbo8"
]

_BYTES_PER_NUMBER: dict[str, float] = {"float32": 4, "float16": 2, "uint8": 1, "turbo8": 1, "turbo4": 0.5}
_BITS_OF_TURBO = {
    models.TurboQuantBitSize.BITS1: 1,
    models.TurboQuantBitSize.BITS1_5: 1.5,
    models.TurboQuantBitSize.BITS2: 2,
    models.TurboQuantBitSize.BITS4: 4,
    models.TurboQuantBitSize.BITS8: 8,
}
_BITS_OF_BINARY = {
    models.BinaryQuantizationEncoding.ONE_BIT: 1,
    models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS: 1.5,
    models.BinaryQuantizationEncoding.TWO_BITS: 2,
}


def _binary(encoding: models.BinaryQuantizationEncoding | None = None) -> models.QuantizationConfig:
    return models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(memory=models.Memory.PINNED, encoding=encoding)
    )


def _turbo(bits: models.TurboQuantBitSize | None = None) -> models.QuantizationConfig:
    return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(memory=models.Memory.PINNED, bits=bits))


_CONFIGS: dict[Quantization, models.QuantizationConfig] = {
    "int8": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, memory=models.Memory.PINNED)
    ),
    "binary": _binary(),
    "binary1.5": _binary(models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS),
    "binary2": _binary(models.BinaryQuantizationEncoding.TWO_BITS),
    "product": models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, memory=models.Memory.PINNED)
    ),
    "turbo": _turbo(),
    "turbo1": _turbo(models.TurboQuantBitSize.BITS1),
    "turbo1.5": _turbo(models.TurboQuantBitSize.BITS1_5),
    "turbo2": _turbo(models.TurboQuantBitSize.BITS2),
    "turbo8": _turbo(models.TurboQuantBitSize.BITS8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How to store a collection. The default is half precision in memory, nothing quantised.

    Half precision takes half the bytes of `float32` and was measured to lose nothing (tests/benchmarks/RESULTS.md). A
    server compares it as fast; the embedded engine takes 1.4 times as long, where all documents are compared. Local
    mode keeps float32 whatever is asked for.

    Bytes per document of 100 tokens at 128 dimensions. nDCG@10 of all-MiniLM-L6-v2-int8 on a server of 1.19, on
    XQuAD / Cranfield / SciFact (240, 844 and 406 documents, 100 questions each; tests/benchmarks/storage.py), as a
    collection searches, and by the quantised copy alone, nothing rescored. A difference of a hundredth may be chance.
    Time is that of a search over all documents, beside float32's: the mean of the three sets.

    =======================  ===============  =====================  =====================  ====
    setting                  bytes            nDCG@10                copy alone             time
    =======================  ===============  =====================  =====================  ====
    ``float32``              51,200           .9792 / .4602 / .8827                         1.0
    ``float16``              25,600           .9792 / .4602 / .8827                         1.0
    ``turbo4``               6,400            .9792 / .4597 / .8827                         1.1
    quantised ``int8``       25,600 + 12,800  .9792 / .4602 / .8827  .9792 / .4590 / .8827  0.7
    quantised ``turbo``      25,600 + 6,400   .9792 / .4602 / .8827  .9792 / .4604 / .8832  1.1
    quantised ``turbo2``     25,600 + 3,200   .9792 / .4602 / .8827  .9792 / .4630 / .8828  1.2
    quantised ``turbo1.5``   25,600 + 2,400   .9792 / .4602 / .8827  .9725 / .4634 / .8910  2.1
    quantised ``turbo1``     25,600 + 1,600   .9792 / .4602 / .8827  .9799 / .4628 / .8864  1.0
    quantised ``binary2``    25,600 + 3,200   .9792 / .4602 / .8827  .9796 / .4608 / .8786  0.5
    quantised ``binary1.5``  25,600 + 2,400   .9792 / .4602 / .8827  .9799 / .4563 / .8762  0.5
    quantised ``binary``     25,600 + 1,600   .9792 / .4602 / .8827  .9813 / .4627 / .8872  0.5
    quantised ``product``    25,600 + 3,200   .9792 / .4602 / .8827  .9792 / .4536 / .8913  2.5
    =======================  ===============  =====================  =====================  ====

    ``turbo4`` needs a server of 1.18.2 or newer; both kinds of ``turbo8`` (12,800 bytes) one of 1.20. ``uint8``
    (12,800) is for vectors that are integers by nature.

    Quantised vectors stand beside the originals, which can then lie on disk (`on_disk`).

    Parameters
    ----------
    datatype
        Of the stored token vectors.
    quantization
        A smaller copy to search in; found candidates are rescored by the originals. ``"turbo"`` has 4 bits a number and
        ``"binary"`` 1, others are in the names. Or Qdrant's own parameters, such as a `models.BinaryQuantization`
        with a ``query_encoding``.
    oversampling
        How many times the wanted number of candidates is rescored, where the collection is quantised.
    on_disk
        Keep token vectors on disk, read when needed: less memory, slower. Else they are read ahead. Quantised copies
        are always kept in memory. (The tiers ``cold``, ``cached`` and ``pinned`` of servers from 1.19 on; older ones
        are told by their flags.)
    on_disk_payload
        The same for payloads; ``None``: as the server does by itself.
    hnsw
        Parameters of the vectors' graph, of first stages too; the multivector's own is switched off by the first
        stage. What is left open is Qdrant's (``m=16``, ``ef_construct=100``), of MUVERA's stage ``m=64``: by its signs
        a smaller graph does not reach documents that are unlike all others.
    shard_number, replication_factor, write_consistency_factor
        Of a cluster. A write is acknowledged by `write_consistency_factor` copies: with as many as there are copies, it
        waits for a node that is dead to come back; with 1 (Qdrant's default) it goes on, on the copies that are left.
        What is refused stays in the copies that took it: the same `add`, `add_stage` or `upgrade` again writes it to
        all. So does the same `delete`, of the same ids or by the same filter: by reading nobody finds what one copy
        has and another lacks, so `colbert-qdrant prune`, which reads what to delete, does not.
        https://qdrant.tech/documentation/guides/distributed_deployment/
    """

    datatype: Datatype = "float16"
    quantization: Quantization | models.QuantizationConfig | None = None
    oversampling: float = 2.0
    on_disk: bool = False
    on_disk_payload: bool | None = None
    hnsw: models.HnswConfigDiff | None = None
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None

    def __post_init__(self) -> None:
        """Refuse names that Qdrant does not know."""
        if self.datatype not in _BYTES_PER_NUMBER:
            raise InvalidInput(f"datatype={self.datatype!r}: use one of {', '.join(_BYTES_PER_NUMBER)}")
        if isinstance(self.quantization, str) and self.quantization not in _CONFIGS:
            raise InvalidInput(f"quantization={self.quantization!r}: use one of {', '.join(_CONFIGS)}, or None")
        if not isinstance(self.quantization, (str, type(None), *get_args(models.QuantizationConfig))):
            raise InvalidInput(f"quantization={self.quantization!r:.60}: give a name or Qdrant's own parameters")
        if self.oversampling < 1:
            raise InvalidInput(f"oversampling={self.oversampling}: give at least 1")

    @property
    def vector_options(self) -> dict[str, Any]:
        """Arguments of the multivector's ``VectorParams``."""
        options: dict[str, Any] = {}
        if self.datatype != "float32":
            options["datatype"] = models.Datatype(self.datatype)
        if self.on_disk:
            options["memory"] = models.Memory.COLD
        if self.quantization is not None:
            asked = self.quantization
            options["quantization_config"] = _CONFIGS[asked] if isinstance(asked, str) else asked
        return options

    @property
    def collection_options(self) -> dict[str, Any]:
        """Arguments of ``create_collection``."""
        cold = self.on_disk_payload
        tier = None if cold is None else models.Memory.COLD if cold else models.Memory.CACHED
        options = {
            "payload": None if tier is None else models.PayloadStorageParams(memory=tier),
            "hnsw_config": self.hnsw,
            "shard_number": self.shard_number,
            "replication_factor": self.replication_factor,
            "write_consistency_factor": self.write_consistency_factor,
        }
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Footprint:
    """What documents take, estimated before they are there.

    Parameters
    ----------
    documents
        How many.
    bytes_per_document
        Vectors, their quantised copies, first stages and text.
    memory, disk
        In bytes, of all documents. The write-ahead log and segments being rewritten come on top, for a time up to as
        much again on disk.
    """

    documents: int
    bytes_per_document: int
    memory: int
    disk: int

    def __str__(self) -> str:
        return (
            f"{self.documents:,} documents at {self.bytes_per_document:,} bytes: "
            f"{self.memory / 2**30:.2f} GiB of memory, {self.disk / 2**30:.2f} GiB on disk"
        )


class StoredBytes(NamedTuple):
    """What a vector takes of a document."""

    memory: float
    disk: float


def stored_bytes(numbers: float, params: models.VectorParams) -> StoredBytes:
    """Return what so many numbers take, stored like this."""
    copies = numbers * _quantized_bits(params.quantization_config) / 8
    originals = numbers * _BYTES_PER_NUMBER[params.datatype.value if params.datatype else "float32"]
    return StoredBytes(copies + (0 if is_cold(params) else originals), copies + originals)


def _quantized_bits(config: Any) -> float:
    """Return what the quantised copy of a number takes."""
    match config:
        case models.ScalarQuantization():
            return 8
        case models.BinaryQuantization(binary=binary):
            return _BITS_OF_BINARY[binary.encoding or models.BinaryQuantizationEncoding.ONE_BIT]
        case models.ProductQuantization(product=product):
            return 32 / int(product.compression.value.removeprefix("x"))
        case models.TurboQuantization(turbo=turbo):
            return _BITS_OF_TURBO[turbo.bits or models.TurboQuantBitSize.BITS4]
        case _:
            return 0


def footprint(
    storage: Storage,
    *,
    documents: int,
    tokens: float,
    dim: int,
    stages: Sequence[StoredBytes],
    text: float,
) -> Footprint:
    """Estimate what documents take.

    Parameters
    ----------
    storage
        How they are stored.
    documents
        How many.
    tokens
        Vectors a document, on average.
    dim
        Length of a token vector.
    stages
        What each first stage's vector takes.
    text
        Bytes of payload a document, on average.
    """
    params = models.VectorParams(size=dim, distance=models.Distance.COSINE, **storage.vector_options)
    vectors = [stored_bytes(tokens * dim, params), *stages]
    memory = sum(each.memory for each in vectors) + (0 if storage.on_disk_payload else text)
    disk = sum(each.disk for each in vectors) + text
    stored = documents * (storage.replication_factor or 1)
    return Footprint(documents, round(disk), round(memory * stored), round(disk * stored))
