"""A node's embedding, where a first stage is of the model that made it: taken, not computed again, never guessed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import Document, TextNode

from colbert_qdrant import Dense
from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import ColbertQdrantVectorStore

Make = Callable[..., ColbertQdrantVectorStore]

DOCUMENTS = [Document(id_="soldier", text="A soldier."), Document(id_="toys", text="Toys come alive.")]


class Letters(BaseEmbedding):
    """Counts letters, and notes what of."""

    _texts: list[str] = PrivateAttr(default_factory=list)

    def _get_text_embedding(self, text: str) -> list[float]:
        self._texts.append(text)
        return [1.0 + text.count(letter) for letter in "aeio"]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def vectors(store: ColbertQdrantVectorStore) -> list[Any]:
    arguments = {"collection_name": store.collection.name, "with_vectors": ["dense"], "with_payload": False}
    points, _ = store.collection.engine.call("scroll", arguments)
    return [point.vector["dense"] for point in points]


def test_a_text_is_embedded_once(make_store: Make) -> None:
    model = Letters(model_name="letters")
    store = make_store(stages=[Dense(model, dim=4)], embed_model=model)

    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(DOCUMENTS, storage_context=context, embed_model=model)

    assert model._texts == [document.text for document in DOCUMENTS]
    [best] = index.as_retriever(similarity_top_k=1).retrieve("toys")
    assert best.node.ref_doc_id == "toys"


@pytest.mark.parametrize("other", [False, True], ids=["same object", "same class and name"])
def test_the_embedding_of_a_node_is_what_is_stored(make_store: Make, other: bool) -> None:
    model = Letters(model_name="letters")
    store = make_store(stages=[Dense(model, dim=4)], embed_model=Letters(model_name="letters") if other else model)

    store.add([TextNode(text="A soldier.", embedding=[0.0, 0.0, 2.0, 0.0])])

    assert model._texts == []
    np.testing.assert_allclose(vectors(store), [[0, 0, 1, 0]], atol=1e-3)


async def test_asynchronously(make_store: Make) -> None:
    model = Letters(model_name="letters")
    store = copy.deepcopy(make_store(stages=[Dense(model, dim=4)], embed_model=model))

    await store.async_add([TextNode(text="A soldier.", embedding=[0.0, 0.0, 2.0, 0.0])])

    assert model._texts == []


def test_nodes_without_an_embedding_are_encoded_by_the_stage(make_store: Make) -> None:
    model = Letters(model_name="letters")
    store = make_store(stages=[Dense(model, dim=4)], embed_model=model)

    store.as_index(DOCUMENTS)

    assert model._texts == [document.text for document in DOCUMENTS]
    assert len(vectors(store)) == 2


def test_whose_an_embedding_is_is_not_guessed(make_store: Make) -> None:
    model = Letters(model_name="letters")
    store = make_store(stages=[Dense(model, dim=4)])

    with pytest.warns(UserWarning, match="embed_model=model"):
        store.add([TextNode(text="A soldier.", embedding=[0.0, 0.0, 2.0, 0.0])])

    assert model._texts == ["A soldier."]


@pytest.mark.parametrize("name", ["another", "unknown"])
def test_a_model_of_no_stage_is_refused(make_store: Make, name: str) -> None:
    stages = [Dense(Letters(model_name="letters" if name == "another" else name), dim=4)]

    with pytest.raises(InvalidInput, match="encoder of no first stage"):
        make_store(stages=stages, embed_model=Letters(model_name=name))


def test_an_embedding_of_another_length_is_refused(make_store: Make) -> None:
    model = Letters(model_name="letters")
    store = make_store(stages=[Dense(model, dim=4)], embed_model=model)

    with pytest.raises(InvalidInput, match=r"shape \(2,\)"):
        store.add([TextNode(id_="bad", text="A", embedding=[1.0, 2.0]), TextNode(id_="good", text="B")])
    assert [node.node_id for node in store.get_nodes()] == ["good"]
