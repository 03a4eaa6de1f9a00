"""What LlamaIndex asks of a vector store, as arguments for the collection's methods. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery, VectorStoreQueryMode
from qdrant_client import models

from colbert_qdrant.checks import is_share, says_nothing
from colbert_qdrant.collection import conditions
from colbert_qdrant.collection.fingerprints import HASH_KEY
from colbert_qdrant.collection.foreign import LLAMA_INDEX
from colbert_qdrant.collection.ids import ID_KEY, TENANT_KEY, id_text, point_id
from colbert_qdrant.collection.operations import has_id
from colbert_qdrant.collection.ranking import MAXSIM, Blend
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.search_options import SearchOptions
from colbert_qdrant.collection.stages import CANDIDATES, Bm25, Sparse
from colbert_qdrant.errors import InvalidInput, UnsupportedByEngine
from llama_index_colbert_qdrant.filters import to_qdrant_filter
from llama_index_colbert_qdrant.nodes import (
    NODE_KEY,
    REF_DOC_KEY,
    THEIR_NO_DOCUMENT,
    THEIR_REF_DOC_KEY,
    document_id,
)

MMR_THRESHOLD = 0.5
MMR_CANDIDATES = 4
"""Candidates to choose each node from. Both defaults are those of LlamaIndex's other stores."""

_DOCUMENTS_AT_ONCE = 256
"""Whose nodes are told apart by one filter."""

