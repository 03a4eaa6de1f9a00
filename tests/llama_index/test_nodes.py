"""A node comes back as it was, through a payload that other readers understand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from qdrant_client import models

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

RELATIONSHIPS = {
    NodeRelationship.SOURCE: RelatedNodeInfo(
        node_id="the book", node_type=ObjectType.DOCUMENT, metadata={"author": "Ada"}, hash="abc"
    ),
    NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id="page 1", node_type=ObjectType.TEXT),
    NodeRelationship.NEXT: RelatedNodeInfo(node_id="page 3", node_type=ObjectType.TEXT),
    NodeRelationship.PARENT: RelatedNodeInfo(node_id="chapter 1"),
    NodeRelationship.CHILD: [RelatedNodeInfo(node_id="line 1"), RelatedNodeInfo(node_id="line 2")],
}
METADATA = {
    "year": 2014, "score": 8.5, "tags": ["war", "time"], "cast": {"lead": "Cruise"}, "sequel": None, "good": True,
    "_node": "mine", "_id": "mine too", "doc_id": "mine as well", "page_content": "all mine", "größe": "日本",
}  # fmt: skip

NODES: dict[str, BaseNode] = {
    "text": TextNode(id_="page 2", text="A soldier relives the same day.", metadata=METADATA),
    "relationships": TextNode(text="A soldier.", metadata={"page": 2}, relationships=RELATIONSHIPS),
    "templates": TextNode(
        text="A soldier.",
        metadata={"page": 2, "file": "book.txt"},
        excluded_embed_metadata_keys=["file"],
        excluded_llm_metadata_keys=["page"],
        metadata_template="{key} is {value}",
        text_template="{content} ({metadata_str})",
        start_char_idx=3,
        end_char_idx=13,
        mimetype="text/markdown",
    ),
    "empty": TextNode(),
    "document": Document(text="A soldier.", metadata={"page": 2}),
    "document without text": Document(metadata={"page": 2}),
    "node": Node(
        text_resource=MediaResource(text="A soldier.", mimetype="text/markdown"),
        image_resource=MediaResource(url="https://example.org/soldier.png"),
    ),
    "node whose text is elsewhere": Node(text_resource=MediaResource(url="https://example.org/soldier.txt")),
    "image": ImageNode(text="A soldier.", image="aGVsbG8=", image_url="https://example.org/soldier.png"),
    "image document": ImageDocument(text="A soldier.", image="aGVsbG8="),
    "index": IndexNode(text="A soldier.", index_id="movies", obj=TextNode(text="The whole story.")),
}


def without_bytes(node: BaseNode) -> BaseNode:
    """LlamaIndex serialises no binary data of media, in any store."""
    copy = node.model_copy(deep=True)
    if isinstance(copy, ImageDocument) and copy.image_resource:
        copy.image_resource.data = None
    return copy


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_node_comes_back_equal(store: ColbertQdrantVectorStore, node: BaseNode) -> None:
    store.add([node])

    [back] = store.get_nodes([node.node_id])

    assert type(back) is type(node)
    assert back == without_bytes(node)


SEPARATED = TextNode(text="A soldier.", metadata={"page": 2, "line": 3}, metadata_separator="; ")


@pytest.mark.skipif(TextNode.from_dict(SEPARATED.to_dict()) != SEPARATED, reason="lost by this LlamaIndex itself")
def test_separator_comes_back(store: ColbertQdrantVectorStore) -> None:
    store.add([SEPARATED])

    assert store.get_nodes() == [SEPARATED]


@pytest.mark.parametrize("node_id", ["1", "-1", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "my id", "日本", "a" * 300])
def test_any_string_is_a_node_id(store: ColbertQdrantVectorStore, node_id: str) -> None:
    assert store.add([TextNode(id_=node_id, text="A soldier.")]) == [node_id]

    assert [node.node_id for node in store.get_nodes()] == [node_id]


def test_payload_is_the_one_of_both_frameworks(store: ColbertQdrantVectorStore) -> None:
    store.add([NODES["relationships"]])

    [record] = store.collection.scroll()

    assert set(record.payload) == {"page_content", "metadata", "_id", "_hash", "_node", "_around"}
    assert record.payload["page_content"] == "A soldier."
    assert record.payload["metadata"] == {"page": 2}
    assert record.payload["_node"]["ref_doc_id"] == "the book"
    assert not {"text", "metadata", "embedding", "id_"} & set(record.payload["_node"])


def test_payload_keys_are_the_users(make_store: Callable[..., ColbertQdrantVectorStore]) -> None:
    named = make_store(content_key="text", metadata_key="meta")

    named.add([NODES["text"]])

    [record] = named.collection.scroll()
    assert record.payload["text"] == "A soldier relives the same day."
    assert record.payload["meta"] == METADATA
    assert named.get_nodes() == [NODES["text"]]


def test_embedded_is_the_text_with_its_metadata(store: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    store.add([NODES["templates"]])

    [record] = store.collection.scroll(with_vectors=True)

    [expected] = embedder.embed(["A soldier. (page is 2)"])
    assert record.vectors is not None
    assert record.vectors == pytest.approx(expected, abs=1e-3)  # stored in half precision


def test_record_of_langchain_is_a_text_node(store: ColbertQdrantVectorStore) -> None:
    store.collection.add(["A soldier."], [{"page": 2}], ["its id"])

    assert store.get_nodes() == [TextNode(id_="its id", text="A soldier.", metadata={"page": 2})]


def test_record_made_by_hand_is_a_text_node(store: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    [vectors] = embedder.embed(["A soldier."])
    point = models.PointStruct(id=7, vector={"colbert": vectors.tolist()}, payload={"name": "Edge of Tomorrow"})
    store.client.upsert(store.collection_name, [point])

    assert store.get_nodes() == [TextNode(id_="7", text="", metadata={"name": "Edge of Tomorrow"})]


class Verse(TextNode):
    """A class of a user's own."""

    foot: int = 5

    @classmethod
    def class_name(cls) -> str:
        return "Verse"


