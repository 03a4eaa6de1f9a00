"""What a record's stored vectors were made of, told by a hash beside them. No I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_qdrant.types import Multivector

if TYPE_CHECKING:
    from colbert_qdrant.collection.schema import Layout

HASH_KEY = "_hash"


def fingerprint(text: str, settings: Mapping[str, Any]) -> str:
    """Return a hash of all that a record's vectors depend on."""
    content = json.dumps([text, settings], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def digest(vectors: Multivector) -> str:
    """Return a hash of token vectors."""
    return hashlib.blake2b(np.ascontiguousarray(vectors).tobytes(), digest_size=16).hexdigest()


def stands_for(payload: Mapping[str, Any], text: str, layout: Layout, settings: Mapping[str, Any]) -> bool:
    """Return whether a record's stored vectors are those of a text: a record made by hand has only its text to tell."""
    if HASH_KEY in payload:
        return bool(payload[HASH_KEY] == fingerprint(text, settings))
    return payload.get(layout.content_key) == text
