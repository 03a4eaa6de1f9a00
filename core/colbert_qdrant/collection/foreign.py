"""Collections that other programs write: where their payloads keep text and metadata, and which we write to. No I/O.

Read in langchain-qdrant 1.1.0, llama-index-vector-stores-qdrant 0.10.4, qdrant-haystack 13.1.0 and mcp-server-qdrant
0.8.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant.collection.schema import Layout

LLAMA_INDEX = "llama-index"
HAYSTACK = "haystack"
OF_ANOTHER_FORM = (LLAMA_INDEX, HAYSTACK)
"""Whose programs read no payload of ours: a node, or a document whose every key has a meaning."""

_NODE_KEY = "_node_content"
_NODE_KEYS = ("document_id", "doc_id", "ref_doc_id")
"""Beside the metadata, which stands at the top of the payload."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A program, and where its payloads keep what.

    Parameters
    ----------
    name
        Of the program.
    content_key, metadata_key
        Payload keys. LlamaIndex's are inside of a node, see `node_of`; these are then for show.
    """

    name: str
    content_key: str
    metadata_key: str


WRITERS = (
    Writer(LLAMA_INDEX, "page_content", "metadata"),
    Writer("langchain", "page_content", "metadata"),
    Writer(HAYSTACK, "content", "meta"),
    Writer("mcp-server", "document", "metadata"),
)


def writer_of(payloads: Sequence[Mapping[str, Any]]) -> Writer | None:
    """Return whose payloads these are, judging by most of them."""
    for writer in WRITERS:
        if 2 * sum(_is_by(writer, payload) for payload in payloads) > len(payloads):
            return writer
    return None


def node_of(payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return text and metadata of a LlamaIndex node; none where it can't be read."""
    metadata = {key: value for key, value in payload.items() if not key.startswith("_") and key not in _NODE_KEYS}
    try:
        node = json.loads(payload[_NODE_KEY])
        text = node.get("text") or (node.get("text_resource") or {}).get("text")
    except (KeyError, TypeError, ValueError, AttributeError):
        text = None
    return text if isinstance(text, str) else "", metadata


def check_writable(layout: Layout) -> None:
    """Refuse to write where the program that made the collection could not read it, or not find it.

    Raises
    ------
    InvalidInput
        Says whose collection it is, and how documents get into it.
    """
    if layout.written_by is None or (layout.written_by not in OF_ANOTHER_FORM and layout.stages):
        return
    raise InvalidInput(
        f"collection {layout.name!r} is written by {layout.written_by}, which could not use what is written here"
        f"{'' if layout.stages else ' without its vectors (open it with dense=)'}: write with that program and run "
        "`upgrade` again, which encodes what is new"
    )


def _is_by(writer: Writer, payload: Mapping[str, Any]) -> bool:
    if writer.name == LLAMA_INDEX:
        return _NODE_KEY in payload
    return isinstance(payload.get(writer.content_key), str) and writer.metadata_key in payload
