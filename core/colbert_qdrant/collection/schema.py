"""What a collection must be, as Qdrant parameters, and an existing one held against it. No I/O."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection.derived import CentroidsStage, MuveraStage
from colbert_qdrant.collection.foreign import LLAMA_INDEX
from colbert_qdrant.collection.stages import Stage, kept, names_of, restored, shown
from colbert_qdrant.collection.storage import Storage
from colbert_qdrant.embedders import same_model
from colbert_qdrant.errors import CollectionMismatch, InvalidInput

DEFAULT_VECTOR = "colbert"
UNNAMED_VECTOR = ""
"""Qdrant's name for the vector of a collection that was made with a single, unnamed one."""

METADATA_KEY = "colbert_qdrant"
"""Where the collection's own metadata keeps what its vectors were made with."""

BEGUN = f"{METADATA_KEY}:begun:"
"""Before the name of a stage whose vector is being made, a key of the collection's metadata for each: those of two that
write at the same time are both there."""

UPGRADED_KEY = "upgraded"
"""What is remembered there of a collection that another program made; see `upgrading.py`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a collection.

    Parameters
    ----------
    name
        The collection's name.
    vector_name
        Its multivector; empty: the unnamed one.
    content_key, metadata_key
        Payload keys of the text and of the user's metadata.
    dim
        Length of a token vector.
    stages
        What finds the candidates; empty: MaxSim answers over all documents.
    oversampling
        How many times the wanted number is rescored by the originals, where the token vectors are quantised.
    made_by_hand
        The collection remembers no making of ours, so that its records may have a payload of their own.
    written_by
        The program that made the collection and goes on writing to it; see `foreign.py`.
    tenant
        Whose records these are; ``None``: everybody's.
    shard_key
        Of the shard they are in; ``None``: any.
    copies
        Of each shard in a cluster.
    is_alias
        Whether the name is not the collection's own, and may come to stand for another one.
    largest
        The largest number that a token vector is stored with.
    """

    name: str
    vector_name: str
    content_key: str
    metadata_key: str
    dim: int
    stages: tuple[Stage, ...] = ()
    oversampling: float | None = None
    made_by_hand: bool = False
    written_by: str | None = None
    tenant: str | None = None
    shard_key: str | int | None = None
    copies: int = 1
    is_alias: bool = False
    largest: float = math.inf

    def __post_init__(self) -> None:
        """Refuse names that would make the payload ambiguous."""
        if not self.name or not isinstance(self.name, str):
            raise InvalidInput(f"collection name {self.name!r}: give a non-empty string")
        keys = (self.content_key, self.metadata_key)
        if self.content_key == self.metadata_key or any(not key or key.startswith("_") for key in keys):
            raise InvalidInput(
                f"content_key={self.content_key!r} and metadata_key={self.metadata_key!r}: give two different names "
                "that don't begin with an underscore, which is kept for our own"
            )
        if self.stages and not self.vector_name:
            raise InvalidInput("an unnamed multivector stands alone; first stages need vector_name= to be a name")
        if self.vector_name in names_of(self.stages):
            raise InvalidInput(f"vector_name={self.vector_name!r} is also the name of a first stage")

    @property
    def using(self) -> str | None:
        """The vector's name as a query states it."""
        return self.vector_name or None


def creation(layout: Layout, settings: Mapping[str, Any], storage: Storage) -> dict[str, Any]:
    """Return the arguments of ``create_collection``.

    Parameters
    ----------
    layout
        Names, dimension and first stages.
    settings
        What the vectors are made with; kept in the collection's metadata.
    storage
        How they are stored.
    """
    multivector = models.VectorParams(
        size=layout.dim,
        # Cosine of rows of length 1, as ColBERT's are; a checkpoint that leaves them their lengths weighs with them.
        distance=models.Distance.COSINE if settings.get("normalize", True) else models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        # Behind a first stage the multivector only rescores, and a graph of it would be built for nothing.
        hnsw_config=models.HnswConfigDiff(m=0) if layout.stages else None,
        **storage.vector_options,
    )
    check_dims(layout)
    params = {stage.name: _as_stored(stage.params(), storage) for stage in layout.stages}
    dense = {name: param for name, param in params.items() if isinstance(param, models.VectorParams)}
    sparse = {name: param for name, param in params.items() if isinstance(param, models.SparseVectorParams)}
    arguments = {
        "collection_name": layout.name,
        "vectors_config": {layout.vector_name: multivector, **dense} if layout.vector_name else multivector,
        "metadata": {METADATA_KEY: {**making(layout, settings), **_payload_keys(layout)}},
        **storage.collection_options,
    }
    if layout.shard_key is not None:
        arguments["sharding_method"] = models.ShardingMethod.CUSTOM
    return arguments | {"sparse_vectors_config": sparse} if sparse else arguments


