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

    It retrieves by what query transforms made of a query, and knows after a restart which documents the store holds.
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

    def insert_documents(self, documents: Iterable[Document], *, show_progress: bool = False) -> None:
        """Split, encode and store documents together; what was stored of them and is no longer there is deleted.

        Documents that did not change cost a look-up, as long as each has an id that stays.
        """
        documents = list(documents)  # LlamaIndex goes over what is an iterator twice, and finds nothing
        nodes = run_transformations(documents, self._transformations, show_progress=show_progress)
        self.insert_nodes(nodes, show_progress=show_progress)
        self._store.keep_only(nodes, of=[document.id_ for document in documents])
        self.docstore.set_document_hashes({document.id_: document.hash for document in documents})

    def refresh_ref_docs(self, documents: Iterable[Document], **update_kwargs: Any) -> list[bool]:
        """Store what is new, has changed or was stored in part; the store says what it holds, also after a restart."""
        documents = list(documents)
        unknown = [document.id_ for document in documents if self.docstore.get_document_hash(document.id_) is None]
        whole, torn = _told_apart(self._store.document_hashes(unknown))
        self.docstore.set_document_hashes(whole)
        if torn:
            self.insert_documents([document for document in documents if document.id_ in torn])
        refreshed = super().refresh_ref_docs(documents, **update_kwargs)
        return [was or document.id_ in torn for was, document in zip(refreshed, documents, strict=True)]

    async def arefresh_ref_docs(self, documents: Iterable[Document], **update_kwargs: Any) -> list[bool]:
        """Do as `refresh_ref_docs` does, without blocking."""
        documents = list(documents)
        unknown = [
            document.id_ for document in documents if await self.docstore.aget_document_hash(document.id_) is None
        ]
        whole, torn = _told_apart(await self._store.adocument_hashes(unknown))
        await self.docstore.aset_document_hashes(whole)
        if torn:
            await asyncio.to_thread(self.insert_documents, [document for document in documents if document.id_ in torn])
        refreshed = await super().arefresh_ref_docs(documents, **update_kwargs)
        return [was or document.id_ in torn for was, document in zip(refreshed, documents, strict=True)]

    @property
    def _store(self) -> ColbertQdrantVectorStore:
        store: Any = self.vector_store
        return store  # type: ignore[no-any-return]


def _told_apart(stored: Mapping[str, str | None]) -> tuple[dict[str, str], set[str]]:
    """Return the hashes of documents that are stored whole, and the ids of those stored in part."""
    whole = {doc_id: known for doc_id, known in stored.items() if known is not None}
    return whole, stored.keys() - whole.keys()


def _as_told(query: QueryBundle) -> QueryBundle:
    strings = list(dict.fromkeys(query.custom_embedding_strs or ()))
    return QueryBundle("\n".join(strings), query.image_path) if strings else query
