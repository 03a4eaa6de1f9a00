"""ColbertExtract: LlamaIndex's postprocessor that keeps what answers."""

from __future__ import annotations

import pytest
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

MUSEUM = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
QUESTION = "When did people land on the moon?"
ANSWER = "A lander set two men down on the Moon in 1969."


def test_it_keeps_what_answers_and_says_where_it_stood(offline: ColbertEmbedder) -> None:
    nodes = [
        NodeWithScore(node=TextNode(text="Toys are unhappy there."), score=0.9),
        NodeWithScore(node=TextNode(text=MUSEUM, id_="m", metadata={"page": 3}), score=0.8),
    ]

    [kept] = ColbertExtract(embedder=offline, max_tokens=14).postprocess_nodes(nodes, query_str=QUESTION)

    assert (kept.text, kept.node_id, kept.score) == (ANSWER, "m", 0.8)
    assert kept.metadata == {"page": 3, "passages": [[26, 72]]}
    assert kept.node.get_content(MetadataMode.LLM) == f"page: 3\n\n{ANSWER}"
    assert nodes[1].text == MUSEUM


def test_stored_nodes_are_taken_from_the_store(offline: ColbertEmbedder) -> None:
    store = ColbertQdrantVectorStore("movies", offline)
    store.add([TextNode(text=MUSEUM, id_="m", metadata={"page": 3})])
    found = store.as_index().as_retriever(similarity_top_k=1).retrieve(QUESTION)

    [kept] = ColbertExtract(vector_store=store, max_tokens=14).postprocess_nodes(found, query_str=QUESTION)

    assert kept.text == ANSWER


def test_bad_input_is_named(offline: ColbertEmbedder) -> None:
    with pytest.raises(InvalidInput, match="give one of them"):
        ColbertExtract("all-MiniLM-L6-v2-int8", embedder=offline)
    with pytest.raises(InvalidInput, match="max_tokens=0"):
        ColbertExtract(embedder=offline, max_tokens=0)
