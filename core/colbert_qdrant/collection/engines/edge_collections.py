"""The collections of the embedded engine: made, opened, described, indexed, closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_qdrant.checks import check_text
from colbert_qdrant.collection.engines import edge_answers as answers
from colbert_qdrant.collection.engines import edge_sharing as sharing
from colbert_qdrant.collection.engines.edge_errors import engine_errors
from colbert_qdrant.collection.engines.edge_folder import CollectionFolder, exists
from colbert_qdrant.collection.engines.edge_schema import collection_info, with_vector, without_vector
from colbert_qdrant.collection.engines.edge_translate import engine, refuse, translate
from colbert_qdrant.errors import CollectionLocked, EngineError, InvalidInput

if TYPE_CHECKING:
    from os import PathLike
    from typing import Self

    from qdrant_client.http import models

_REFUSED = frozenset('<>:"/\\|?*\0\x1f')  # in names, as a server refuses them


class EdgeCollections:
    """What `EdgeClient` does with whole collections; its parameters and behaviour are described there."""

    def __init__(self, path: str | PathLike[str]) -> None:
        engine()
        if str(path) == ":memory:":
            raise InvalidInput("The embedded engine has no in-memory mode: use QdrantClient(':memory:').")
        with engine_errors(f"path={path!r}"):
            self.path = Path(check_text(os.fspath(path), "path")).absolute()
            if self.path.exists() and not self.path.is_dir():
                raise InvalidInput(f"{self.path} is a file, the embedded engine needs a folder.")
            if (self.path / "meta.json").is_file():  # a folder of that name is a collection
                raise InvalidInput(
                    f"{self.path} belongs to qdrant_client's local mode: open it with client=QdrantClient(path=...), "
                    "or choose another folder."
                )
        self._held: dict[str, CollectionFolder] = {}
        self._holding = threading.RLock()
        self._closed = False
        self._process = os.getpid()

    def collection_exists(self, collection_name: str) -> bool:
        """Return whether the collection exists, without opening it."""
        self._check_usable()
        with engine_errors(f"Collection {collection_name!r}"):
            return exists(self._folder(collection_name))

    def get_collections(self) -> models.CollectionsResponse:
        """Return the names of all collections, without opening them."""
        from qdrant_client.http import models

        self._check_usable()
        with engine_errors(f"The folder {self.path}"):
            names = sorted(folder.name for folder in self.path.glob("*") if exists(folder))
        return models.CollectionsResponse(collections=[models.CollectionDescription(name=name) for name in names])

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Return what the collection was made with, its metadata and its counts."""
        with self._collection(collection_name) as collection:
            return collection_info(collection.description, collection.shard.info())

    def create_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorParams | Mapping[str, models.VectorParams] | None = None,
        sparse_vectors_config: Mapping[str, models.SparseVectorParams] | None = None,
        on_disk_payload: bool | None = None,
        payload: models.PayloadStorageParams | None = None,
        hnsw_config: models.HnswConfigDiff | None = None,
        optimizers_config: models.OptimizersConfigDiff | None = None,
        quantization_config: models.QuantizationConfig | None = None,
        metadata: dict[str, Any] | None = None,
        **unsupported: object,
    ) -> bool:
        """Make a collection; what a killed process left of one is replaced."""
        from pydantic_core import to_jsonable_python
        from qdrant_client.http import models

        refuse("create_collection", unsupported)
        with engine_errors(f"Collection {collection_name!r}"):
            description = models.CreateCollection.model_validate(
                {
                    "vectors": vectors_config,
                    "sparse_vectors": sparse_vectors_config,
                    "on_disk_payload": on_disk_payload,
                    "payload": payload,
                    "hnsw_config": hnsw_config,
                    "optimizers_config": optimizers_config,
                    "quantization_config": quantization_config,
                    "metadata": to_jsonable_python(metadata),
                }
            )
        self._hold(collection_name, description)
        return True

    def update_collection(
        self, collection_name: str, metadata: dict[str, Any] | None = None, **unsupported: object
    ) -> bool:
        """Merge into the collection's metadata, key by key; a value of None removes its key."""
        from pydantic_core import to_jsonable_python

        refuse("update_collection", unsupported)
        with self._collection(collection_name) as collection:
            merged = (collection.description.metadata or {}) | to_jsonable_python(metadata or {})
            kept = {key: value for key, value in merged.items() if value is not None}
            collection.describe(collection.description.model_copy(update={"metadata": kept}))
        return True

    def delete_collection(self, collection_name: str, **unsupported: object) -> bool:
        """Remove the collection from disk; False when there is none."""
        refuse("delete_collection", unsupported)
        if not self.collection_exists(collection_name):
            return False
        sharing.drop(self._folder(collection_name))
        return True

    def create_vector_name(
        self,
        collection_name: str,
        vector_name: str,
        vector_name_config: models.DenseVectorNameConfig | models.SparseVectorNameConfig,
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Add a vector to the collection; the points that are there have none under its name yet."""
        refuse("create_vector_name", unsupported)
        with self._collection(collection_name) as collection:
            operation, description = with_vector(collection.description, vector_name, vector_name_config)
            collection.update(operation)
            collection.describe(description)
        return answers.completed()

    def delete_vector_name(
        self, collection_name: str, vector_name: str, wait: bool = True, **unsupported: object
    ) -> models.UpdateResult:
        """Remove a vector from the collection and from its points."""
        refuse("delete_vector_name", unsupported)
        with self._collection(collection_name) as collection:
            operation, description = without_vector(collection.description, vector_name)
            collection.update(operation)
            collection.describe(description)
        return answers.completed()

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: models.PayloadSchemaType | models.PayloadSchemaParams,
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Index a payload field: filters on it no longer scan, `order_by` and `facet` become possible."""
        from qdrant_client.http import models

        refuse("create_payload_index", unsupported)
        with self._collection(collection_name) as collection:
            schema = models.PayloadSchemaType(field_schema) if isinstance(field_schema, str) else field_schema
            collection.update(engine().UpdateOperation.create_field_index(field_name, translate(schema)))
        return answers.completed()

    def delete_payload_index(
        self, collection_name: str, field_name: str, wait: bool = True, **unsupported: object
    ) -> models.UpdateResult:
        """Index a payload field no longer; one that isn't indexed is no error."""
        refuse("delete_payload_index", unsupported)
        with self._collection(collection_name) as collection:
            collection.update(engine().UpdateOperation.delete_field_index(field_name))
        return answers.completed()

    def optimize(self, collection_name: str) -> bool:
        """Build the indexes, merge the segments, give back what deleted points keep; False when there was none of it.

        It holds the global interpreter lock throughout: 2 s for 10,000 documents, 45 s for 50,000 (on two cores).
        """
        with self._collection(collection_name) as collection:
            return collection.optimize()

    def flush(self, collection_name: str) -> None:
        """Put every write on disk, so that it survives a power failure."""
        with self._collection(collection_name) as collection:
            collection.flush()

    def close(self) -> None:
        """Give up every collection, which flushes and closes those that nobody else in this process uses.

        A call that runs in another thread is waited for; the next one finds the client closed, and so it stays. In a
        forked child nothing is done, the collections are the parent's.
        """
        if self._process != os.getpid():
            return
        with self._holding, ExitStack() as each_even_if_one_fails:
            self._closed = True
            for collection in self._held.values():
                each_even_if_one_fails.callback(sharing.release, collection, self)
            self._held = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _folder(self, collection_name: str) -> Path:
        name = check_text(collection_name, "collection name")
        if not 0 < len(name.encode()) < 256 or name in (".", "..") or _REFUSED & set(name):
            raise InvalidInput(
                f"{name!r:.80} is no name for a collection: 1 to 255 bytes of UTF-8, none of {sorted(_REFUSED)}."
            )
        return self.path / name

    def _check_usable(self) -> None:
        if self._process != os.getpid():  # before any lock, which a thread of the parent may hold for ever
            raise CollectionLocked(
                f"The embedded collections in {self.path} are open in process {self._process}, of which this one is a "
                "fork: two processes that write would destroy them. Open them in one process only, after the fork, or "
                "run a Qdrant server."
            )
        if self._closed:
            raise EngineError(f"The EdgeClient of {self.path} is closed.")

    def _hold(self, name: str, description: models.CreateCollection | None = None) -> CollectionFolder:
        self._check_usable()
        with self._holding:
            self._check_usable()  # closed while this thread waited for its turn
            if name not in self._held or self._held[name].closed or description is not None:
                with engine_errors(f"Collection {name!r}"):
                    self._held[name] = sharing.hold(self._folder(name), self, description)
            return self._held[name]

    @contextmanager
    def _collection(self, name: str) -> Iterator[CollectionFolder]:
        while True:
            collection = self._hold(name)
            with engine_errors(f"Collection {name!r}"), collection.turn:
                if not collection.closed:  # by another thread, while this one waited for its turn
                    yield collection
                    return