_OF_THE_QUERY = {"query": "the query itself", "limit": "similarity_top_k=", "mmr": "the mode 'mmr'"}
_OPTIONS = [field.name for field in fields(SearchOptions) if field.name not in _OF_THE_QUERY]


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
            The query has no text, an option is none, a number is out of range, or two say what orders the nodes.
        UnsupportedByEngine
            The mode is none of this store, or there is no stage for it.
        """
        if query.query_str is None:
            raise InvalidInput(
                "The query has no query_str: this store encodes the text of a query itself, token by token, and "
                "can't search by the single vector of query_embedding; get_nodes(filters=) finds nodes by filters alone"
            )
        further, limit = dict(options), query.similarity_top_k
        match query.mode:
            case VectorStoreQueryMode.DEFAULT:
                pass
            case VectorStoreQueryMode.MMR:
                further["mmr"] = _mmr(query, further)
            case VectorStoreQueryMode.HYBRID | VectorStoreQueryMode.SEMANTIC_HYBRID:
                further |= self._weighed(query, further, query.alpha)
                limit = query.hybrid_top_k or limit
            case VectorStoreQueryMode.SPARSE | VectorStoreQueryMode.TEXT_SEARCH:
                further |= self._weighed(query, further, 0.0)
            case mode:
                raise UnsupportedByEngine(f"mode {_named(mode)!r} is not one of this store: use {self._modes()}")
        if query.sparse_top_k is not None:
            further["candidates"] = max(query.sparse_top_k, further.get("candidates", CANDIDATES))
        condition = all_of(
            nodes_with(query.node_ids, self.layout.tenant)
            if query.node_ids
            else None,  # VectorStoreIndex says [] where it means all
            nodes_of(query.doc_ids, self.layout) if query.doc_ids is not None else None,
            self._qdrant_filter(query.filters),
            self._checked_keys(further.pop("qdrant_filters", None)),
            further.pop("filter", None),
        )
        return {**_checked(further), "query": query.query_str, "limit": limit, "filter": condition}

    def selection(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> models.Filter | None:
        """Return the filter of ``scroll``."""
        return all_of(
            nodes_with(node_ids, self.layout.tenant) if node_ids is not None else None, self._qdrant_filter(filters)
        )

    def deletion(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
        """Return the arguments of ``delete``.

        Raises
        ------
        InvalidInput
            Neither ids nor a filter, or a filter with a group in it that says nothing.
        """
        condition = self._qdrant_filter(filters)
        if condition is not None and says_nothing(condition):
            raise InvalidInput(
                "the filters of delete_nodes hold a group without filters, or NIN with an empty list, which everything "
                "passes: leave it out"
            )
        if node_ids is None and condition is None:
            raise InvalidInput("delete_nodes needs node_ids, or filters that say something; clear() empties the store")
        return {"ids": node_ids, "filter": condition}

    def documents(self, *ref_doc_ids: str) -> models.Filter:
        """Return the filter that the nodes of these documents pass."""
        return nodes_of(ref_doc_ids, self.layout)

    def all_documents(self, ref_doc_ids: Sequence[str]) -> Iterator[models.Filter]:
        """Yield filters that together the nodes of these documents pass, those of one document the same filter."""
        return (self._own(self.documents(*some)) for some in _some_at_once(ref_doc_ids))

    def _own(self, documents: models.Filter) -> models.Filter:
        """Leave out what is a tenant's, where none is asked for: documents of one id are different ones there."""
        if self.layout.tenant is not None:  # the collection itself keeps to it
            return documents
        nobodys = models.IsEmptyCondition(is_empty=models.PayloadField(key=TENANT_KEY))
        return models.Filter(must=[documents, nobodys])

    def others(self, nodes: Sequence[BaseNode], ref_doc_ids: Sequence[str]) -> Iterator[models.Filter]:
        """Yield filters that together the nodes of these documents pass, but for those that are given."""
        kept: dict[str, list[str]] = {}
        for node in nodes:
            kept.setdefault(document_id(node), []).append(node.node_id)
        for some in _some_at_once(ref_doc_ids):
            given = nodes_with((node_id for doc_id in some for node_id in kept.get(doc_id, ())), self.layout.tenant)
            yield models.Filter(must=[self._own(self.documents(*some))], must_not=[given])

    @staticmethod
    def everything() -> models.Filter:
        """Return the filter that every node passes."""
        return models.Filter()

    def _nodes(self, node_ids: list[str] | None) -> models.Filter | None:
        return None if node_ids is None else nodes_with(node_ids, self.layout.tenant)

    def _qdrant_filter(self, filters: MetadataFilters | None) -> models.Filter | None:
        return to_qdrant_filter(filters, self.layout)

    def _checked_keys(self, filter: models.Filter | None) -> models.Filter | None:
        """Refuse ``qdrant_filters`` by keys that no node has: LlamaIndex's own store has the metadata at the top."""
        metadata = conditions.path(self.layout.metadata_key)
        ours = (conditions.path(self.layout.content_key), metadata, ID_KEY, HASH_KEY, TENANT_KEY, NODE_KEY)
        for key in () if self.layout.made_by_hand else _keys(filter):
            if not any(f"{key}.".startswith((f"{own}.", f"{own}[")) for own in ours):
                raise InvalidInput(
                    f"qdrant_filters asks for {key!r}, which is at the top of no node's payload: metadata lies below "
                    f"{metadata!r}, so write '{metadata}.{key}'. For a key that was put there by hand give the filter "
                    "as filter="
                )
        return filter

    def _weighed(self, query: VectorStoreQuery, further: Mapping[str, Any], alpha: float | None) -> dict[str, Any]:
        """Return what orders the candidates: MaxSim by `alpha`, the stages for words by the rest.

        Raises
        ------
        UnsupportedByEngine
            There is no stage for words.
        InvalidInput
            `alpha` is no share, or another order is asked for as well.
        """
        words = self._words()
        if not words:
            raise UnsupportedByEngine(
                f"mode {_named(query.mode)!r} searches for words beside meaning, and this store has no first stage for "
                "words: make it with enable_hybrid=True or stages=[Bm25()] (others may be there as well), or use the "
                "mode 'default'"
            )
        if alpha is None:
            return {}
        if not is_share(alpha):
            raise InvalidInput(f"alpha={alpha!r:.60}: give a number from 0 (words alone) to 1 (meaning alone)")
        if further.get("final") is not None:
            says = f"alpha={alpha}" if alpha == query.alpha else f"the mode {_named(query.mode)!r}"
            raise InvalidInput(f"{says} and final= each say what orders the nodes: give one of them")
        return {"final": Blend({MAXSIM: alpha, **dict.fromkeys(words, (1 - alpha) / len(words))})}

    def _words(self) -> list[str]:
        return [stage.name for stage in self.layout.stages if isinstance(stage, Bm25 | Sparse)]

    def _modes(self) -> str:
        return "'default', 'mmr', 'hybrid', 'sparse' or 'text_search'" if self._words() else "'default' or 'mmr'"


