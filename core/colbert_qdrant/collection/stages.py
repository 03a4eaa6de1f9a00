"""First stages: a cheaper vector finds the candidates, MaxSim puts them in order. No I/O but the encoders'.

A stage names its vector, says what Qdrant needs to know of it, and encodes documents and queries. One request does it
all: prefetch by each stage, fusion where there are several, MaxSim over what is left.
https://qdrant.tech/documentation/concepts/hybrid-queries/#multi-stage-queries
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection.derived import CentroidsStage, MuveraStage
from colbert_qdrant.collection.sparse import as_sparse
from colbert_qdrant.collection.storage import StoredBytes, stored_bytes
from colbert_qdrant.embedding.centroids import Centroids
from colbert_qdrant.embedding.muvera import Muvera
from colbert_qdrant.errors import CollectionMismatch, InvalidInput
from colbert_qdrant.types import Multivector

MAX_DIM = 65_536
"""The longest vector that Qdrant takes. https://qdrant.tech/documentation/concepts/collections/"""

CANDIDATES = 200
"""Candidates a stage hands on: Qdrant's advice is 100 to 500 for ColBERT."""


@runtime_checkable
class Stage(Protocol):
    """A vector beside the multivector, by which candidates are found."""

    @property
    def name(self) -> str:
        """Of its vector."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What its vectors depend on, as JSON; the collection remembers it."""
        ...

    def params(self) -> models.VectorParams | models.SparseVectorParams:
        """Return what Qdrant needs to know of the vector."""
        ...

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Return a vector a document, from its text or its token vectors."""
        ...

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Return the vector of a query; `text` is ``None`` where the query came as vectors."""
        ...


StageLike: TypeAlias = Stage | Muvera | Centroids
"""A first stage, or what is short for one."""

Encode: TypeAlias = Callable[[list[str]], Iterable[Any]]


@dataclass(frozen=True)
class Dense:
    """Candidates by one vector a text, of a model of its own.

    Parameters
    ----------
    encoder
        LangChain's ``Embeddings``, LlamaIndex's ``BaseEmbedding``, FastEmbed's ``TextEmbedding``, a
        `SentenceEmbedder`, or a function of texts that returns a vector each.
    name
        Of the vector.
    dim
        Its length; ``None``: found out by encoding a word.
    model
        What the encoder is called in the collection's metadata; ``None``: what it says of itself.
    """

    encoder: Any
    name: str = "dense"
    dim: int | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        """Refuse a length that no vector has."""
        is_length = isinstance(self.dim, int) and not isinstance(self.dim, bool) and 0 < self.dim <= MAX_DIM
        if self.dim is not None and not is_length:
            raise InvalidInput(f"Dense: dim={self.dim!r}; a vector has from 1 to {MAX_DIM:,} numbers")

    @property
    def settings(self) -> dict[str, Any]:
        """The encoder's name, the length of its vectors, and which graph it runs where it says so."""
        settings = {"kind": "dense", "model": self.model or _name_of(self.encoder), "dim": self._size}
        graph = getattr(self.encoder, "graph", None)  # a `SentenceEmbedder` knows its model by more than its name
        return settings | {"graph": graph} if isinstance(graph, str) else settings

    def params(self) -> models.VectorParams:
        """Return a vector compared by cosine."""
        return models.VectorParams(size=self._size, distance=models.Distance.COSINE)

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Encode the texts."""
        vectors = [np.asarray(vector, dtype=np.float32) for vector in self._functions[0](list(texts))]
        if len(vectors) != len(texts) or any(vector.shape != (self._size,) for vector in vectors):
            shapes = sorted({vector.shape for vector in vectors})
            raise InvalidInput(
                f"stage {self.name!r}: {len(texts)} texts became {len(vectors)} vectors of shape {shapes}; expected "
                f"({self._size},) each"
            )
        return vectors

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Encode the query's text."""
        given = list(self._functions[1]([_needed(text, self.name)]))
        try:
            vectors = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"stage {self.name!r}: the query became no vector of numbers ({error})") from None
        if vectors.shape != (1, self._size) or not np.isfinite(vectors).all():
            raise InvalidInput(
                f"stage {self.name!r}: the query became an array of shape {vectors.shape}; expected (1, {self._size}) "
                "finite numbers"
            )
        return vectors[0].tolist()

    @cached_property
    def _size(self) -> int:
        return self.dim or len(np.asarray(next(iter(self._functions[0](["dimension"])))))

    @cached_property
    def _functions(self) -> tuple[Encode, Encode]:
        encoder = self.encoder
        if hasattr(encoder, "embed_documents"):  # LangChain
            return encoder.embed_documents, lambda texts: [encoder.embed_query(text) for text in texts]
        if hasattr(encoder, "get_text_embedding_batch"):  # LlamaIndex
            return encoder.get_text_embedding_batch, lambda texts: [encoder.get_query_embedding(t) for t in texts]
        if hasattr(encoder, "query_embed"):  # FastEmbed's names, and ours
            return encoder.embed, encoder.query_embed
        if callable(encoder):
            return encoder, encoder
        raise InvalidInput(
            f"Dense({type(encoder).__name__}): give LangChain's Embeddings, LlamaIndex's BaseEmbedding, FastEmbed's "
            "TextEmbedding, a SentenceEmbedder or a function of texts"
        )


