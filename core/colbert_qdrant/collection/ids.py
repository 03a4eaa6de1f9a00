"""What ids a record has: the caller's, the one that Qdrant takes, and the one made of what it holds. No I/O."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from qdrant_client import models

from colbert_qdrant.checks import check_text
from colbert_qdrant.collection.fingerprints import HASH_KEY, digest
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant.collection.points import NewRecord

ID_KEY = "_id"
TENANT_KEY = "_tenant"

RecordId: TypeAlias = str | int | uuid.UUID
"""What a caller may give for an id, and gets back as text."""

PointId: TypeAlias = int | str | uuid.UUID
"""What ``qdrant_client`` takes for an id; ours are never a `uuid.UUID`."""

_ID_NAMESPACE = uuid.UUID("6d8d8b1e-8a64-5c0b-9d0c-6f1f1f6c0b5e")
_TENANT_NAMESPACE = uuid.uuid5(_ID_NAMESPACE, "tenants")
_MAX_INT_ID = 2**64


def point_id(record_id: RecordId, tenant: str | None = None) -> PointId:
    """Return the id Qdrant knows a record by; the same id is another point for each tenant.

    A UUID in lower case stays what it is, with its hyphens or without (``uuid4().hex``, as langchain-qdrant returns
    its ids): both spellings name one point. A canonical unsigned 64-bit integer becomes an int, any other string a UUID
    of version 5 derived from it (RFC 9562). Qdrant takes no other ids.

    Raises
    ------
    InvalidInput
        An empty string, a negative number, or something that is no id at all.
    """
    text = id_text(record_id)
    spelled = _uuid_of(text)
    if tenant is not None:
        return str(uuid.uuid5(uuid.uuid5(_TENANT_NAMESPACE, tenant), spelled or text))
    if text.isdecimal() and text.isascii() and text == str(int(text)) and int(text) < _MAX_INT_ID:
        return int(text)
    return spelled or str(uuid.uuid5(_ID_NAMESPACE, text))


def id_text(record_id: object) -> str:
    """Return an id as the string that the caller gets back."""
    if isinstance(record_id, np.integer):  # of a data frame's column
        record_id = int(record_id)
    if isinstance(record_id, bool) or not isinstance(record_id, str | int | uuid.UUID) or record_id == "":
        raise InvalidInput(f"id {record_id!r}: give a non-empty string, an integer or a UUID")
    text = str(record_id)
    check_text(text, "id")
    if isinstance(record_id, int) and not 0 <= record_id < _MAX_INT_ID:
        raise InvalidInput(f"id {record_id}: Qdrant's integer ids are unsigned 64-bit; give it as a string")
    return text


def check_ids(ids: Iterable[RecordId]) -> list[RecordId]:
    """Return ids as a list; refuse a lone one, whose letters would be taken for ids."""
    if isinstance(ids, str | bytes | bytearray | memoryview) or not isinstance(ids, Iterable):
        raise InvalidInput(f"ids={ids!r} is a single id; give a list: [{ids!r}]")
    return list(ids)


def content_id(text: str, metadata: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> str:
    """Derive an id from what a record holds, so that adding the same record again replaces it.

    Parameters
    ----------
    text, metadata
        The record's.
    beside
        What else it holds that another one of this text and metadata may not.
    """
    content = [text, metadata, beside] if beside else [text, metadata]
    return str(uuid.uuid5(_ID_NAMESPACE, json.dumps(content, sort_keys=True, ensure_ascii=False)))


def derived_id(record: NewRecord) -> str:
    """Return the id of all that a record holds, which is that of text and metadata where it holds nothing else."""
    vectors = None if record.vectors is None else digest(record.vectors)
    given = {"extra": record.extra, "encoded_as": record.encoded_as, "vectors": vectors}
    # What has no text, such as a page's image, goes by its vectors in the text's place.
    usual: dict[str, Any] = {"extra": {}, "encoded_as": record.text, "vectors": None if record.text else vectors}
    beside = {name: value for name, value in given.items() if value != usual[name]}
    return content_id(record.text or vectors or "", record.metadata, beside)


def id_of(point: models.Record | models.ScoredPoint, payload: Mapping[str, Any], tenant: str | None) -> str:
    """Return the id that leads back to a point: the payload's, or the point's own where that one names another point.

    A tenant's ``"a"`` is not everybody's ``"a"``, which whoever asks without a tenant would read or delete by it.
    """
    given = payload.get(ID_KEY)
    if given is None or (HASH_KEY in payload and payload.get(TENANT_KEY) == tenant):
        return str(point.id if given is None else given)  # ours, as most are: it needs no look
    with suppress(InvalidInput):  # no id at all, written by somebody else
        if str(point_id(given, tenant)) == str(point.id):
            return str(given)
    return str(point.id)


def _uuid_of(text: str) -> str | None:
    """Return the UUID that a text spells in lower case, with its hyphens; ``None`` where it is none."""
    if len(text) not in (32, 36):
        return None
    try:
        spelled = uuid.UUID(text)
    except ValueError:
        return None
    return str(spelled) if text in (str(spelled), spelled.hex) else None
