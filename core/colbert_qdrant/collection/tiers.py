"""Where a server keeps what it stores, said as it understands it. No I/O.

Since 1.19 a server is told by ``memory=``: ``cold`` (on disk, read when needed), ``cached`` (read ahead, and let go
where memory is short) or ``pinned``; the flags of before are deprecated. One that is older leaves out what it does not
know, without a word, and is told by its flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from qdrant_client import models

TIERS = (1, 19, 0)
"""The first version with ``memory=``."""


def is_cold(params: models.VectorParams) -> bool:
    """Tell whether vectors lie on disk, whichever way that is said."""
    return bool(params.on_disk) if params.memory is None else params.memory == models.Memory.COLD


def as_flags(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call with flags for its tiers: on disk where one is cold, else in memory."""
    ready = {name: value if name == "points" else _flagged(value) for name, value in arguments.items()}
    payload = ready.get("payload")
    if isinstance(payload, models.PayloadStorageParams):
        del ready["payload"]
        ready["on_disk_payload"] = None if payload.memory is None else payload.memory == models.Memory.COLD
    return ready


def _flagged(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _flagged(item) for key, item in value.items()}
    if not isinstance(value, BaseModel):
        return value
    changed = {
        name: new for name, old in value.__dict__.items() if (new := _flagged(old)) is not old and new is not None
    }
    memory = getattr(value, "memory", None)
    if memory is not None and not isinstance(value, models.PayloadStorageParams):
        is_on_disk = memory == models.Memory.COLD
        fields = type(value).model_fields
        if "always_ram" in fields:
            changed |= {"memory": None, "always_ram": not is_on_disk}
        elif "on_disk" in fields:
            changed |= {"memory": None, "on_disk": is_on_disk}
    return value.model_copy(update=changed) if changed else value