def _as_stored(
    params: models.VectorParams | models.SparseVectorParams, storage: Storage
) -> models.VectorParams | models.SparseVectorParams:
    """Return a stage's vector with the graph that the caller asks for; what is left open there is the stage's own."""
    if storage.hnsw is None or not isinstance(params, models.VectorParams) or params.hnsw_config is None:
        return params
    graph = params.hnsw_config.model_copy(update=storage.hnsw.model_dump(exclude_none=True))
    return params.model_copy(update={"hnsw_config": graph})


def making(layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a collection remembers of its making."""
    stages = {stage.name: stage.settings for stage in layout.stages}
    return {**settings, "stages": stages} if stages else dict(settings)


def _payload_keys(layout: Layout) -> dict[str, str]:
    """Return where the payloads keep what; not told again of an upgraded collection, see `UPGRADED_KEY`."""
    return {"content_key": layout.content_key, "metadata_key": layout.metadata_key}


def attach(
    layout: Layout, info: models.CollectionInfo, settings: Mapping[str, Any], storage: Storage, *, restore: bool
) -> Layout:
    """Return the layout of a collection that exists, if it fits.

    A collection whose only vector is unnamed, as in Qdrant's ColBERT tutorial, fits as well as one of our own.

    Parameters
    ----------
    layout
        What is asked for.
    info
        What is there.
    settings
        What the vectors would be made with.
    storage
        How far to oversample, should the token vectors be quantised.
    restore
        Take the first stages that the collection remembers instead of those of `layout`.

    Raises
    ------
    CollectionMismatch
        Names each difference and what would fit.
    """
    by_name = dense_vectors(info)
    sparse = info.config.params.sparse_vectors or {}
    made_with = remembered(info)
    vector = layout.vector_name
    if vector == DEFAULT_VECTOR and vector not in by_name and UNNAMED_VECTOR in by_name:
        vector = UNNAMED_VECTOR
    stored = remembered_stages(info)
    stages, missing = restored(stored) if restore else ([kept(stage, stored) for stage in layout.stages], [])
    differences = [
        *_vector_differences(vector, by_name, layout.dim),
        *_making_differences(made_with, settings),
        *(
            f"its payloads have the {what} under {made_with[key]!r}, not {asked!r} (pass {key}={made_with[key]!r})"
            for what, (key, asked) in zip(("text", "metadata"), _payload_keys(layout).items(), strict=True)
            if made_with.get(key, asked) != asked
        ),
        *(
            f"its first stage {stage!r} needs its encoder: pass stages=[{_kind_of(stored, stage)}(..., name={stage!r})]"
            for stage in missing
        ),
        *(difference for stage in stages for difference in _stage_differences(stage, by_name, sparse, stored)),
        *(
            f"adding its first stage {name!r} was stopped: open it without that, and add_stage finishes it"
            for name in names_of(stages)
            if name in begun(info) and name not in stored
        ),
    ]
    if not restore:
        unknown = [stage for stage in stored if stage not in [known.name for known in stages]]
        differences += [f"it has the first stage {stage!r}, which new records would lack" for stage in unknown]
    upgraded = made_with.get(UPGRADED_KEY)
    if upgraded is not None and not upgraded["complete"]:
        differences.append("its upgrade was not finished: run `upgrade` again, or `downgrade`")
    if differences:
        raise CollectionMismatch(
            f"collection {layout.name!r} exists and is not what was asked for: {'; '.join(differences)}. "
            "Open it as it was made, or choose another collection name"
        )
    _warn_of_names(made_with, settings)
    for stage in stages:
        _warn_of_signs(stage, by_name.get(stage.name))
    is_quantized = by_name[vector].quantization_config or info.config.quantization_config
    oversampling = storage.oversampling if is_quantized else None
    fitting = replace(
        layout,
        vector_name=vector,
        stages=tuple(stages),
        oversampling=oversampling,
        made_by_hand=not made_with,
        copies=copies(info),
        largest=_largest(by_name[vector]),
    )
    if upgraded is None:
        return fitting
    return replace(
        fitting,
        written_by=upgraded["written_by"],
        content_key=upgraded["content_key"],
        metadata_key=upgraded["metadata_key"],
        made_by_hand=upgraded["written_by"] == LLAMA_INDEX,
    )


def dense_vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    """Return the dense vectors, single and multi, by name; the unnamed one is ``""``."""
    vectors = info.config.params.vectors or {}
    return dict(vectors) if isinstance(vectors, Mapping) else {UNNAMED_VECTOR: vectors}


def begun(info: models.CollectionInfo) -> list[str]:
    """Return the stages whose vectors somebody of ours is about to make, or was when it was stopped."""
    metadata = getattr(info.config, "metadata", None) or {}
    return [key.removeprefix(BEGUN) for key in metadata if key.startswith(BEGUN)]


def vector_names(info: models.CollectionInfo) -> list[str]:
    """Return the names of all vectors, dense and sparse."""
    return [*dense_vectors(info), *(info.config.params.sparse_vectors or {})]


def _largest(params: models.VectorParams) -> float:
    """Return the largest number that a vector is stored with: beyond it half precision is infinite, and no score one.

    https://en.wikipedia.org/wiki/Half-precision_floating-point_format
    """
    is_half = params.datatype == models.Datatype.FLOAT16
    return 65_504.0 if is_half and params.distance == models.Distance.DOT else math.inf  # cosine's have length 1


def copies(info: models.CollectionInfo) -> int:
    """Return how many copies of each shard there are to be; a server asks no more than it has.

    Copies may have been added later by hand: then only how many are to take a write tells of them.
    """
    params = info.config.params
    return max(params.replication_factor or 1, params.write_consistency_factor or 1)


def remembered(info: models.CollectionInfo) -> dict[str, Any]:
    """Return what a collection remembers of its making; nothing where it was made by hand.

    Raises
    ------
    CollectionMismatch
        It remembers what is not ours: another program's, or damaged.
    """
    found = (getattr(info.config, "metadata", None) or {}).get(METADATA_KEY) or {}
    if not isinstance(found, Mapping):
        raise CollectionMismatch(
            f"the collection's metadata has {found!r:.60} under {METADATA_KEY!r}, where we keep what its vectors were "
            "made with: another program wrote it, or it is damaged"
        )
    return dict(found)


def remembered_stages(info: models.CollectionInfo) -> dict[str, Any]:
    """Return the settings of each first stage that a collection remembers, by name.

    Raises
    ------
    CollectionMismatch
        They are not ours.
    """
    stages = remembered(info).get("stages", {})
    if not isinstance(stages, Mapping) or not all(isinstance(stage, Mapping) for stage in stages.values()):
        raise CollectionMismatch(
            f"the collection's metadata describes its first stages as {stages!r:.60}, not as a mapping of names to "
            "settings: another program wrote it, or it is damaged"
        )
    return dict(stages)


def check_model(layout: Layout, info: models.CollectionInfo, settings: Mapping[str, Any]) -> None:
    """Refuse to write where another collection has taken the name since it was opened, or the alias moved on to one.

    Raises
    ------
    CollectionMismatch
        Its vectors are another model's, among which ours would be found by nobody, or by anything.
    """
    if differences := _making_differences(remembered(info), settings):
        raise CollectionMismatch(
            f"another collection is called {layout.name!r} since this one was opened: {'; '.join(differences)}. Open "
            "it with its own model"
        )
    stored, dense, sparse = remembered_stages(info), dense_vectors(info), info.config.params.sparse_vectors or {}
    known = [stage for stage in layout.stages if stage.name in stored]
    others = [difference for stage in known for difference in _stage_differences(stage, dense, sparse, stored)]
    gone = [f"it has no first stage {name!r}" for name in names_of(layout.stages) if name not in vector_names(info)]
    if others or gone:
        raise CollectionMismatch(
            f"another collection is called {layout.name!r} since this one was opened: {'; '.join([*others, *gone])}. "
            "Open it again"
        )


def learnt(layout: Layout, info: models.CollectionInfo) -> tuple[Layout, list[str]]:
    """Return the layout with the stages that a collection was given since, and the names of those without encoder."""
    known = [stage.name for stage in layout.stages]
    new = {name: stage for name, stage in remembered_stages(info).items() if name not in known}
    stages, missing = restored(new)
    return (replace(layout, stages=(*layout.stages, *stages)) if stages else layout), missing


def check_dims(layout: Layout) -> None:
    """Refuse first stages that are derived from token vectors of another length.

    Raises
    ------
    InvalidInput
        Names the first of them.
    """
    for stage in layout.stages:
        if isinstance(stage, MuveraStage | CentroidsStage) and stage.encoder.dim != layout.dim:
            raise InvalidInput(
                f"first stage {stage.name!r} is made for token vectors of {stage.encoder.dim} numbers, and those of "
                f"collection {layout.name!r} have {layout.dim}"
            )


def _kind_of(stored: Mapping[str, Any], name: str) -> str:
    return "Sparse" if stored[name].get("kind") == "sparse" else "Dense"


def _stage_differences(
    stage: Stage,
    dense: Mapping[str, models.VectorParams],
    sparse: Mapping[str, models.SparseVectorParams],
    stored: Mapping[str, Any],
) -> list[str]:
    params = stage.params()
    found = (sparse if isinstance(params, models.SparseVectorParams) else dense).get(stage.name)
    if found is None:
        return [f"it has no first stage {stage.name!r} (add_stage adds it)"]
    if isinstance(params, models.VectorParams) and getattr(found, "size", None) != params.size:
        return [f"its first stage {stage.name!r} has {getattr(found, 'size', None)} dimensions, not {params.size}"]
    made_with = stored.get(stage.name)
    ours = stage.settings
    # What one of them does not state is not compared: one made by an older version may know less.
    if made_with is not None and any(ours[name] != made_with[name] for name in ours.keys() & made_with.keys()):
        return [f"its first stage {stage.name!r} was made with {shown(made_with)}; this is {shown(ours)}"]
    return []


def _warn_of_names(made_with: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Say that a collection of before knows less of its model than is checked now."""
    if "model" in made_with and "model" in settings and "graph" in settings and "graph" not in made_with:
        warnings.warn(
            f"this collection remembers its model by its name alone, {made_with['model']!r}: whether the files are "
            "those it was made with can't be checked. If in doubt, add its documents to a new one",
            stacklevel=2,
        )


def _warn_of_signs(stage: Stage, found: models.VectorParams | None) -> None:
    """Say that a server left out what it did not know: signs of a query find much less than its 8-bit numbers do."""
    wanted = getattr(stage.params(), "quantization_config", None)
    stored = getattr(found, "quantization_config", None)
    if not (isinstance(wanted, models.BinaryQuantization) and isinstance(stored, models.BinaryQuantization)):
        return
    if wanted.binary.query_encoding and not stored.binary.query_encoding:
        warnings.warn(
            f"the candidates of {stage.name!r} will be poor: this server cuts queries to signs, as it does documents. "
            "Qdrant 1.15 and newer takes them in 8 bits: update it, and make the collection anew",
            stacklevel=2,
        )


def _vector_differences(name: str, by_name: Mapping[str, models.VectorParams], dim: int) -> list[str]:
    params = by_name.get(name)
    if params is None:
        known = ", ".join(repr(known) if known else "an unnamed one" for known in by_name) or "none"
        return [f"it has no vector {name!r}, its vectors: {known} (choose with vector_name=)"]
    differences = []
    if params.size != dim:
        differences.append(f"its vectors have {params.size} dimensions, the model's {dim}")
    if params.multivector_config is None:
        differences.append(f"vector {name!r} holds one vector a point, not a multivector")
    if params.distance not in (models.Distance.COSINE, models.Distance.DOT):
        differences.append(f"its distance is {params.distance.value}, not Cosine (or Dot) as MaxSim needs")
    return differences


_FILES = {
    "graph": "its vectors were made by another ONNX file",
    "projection": "its vectors were made with another projection",
    "tokenizer": "its documents were cut into tokens by another tokenizer.json",
    "text": "its documents were encoded with other markers, prompts or skip-listed tokens",
}


def _making_differences(made_with: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    model, ours = made_with.get("model"), settings.get("model")
    if model is None or ours is None:
        return []
    if not same_model(str(model), str(ours)):
        return [f"it was made with the model {model!r}, this is {ours!r}"]
    return [
        f"{_FILES[name]} of {model!r} ({str(made_with[name])[:12]}..., not {str(settings[name])[:12]}...)"
        for name in _FILES.keys() & made_with.keys() & settings.keys()
        if settings[name] != made_with[name]
    ]
