"""Which collection a command works on, and with which model."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import ColbertQdrantError, CollectionNotFound, InvalidInput, ModelFilesNotFound

if TYPE_CHECKING:
    from colbert_qdrant import ColbertEmbedder, MultivectorCollection
    from colbert_qdrant.collection.engines import Engine


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

    def to_fill(self) -> MultivectorCollection:
        """Open the collection as it was made, or make it; documents longer than the model reads are encoded whole."""
        from colbert_qdrant.embedding.embedder import DEFAULT_MODEL, ColbertEmbedder
        from colbert_qdrant.embedding.registry import OFFLINE_MODEL

        settings = self._remembered()
        if settings is not None and (self.model is None or self.model == settings.get("model")):
            return self._open(self._embedder(settings, pooled=True))
        try:
            return self._open(ColbertEmbedder(self.model or DEFAULT_MODEL, long_documents="window"))
        except ModelFilesNotFound as error:
            if settings is None:
                error.add_note(f"No hub in reach? `--model {OFFLINE_MODEL}` needs none.")
            raise

    def to_search(self) -> MultivectorCollection:
        """Open the collection, which exists.

        Its embedder does not pool, whatever the collection's did: that changes no query, and leaves one vector a token
        to explain a hit by.

        Raises
        ------
        CollectionNotFound
            It does not exist; names those that do.
        """
        settings = self._remembered()
        if settings is None:
            raise CollectionNotFound(self._what_there_is())
        if self.model is None or self.model == settings.get("model"):
            return self._open(self._embedder(settings, pooled=False))
        return self._open(self.model)

    def _embedder(self, settings: dict[str, Any], *, pooled: bool) -> ColbertEmbedder:
        """Return the embedder that a collection remembers."""
        from colbert_qdrant import ColbertEmbedder
        from colbert_qdrant.embedding import registry

        if "model" not in settings:
            raise InvalidInput(
                f"collection {self.name!r} does not say which model its vectors are from: name it with --model"
            )
        row = registry.find(settings["model"])
        quantized = row is not None and PurePath(row.quantized_file or "").name == settings.get("file")
        names = ["dim", "document_length", "long_documents", *(["pool_factor", "max_vectors"] if pooled else [])]
        options = {name: settings[name] for name in names if name in settings}
        return ColbertEmbedder(settings["model"], quantized=quantized, **options)

    def _open(self, embedder: ColbertEmbedder | str) -> MultivectorCollection:
        from colbert_qdrant import MultivectorCollection

        return MultivectorCollection(self.name, embedder, path=self.path, url=self.url, api_key=self._key)

    def _remembered(self) -> dict[str, Any] | None:
        """Return what the collection remembers of its making; ``None`` where there is no such collection."""
        from colbert_qdrant.collection import schema

        with closing(self._connect()) as engine:
            name = {"collection_name": self.name}
            if not engine.call("collection_exists", name):
                return None
            return schema.remembered(engine.call("get_collection", name))

    def _what_there_is(self) -> str:
        names = ""
        # A key may be good for one collection and not for the list of them.
        with suppress(ColbertQdrantError), closing(self._connect()) as engine:
            names = ", ".join(sorted(each.name for each in engine.call("get_collections", {}).collections))
        way_out = f"there are {names}: choose with --collection" if names else "`colbert-qdrant index` makes one"
        return f"there is no {self.described}; {way_out}"

    def _connect(self) -> Engine:
        from colbert_qdrant.collection.engines import Place, connect

        return connect(Place(path=self.path, url=self.url, api_key=self._key))

    @property
    def _key(self) -> str | None:
        """The key, which the environment may hold for a folder too."""
        return self.api_key if self.url is not None else None
