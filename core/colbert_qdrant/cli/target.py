"""Which collection a command works on, and with which model."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import (
    ColbertQdrantError,
    CollectionNotFound,
    InvalidInput,
    MissingExtra,
    ModelFilesNotFound,
)

if TYPE_CHECKING:
    from qdrant_client import models

    from colbert_qdrant import ColbertEmbedder, MultivectorCollection, Storage
    from colbert_qdrant.collection.engines import Engine


@dataclass(frozen=True, slots=True)
class Making:
    """How a new collection is made; what is ``None`` is as always.

    Parameters
    ----------
    stages
        Names of first stages; a collection that exists is given those that it lacks.
    half
        Whether to store half precision.
    pool
        Keep about one in so many vectors.
    """

    stages: tuple[str, ...] = ()
    half: bool | None = None
    pool: float | None = None

    @property
    def storage(self) -> Storage | None:
        """How to store; ``None``: as always."""
        from colbert_qdrant import Storage

        return None if self.half is None else Storage(datatype="float16" if self.half else "float32")

    @property
    def pooling(self) -> dict[str, Any]:
        """Arguments of the embedder."""
        return {} if self.pool is None else {"pool_factor": self.pool}

    def stages_for(self, embedder: ColbertEmbedder) -> list[Any]:
        """Return the first stages."""
        from colbert_qdrant import Bm25, Muvera

        return [Muvera.from_embedder(embedder) if name == "muvera" else Bm25() for name in dict.fromkeys(self.stages)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A collection as the options of a command name it.

    Parameters
    ----------
    path, url, api_key
        Where it lives: one of `path` and `url`.
    name
        The collection's name.
    model
        The model to use; ``None``: the one that the collection was made with.
    """

    path: Path | None
    url: str | None
    api_key: str | None = field(repr=False)
    name: str
    model: str | None

    @property
    def described(self) -> str:
        """Which collection it is, for people."""
        return f"collection {self.name!r} in {self.url or self.path}"

    @property
    def place(self) -> dict[str, Any]:
        """Where it lives, as `Place` has it."""
        return {"path": self.path, "url": self.url, "api_key": self.api_key}

    @property
    def options(self) -> str:
        """The options that name it again, for a shell."""
        place = f"--url {shlex.quote(self.url)}" if self.url else f"--path {shlex.quote(str(self.path))}"
        return place if self.name == "documents" else f"{place} --collection {shlex.quote(self.name)}"

    def to_fill(self, making: Making) -> MultivectorCollection:
        """Open the collection as it was made, or make it; documents longer than the model reads are encoded whole.

        Raises
        ------
        InvalidInput
            It exists, and was made otherwise than `making` asks for.
        """
        info = self._info()
        if info is None:
            return self._make(making)
        settings = remembered(info)
        self._check(making, info, settings)
        embedder = self._embedder(settings, pooled=True) if self._is_made_with(settings) else self.model or ""
        collection = self._open(embedder, **_payload_keys(settings))
        try:
            self._grow(collection, making)
        except BaseException:
            collection.close()
            raise
        return collection

    def rehearsal(self, making: Making) -> MultivectorCollection:
        """Return a collection in memory that is made as the real one is, or would be."""
        from colbert_qdrant import MultivectorCollection

        info = self._info()
        settings = {} if info is None else remembered(info)
        if info is None or not self._is_made_with(settings):
            embedder = self._new_embedder(making)
        else:
            embedder = self._embedder(settings, pooled=True)
        with warnings.catch_warnings():  # that memory keeps float32; the estimate is not of what memory does
            warnings.simplefilter("ignore")
            stages = making.stages_for(embedder)
            return MultivectorCollection(self.name, embedder, storage=making.storage, stages=stages)

    def to_search(self) -> MultivectorCollection:
        """Open the collection, which exists.

        Its embedder does not pool, whatever the collection's did: that changes no query, and leaves one vector a token
        to explain a hit by.

        Raises
        ------
        CollectionNotFound
            It does not exist; names those that do.
        """
        settings = remembered(self.info())
        embedder = self._embedder(settings, pooled=False) if self._is_made_with(settings) else self.model or ""
        return self._open(embedder, **_payload_keys(settings))

    def to_upgrade(self) -> ColbertEmbedder:
        """Return what gives token vectors to the collection, which exists: as its upgrade was begun, or the default."""
        settings = remembered(self.info())
        if settings and self._is_made_with(settings):
            return self._embedder(settings, pooled=True)
        return self._new_embedder(Making())

    def _is_made_with(self, settings: Mapping[str, Any]) -> bool:
        from colbert_qdrant.embedders import same_model

        return self.model is None or ("model" in settings and same_model(self.model, str(settings["model"])))

    def _make(self, making: Making) -> MultivectorCollection:
        embedder = self._new_embedder(making)
        return self._open(embedder, stages=making.stages_for(embedder), storage=making.storage)

    def _new_embedder(self, making: Making) -> ColbertEmbedder:
        """Return an embedder with the model asked for, or the default one, or, without a hub, the one of PyPI."""
        from colbert_qdrant.embedding.embedder import DEFAULT_MODEL, ColbertEmbedder
        from colbert_qdrant.embedding.registry import OFFLINE_MODEL

        try:
            return ColbertEmbedder(self.model or DEFAULT_MODEL, long_documents="window", **making.pooling)
        except ModelFilesNotFound as error:
            if self.model is not None:
                error.add_note(f"No hub in reach? `--model {OFFLINE_MODEL}` needs none.")
                raise
            try:
                embedder = ColbertEmbedder(OFFLINE_MODEL, long_documents="window", **making.pooling)
            except MissingExtra as missing:
                error.add_note(f"The model that needs no hub is not there either: {missing}")
                raise error from None
        warnings.warn(
            f"{DEFAULT_MODEL} can't be had, as the hub is out of reach: {self.described} is made with {OFFLINE_MODEL}, "
            "which finds less, and stays with it. --model names another one",
            stacklevel=2,
        )
        return embedder

    def _check(self, making: Making, info: models.CollectionInfo, settings: Mapping[str, Any]) -> None:
        """Refuse what only a new collection can be given."""
        pool = settings.get("pool_factor", 1)
        if making.pool is not None and making.pool != pool:
            raise InvalidInput(
                f"{self.described} keeps one vector in {pool:g}; --pool {making.pool:g} is for a new collection"
            )
        vectors = info.config.params.vectors
        all_params = vectors.values() if isinstance(vectors, Mapping) else [vectors]
        is_half = any(params and params.multivector_config and params.datatype == "float16" for params in all_params)
        if making.half is not None and making.half != is_half:
            stored = "half" if is_half else "full"
            raise InvalidInput(f"{self.described} is stored in {stored} precision; choose that for a new collection")

    def _grow(self, collection: MultivectorCollection, making: Making) -> None:
        """Give a collection the first stages that it lacks."""
        there = {stage.name for stage in collection.layout.stages}
        embedder: Any = collection.embedder
        lacking = replace(making, stages=tuple(name for name in making.stages if name not in there))
        for stage in lacking.stages_for(embedder):
            collection.add_stage(stage)

    def _embedder(self, settings: Mapping[str, Any], *, pooled: bool) -> ColbertEmbedder:
        """Return the embedder that a collection remembers."""
        from colbert_qdrant import ColbertEmbedder
        from colbert_qdrant.embedding import registry

        made_with = settings.get("model")
        if not isinstance(made_with, str):
            raise InvalidInput(
                f"collection {self.name!r} does not say which model its vectors are from: name it with --model"
            )
        row = registry.find(made_with)
        if row is None and self.model is None:  # a name in an answer of a server's opens no folder of ours
            raise InvalidInput(
                f"collection {self.name!r} was made with {made_with!r}, which is no model known by name: give the "
                "folder that holds it with --model"
            )
        quantized = row is not None and PurePath(row.quantized_file or "").name == settings.get("file")
        names = ["document_length", "long_documents", "precision", *(["pool_factor", "max_vectors"] if pooled else [])]
        options = {"precision": "float32"} | {name: settings[name] for name in names if name in settings}
        if not pooled:
            options["pool_factor"] = 1  # a checkpoint may pool by itself
        name = self.model or made_with
        embedder = ColbertEmbedder(name, quantized=quantized, **options)
        dim = settings.get("dim", embedder.dim)
        # Few models were trained to be cut: of the others their own length is no `dim` to ask for.
        return embedder if dim == embedder.dim else ColbertEmbedder(name, quantized=quantized, dim=dim, **options)

    def _open(self, embedder: ColbertEmbedder | str, **options: Any) -> MultivectorCollection:
        from colbert_qdrant import MultivectorCollection

        return MultivectorCollection(self.name, embedder, **self.place, **options)

    def exists(self) -> bool:
        """Return whether the collection is there."""
        try:
            self.info()
        except CollectionNotFound:
            return False
        return True

    def info(self) -> models.CollectionInfo:
        """Return what the engine says of the collection.

        Raises
        ------
        CollectionNotFound
            It does not exist; names those that do.
        """
        if self.path is not None and not self.path.exists():  # to look into it would make it
            raise CollectionNotFound(f"there is no folder {self.path}; `colbert-qdrant index` makes one")
        info = self._info()
        if info is None:
            raise CollectionNotFound(self._what_there_is())
        return info

    def _info(self) -> models.CollectionInfo | None:
        with closing(self.connect()) as engine:
            name = {"collection_name": self.name}
            if not engine.call("collection_exists", name):
                return None
            info: models.CollectionInfo = engine.call("get_collection", name)
            return info

    def _what_there_is(self) -> str:
        names = ""
        # A key may be good for one collection and not for the list of them.
        with suppress(ColbertQdrantError), closing(self.connect()) as engine:
            names = ", ".join(sorted(each.name for each in engine.call("get_collections", {}).collections))
        way_out = f"there are {names}: choose with --collection" if names else "`colbert-qdrant index` makes one"
        return f"there is no {self.described}; {way_out}"

    def connect(self) -> Engine:
        """Return the engine of the place."""
        from colbert_qdrant.collection.engines import Place, connect

        return connect(Place(**self.place))


def holds_collections(folder: str | Path) -> bool:
    """Return whether a folder is a collection, or holds nothing else, as what ``--path`` names mostly does.

    A question that no folder can be named is none. Where documents lie beside collections it is a folder of documents.
    """
    from colbert_qdrant.collection.engines.edge_folder import is_told_by_its_shard

    with suppress(OSError, ValueError):  # it is too long for a name, or holds what no name does
        inside = [path for path in Path(folder).iterdir() if not path.name.startswith(".")]
        return is_told_by_its_shard(Path(folder)) or (bool(inside) and all(map(is_told_by_its_shard, inside)))
    return False


def _payload_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in ("content_key", "metadata_key") if key in settings}


def remembered(info: models.CollectionInfo) -> dict[str, Any]:
    """Return what a collection remembers of its making."""
    from colbert_qdrant.collection import schema

    return schema.remembered(info)
