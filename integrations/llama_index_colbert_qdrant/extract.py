"""ColbertExtract: of retrieved nodes what answers the query. Needs no Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.extract import ColbertExtractor
from llama_index_colbert_qdrant.remembering import RememberingPostprocessor, source_of

if TYPE_CHECKING:
    from colbert_qdrant.passages import Passage
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore

PASSAGES_KEY = "passages"
SEPARATOR = "\n\n"


class ColbertExtract(RememberingPostprocessor):
    """Keeps of each node the sentences that answer the query, under one budget of tokens over all nodes.

    What comes out are copies with their scores in the order they came in, without those that have nothing to say: the
    text is what was kept, in its order, and ``passages`` in the metadata says where each part stood, as
    ``[start, end]`` in characters. That entry is neither encoded nor shown to a language model. ``start_char_idx`` and
    ``end_char_idx`` are those of what was kept, or None where that is more than one part.

    Parameters
    ----------
    model
        Name or folder of a model; see `ColbertEmbedder`, whose default is that of this class too.
    max_tokens
        Of everything that is kept, in tokens of that model.
    embedder
        A `ColbertEmbedder` that does not pool, in the place of `model`.
    vector_store
        In the place of `model`: nodes that this store holds with this very text are not encoded again.

    Raises
    ------
    InvalidInput
        More than one of `model`, `embedder` and `vector_store`, or `max_tokens` below 1.

    Examples
    --------
    >>> extract = ColbertExtract("all-MiniLM-L6-v2-int8", max_tokens=20)
    >>> text = "The museum opens at nine. A lander set two men down on the Moon in 1969. Groups pay half."
    >>> nodes = [NodeWithScore(node=TextNode(text=text))]
    >>> [kept] = extract.postprocess_nodes(nodes, query_str="When did people land on the moon?")
    >>> kept.text
    'A lander set two men down on the Moon in 1969.'
    """

    max_tokens: int = Field(description="Most tokens to keep of all nodes.")

    _extractor: ColbertExtractor = PrivateAttr()

    def __init__(
        self,
        model: str | None = None,
        max_tokens: int = 512,
        *,
        embedder: Embedder | None = None,
        vector_store: ColbertQdrantVectorStore | None = None,
    ) -> None:
        source = source_of(model, embedder, vector_store)
        if max_tokens < 1:
            raise InvalidInput(f"max_tokens={max_tokens}: give at least 1")
        collection = None if vector_store is None else vector_store.collection
        extractor = ColbertExtractor(
            collection.embedder if collection is not None else embedder or model, collection=collection
        )
        super().__init__(  # type: ignore[call-arg]  # mypy knows the base's fields only
            model=extractor.embedder.model_name, max_tokens=max_tokens
        )
        self._extractor = extractor
        self._given = source if source != "model" else None

    @property
    def _embedder(self) -> Embedder:
        embedder: Embedder = self._extractor.embedder
        return embedder

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises the class by."""
        return "ColbertExtract"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInput("ColbertExtract looks for the answer to a query: give query_str or query_bundle")
        found = self._extractor.extract(
            query_bundle.query_str,
            [node.get_content(MetadataMode.NONE) for node in nodes],
            max_tokens=self.max_tokens,
            ids=[node.node_id for node in nodes],
        )
        return [_kept(node, passages) for node, passages in zip(nodes, found, strict=True) if passages]


def _kept(found: NodeWithScore, passages: list[Passage]) -> NodeWithScore:
    node = found.node
    kept = node.model_copy(
        update={
            "metadata": {**node.metadata, PASSAGES_KEY: [[each.start, each.end] for each in passages]},
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, PASSAGES_KEY],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, PASSAGES_KEY],
            "embedding": None,  # of the whole text
            **(_place(node, passages) if isinstance(node, TextNode) else {}),
        }
    )
    kept.set_content(SEPARATOR.join(passage.text for passage in passages))
    return found.model_copy(update={"node": kept})


def _place(node: TextNode, passages: list[Passage]) -> dict[str, int | None]:
    """Return where in the document it stands what is kept, unless it is in pieces or the node's own place is unknown.

    That place is of another text where one has taken the text's place, as ``MetadataReplacementPostProcessor`` does.
    """
    start, end = node.start_char_idx, node.end_char_idx
    if len(passages) > 1 or start is None or end is None or end - start != len(node.text):
        return {"start_char_idx": None, "end_char_idx": None}
    return {"start_char_idx": start + passages[0].start, "end_char_idx": start + passages[0].end}
