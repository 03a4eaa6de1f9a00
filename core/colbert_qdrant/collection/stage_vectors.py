"""The vectors of first stages: made of texts by their encoders, or given with the texts. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from colbert_qdrant.collection.sparse import as_sparse
from colbert_qdrant.embedders import encoded_all
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector

if TYPE_CHECKING:
    from colbert_qdrant.collection.points import NewRecord
    from colbert_qdrant.collection.stages import Stage

_ROUNDING = 2e-3
"""Between a number of a vector of length 1 and the same one stored in half precision, and to spare."""


def columns_of(given: Mapping[str, Iterable[Any]] | None, stages: Sequence[Stage]) -> list[str]:
    """Return which stages' vectors are given.

    Raises
    ------
    InvalidInput
        There is no such stage.
    """
    names = [stage.name for stage in stages]
    for name in given or {}:
        if name not in names:
            has = f"it has {', '.join(map(repr, names))}" if names else "it has none"
            raise InvalidInput(f"stage_vectors: {name!r} is no first stage of this collection; {has}")
    return list(given or {})


def check_given(stages: Sequence[Stage], given: Mapping[str, Any], position: int) -> dict[str, Any]:
    """Return a text's vectors by stage as they are stored; ``None`` among them is left for the stage to make.

    Raises
    ------
    InvalidInput
        One is not of its stage's form, or has a value that is NaN or infinite.
    """
    by_name = {stage.name: stage for stage in stages}
    return {
        name: _checked(by_name[name], vector, f"text {position}: the vector of stage {name!r}")
        for name, vector in given.items()
        if vector is not None
    }


def made(stage: Stage, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
    """Return what a stage makes of each document.

    Raises
    ------
    InvalidInput
        It gives fewer or more.
    """
    return list(encoded_all(stage.encode_documents(texts, multivectors), len(texts), f"stage {stage.name!r}"))


def made_or_given(stage: Stage, records: Sequence[NewRecord], multivectors: Sequence[Multivector]) -> list[Any]:
    """Return a stage's vector of each record: the one that came with it, else what the stage makes of it."""
    missing = [number for number, record in enumerate(records) if stage.name not in record.stage_vectors]
    texts = [records[number].encoded_as for number in missing]
    fresh = made(stage, texts, [multivectors[number] for number in missing]) if missing else []
    vectors = dict(zip(missing, fresh, strict=True))
    return [
        vectors[number] if number in vectors else record.stage_vectors[stage.name]
        for number, record in enumerate(records)
    ]


def agree(given: Mapping[str, Any], stored: Any) -> bool:
    """Tell whether the vectors given with a text are those that are stored: their directions, as cosines compare."""
    vectors = stored if isinstance(stored, Mapping) else {"": stored}
    return all(_is_same(vector, vectors.get(name)) for name, vector in given.items())


def is_finite(vector: Any) -> bool:
    """Tell whether Qdrant can compare a stage's vector; texts that it encodes itself always are."""
    if isinstance(vector, models.Document):
        return True
    return bool(np.isfinite(np.asarray(vector.values if isinstance(vector, models.SparseVector) else vector)).all())


def _checked(stage: Stage, vector: Any, whose: str) -> Any:
    params = stage.params()
    if isinstance(params, models.SparseVectorParams):
        return as_sparse(vector, whose)
    try:
        array = np.array(vector, dtype=np.float32)  # a copy: a generator may fill one buffer again and again
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{whose} is no vector of numbers ({error})") from None
    if array.shape != (params.size,):
        raise InvalidInput(f"{whose} has the shape {array.shape}; expected ({params.size},)")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{whose} has a value that is NaN or infinite")
    return array


def _is_same(given: Any, stored: Any) -> bool:
    if stored is None:
        return False
    if isinstance(given, models.SparseVector):
        weights = dict(zip(given.indices, given.values, strict=True))
        kept = dict(zip(stored.indices, stored.values, strict=True))
        return weights.keys() == kept.keys() and all(
            np.isclose(weight, kept[index], rtol=_ROUNDING) for index, weight in weights.items()
        )
    one, other = (np.asarray(vector, dtype=np.float32) for vector in (given, stored))
    return one.shape == other.shape and bool(np.allclose(_unit(one), _unit(other), atol=_ROUNDING))


def _unit(vector: Any) -> Any:
    length = np.linalg.norm(vector)
    return vector / length if length else vector
