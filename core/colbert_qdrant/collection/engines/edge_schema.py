"""What an embedded collection is made of: `CreateCollection` as the engine's configuration, and as `CollectionInfo`.

The engine can't be asked for its configuration, so the request that made the collection is kept beside it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from colbert_qdrant.collection.engines.edge_translate import (
    HNSW_DEFAULTS,
    engine,
    only,
    set_fields,
    translate,
    twin,
)
from colbert_qdrant.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from qdrant_client.http import models

    Named: TypeAlias = models.DenseVectorNameConfig | models.SparseVectorNameConfig

OPTIMIZER_DEFAULTS = {"vacuum_min_vector_number": 100}
"""Where Qdrant's own default (1,000) is not for us."""


def shard_config(description: models.CreateCollection) -> Any:
    """Return the engine's ``EdgeConfig``, with the write-ahead log on.

    Segments of few points are freed of deleted ones as well: a point of many token vectors is large.

    What a vector's HNSW leaves open comes from the collection's, and what that leaves open from Qdrant's defaults, as
    on a server; the engine's own type must be told everything.
    """
    from qdrant_client.http import models

    collection_hnsw = dict(HNSW_DEFAULTS) | set_fields(description.hnsw_config)

    def vector(params: models.VectorParams) -> Any:
        hnsw = params.hnsw_config
        return twin(params, hnsw_config=hnsw and twin(hnsw.model_copy(update=collection_hnsw | set_fields(hnsw))))

    optimizers = twin(
        models.OptimizersConfigDiff(**dict(OPTIMIZER_DEFAULTS) | set_fields(description.optimizers_config))
    )
    return twin(
        description,
        optimizers_config=optimizers,
        vectors={name: vector(params) for name, params in dense_vectors(description).items()},
        payload=None,
        payload_memory=translate(description.payload and description.payload.memory),
        metadata=None,  # the engine keeps none
        wal_enabled=True,
    )


def dense_vectors(description: models.CreateCollection) -> dict[str, models.VectorParams]:
    """Return the dense vectors, single and multi, by name; the unnamed one is ``""``."""
    vectors = description.vectors or {}
    return vectors if isinstance(vectors, dict) else {"": vectors}


def all_vectors(description: models.CreateCollection) -> dict[str, models.VectorParams | models.SparseVectorParams]:
    """Return every vector by name; the unnamed one is ``""``."""
    return {**dense_vectors(description), **(description.sparse_vectors or {})}


def recovered(config: bytes) -> models.CreateCollection:
    """Return the description of a shard by its own configuration, which lacks nothing but the metadata.

    Raises
    ------
    EngineError
        It can't be read.
    """
    from pydantic import ValidationError
    from qdrant_client.http import models

    try:
        kept = json.loads(config)
        vectors = kept.get("vectors") or {}
        return models.CreateCollection.model_validate(
            {
                "vectors": vectors[""] if list(vectors) == [""] else vectors,
                "sparse_vectors": kept.get("sparse_vectors") or None,
                "on_disk_payload": kept.get("on_disk_payload"),
                "payload": {"memory": kept.get("payload_memory")},
                "hnsw_config": kept.get("hnsw_config"),
                "optimizers_config": kept.get("optimizers"),
                "quantization_config": kept.get("quantization_config"),
            }
        )
    except (ValueError, AttributeError, ValidationError) as error:
        raise EngineError(
            f"collection.json is gone, and the shard's own configuration can't be read: {error}"
        ) from None


def with_vector(description: models.CreateCollection, name: str, config: Named) -> tuple[Any, models.CreateCollection]:
    """Return the engine's operation that adds a vector, and the description with it."""
    from qdrant_client.http import models

    if name in all_vectors(description):
        raise InvalidInput(f"vector {name!r} exists already.")
    operations = engine().UpdateOperation
    if isinstance(config, models.SparseVectorNameConfig):
        modifier, datatype = only(*only(config, "sparse"), "modifier", "datatype")
        index = models.SparseIndexParams(datatype=datatype and datatype.value)
        sparse = models.SparseVectorParams(modifier=modifier, index=index)
        update: dict[str, object] = {"sparse_vectors": {**(description.sparse_vectors or {}), name: sparse}}
        operation = operations.create_sparse_vector(name, translate(modifier), translate(datatype))
    else:
        (dense,) = only(config, "dense")
        update = {"vectors": {**dense_vectors(description), name: models.VectorParams(**dense.model_dump())}}
        operation = operations.create_dense_vector(name, **translate(set_fields(dense)))
    return operation, description.model_copy(update=update)


def without_vector(description: models.CreateCollection, name: str) -> tuple[Any, models.CreateCollection]:
    """Return the engine's operation that removes a vector, and the description without it."""
    if name not in all_vectors(description):
        raise InvalidInput(f"there is no vector {name!r}.")
    dense = {each: params for each, params in dense_vectors(description).items() if each != name}
    sparse = {each: params for each, params in (description.sparse_vectors or {}).items() if each != name}
    operation = engine().UpdateOperation.delete_vector_name(name)
    return operation, description.model_copy(update={"vectors": dense, "sparse_vectors": sparse or None})


def collection_info(description: models.CreateCollection, info: Any) -> models.CollectionInfo:
    """Return `CollectionInfo`: what was asked for, Qdrant's defaults for the rest, and the engine's counts."""
    from qdrant_client.http import models

    return models.CollectionInfo(
        status=models.CollectionStatus.GREEN,
        optimizer_status=models.OptimizersStatusOneOf.OK,
        indexed_vectors_count=info.indexed_vectors_count,
        points_count=info.points_count,
        segments_count=info.segments_count,
        config=models.CollectionConfig(
            params=models.CollectionParams(
                vectors=description.vectors,
                sparse_vectors=description.sparse_vectors,
                on_disk_payload=description.on_disk_payload,
                payload=description.payload,
            ),
            hnsw_config=models.HnswConfig(**dict(HNSW_DEFAULTS) | set_fields(description.hnsw_config)),
            optimizer_config=models.OptimizersConfig(
                **{"default_segment_number": 0, "flush_interval_sec": 0} | set_fields(description.optimizers_config)
            ),
            quantization_config=description.quantization_config,
            metadata=description.metadata,
        ),
        payload_schema={
            field: models.PayloadIndexInfo(data_type=_data_type(index), points=index.points)
            for field, index in info.payload_schema.items()
        },
    )


def _data_type(index: Any) -> models.PayloadSchemaType:
    from qdrant_client.http import models

    return models.PayloadSchemaType(str(index.data_type).rpartition(".")[2].lower())