def nodes_with(node_ids: Iterable[str], tenant: str | None = None) -> models.Filter:
    """Select nodes by their ids."""
    return has_id(point_id(node_id, tenant) for node_id in node_ids)


def nodes_of(doc_ids: Iterable[str], layout: Layout) -> models.Filter:
    """Select the nodes that were made from these documents.

    A node that was made from none is its own document, as ``IngestionPipeline`` has it when it asks to delete one.
    """
    wanted = [id_text(doc_id) for doc_id in doc_ids]
    key = THEIR_REF_DOC_KEY if layout.written_by == LLAMA_INDEX else REF_DOC_KEY
    without_document = [
        models.IsEmptyCondition(is_empty=models.PayloadField(key=key)),
        *([conditions.equal(key, THEIR_NO_DOCUMENT)] if key == THEIR_REF_DOC_KEY else []),
    ]
    return models.Filter(
        should=[
            models.FieldCondition(key=key, match=models.MatchAny(any=wanted)),
            models.Filter(must=[models.Filter(should=without_document), nodes_with(wanted, layout.tenant)]),
        ]
    )


def _some_at_once(ref_doc_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ref_doc_ids[at : at + _DOCUMENTS_AT_ONCE] for at in range(0, len(ref_doc_ids), _DOCUMENTS_AT_ONCE))


def all_of(*filters: models.Filter | None) -> models.Filter | None:
    """Select what passes each of the filters; ``None`` lets everything pass."""
    given = [filter for filter in filters if filter is not None]
    return models.Filter(must=list(given)) if given else None


def _named(mode: VectorStoreQueryMode | str) -> str:
    """Return a mode's name: a query takes it as a string as well, and leaves it one."""
    return str(getattr(mode, "value", mode))


def _mmr(query: VectorStoreQuery, further: dict[str, Any]) -> models.Mmr:
    """Take the options of the mode MMR out of a query's."""
    threshold = further.pop("mmr_threshold", query.mmr_threshold)
    threshold = MMR_THRESHOLD if threshold is None else threshold
    if not is_share(threshold):
        raise InvalidInput(
            f"mmr_threshold={threshold!r:.60}: give a number from 0 (the least alike) to 1 (the most relevant)"
        )
    factor = further.pop("mmr_prefetch_factor", MMR_CANDIDATES)
    candidates = further.pop("mmr_prefetch_k", None) or int(factor * query.similarity_top_k)
    return models.Mmr(diversity=1 - threshold, candidates_limit=candidates)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query's further options as the collection's search takes them."""
    checked = dict(options)
    for name in options:
        if name in _OF_THE_QUERY and name != "mmr":
            raise InvalidInput(f"{name}= can't be among the options of a query: {_OF_THE_QUERY[name]} says it")
        if name not in (*_OPTIONS, "mmr"):
            near = get_close_matches(name, _OPTIONS, n=1)
            way_out = f"did you mean {near[0]}=?" if near else f"there are {', '.join(_OPTIONS)}"
            raise InvalidInput(f"{name}= is no option of a query: {way_out}")
    if isinstance(params := checked.get("search_params"), Mapping):
        checked["search_params"] = models.SearchParams(**params)
    return checked


def _keys(condition: Any) -> Iterator[str]:
    """Yield the payload keys that a condition asks for; those within a nested one are below its own."""
    match condition:
        case models.Filter():
            members = (condition.must, condition.should, condition.must_not, condition.min_should)
            for member in members:
                several = member.conditions if isinstance(member, models.MinShould) else member
                for each in several if isinstance(several, list) else [several]:
                    yield from _keys(each)
        case models.FieldCondition():
            yield condition.key
        case models.IsEmptyCondition():
            yield condition.is_empty.key
        case models.IsNullCondition():
            yield condition.is_null.key
        case models.NestedCondition():
            yield condition.nested.key