@dataclass(frozen=True, slots=True)
class Bm25:
    """Candidates by words, weighted by Qdrant's own BM25.

    The server encodes for a server; elsewhere the embedded engine's encoder does, which the extra ``edge`` brings.

    Parameters
    ----------
    language
        For stop words and stemming.
    name
        Of the sparse vector.
    average_length
        Of the documents, in words.

    References
    ----------
    https://qdrant.tech/documentation/concepts/inference/
    """

    language: str = "english"
    name: str = "bm25"
    average_length: float = 256

    def __post_init__(self) -> None:
        """Refuse what Qdrant would refuse at the first document, when the collection is made already."""
        languages = [language.value for language in models.Language]
        if self.language not in languages:
            raise InvalidInput(f"Bm25: language={self.language!r} is not known; known are {', '.join(languages)}")
        is_number = isinstance(self.average_length, int | float) and not isinstance(self.average_length, bool)
        if not (is_number and math.isfinite(self.average_length) and self.average_length > 0):
            raise InvalidInput(f"Bm25: average_length={self.average_length!r}; give a number of words above 0")

    @property
    def settings(self) -> dict[str, Any]:
        """Language and expected length."""
        return {"kind": "bm25", "language": self.language, "average_length": self.average_length}

    def params(self) -> models.SparseVectorParams:
        """Return a sparse vector whose values Qdrant multiplies with the words' inverse document frequency."""
        return models.SparseVectorParams(modifier=models.Modifier.IDF)

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Return the texts as documents for Qdrant to encode."""
        return [self._document(text) for text in texts]

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Return the query as a document for Qdrant to encode."""
        return self._document(_needed(text, self.name))

    def _document(self, text: str) -> models.Document:
        options = {"language": self.language, "avg_len": self.average_length}
        return models.Document(text=text, model=BM25_MODEL, options=options)


@dataclass(frozen=True)
class Sparse:
    """Candidates by a learned sparse vector a text, such as SPLADE's.

    Parameters
    ----------
    encoder
        FastEmbed's ``SparseTextEmbedding``, or a function of texts that returns for each a mapping of index to weight,
        a `qdrant_client.models.SparseVector`, or anything with ``indices`` and ``values``.
    name
        Of the sparse vector.
    model
        What the encoder is called in the collection's metadata; ``None``: what it says of itself.
    idf
        Let Qdrant multiply the weights with the inverse document frequency, for encoders that leave it out.
    """

    encoder: Any
    name: str = "sparse"
    model: str | None = None
    idf: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The encoder's name, and whether Qdrant weighs by document frequency."""
        return {"kind": "sparse", "model": self.model or _name_of(self.encoder), "idf": self.idf}

    def params(self) -> models.SparseVectorParams:
        """Return a sparse vector."""
        return models.SparseVectorParams(modifier=models.Modifier.IDF if self.idf else None)

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Encode the texts."""
        encode = self.encoder if callable(self.encoder) else self._method("embed")
        vectors = [as_sparse(vector, f"stage {self.name!r}") for vector in encode(list(texts))]
        if len(vectors) != len(texts):
            raise InvalidInput(f"stage {self.name!r}: {len(texts)} texts became {len(vectors)} vectors")
        return vectors

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Encode the query's text."""
        encode = self.encoder if callable(self.encoder) else self._method("query_embed")
        [vector] = encode([_needed(text, self.name)])
        return as_sparse(vector, f"stage {self.name!r}")

    def _method(self, name: str) -> Encode:
        method: Encode | None = getattr(self.encoder, name, None)
        if method is None:
            raise InvalidInput(
                f"Sparse({type(self.encoder).__name__}): give FastEmbed's SparseTextEmbedding or a function of texts"
            )
        return method


BM25_MODEL = "Qdrant/bm25"


