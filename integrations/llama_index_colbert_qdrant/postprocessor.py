"""ColbertRerank: retrieved nodes in the order of their MaxSim with the query."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rerank import ColbertReranker
from colbert_qdrant.vector_cache import CACHE_BYTES
from llama_index_colbert_qdrant.remembering import RememberingPostprocessor, source_of

if TYPE_CHECKING:
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore

RETRIEVAL_SCORE = "retrieval_score"

dispatcher = get_dispatcher(__name__)


class ColbertRerank(RememberingPostprocessor):
    """Orders nodes, wherever they were retrieved, by MaxSim with the query. Needs neither torch nor Qdrant.

    The nodes it is given stay as they are.

    Arguments and their order are those of LlamaIndex's own ``ColbertRerank``. Scores are relevances from 0 to 1. Texts
    are encoded whole, unless the embedder was made with `long_documents`. Make one and keep it, as any model.

    Parameters
    ----------
    top_n
        Most nodes to return; ``None``: all.
    model
        Name or folder of a model; see `ColbertEmbedder`, whose default is that of this class too.
    tokenizer
        Has no effect: a model's tokenizer is its own.
    device
        Of `ColbertEmbedder`, such as ``"cuda"``.
    keep_retrieval_score
        Keep the score a node came with as ``retrieval_score`` in its metadata.
    embedder
        Any `Embedder`, in the place of `model`.
    vector_store
        In the place of `model`: nodes that this store holds with the same text are scored by their stored vectors, in
        Qdrant, and only others are encoded, by its embedder.
    metadata_mode
        Which metadata is encoded with a node's text. Stored vectors are those of ``EMBED``.
    callback_manager
        Is told of each reranking, as the instrumentation is.
    cache_bytes
        Memory for the vectors of nodes seen lately, which are not encoded again. See `ColbertReranker`.

    Raises
    ------
    InvalidInput
        More than one of `model`, `embedder` and `vector_store`, a `top_n` that is no number or below 1, or
        `cache_bytes` below 0.

    Examples
    --------
    >>> from llama_index.core.schema import TextNode
    >>> rerank = ColbertRerank(1, "all-MiniLM-L6-v2-int8")
    >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Toys.", "A soldier relives the same day.")]
    >>> [best] = rerank.postprocess_nodes(nodes, query_str="time loop")
    >>> best.text
    'A soldier relives the same day.'
    """

    top_n: int | None = Field(description="Most nodes to return.")
    device: str | None = Field(description="Device of the model.")
    keep_retrieval_score: bool = Field(description="Whether to keep the retrieval score in the metadata.")
    metadata_mode: MetadataMode = Field(description="Which metadata is encoded with a node's text.")
    cache_bytes: int = Field(description="Memory for the vectors of nodes seen lately.")

    _reranker: ColbertReranker = PrivateAttr()

    def __init__(
        self,
        top_n: int | None = 5,
        model: str | None = None,
        tokenizer: str | None = None,
        device: str | None = None,
        keep_retrieval_score: bool | None = False,
        *,
        embedder: Embedder | None = None,
        vector_store: ColbertQdrantVectorStore | None = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        callback_manager: CallbackManager | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InvalidInput(
                f"top_n={top_n!r}: give a number of at least 1, or None for all; a model's name is model="
            )
        if tokenizer is not None:
            warnings.warn(f"tokenizer={tokenizer!r} has no effect: the model brings its own", stacklevel=2)
        source = source_of(model, embedder, vector_store)
        if device is not None and source not in (None, "model"):
            raise InvalidInput(f"device={device!r} is for a model by name; {source} has its own")
        reranker = _reranker(model, device, embedder, vector_store, cache_bytes)
        super().__init__(  # type: ignore[call-arg]  # mypy knows the fields of the base class only
            model=reranker.embedder.model_name,
            top_n=top_n,
            device=device,
            keep_retrieval_score=bool(keep_retrieval_score),
            metadata_mode=metadata_mode,
            cache_bytes=cache_bytes,
            callback_manager=callback_manager or CallbackManager(),
        )
        self._reranker = reranker
        self._given = source if source != "model" else None

    @property
    def _embedder(self) -> Embedder:
        return self._reranker.embedder

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises the class by."""
        return "ColbertRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInput("ColbertRerank orders nodes by a query: give query_str or query_bundle")
        if not nodes:
            return []
        query = query_bundle.query_str
        top_n = self.top_n or len(nodes)
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=self.model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = self._reranker.rerank(
                query,
                [node.get_content(self.metadata_mode) for node in nodes],
                ids=[node.node_id for node in nodes],
                top_n=self.top_n,
            )
            reranked = [self._scored(nodes[candidate.index], candidate.relevance) for candidate in ranked]
            event.on_end(payload={EventPayload.NODES: reranked})
        dispatcher.event(ReRankEndEvent(nodes=reranked))
        return reranked

    def _scored(self, retrieved: NodeWithScore, score: float) -> NodeWithScore:
        node = retrieved.node
        if self.keep_retrieval_score:
            node = node.model_copy(update={"metadata": {**node.metadata, RETRIEVAL_SCORE: retrieved.score}})
        return retrieved.model_copy(update={"node": node, "score": score})


def _reranker(
    model: str | None,
    device: str | None,
    embedder: Embedder | None,
    vector_store: ColbertQdrantVectorStore | None,
    cache_bytes: int,
) -> ColbertReranker:
    if vector_store is not None:
        collection = vector_store.collection
        return ColbertReranker(collection.embedder, collection=collection, cache_bytes=cache_bytes)
    if device is not None:
        from colbert_qdrant import ColbertEmbedder
        from colbert_qdrant.embedding.embedder import DEFAULT_MODEL

        embedder = ColbertEmbedder(model or DEFAULT_MODEL, device=device)  # type: ignore[arg-type]  # checked there
    return ColbertReranker(windowed(embedder or model), cache_bytes=cache_bytes)
