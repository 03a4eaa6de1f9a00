"""One collection, both frameworks (one payload): indexed by one, queried and filtered by the other."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from pathlib import PurePosixPath

import numpy as np
import pytest
from langchain_core.documents import Document as LangChainDocument
from llama_index.core import Document as LlamaIndexDocument
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from langchain_colbert_qdrant import ColbertQdrantVectorStore as LangChainStore
from llama_index_colbert_qdrant import ColbertQdrantVectorStore as LlamaIndexStore

TEXTS = {
    "loop": "A soldier relives the same day.",
    "toys": "Toys are left at a day-care center.",
    "band": "A rock band goes on a fateful tour.",
}


@pytest.fixture(params=["memory", "edge"])
def stores(request, tmp_path, offline: ColbertEmbedder):  # type: ignore[no-untyped-def]
    path = tmp_path if request.param == "edge" else None
    with MultivectorCollection("shared", offline, path=path) as collection:
        yield LangChainStore.of(collection), LlamaIndexStore.of(collection)


def test_langchain_finds_and_filters_what_llama_index_stored(stores: tuple[LangChainStore, LlamaIndexStore]) -> None:
    langchain, llama_index = stores
    index = llama_index.as_index()
    for number, (name, text) in enumerate(TEXTS.items()):
        index.insert(LlamaIndexDocument(id_=name, text=text, metadata={"number": number, "tags": ["a", name]}))

    [best] = langchain.similarity_search("a time loop", k=1)
    assert best.page_content == TEXTS["loop"]
    assert best.metadata == {"number": 0, "tags": ["a", "loop"]}
    assert best.id is not None

    filtered = langchain.similarity_search("a time loop", k=3, filter={"tags": "band"})
    assert [document.page_content for document in filtered] == [TEXTS["band"]]
    assert langchain.get_by_ids([best.id]) == [best]


def test_llama_index_finds_and_filters_what_langchain_stored(stores: tuple[LangChainStore, LlamaIndexStore]) -> None:
    langchain, llama_index = stores
    langchain.add_documents(
        [LangChainDocument(text, metadata={"number": n}, id=name) for n, (name, text) in enumerate(TEXTS.items())]
    )
    retriever = llama_index.as_index().as_retriever(similarity_top_k=1)

    [best] = retriever.retrieve("a time loop")
    assert (best.node_id, best.text, best.metadata) == ("loop", TEXTS["loop"], {"number": 0})

    above = MetadataFilters(filters=[MetadataFilter(key="number", value=1, operator=FilterOperator.GT)])
    [filtered] = llama_index.as_index().as_retriever(filters=above).retrieve("a time loop")
    assert filtered.text == TEXTS["band"]


def test_a_node_comes_back_equal_after_langchain_has_read_it(stores: tuple[LangChainStore, LlamaIndexStore]) -> None:
    langchain, llama_index = stores
    node = TextNode(id_="any id: ünïcode", text=TEXTS["toys"], metadata={"x": [1, None]}, start_char_idx=3)
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="document", metadata={"y": 1})
    llama_index.add([node])

    [document] = langchain.similarity_search("toys", k=1)

    assert document.id == node.node_id
    assert document.metadata == node.metadata
    assert llama_index.get_nodes([node.node_id]) == [node]


def test_each_deletes_what_the_other_stored(stores: tuple[LangChainStore, LlamaIndexStore]) -> None:
    langchain, llama_index = stores
    langchain.add_texts([TEXTS["toys"]], ids=["toys"])
    llama_index.add([TextNode(id_="band", text=TEXTS["band"])])

    langchain.delete(["band"])
    llama_index.delete_nodes(["toys"])

    assert langchain.collection.count() == 0


def test_metadata_of_pythons_kinds_is_the_same_json_from_both(
    stores: tuple[LangChainStore, LlamaIndexStore],
) -> None:
    langchain, llama_index = stores
    given = {
        "seen": datetime.datetime(2024, 5, 1, 12),
        "day": datetime.date(2024, 5, 1),
        "file": PurePosixPath("a/b.txt"),
        "key": uuid.UUID(int=5),
        "price": Decimal("1.10"),
        "tags": {"b", "a"},
        "weight": np.float32(0.5),
    }
    stored = {
        "seen": "2024-05-01T12:00:00",
        "day": "2024-05-01",
        "file": "a/b.txt",
        "key": "00000000-0000-0000-0000-000000000005",
        "price": "1.10",
        "tags": ["a", "b"],
        "weight": 0.5,
    }
    llama_index.add([TextNode(id_="node", text=TEXTS["toys"], metadata=dict(given))])
    langchain.add_documents([LangChainDocument(TEXTS["loop"], metadata=dict(given), id="document")])

    assert [document.metadata for document in langchain.get_by_ids(["node", "document"])] == [stored, stored]
    assert [node.metadata for node in llama_index.get_nodes(["node", "document"])] == [stored, stored]
    assert len(langchain.similarity_search("time", filter={"day": datetime.date(2024, 5, 1), "tags": "a"})) == 2
