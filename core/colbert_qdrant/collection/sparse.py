"""Sparse vectors as encoders give them, in Qdrant's form. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from colbert_qdrant.errors import InvalidInput

_LAST_INDEX = 2**32 - 1


def as_sparse(vector: Any, whose: str) -> models.SparseVector:
    """Return a sparse vector in Qdrant's form: of a mapping, or of whatever has indices and values.

    Raises
    ------
    InvalidInput
        It is none, or has an index that 32 bits without a sign can't hold.
    """
    indices: Any
    values: Any
    if isinstance(vector, Mapping):
        indices, values = list(vector.keys()), list(vector.values())
    else:
        indices, values = getattr(vector, "indices", None), getattr(vector, "values", None)
    try:
        places, weights = np.asarray(indices), np.asarray(values, dtype=np.float32)
        fits = places.ndim == 1 and places.shape == weights.shape and len(np.unique(places)) == len(places)
        if not (fits and (not places.size or places.dtype.kind in "iu") and np.isfinite(weights).all()):
            raise ValueError
    except (TypeError, ValueError):
        raise InvalidInput(
            f"{whose}: {vector!r:.80} is no sparse vector; give a finite weight for each index, no index twice, as a "
            "mapping or as indices and values"
        ) from None
    for place in places.tolist():
        if not 0 <= place <= _LAST_INDEX:
            raise InvalidInput(f"{whose}: index {place}: Qdrant's sparse vectors have those from 0 to {_LAST_INDEX}")
    return models.SparseVector(indices=places.tolist(), values=weights.tolist())
