"""What the arguments of LlamaIndex's own ``QdrantVectorStore`` mean here, where they mean something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from colbert_qdrant.checks import as_whole
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant.collection.indexes import Index

WITHOUT_EFFECT = {
    "aclient": "asynchronous methods need no second client",
    "batch_size": "requests are cut by their bytes",
    "parallel": "encoding and upload overlap as they are",
    "max_retries": "what fails for a passing reason is tried again, with growing pauses",
}

INSTEAD = {
    "text_key": "content_key=",
    "dense_vector_name": "vector_name=",
    "sparse_vector_name": "stages=[Muvera(dim), Bm25(name=...)]",
    "client_kwargs": "client_options=",
    "dense_config": "storage=Storage(...)",
    "quantization_config": "storage=Storage(quantization=...)",
    "shard_number": "storage=Storage(shard_number=...)",
    "replication_factor": "storage=Storage(replication_factor=...)",
    "write_consistency_factor": "storage=Storage(write_consistency_factor=...)",
    "sparse_config": "stages=[..., Bm25()], whose words Qdrant weighs itself",
    "fastembed_sparse_model": "stages=[..., Sparse(SparseTextEmbedding(...))], or Bm25() for the words as they are",
    "enable_native_bm25": "enable_hybrid=True, whose words are BM25's",
    "native_bm25_model": "enable_hybrid=True, whose words are BM25's",
    "bm25_config": "stages=[Muvera(dim), Bm25(language=..., average_length=...)]",
    "sparse_doc_fn": "stages=[..., Sparse(encoder)], which encodes documents and queries",
    "sparse_query_fn": "stages=[..., Sparse(encoder)], which encodes documents and queries",
    "hybrid_fusion_fn": "alpha=, or vector_store_kwargs={'final': Blend(...)}, which weighs MaxSim with the stages",
    "sharding_method": "shard_key=",
    "shard_keys": "shard_key= of a store for each, and tenant=",
    "shard_key_selector_fn": "shard_key= of a store for each, and tenant=",
    "shard_identifier": "shard_key= of a store for each, and tenant=",
}


def refuse(arguments: Mapping[str, Any], of: str) -> None:
    """Refuse arguments that are none, and name what stands for those of LlamaIndex's own store.

    Raises
    ------
    InvalidInput
        There are any that are not without effect.
    """
    for name, value in arguments.items():
        if name in WITHOUT_EFFECT or (name in INSTEAD and value is None):
            continue
        instead = f"; use {INSTEAD[name]}" if name in INSTEAD else ""
        raise InvalidInput(f"{name}= is no argument of {of}{instead}")


def check_limit(limit: int | None) -> None:
    """Refuse a limit that is none; what counts from the end of a list here does not there.

    Raises
    ------
    InvalidInput
        It is below 0, or no whole number.
    """
    if limit is not None and ((count := as_whole(limit)) is None or count < 0):
        raise InvalidInput(f"limit={limit!r:.60}: give a whole number from 0 on, or None for all")


def indexes_of(
    indexes: Mapping[str, Index] | None, payload_indexes: Sequence[Mapping[str, Any]] | None
) -> dict[str, Index]:
    """Return payload indexes as the collection takes them, from either form.

    Raises
    ------
    InvalidInput
        One of `payload_indexes` is not of LlamaIndex's form.
    """
    wanted: dict[str, Index] = dict(indexes or {})
    for each in payload_indexes or ():
        if set(each) != {"field_name", "field_schema"}:
            raise InvalidInput(
                f"payload_indexes has {dict(each)!r:.80}; give field_name and field_schema, or indexes={{'year': "
                "'integer'}"
            )
        schema = each["field_schema"]
        wanted[each["field_name"]] = getattr(schema, "value", schema)
    return wanted
