"""ColbertVectorStoreIndex: LlamaIndex's index over the store, which searches by what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from llama_index.core.indices import VectorStoreIndex
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.ingestion import run_transformations
from llama_index.core.schema import BaseNode, Document, NodeWithScore, QueryBundle

if TYPE_CHECKING:
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore


class ColbertIndexRetriever(VectorIndexRetriever):
    """Searches by the strings that a query brings for embedding, as query transforms make them (HyDE).

    LlamaIndex's own retriever embeds them and averages the vectors, which a store of texts never sees. Here they are
    joined into one query: of each word of each string the best match counts, as of the words of any query. One search
    for each, fused by rank, would ask as many questions, and take from a hypothetical answer what a search by MaxSim
    gives it: that a node may answer some of its words and others elsewhere.
    """

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return super()._retrieve(_as_told(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await super()._aretrieve(_as_told(query_bundle))


class ColbertVectorStoreIndex(VectorStoreIndex):
    """A ``VectorStoreIndex`` over a `ColbertQdrantVectorStore`; `ColbertQdrantVectorStore.as_index` makes one.

    It retrieves by what query transforms made of a query, from all that the store holds, and asks the store which
    documents these are.
    """

    def as_retriever(self, **kwargs: Any) -> ColbertIndexRetriever:
        """Return a retriever; see ``VectorStoreIndex.as_retriever``."""
        # LlamaIndex's own is kept to the nodes that its index remembers: where the store has the texts, to IndexNodes
        # and ImageNodes alone, once there is one.
        # https://github.com/run-llama/llama_index/blob/main/llama-index-core/llama_index/core/indices/vector_store/base.py
        return ColbertIndexRetriever(
            self, callback_manager=self._callback_manager, object_map=self._object_map, **kwargs
        )

    def insert_nodes(self, nodes: Iterable[BaseNode], **insert_kwargs: Any) -> None:
        """Store nodes, and show progress where the index was made to."""
        super().insert_nodes(list(nodes), **{"show_progress": self._show_progress, **insert_kwargs})

    async def ainsert_nodes(self, nodes: Iterable[BaseNode], **insert_kwargs: Any) -> None:
        """Do as `insert_nodes` does, without blocking."""
        await super().ainsert_nodes(list(nodes), **{"show_progress": self._show_progress, **insert_kwargs})

    def insert_documents(self, documents: Iterable[Document], **insert_kwargs: Any) -> None:
        """Split, encode and store documents together; what was stored of them and is no longer there is deleted.

        Documents that did not change cost a look-up, as long as each has an id that stays. `insert_kwargs` are those of
        `insert_nodes`.
        """
        documents = list(documents)  # LlamaIndex goes over what is an iterator twice, and finds nothing
        options = {"show_progress": self._show_progress, **insert_kwargs}
        nodes = run_transformations(documents, self._transformations, show_progress=options["show_progress"])
        self.insert_nodes(nodes, **options)
        self._store.keep_only(nodes, of=[document.id_ for document in documents])

    def update_ref_doc(self, document: Document, **update_kwargs: Any) -> None:
        """Store a document as it is now, and then delete what was stored of it and is no longer there.

        ``insert_kwargs`` among `update_kwargs` are those of `insert_nodes`.
        """
        # LlamaIndex's own deletes first, and has neither where the document can't be stored.
        self.insert_documents([document], **update_kwargs.get("insert_kwargs", {}))

    async def aupdate_ref_doc(self, document: Document, **update_kwargs: Any) -> None:
        """Do as `update_ref_doc` does, without blocking."""
        await asyncio.to_thread(self.update_ref_doc, document, **update_kwargs)

    def refresh_ref_docs(self, documents: Iterable[Document], **update_kwargs: Any) -> list[bool]:
        """Store the documents that the store does not hold as they are: new, changed, deleted or stored in part.

        Of several with one id the last counts. ``insert_kwargs`` among `update_kwargs` are those of `insert_nodes`.
        """
        documents = list(documents)
        changed = _changed(documents, self._store.document_hashes([document.id_ for document in documents]))
        if changed:
            self.insert_documents(changed.values(), **update_kwargs.get("insert_kwargs", {}))
        return [document.id_ in changed for document in documents]

    async def arefresh_ref_docs(self, documents: Iterable[Document], **update_kwargs: Any) -> list[bool]:
        """Do as `refresh_ref_docs` does, without blocking."""
        documents = list(documents)
        changed = _changed(documents, await self._store.adocument_hashes([document.id_ for document in documents]))
        if changed:
            await asyncio.to_thread(self.insert_documents, changed.values(), **update_kwargs.get("insert_kwargs", {}))
        return [document.id_ in changed for document in documents]

    @property
    def _store(self) -> ColbertQdrantVectorStore:
        store: Any = self.vector_store
        return store  # type: ignore[no-any-return]


def _changed(documents: Iterable[Document], stored: Mapping[str, str | None]) -> dict[str, Document]:
    """Return the documents, by their ids, that are not stored with the hash that they have."""
    latest = {document.id_: document for document in documents}
    return {doc_id: document for doc_id, document in latest.items() if stored.get(doc_id) != document.hash}


def _as_told(query: QueryBundle) -> QueryBundle:
    strings = list(dict.fromkeys(query.custom_embedding_strs or ()))
    return QueryBundle("\n".join(strings), query.image_path) if strings else query
