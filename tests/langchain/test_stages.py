"""One store, dense vectors to ColBERT in one request."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from qdrant_client import QdrantClient

from colbert_qdrant import Bm25, ColbertEmbedder, Muvera
from colbert_qdrant.errors import CollectionMismatch
from langchain_colbert_qdrant import ColbertQdrantVectorStore

TEXTS = ["A soldier relives the same day.", "Toys are left at a day-care center.", "A rock band goes on tour."]


class Letters(Embeddings):
    """An embedding of how often each letter occurs: cheap, and alike for texts of the same words."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [text.lower().count(chr(letter)) + 0.01 for letter in range(97, 123)]


@pytest.mark.parametrize("kind", ["dense", "muvera", "bm25 and dense"])
def test_a_store_with_first_stages_finds_by_maxsim(offline: ColbertEmbedder, kind: str) -> None:
    options: dict[str, Any] = {
        "dense": {"dense": Letters()},
        "muvera": {"stages": [Muvera.from_embedder(offline)]},
        "bm25 and dense": {"stages": [Bm25()], "dense": Letters()},
    }[kind]
    store, plain = ColbertQdrantVectorStore("staged", offline, **options), ColbertQdrantVectorStore("plain", offline)
    store.add_texts(TEXTS)
    plain.add_texts(TEXTS)

    [(document, score)] = store.similarity_search_with_score("a soldier and his day", k=1)

    assert document.page_content == TEXTS[0]
    assert score == pytest.approx(plain.similarity_search_with_score("a soldier and his day", k=1)[0][1], abs=1e-3)


async def test_relevance_and_diversity_go_through_the_stages_too(offline: ColbertEmbedder) -> None:
    store = ColbertQdrantVectorStore("staged", offline, stages=[Muvera.from_embedder(offline)])
    await store.aadd_texts(TEXTS)

    [(relevant, relevance)] = await store.asimilarity_search_with_relevance_scores("toys", k=1)
    diverse = await store.amax_marginal_relevance_search("toys", k=2)

    assert relevant.page_content == diverse[0].page_content == TEXTS[1]
    assert 0 <= relevance <= 1


def test_another_embedding_for_the_stage_is_refused(offline: ColbertEmbedder) -> None:
    client = QdrantClient(":memory:")
    ColbertQdrantVectorStore("staged", offline, client=client, dense=Letters())

    with pytest.raises(CollectionMismatch, match="'dense' has 26 dimensions, not 8"):
        ColbertQdrantVectorStore("staged", offline, client=client, dense=DeterministicFakeEmbedding(size=8))
