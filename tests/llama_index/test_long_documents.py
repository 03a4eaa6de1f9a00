"""A handbook in chunks of LlamaIndex's own size: every token of it has a vector, and the needle is found first."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable

import pytest
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, MetadataMode, NodeWithScore, TextNode

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

OFFLINE = "all-MiniLM-L6-v2-int8"
FILLER = "The committee met again, and nothing of note was decided on that day. "
HANDBOOK = Document(id_="handbook", text=FILLER * 65 + "The secret code of the vault is zanzibar forty two. ")
LOCKS = Document(id_="locks", text="Locks with codes are safer than locks with keys, say those who make them.")
QUESTION = "What is the secret code of the vault?"

MakeStore = Callable[..., ColbertQdrantVectorStore]


@pytest.fixture
def store(make_store: MakeStore, offline: ColbertEmbedder) -> ColbertQdrantVectorStore:
    return make_store(embedder=offline)


def missing(store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> list[str]:
    """The nodes that have fewer vectors than tokens."""
    counting = offline.windowed()
    vectors = {record.id: record.vectors for record in store.collection.scroll(with_vectors=True)}
    texts = {node.node_id: node.get_content(MetadataMode.EMBED) for node in store.get_nodes()}
    tokens = {name: counting.token_count(text, include_extension=True) for name, text in texts.items()}
    return [name for name, rows in vectors.items() if rows is None or len(rows) != tokens[name]]


def test_chunks_of_llama_index_are_encoded_whole(store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
    index = store.as_index([HANDBOOK, LOCKS], transformations=[SentenceSplitter()])

    [best] = index.as_retriever(similarity_top_k=1).retrieve(QUESTION)

    assert best.node.ref_doc_id == "handbook"
    assert "zanzibar" in best.text
    assert missing(store, offline) == []


def test_as_index_cuts_by_the_tokenizer_of_the_model(store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is cut
        index = store.as_index([HANDBOOK, LOCKS])

    [best] = index.as_retriever(similarity_top_k=1).retrieve(QUESTION)
    sizes = [
        offline.windowed().token_count(node.get_content(MetadataMode.EMBED), include_extension=True)
        for node in store.get_nodes()
    ]
    assert "zanzibar" in best.text
    assert max(sizes) <= 512
    assert len(sizes) > 2
    assert missing(store, offline) == []


def test_a_pickled_splitter_cuts_as_it_did(store: ColbertQdrantVectorStore) -> None:
    """A pipeline sends it to its workers so."""
    splitter = store.splitter()
    text = Document(id_="text", text=" ".join(f"Überprüfung № {number} zeigt Größe." for number in range(200)))

    again = pickle.loads(pickle.dumps(splitter))

    assert again([text]) == splitter([text])
    assert again.chunk_size == splitter.chunk_size


def test_reranker_reads_a_long_node_to_its_end(offline: ColbertEmbedder) -> None:
    nodes = [TextNode(text=LOCKS.text), TextNode(text=HANDBOOK.text)]

    [best] = ColbertRerank(1, embedder=offline).postprocess_nodes(
        [NodeWithScore(node=node) for node in nodes], query_str=QUESTION
    )

    assert "zanzibar" in best.text


def test_what_no_point_holds_is_refused_with_what_cuts_it(store: ColbertQdrantVectorStore) -> None:
    beyond = TextNode(id_="beyond", text="code " * 4_000)  # 4,002 vectors of 384 numbers

    with pytest.raises(InvalidInput, match=r"1 of 2 nodes were not stored.*'beyond'.*store\.splitter\(\)"):
        store.add([TextNode(id_="fits", text="A lock."), beyond])

    assert [node.node_id for node in store.get_nodes()] == ["fits"]