def test_node_of_a_users_class_is_a_text_node(store: ColbertQdrantVectorStore) -> None:
    store.add([Verse(id_="1", text="Shall I compare thee", metadata={"line": 1})])

    assert store.get_nodes() == [TextNode(id_="1", text="Shall I compare thee", metadata={"line": 1})]


def test_adding_again_replaces_all_of_a_node(store: ColbertQdrantVectorStore) -> None:
    old = TextNode(id_="1", text="A soldier.", metadata={"page": 1}, excluded_embed_metadata_keys=["page"])
    new = old.model_copy(update={"metadata": {"page": 2}, "relationships": RELATIONSHIPS})
    store.add([old])

    store.add([new])

    assert store.get_nodes() == [new]


def test_the_nodes_given_stay_as_they_are(store: ColbertQdrantVectorStore) -> None:
    node = NODES["relationships"].model_copy(update={"embedding": [0.5]}, deep=True)
    before = node.model_copy(deep=True)

    store.add([node])

    assert node == before


def test_metadata_that_is_no_json_is_refused_and_keeps_no_other_node_out(
    store: ColbertQdrantVectorStore,
) -> None:
    nodes = [TextNode(text="fine"), TextNode(text="not", metadata={"tags": [b"1"]})]

    with pytest.raises(InvalidInput, match=r"metadata 1\.tags\[0\]"):
        store.add(nodes)

    assert [node.get_content() for node in store.get_nodes()] == ["fine"]


def test_metadata_of_numpy_is_stored_as_json_of_a_documents_nodes_too(store: ColbertQdrantVectorStore) -> None:
    document = Document(text="A soldier.", id_="1", metadata={"year": np.int64(1999), "tags": np.array([1, 2])})

    store.as_index([document])

    [node] = store.get_nodes()
    assert node.metadata == {"year": 1999, "tags": [1, 2]}
    assert node.source_node is not None
    assert node.source_node.metadata == node.metadata


HOLDS_ITSELF: dict[str, Any] = {}
HOLDS_ITSELF["itself"] = HOLDS_ITSELF


@pytest.mark.parametrize("value", [b"\xff", object(), HOLDS_ITSELF], ids=["bytes", "object", "itself"])
def test_metadata_that_is_no_json_keeps_no_other_document_out(store: ColbertQdrantVectorStore, value: Any) -> None:
    documents = [Document(text="fine", id_="good"), Document(text="not", id_="bad", metadata={"v": value})]

    with pytest.raises(InvalidInput, match=r"1 of 2 nodes were not stored, .* 'bad#0': metadata 1\.v"):
        store.as_index(documents)

    assert [node.get_content() for node in store.get_nodes()] == ["fine"]


@pytest.mark.parametrize("options", [{}, {"on_error": "skip"}, {"on_error": "raise"}])
def test_a_node_whose_template_fails_is_refused_by_its_id(
    store: ColbertQdrantVectorStore, options: dict[str, Any]
) -> None:
    broken = TextNode(text="not", id_="bad", metadata={"k": 1}, text_template="{bogus}")

    try:
        store.add([TextNode(text="fine"), broken], **options)
    except InvalidInput as error:
        reason = str(error)
        assert "the node can't be written out: KeyError('bogus')" in reason
        assert ("'bad'" in reason) == (not options)
    else:
        assert options == {"on_error": "skip"}

    assert [node.get_content() for node in store.get_nodes()] == ["fine"] * (options.get("on_error") != "raise")
