"""Collections of LlamaIndex's own store and of LangChain's, upgraded: filters find in them what they say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from qdrant_client import models

import servers
from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection.engines import Place, connect
from conftest import WordEmbedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

Op = FilterOperator
IDS = {name: str(uuid.uuid5(uuid.NAMESPACE_OID, name)) for name in ("apple", "violin", "whale", "letter")}
NAMES = {point_id: name for name, point_id in IDS.items()}


def node(name: str, text: str, of: str | None, **metadata: Any) -> TextNode:
    source = {} if of is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)}
    return TextNode(id_=IDS[name], text=text, metadata=metadata, relationships=source)


NODES = [
    node("apple", "red apple on a table", "fruit", year=1999, tags=["round", "red"], author={"name": "Ann"}),
    node("violin", "green violin in a case", "music", year=2010, tags=["green"]),
    node("whale", "white whale in the sea", "music", year=2020, author={"name": "Bob"}),
    node("letter", "letter without an address", None),
]

FILTERS: dict[str, tuple[tuple[str, Op, Any], set[str]]] = {
    "equal": (("year", Op.EQ, 1999), {"apple"}),
    "not equal": (("year", Op.NE, 1999), {"violin", "whale", "letter"}),
    "at least": (("year", Op.GTE, 2010), {"violin", "whale"}),
    "in": (("year", Op.IN, [1999, 2020]), {"apple", "whale"}),
    "not in": (("year", Op.NIN, [1999, 2020]), {"violin", "letter"}),
    "contains": (("tags", Op.CONTAINS, "red"), {"apple"}),
    "elements": (("tags[]", Op.EQ, "green"), {"violin"}),
    "path": (("author.name", Op.EQ, "Bob"), {"whale"}),
    "empty": (("tags", Op.IS_EMPTY, None), {"whale", "letter"}),
}
OF_DOCUMENTS: dict[str, tuple[tuple[str, Op, Any], set[str]]] = {
    "doc_id": (("doc_id", Op.EQ, "music"), {"violin", "whale"}),
    "ref_doc_id": (("ref_doc_id", Op.IN, ["fruit"]), {"apple"}),
    "document_id": (("document_id", Op.NE, "music"), {"apple", "letter"}),
}


def means(texts: Sequence[str]) -> list[np.ndarray]:
    return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]


def upgraded(place: dict[str, Any], payloads: Mapping[str, Mapping[str, Any]]) -> Iterator[ColbertQdrantVectorStore]:
    """Open what a program wrote, one unnamed vector a point, after its upgrade."""
    name = f"theirs-{uuid.uuid4().hex[:8]}"
    engine = connect(Place(**place))
    points = [
        models.PointStruct(id=each.node_id, payload=dict(payloads[each.node_id]), vector=vector.tolist())
        for each, vector in zip(NODES, means([each.text for each in NODES]), strict=True)
    ]
    config = models.VectorParams(size=16, distance=models.Distance.COSINE)
    engine.call("create_collection", {"collection_name": name, "vectors_config": config})
    engine.call("upsert", {"collection_name": name, "points": points, "wait": True})
    if "client" not in place:
        engine.close()
    with MultivectorCollection.upgrade(name, WordEmbedder(), dense=means, **place) as collection:
        yield ColbertQdrantVectorStore.of(collection)
    if "url" in place:
        servers.drop({name})


@pytest.fixture
def of_llama_index(place: dict[str, Any]) -> Iterator[ColbertQdrantVectorStore]:
    """As its ``QdrantVectorStore`` writes nodes: metadata at the top of the payload, the node as JSON."""
    yield from upgraded(place, {each.node_id: node_to_metadata_dict(each, remove_text=False) for each in NODES})


@pytest.fixture
def of_langchain(place: dict[str, Any]) -> Iterator[ColbertQdrantVectorStore]:
    payloads = {each.node_id: {"page_content": each.text, "metadata": each.metadata} for each in NODES}
    yield from upgraded(place, payloads)


def check(store: ColbertQdrantVectorStore, asked: tuple[str, Op, Any], wanted: set[str]) -> None:
    key, operator, value = asked
    filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
    others = MetadataFilters(filters=[filters], condition=FilterCondition.NOT)
    query = VectorStoreQuery(query_str="red violin", similarity_top_k=9, filters=filters)

    assert {NAMES[each] for each in store.query(query).ids or []} == wanted
    assert {NAMES[each.node_id] for each in store.get_nodes(filters=filters)} == wanted
    assert {NAMES[each.node_id] for each in store.get_nodes(filters=others)} == set(IDS) - wanted


def test_filters_over_what_llama_index_wrote(of_llama_index: ColbertQdrantVectorStore) -> None:
    for asked, wanted in {**FILTERS, **OF_DOCUMENTS}.values():
        check(of_llama_index, asked, wanted)


def test_filters_over_what_langchain_wrote(of_langchain: ColbertQdrantVectorStore) -> None:
    for asked, wanted in FILTERS.values():
        check(of_langchain, asked, wanted)


def test_nodes_that_llama_index_wrote_come_back(of_llama_index: ColbertQdrantVectorStore) -> None:
    assert {each.node_id: each for each in of_llama_index.get_nodes()} == {each.node_id: each for each in NODES}


@pytest.mark.parametrize(("doc_id", "wanted"), [("music", {"violin", "whale"}), (IDS["letter"], {"letter"})])
def test_documents_that_llama_index_wrote_are_known(
    of_llama_index: ColbertQdrantVectorStore, doc_id: str, wanted: set[str]
) -> None:
    query = VectorStoreQuery(query_str="red violin", similarity_top_k=9, doc_ids=[doc_id])

    assert {NAMES[each] for each in of_llama_index.query(query).ids or []} == wanted
    of_llama_index.delete(doc_id)
    assert {NAMES[each.node_id] for each in of_llama_index.get_nodes()} == set(IDS) - wanted


def test_a_node_with_a_document_is_not_its_own(of_llama_index: ColbertQdrantVectorStore) -> None:
    of_llama_index.delete(IDS["whale"])

    assert len(of_llama_index.get_nodes()) == len(NODES)
