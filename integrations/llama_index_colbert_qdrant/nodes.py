"""A LlamaIndex node and the record that holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import VectorStoreQueryResult

from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant import Hit, Record

NODE_KEY = "_node"
"""Payload key of what only LlamaIndex needs: whatever a node has beside its id, text, metadata and embedding."""

REF_DOC_KEY = f"{NODE_KEY}.ref_doc_id"
"""Payload path of the document a node was made from; null for a node that was made from none."""

DOCUMENT_INDEX = f"$.{REF_DOC_KEY}"
"""The same as a collection's ``create_index`` takes it."""

THEIR_NODE_KEY = "_node_content"
"""Payload key of the JSON of a node in LlamaIndex's own store, whose collection may have been upgraded."""

THEIR_REF_DOC_KEY = "ref_doc_id"
"""Payload path of the document there, and what stands at it where there is none."""
THEIR_NO_DOCUMENT = "None"

_CLASSES: dict[object, type[BaseNode]] = {
    known.class_name(): known for known in (TextNode, Node, IndexNode, ImageNode, Document, ImageDocument)
}


def as_columns(nodes: Sequence[BaseNode]) -> dict[str, Any]:
    """Return nodes as the arguments of a collection's ``add``.

    A node's own text is stored. Encoded is what LlamaIndex means for embedding: the text with the metadata in front,
    but for ``excluded_embed_metadata_keys``. Embeddings are left behind, and so are the bytes of media, as in
    LlamaIndex's own stores. A node that fails to say any of it is refused by ``add``, it alone and by its id.
    """
    rows = [_row(node) for node in nodes]
    return {name: [row[name] for row in rows] for name in ("texts", "metadatas", "ids", "extras", "encoded_as")}


def _row(node: BaseNode) -> dict[str, Any]:
    row = {"texts": "", "metadatas": node.metadata, "ids": node.node_id, "encoded_as": ""}
    try:
        row["texts"] = node.get_content(MetadataMode.NONE)
        row["encoded_as"] = node.get_content(MetadataMode.EMBED)
        row["extras"] = {NODE_KEY: _remainder(node)}
    except Exception as error:  # of its templates, or of a class that is not LlamaIndex's
        row["extras"] = _Refused(f"the node can't be written out: {error!r:.200}; mend its templates, or its class")
    return row


class _Refused(Mapping[str, Any]):
    """Stands where a record's extras should, and has whoever checks them refuse the record for this reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __iter__(self) -> NoReturn:
        raise InvalidInput(self._reason)

    __getitem__ = __len__ = __iter__  # type: ignore[assignment]


def as_node(record: Record) -> BaseNode:
    """Return the node that a record holds.

    A record that LlamaIndex did not write is a `TextNode`; so is a node of a class that LlamaIndex does not have.
    """
    data: dict[str, Any] = {"id_": record.id, "metadata": record.metadata}
    remainder = record.payload.get(NODE_KEY, _theirs(record))
    if not isinstance(remainder, Mapping):
        return TextNode(text=record.text, **data)
    data = {**remainder, **data}
    if "text_resource" not in data:
        data["text"] = record.text
    elif data["text_resource"] is not None:
        data["text_resource"] = {"text": record.text, **data["text_resource"]}
    data.pop("ref_doc_id", None)
    return _CLASSES.get(data.get("class_name"), TextNode).from_dict(data)


def document_id(node: BaseNode) -> str:
    """Return the id of the document that a node was made from; one that was made from none is its own."""
    return node.ref_doc_id or node.node_id


def document_hash(nodes: Iterable[BaseNode]) -> str | None:
    """Return the hash of the document that all its stored nodes were made from; ``None`` where that is not all of them.

    What stopped in the midst of a document left some of its nodes. Whatever splits a document tells each node its
    neighbours; where one of these is not there, the document is not whole. Where two nodes are the same piece of it, a
    splitter that gives new ids each time was used, and what stopped left the nodes of before.
    """
    nodes = list(nodes)
    stored = {node.node_id for node in nodes}
    neighbours = {each.node_id for node in nodes for each in (node.prev_node, node.next_node) if each is not None}
    hashes = {node.hash if node.source_node is None else node.source_node.hash for node in nodes}
    places = [place for node in nodes if (place := _place(node)) is not None]
    is_whole = len(hashes) == 1 and neighbours <= stored and len(set(places)) == len(places)
    return hashes.pop() if is_whole else None


def _place(node: BaseNode) -> tuple[object, ...] | None:
    """Return which piece of its document a node is: a parent of pieces is not the piece of the same text."""
    start = getattr(node, "start_char_idx", None)
    return None if start is None else (start, node.get_content(MetadataMode.NONE), frozenset(node.relationships))


def as_result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    """Return hits as nodes, their relevance from 0 to 1, and their ids."""
    return VectorStoreQueryResult(
        nodes=[as_node(hit) for hit in hits],
        similarities=[hit.relevance for hit in hits],
        ids=[hit.id for hit in hits],
    )


def _theirs(record: Record) -> Any:
    """Return what LlamaIndex's own store keeps of a node; ``None`` where it did not write the record."""
    try:
        return json.loads(record.payload[THEIR_NODE_KEY])
    except (KeyError, TypeError, ValueError):
        return None


def _remainder(node: BaseNode) -> dict[str, Any]:
    kept = node.to_dict(mode="json", exclude={"id_", "text", "metadata", "embedding", "relationships"})
    kept["relationships"] = {
        kind.value: [_related(each) for each in related] if isinstance(related, list) else _related(related)
        for kind, related in node.relationships.items()
    }
    resource = kept.get("text_resource")
    if resource and resource["text"] is not None:
        del resource["text"]
    return {**kept, "ref_doc_id": node.ref_doc_id}


def _related(node: RelatedNodeInfo) -> dict[str, Any]:
    """Return what is known of a related node; its metadata is made JSON where all metadata is, not by pydantic."""
    return {**node.to_dict(mode="json", exclude={"metadata"}), "metadata": node.metadata}
