"""Sparse vectors as encoders give them, in Qdrant's form. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from colbert_qdrant.errors import InvalidInput


def as_sparse(vector: Any, whose: str) -> models.SparseVector:
    """Return a sparse vector in Qdrant's form: of a mapping, or of whatever has indices and values.

    Raises
    ------
    InvalidInput
        It is none.
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
        return models.SparseVector(indices=places.astype(np.uint32).tolist(), values=weights.tolist())
    except (TypeError, ValueError):
        raise InvalidInput(
            f"{whose}: {vector!r:.80} is no sparse vector; give a finite weight for each index, no index twice, as a "
            "mapping or as indices and values"
        ) from None