def stage_bytes(stage: Stage, texts: Sequence[str], multivectors: Sequence[Multivector]) -> StoredBytes:
    """Estimate what a stage's vector of one document takes.

    A sparse one takes 8 bytes a weight (of BM25 a word) in the index, and on disk as many again in its storage.
    """
    params = stage.params()
    if isinstance(params, models.VectorParams):
        return stored_bytes(params.size, params)
    if not texts:
        return StoredBytes(0, 0)
    encoded = stage.encode_documents(texts, multivectors)
    weights = [len(set(v.text.split()) if isinstance(v, models.Document) else v.indices) for v in encoded]
    size = 8 * sum(weights) / len(texts)
    return StoredBytes(size, 2 * size)


def shown(settings: Mapping[str, Any]) -> str:
    """Return a stage's settings for a message: long ones by their beginning."""
    return ", ".join(f"{name}={value!r:.40}" for name, value in settings.items())


def as_stages(stages: Iterable[object]) -> tuple[Stage, ...]:
    """Return stages as given, a bare `Muvera` or `Centroids` as the stage it stands for.

    Raises
    ------
    InvalidInput
        Something is no stage, or two share a name.
    """
    if isinstance(stages, str) or not isinstance(stages, Iterable):
        raise InvalidInput(f"stages={stages!r:.60}: give a list, stages=[...]")
    checked: list[Stage] = []
    for stage in map(_wrapped, stages):
        if isinstance(stage, type):
            raise InvalidInput(f"stages: {stage.__name__} is a class; make one: {stage.__name__}(...)")
        if not isinstance(stage, CentroidsStage | Stage):  # a protocol's check asks for `settings`, which would train
            raise InvalidInput(f"{stage!r:.60} is no first stage; use Muvera, Centroids, Dense, Sparse or Bm25")
        checked.append(stage)
    names = names_of(checked)
    if len(set(names)) < len(names):
        raise InvalidInput(f"stages {', '.join(names)}: give each a name of its own")
    return tuple(checked)


def _wrapped(stage: object) -> object:
    if isinstance(stage, Muvera):
        return MuveraStage(stage)
    return CentroidsStage(stage) if isinstance(stage, Centroids) else stage


def names_of(stages: Iterable[Stage]) -> list[str]:
    """Return the names that stages have by now: one of centroids has it from them, once they are trained."""
    return [stage.name for stage in stages if not isinstance(stage, CentroidsStage) or stage.encoder.is_trained]


def kept(stage: Stage, stored: Mapping[str, Any]) -> Stage:
    """Return a stage as a collection that exists has it: its own centroids, where others are for a new collection."""
    if isinstance(stage, CentroidsStage) and stage.encoder.is_for_new:
        for name, own in stored.items():
            if own.get("kind") == "centroids":
                [same], _ = restored({name: own})
                return same
    return stage


def restored(settings: Mapping[str, Mapping[str, Any]]) -> tuple[list[Stage], list[str]]:
    """Make stages again from what a collection remembers.

    Returns
    -------
    stages : list of Stage
        Those that need nothing but their settings.
    missing : list of str
        Names of those that need an encoder.
    """
    stages: list[Stage] = []
    missing = []
    for name, stored in settings.items():
        if stored.get("kind") not in ("muvera", "centroids", "bm25"):
            missing.append(name)
            continue
        try:
            stages.append(_restored(name, stored))
        except (TypeError, ValueError) as error:  # InvalidInput among them
            raise CollectionMismatch(
                f"the collection remembers its first stage {name!r} as {dict(stored)!r:.200}, which is none ({error}): "
                "another version wrote it, or it is damaged"
            ) from error
    return stages, missing


def _restored(name: str, stored: Mapping[str, Any]) -> Stage:
    values = {key: value for key, value in stored.items() if key not in ("kind", "center")}
    if stored["kind"] == "bm25":
        return Bm25(name=name, **values)
    if stored["kind"] == "centroids":
        return CentroidsStage(Centroids.unpacked(**values))
    numbers = {key: value for key, value in values.items() if key != "random_seed"}
    if not all(isinstance(value, int) and 0 < value <= MAX_DIM for value in numbers.values()):
        raise InvalidInput(f"its numbers must be from 1 to {MAX_DIM:,}")  # before so many are drawn
    center = stored.get("center")
    return MuveraStage(Muvera(**values, center=None if center is None else np.asarray(center, np.float32)), name)


def _needed(text: str | None, name: str) -> str:
    if text is None:
        raise InvalidInput(f"stage {name!r} encodes text, and the query came as vectors: search with the text itself")
    return text


def _name_of(encoder: Any) -> str:
    for attribute in ("model_name", "model"):
        name = getattr(encoder, attribute, None)
        if isinstance(name, str):
            return name
    return getattr(encoder, "__name__", type(encoder).__name__)
