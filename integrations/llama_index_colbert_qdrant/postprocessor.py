"""ColbertRerank: retrieved nodes in the order of their MaxSim with the query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from colbert_qdrant.embedders import windowed
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.rerank import ColbertReranker

if TYPE_CHECKING:
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore

RETRIEVAL_SCORE = "retrieval_score"

dispatcher = get_dispatcher(__name__)


class ColbertRerank(BaseNodePostprocessor):
    """Orders nodes, wherever they were retrieved, by MaxSim with the query. Needs neither torch nor Qdrant.

    The nodes it is given stay as they are.

    Parameters
    ----------
    model
        Name or folder of a model; see `ColbertEmbedder`, whose default is that of this class too.
    top_n
        Most nodes to return.
    embedder
        Any `Embedder`, in the place of `model`.
    vector_store
        In the place of `model`: nodes that this store holds are scored by their stored vectors, in Qdrant, and only
        others are encoded, by its embedder.
    keep_retrieval_score
        Keep the score a node came with as ``retrieval_score`` in its metadata.
    metadata_mode
        Which metadata is encoded with a node's text. Stored vectors are those of ``EMBED``.
    callback_manager
        Is told of each reranking, as the instrumentation is.

    Raises
    ------
    InvalidInput
        More than one of `model`, `embedder` and `vector_store`, or a `top_n` below 1.

    Examples
    --------
    >>> from llama_index.core.schema import TextNode
    >>> rerank = ColbertRerank("all-MiniLM-L6-v2-int8", top_n=1)
    >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Toys.", "A soldier relives the same day.")]
    >>> [best] = rerank.postprocess_nodes(nodes, query_str="time loop")
    >>> best.text
    'A soldier relives the same day.'
    """

    model: str = Field(description="Name of the ColBERT model.")
    top_n: int = Field(description="Most nodes to return.")
    keep_retrieval_score: bool = Field(description="Whether to keep the retrieval score in the metadata.")
    metadata_mode: MetadataMode = Field(description="Which metadata is encoded with a node's text.")

    _reranker: ColbertReranker = PrivateAttr()

    def __init__(
        self,
        model: str | None = None,
        top_n: int = 5,
        *,
        embedder: Embedder | None = None,
        vector_store: ColbertQdrantVectorStore | None = None,
        keep_retrieval_score: bool = False,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if top_n < 1:
            raise InvalidInput(f"top_n={top_n}: give at least 1")
        reranker = _reranker(model, embedder, vector_store)
        super().__init__(  # type: ignore[call-arg]  # mypy knows the fields of the base class only
            model=reranker.embedder.model_name,
            top_n=top_n,
            keep_retrieval_score=keep_retrieval_score,
            metadata_mode=metadata_mode,
            callback_manager=callback_manager or CallbackManager(),
        )
        self._reranker = reranker

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
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=self.model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = self._reranker.rerank(
                query,
                [node.get_content(self.metadata_mode) for node in nodes],
                ids=[node.node_id for node in nodes],
                top_n=self.top_n,
            )
            reranked = [self._scored(nodes[candidate.index], candidate.score) for candidate in ranked]
            event.on_end(payload={EventPayload.NODES: reranked})
        dispatcher.event(ReRankEndEvent(nodes=reranked))
        return reranked

    def _scored(self, retrieved: NodeWithScore, score: float) -> NodeWithScore:
        node = retrieved.node
        if self.keep_retrieval_score:
            node = node.model_copy(update={"metadata": {**node.metadata, RETRIEVAL_SCORE: retrieved.score}})
        return retrieved.model_copy(update={"node": node, "score": score})


def _reranker(
    model: str | None, embedder: Embedder | None, vector_store: ColbertQdrantVectorStore | None
) -> ColbertReranker:
    given = {"model": model, "embedder": embedder, "vector_store": vector_store}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidInput(f"{' and '.join(named)} each bring a model; give one of them")
    if vector_store is not None:
        return ColbertReranker(vector_store.collection.embedder, collection=vector_store.collection)
    return ColbertReranker(windowed(embedder or model))
