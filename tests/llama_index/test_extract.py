"""ColbertExtract: LlamaIndex's postprocessor that keeps what answers."""

from __future__ import annotations

import copy
import pickle

import pytest
from llama_index.core.schema import ImageNode, MediaResource, MetadataMode, Node, NodeWithScore, TextNode

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import ColbertExtract, ColbertQdrantVectorStore

MUSEUM = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
QUESTION = "When did people land on the moon?"
ANSWER = "A lander set two men down on the Moon in 1969."
IN_TWO = f"{ANSWER} The soup is thin. {ANSWER}"


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


def test_what_is_kept_is_a_copy_of_the_node(offline: ColbertEmbedder) -> None:
    node = ImageNode(
        text=MUSEUM,
        image_url="https://example.org/moon.png",
        metadata={"page": 3},
        metadata_template="<{key}={value}>",
        text_template="{content} {metadata_str}",
        start_char_idx=100,
        end_char_idx=100 + len(MUSEUM),
        embedding=[0.1],
    )
    before = node.model_copy(deep=True)

    [kept] = ColbertExtract(embedder=offline, max_tokens=14).postprocess_nodes(
        [NodeWithScore(node=node)], query_str=QUESTION
    )

    copied = kept.node
    assert isinstance(copied, ImageNode)
    assert copied.image_url == node.image_url
    assert copied.get_content(MetadataMode.LLM) == f"{ANSWER} <page=3>"
    assert (copied.start_char_idx, copied.end_char_idx, copied.embedding) == (126, 172, None)
    assert node == before


@pytest.mark.parametrize(
    ("text", "start", "end", "max_tokens"),
    [
        (MUSEUM, None, None, 14),
        (MUSEUM, 5, 30, 14),  # a window has taken the sentence's place
        (IN_TWO, 0, len(IN_TWO), 28),
    ],
)
def test_no_place_in_the_document_is_made_up(
    text: str, start: int | None, end: int | None, max_tokens: int, offline: ColbertEmbedder
) -> None:
    node = TextNode(text=text, start_char_idx=start, end_char_idx=end)

    [kept] = ColbertExtract(embedder=offline, max_tokens=max_tokens).postprocess_nodes(
        [NodeWithScore(node=node)], query_str=QUESTION
    )

    assert kept.node.get_node_info() == {"start": None, "end": None}  # type: ignore[attr-defined]


def test_a_node_of_several_media_is_kept_as_one(offline: ColbertEmbedder) -> None:
    image = MediaResource(url="https://example.org/moon.png")  # type: ignore[arg-type]
    node = Node(text_resource=MediaResource(text=MUSEUM), image_resource=image)

    [kept] = ColbertExtract(embedder=offline, max_tokens=14).postprocess_nodes(
        [NodeWithScore(node=node)], query_str=QUESTION
    )

    assert isinstance(kept.node, Node)
    assert (kept.node.get_content(), kept.node.image_resource) == (ANSWER, image)
    assert node.get_content() == MUSEUM


def test_stored_nodes_are_taken_from_the_store(offline: ColbertEmbedder) -> None:
    store = ColbertQdrantVectorStore("movies", offline)
    store.add([TextNode(text=MUSEUM, id_="m", metadata={"page": 3})])
    found = store.as_index().as_retriever(similarity_top_k=1).retrieve(QUESTION)

    [kept] = ColbertExtract(vector_store=store, max_tokens=14).postprocess_nodes(found, query_str=QUESTION)

    assert kept.text == ANSWER


def test_it_comes_back_from_a_dict_and_a_pickle() -> None:
    extract = ColbertExtract("all-MiniLM-L6-v2-int8-128d", max_tokens=14)

    for again in (ColbertExtract.from_dict(extract.to_dict()), pickle.loads(pickle.dumps(extract))):
        assert again.to_dict() == extract.to_dict()
        assert again._embedder.model_name == "all-MiniLM-L6-v2-int8-128d"


def test_what_it_was_made_with_is_shared_by_a_copy_and_asked_for_by_a_dict(offline: ColbertEmbedder) -> None:
    store = ColbertQdrantVectorStore("movies", offline)
    extract = ColbertExtract(vector_store=store)

    assert copy.deepcopy(extract)._extractor is extract._extractor
    with pytest.raises(TypeError, match="vector_store="):
        pickle.dumps(extract)
    with pytest.raises(InvalidInput, match="give vector_store="):
        ColbertExtract.from_dict(extract.to_dict())
    assert ColbertExtract.from_dict(extract.to_dict(), vector_store=store)._embedder is extract._embedder


def test_bad_input_is_named(offline: ColbertEmbedder) -> None:
    with pytest.raises(InvalidInput, match="give one of them"):
        ColbertExtract("all-MiniLM-L6-v2-int8", embedder=offline)
    with pytest.raises(InvalidInput, match="max_tokens=0"):
        ColbertExtract(embedder=offline, max_tokens=0)
