"""Move a collection: embedded to server, server to embedded, or from one server to another.

What one learns: vectors travel as they are, so no model is needed and nothing is encoded; the copy is streamed, and a
run that was stopped is finished by running it again.

    python examples/migrate.py movies --from ./data --to http://localhost:6333
    python examples/migrate.py movies --from http://localhost:6333 --to ./backup
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from colbert_qdrant.collection.engines import Engine, Place, connect
from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.points import cut_by_bytes
from colbert_qdrant.errors import ColbertQdrantError, CollectionNotFound

PAGE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--from", dest="source", required=True, help="a folder or a url")
    parser.add_argument("--to", dest="target", required=True, help="a folder or a url")
    options = parser.parse_args()
    try:
        source, target = engine(options.source), engine(options.target)
        try:
            copied, skipped = copy(options.collection, source, target)
        finally:
            source.close()
            target.close()
    except ColbertQdrantError as error:
        sys.exit(str(error))
    print(f"{copied} records copied, {skipped} were there already")


def engine(place: str) -> Engine:
    """Open a url as a server and anything else as a folder of the embedded engine."""
    return connect(Place(url=place) if "://" in place else Place(path=place))


def copy(name: str, source: Engine, target: Engine) -> tuple[int, int]:
    """Copy what the target lacks; returns how many records were copied and how many it had."""
    collection = {"collection_name": name}
    if not source.call("collection_exists", collection):
        raise CollectionNotFound(f"there is no collection {name!r} to copy")
    if not target.call("collection_exists", collection):
        target.call("create_collection", creation(name, source.call("get_collection", collection)))
    copied = skipped = 0
    offset = None
    while True:
        page = {**collection, "limit": PAGE, "offset": offset, "with_payload": True, "with_vectors": True}
        records, offset = source.call("scroll", page)
        stored = target.call("retrieve", {**collection, "ids": [record.id for record in records]})
        hashes = {record.id: (record.payload or {}).get(HASH_KEY) for record in stored}
        missing = [as_point(r) for r in records if r.id not in hashes or hashes[r.id] != r.payload.get(HASH_KEY)]
        for request in cut_by_bytes(missing, target.wire):
            target.call("upsert", {**collection, "points": request, "wait": True})
        copied += len(missing)
        skipped += len(records) - len(missing)
        if offset is None:
            return copied, skipped


def creation(name: str, info: Any) -> Mapping[str, Any]:
    """Return the arguments that make the collection again as it is."""
    params = info.config.params
    arguments = {
        "collection_name": name,
        "vectors_config": params.vectors,
        "sparse_vectors_config": params.sparse_vectors,
        "metadata": info.config.metadata,
    }
    return {key: value for key, value in arguments.items() if value}


def as_point(record: Any) -> Any:
    """Return a record as a point to upsert, its vectors as arrays."""
    import numpy as np
    from qdrant_client import models

    vector = record.vector
    if isinstance(vector, Mapping):
        arrays: Any = {
            key: value if isinstance(value, models.SparseVector) else np.asarray(value, dtype=np.float32)
            for key, value in vector.items()
        }
    else:
        arrays = np.asarray(vector, dtype=np.float32)
    return models.PointStruct.model_construct(id=record.id, vector=arrays, payload=record.payload)


if __name__ == "__main__":
    main()
