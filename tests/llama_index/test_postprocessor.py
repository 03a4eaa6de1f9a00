"""ColbertRerank orders nodes by MaxSim, leaves its input alone, and tells whoever listens."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from colbert_qdrant import maxsim
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

QUERY = "the same day again"
TEXTS = ["Toys are left at a day-care center.", "A soldier relives the same day.", "A hacker meets a rebel."]
OFFLINE = "all-MiniLM-L6-v2-int8"


def retrieved() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=str(i), text=text, metadata={"n": i}), score=0.5 - i / 10)
        for i, text in enumerate(TEXTS)
    ]


@pytest.fixture
def rerank(embedder: Embedder) -> ColbertRerank:
    return ColbertRerank(embedder=embedder)


class Encoding:
    """An embedder that notes what it encodes."""

    def __init__(self, embedder: Embedder) -> None:
        self.model_name, self.dim, self.settings = embedder.model_name, embedder.dim, embedder.settings  # type: ignore[attr-defined]
        self._embedder = embedder
        self.texts: list[str] = []

    def embed(self, documents: Iterable[str]) -> Iterable[np.ndarray]:
        texts = list(documents)
        self.texts += texts
        return self._embedder.embed(texts)

    def query_embed(self, query: str | Iterable[str]) -> Iterable[np.ndarray]:
        return self._embedder.query_embed(query)


def test_it_is_a_postprocessor_to_llama_index(rerank: ColbertRerank) -> None:
    assert isinstance(rerank, BaseNodePostprocessor)
    assert rerank.class_name() == "ColbertRerank"


def test_nodes_come_in_the_order_of_their_maxsim(rerank: ColbertRerank, embedder: Embedder) -> None:
    nodes = retrieved()

    reranked = rerank.postprocess_nodes(nodes, query_str=QUERY)

    [query] = embedder.query_embed([QUERY])
    scores = maxsim(query, embedder.embed([node.get_content(MetadataMode.EMBED) for node in nodes])).tolist()
    best = sorted(range(3), key=lambda i: -scores[i])
    assert [node.node_id for node in reranked] == [str(i) for i in best]
    assert [node.score for node in reranked] == pytest.approx([scores[i] / len(query) for i in best], abs=1e-4)


async def test_it_does_the_same_asynchronously(rerank: ColbertRerank) -> None:
    reranked = await rerank.apostprocess_nodes(retrieved(), query_str=QUERY)

    assert reranked == rerank.postprocess_nodes(retrieved(), query_str=QUERY)


def test_model_may_be_named() -> None:
    reranked = ColbertRerank(model=OFFLINE, top_n=1).postprocess_nodes(retrieved(), query_str=QUERY)

    assert [node.text for node in reranked] == [TEXTS[1]]


def test_top_n_of_them_are_returned(embedder: Embedder) -> None:
    assert len(ColbertRerank(embedder=embedder, top_n=2).postprocess_nodes(retrieved(), query_str=QUERY)) == 2


def test_query_may_be_a_bundle(rerank: ColbertRerank) -> None:
    by_bundle = rerank.postprocess_nodes(retrieved(), query_bundle=QueryBundle(QUERY))

    assert by_bundle == rerank.postprocess_nodes(retrieved(), query_str=QUERY)


def test_no_nodes_are_no_nodes(rerank: ColbertRerank) -> None:
    assert rerank.postprocess_nodes([], query_str=QUERY) == []


def test_without_a_query_it_is_a_value_error(rerank: ColbertRerank) -> None:
    with pytest.raises(ValueError, match="query_str"):
        rerank.postprocess_nodes(retrieved())


@pytest.mark.parametrize("keep", [False, True])
def test_nodes_given_stay_as_they_are(embedder: Embedder, keep: bool) -> None:
    nodes = retrieved()

    ColbertRerank(embedder=embedder, keep_retrieval_score=keep).postprocess_nodes(nodes, query_str=QUERY)

    assert nodes == retrieved()


def test_retrieval_score_is_kept_on_request(embedder: Embedder) -> None:
    rerank = ColbertRerank(embedder=embedder, keep_retrieval_score=True, top_n=1)

    [best] = rerank.postprocess_nodes(retrieved(), query_str=QUERY)

    assert best.metadata == {"n": 1, "retrieval_score": 0.4}


def test_retrieval_score_is_not_kept_otherwise(embedder: Embedder) -> None:
    [best] = ColbertRerank(embedder=embedder, top_n=1).postprocess_nodes(retrieved(), query_str=QUERY)

    assert best.metadata == {"n": 1}


@pytest.mark.parametrize(
    ("mode", "text"), [(MetadataMode.EMBED, "n: 0\n\nToys are left"), (MetadataMode.NONE, "Toys are left")]
)
def test_metadata_is_encoded_as_asked(embedder: Embedder, mode: MetadataMode, text: str) -> None:
    encoding = Encoding(embedder)

    ColbertRerank(embedder=encoding, metadata_mode=mode).postprocess_nodes(retrieved()[:1], query_str=QUERY)

    [encoded] = encoding.texts
    assert encoded.startswith(text)


# --- stored token vectors


def test_stored_nodes_are_not_encoded_again(store: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    encoding = Encoding(embedder)
    store.add([node.node for node in retrieved()[:2]])
    store.collection.embedder = encoding
    rerank = ColbertRerank(vector_store=store)

    reranked = rerank.postprocess_nodes(retrieved(), query_str=QUERY)

    assert encoding.texts == [retrieved()[2].get_content(MetadataMode.EMBED)]
    plain = ColbertRerank(embedder=embedder).postprocess_nodes(retrieved(), query_str=QUERY)
    assert [node.node_id for node in reranked] == [node.node_id for node in plain]
    assert [node.score for node in reranked] == pytest.approx([node.score for node in plain], abs=1e-3)


@pytest.mark.parametrize(("options", "encoded"), [({}, 3), ({"cache_bytes": 0}, 6)])
def test_nodes_seen_lately_are_not_encoded_again(embedder: Embedder, options: dict[str, Any], encoded: int) -> None:
    encoding = Encoding(embedder)
    rerank = ColbertRerank(embedder=encoding, **options)

    first, second = (rerank.postprocess_nodes(retrieved(), query_str=QUERY) for _ in range(2))

    assert second == first
    assert len(encoding.texts) == encoded


def test_copies_remember_as_much(embedder: Embedder) -> None:
    rerank = ColbertRerank(model=OFFLINE, cache_bytes=0)

    for other in (copy.deepcopy(rerank), pickle.loads(pickle.dumps(rerank)), ColbertRerank.from_dict(rerank.to_dict())):
        assert other.cache_bytes == 0


def test_a_cache_below_0_is_refused(embedder: Embedder) -> None:
    with pytest.raises(InvalidInput, match="cache_bytes=-1"):
        ColbertRerank(embedder=embedder, cache_bytes=-1)


def test_model_of_the_store_is_taken(store: ColbertQdrantVectorStore) -> None:
    assert ColbertRerank(vector_store=store).model == OFFLINE


# --- refusals

TWO_MODELS: list[dict[str, Any]] = [
    {"model": OFFLINE, "embedder": object()},
    {"model": OFFLINE, "vector_store": object()},
    {"embedder": object(), "vector_store": object()},
]


@pytest.mark.parametrize("arguments", TWO_MODELS, ids=" and ".join)
def test_two_models_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=" and ".join(arguments)):
        ColbertRerank(**arguments)


@pytest.mark.parametrize("top_n", [0, -1])
def test_top_n_below_1_is_refused(embedder: Embedder, top_n: int) -> None:
    with pytest.raises(InvalidInput, match=f"top_n={top_n}"):
        ColbertRerank(embedder=embedder, top_n=top_n)


# --- events


def test_instrumentation_is_told(rerank: ColbertRerank, listener: Any) -> None:
    nodes = retrieved()

    reranked = rerank.postprocess_nodes(nodes, query_str=QUERY)

    start, end = listener.events
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert (start.query, start.nodes, start.top_n, start.model_name) == (QueryBundle(QUERY), nodes, 5, OFFLINE)
    assert end.nodes == reranked


async def test_instrumentation_is_told_asynchronously(rerank: ColbertRerank, listener: Any) -> None:
    await rerank.apostprocess_nodes(retrieved(), query_str=QUERY)

    assert [type(event) for event in listener.events] == [ReRankStartEvent, ReRankEndEvent]


def test_no_nodes_are_no_event(rerank: ColbertRerank, listener: Any) -> None:
    rerank.postprocess_nodes([], query_str=QUERY)

    assert listener.events == []


def test_callbacks_are_told(embedder: Embedder) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = ColbertRerank(embedder=embedder, callback_manager=CallbackManager([debug]))

    reranked = rerank.postprocess_nodes(retrieved(), query_str=QUERY)

    [(start, end)] = debug.get_event_pairs(CBEventType.RERANKING)
    assert start.payload == {
        EventPayload.NODES: retrieved(),
        EventPayload.MODEL_NAME: OFFLINE,
        EventPayload.QUERY_STR: QUERY,
        EventPayload.TOP_K: 5,
    }
    assert end.payload == {EventPayload.NODES: reranked}


# --- serialisation


def test_it_comes_back_from_a_dict() -> None:
    rerank = ColbertRerank(2, OFFLINE, keep_retrieval_score=True, metadata_mode=MetadataMode.NONE, cache_bytes=9)

    data = rerank.to_dict()

    assert data == {
        "class_name": "ColbertRerank",
        "model": OFFLINE,
        "top_n": 2,
        "device": None,
        "keep_retrieval_score": True,
        "metadata_mode": "none",
        "cache_bytes": 9,
    }
    assert ColbertRerank.from_dict(data).to_dict() == data


def test_it_comes_back_from_a_pickle() -> None:
    rerank = ColbertRerank(2, OFFLINE)

    again = pickle.loads(pickle.dumps(rerank))

    assert again.postprocess_nodes(retrieved(), query_str=QUERY) == rerank.postprocess_nodes(
        retrieved(), query_str=QUERY
    )


def test_settings_of_the_embedder_come_back_from_a_copy(embedder: Embedder) -> None:
    rerank = ColbertRerank(2, embedder=embedder)

    assert copy.deepcopy(rerank)._reranker is rerank._reranker
    with pytest.raises(InvalidInput, match="give embedder="):
        ColbertRerank.from_dict(rerank.to_dict())
    again = ColbertRerank.from_dict(rerank.to_dict(), embedder=embedder)
    assert again.postprocess_nodes(retrieved(), query_str=QUERY) == rerank.postprocess_nodes(
        retrieved(), query_str=QUERY
    )


def test_a_reranker_with_a_store_says_that_it_can_not_be_pickled(store: ColbertQdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="vector_store="):
        pickle.dumps(ColbertRerank(vector_store=store))


# --- the arguments of LlamaIndex's own


def test_arguments_have_the_order_of_llama_index() -> None:
    with pytest.warns(UserWarning, match="tokenizer='any' has no effect"):
        rerank = ColbertRerank(2, OFFLINE, "any", "cpu", None)

    assert (rerank.top_n, rerank.model, rerank.device, rerank.keep_retrieval_score) == (2, OFFLINE, "cpu", False)


def test_no_top_n_is_all(embedder: Embedder) -> None:
    assert len(ColbertRerank(None, embedder=embedder).postprocess_nodes(retrieved(), query_str=QUERY)) == 3


def test_a_model_in_the_place_of_top_n_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a model's name is model="):
        ColbertRerank(OFFLINE)  # type: ignore[arg-type]


def test_a_text_that_was_replaced_is_encoded(store: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    store.add([TextNode(id_="0", text="It fell.")])
    replaced = NodeWithScore(node=TextNode(id_="0", text="In 1969 the moon lander came down. It fell."))

    [by_store] = ColbertRerank(vector_store=store).postprocess_nodes([replaced], query_str="moon lander 1969")
    [encoded] = ColbertRerank(embedder=embedder).postprocess_nodes([replaced], query_str="moon lander 1969")

    assert by_store.score == pytest.approx(encoded.score, abs=1e-3)
