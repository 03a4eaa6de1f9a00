"""What LlamaIndex asks of a vector store, as arguments for the collection's methods. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery, VectorStoreQueryMode
from qdrant_client import models

from colbert_qdrant.collection.operations import has_id
from colbert_qdrant.collection.points import id_text, point_id
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine
from llama_index_colbert_qdrant.filters import to_qdrant_filter
from llama_index_colbert_qdrant.nodes import REF_DOC_KEY

MMR_THRESHOLD = 0.5
MMR_CANDIDATES = 4
"""Candidates to choose each node from. Both defaults are those of LlamaIndex's other stores."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Puts LlamaIndex's calls in the collection's terms.

    Parameters
    ----------
    layout
        Where things are in the collection, and its first stages.
    """

    layout: Layout

    def search(self, query: VectorStoreQuery, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``search``.

        Raises
        ------
        InvalidInput
            The query has no text, or a number is out of range.
        UnsupportedByEngine
            The mode is none of this store, or there is no stage for it.
        """
        if query.query_str is None:
            raise InvalidInput(
                "The query has no query_str: this store encodes the text of a query itself, token by token, and "
                "can't search by the single vector of query_embedding"
            )
        further, limit = dict(options), query.similarity_top_k
        match query.mode:
            case VectorStoreQueryMode.DEFAULT:
                pass
            case VectorStoreQueryMode.MMR:
                threshold = _threshold(further.pop("mmr_threshold", query.mmr_threshold))
                candidates = further.pop("mmr_prefetch_k", MMR_CANDIDATES * limit)
                further["mmr"] = models.Mmr(diversity=1 - threshold, candidates_limit=candidates)
            case VectorStoreQueryMode.HYBRID | VectorStoreQueryMode.SEMANTIC_HYBRID:
                self._check_hybrid(query)
                limit = query.hybrid_top_k or limit
            case mode:
                raise UnsupportedByEngine(f"mode {mode.value!r} is not one of this store: use 'default' or 'mmr'")
        condition = all_of(
            nodes_with(query.node_ids) if query.node_ids else None,  # VectorStoreIndex says [] where it means all
            nodes_of(query.doc_ids) if query.doc_ids is not None else None,
            self._qdrant_filter(query.filters),
            further.pop("qdrant_filters", None),
        )
        return {**further, "query": query.query_str, "limit": limit, "filter": condition}

    def selection(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> models.Filter | None:
        """Return the filter of ``scroll``."""
        return all_of(nodes_with(node_ids) if node_ids is not None else None, self._qdrant_filter(filters))

    def deletion(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
        """Return the arguments of ``delete``.

        Raises
        ------
        InvalidInput
            Neither ids nor a filter.
        """
        condition = self._qdrant_filter(filters)
        if node_ids is None and condition is None:
            raise InvalidInput("delete_nodes needs node_ids, or filters that say something; clear() empties the store")
        return {"ids": node_ids, "filter": condition}

    @staticmethod
    def document(ref_doc_id: str) -> models.Filter:
        """Return the filter of ``delete`` for a document's nodes."""
        return nodes_of([ref_doc_id])

    @staticmethod
    def everything() -> models.Filter:
        """Return the filter that every node passes."""
        return models.Filter()

    def _qdrant_filter(self, filters: MetadataFilters | None) -> models.Filter | None:
        return to_qdrant_filter(filters, metadata_key=self.layout.metadata_key)

    def _check_hybrid(self, query: VectorStoreQuery) -> None:
        if not any(isinstance(stage.params(), models.SparseVectorParams) for stage in self.layout.stages):
            raise UnsupportedByEngine(
                f"mode {query.mode.value!r} searches for words beside meaning, and this store has no first stage for "
                "words: make it with stages=[Bm25()] (others may be there as well), or use the mode 'default'"
            )
        for name in ("alpha", "sparse_top_k"):
            if getattr(query, name) is not None:
                raise UnsupportedByEngine(
                    f"{name}={getattr(query, name)}: the stages' candidates are fused by rank and ordered by MaxSim, "
                    "nothing weighs one stage against another; leave it out"
                )


def nodes_with(node_ids: Iterable[str]) -> models.Filter:
    """Select nodes by their ids."""
    return has_id(point_id(node_id) for node_id in node_ids)


def nodes_of(doc_ids: Iterable[str]) -> models.Filter:
    """Select the nodes that were made from these documents.

    A node that was made from none is its own document, as ``IngestionPipeline`` has it when it asks to delete one.
    """
    wanted = [id_text(doc_id) for doc_id in doc_ids]
    without_document = models.IsEmptyCondition(is_empty=models.PayloadField(key=REF_DOC_KEY))
    return models.Filter(
        should=[
            models.FieldCondition(key=REF_DOC_KEY, match=models.MatchAny(any=wanted)),
            models.Filter(must=[without_document, nodes_with(wanted)]),
        ]
    )


def all_of(*filters: models.Filter | None) -> models.Filter | None:
    """Select what passes each of the filters; ``None`` lets everything pass."""
    given = [filter for filter in filters if filter is not None]
    return models.Filter(must=list(given)) if given else None


def _threshold(given: float | None) -> float:
    threshold = MMR_THRESHOLD if given is None else given
    if not 0 <= threshold <= 1:
        raise InvalidInput(
            f"mmr_threshold={threshold}: give a number from 0 (the least alike) to 1 (the most relevant)"
        )
    return threshold
