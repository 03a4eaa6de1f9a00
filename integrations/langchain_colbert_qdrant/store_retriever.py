"""What a store's ``as_retriever`` returns: LangChain's own retriever, which does not forget its filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever

from colbert_qdrant.collection.search_options import SearchKeywords
from colbert_qdrant.errors import InvalidInput
from langchain_colbert_qdrant.filters import all_of
from langchain_colbert_qdrant.searches import CollectionSearches

_OF_A_SEARCH = {*SearchKeywords.__annotations__, "k", "fetch_k", "lambda_mult"} - {"mmr", "min_relevance"}


class StoreRetriever(VectorStoreRetriever):
    """LangChain's retriever over a store; a call's filter is asked together with that of `search_kwargs`."""

    vectorstore: CollectionSearches

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return super()._get_relevant_documents(query, run_manager=run_manager, **self._filtered(kwargs))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await super()._aget_relevant_documents(query, run_manager=run_manager, **self._filtered(kwargs))

    def _filtered(self, call: Mapping[str, Any]) -> dict[str, Any]:
        filters = [self.search_kwargs.get("filter"), call.get("filter")]
        together = all_of(self.vectorstore._filter(filter) for filter in filters)
        return {**call, "filter": together} if together is not None else dict(call)


def fields_and_search(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell a retriever's fields from keywords of the search.

    Raises
    ------
    InvalidInput
        A keyword is neither, or stands in ``search_kwargs`` as well.
    """
    fields = {name: value for name, value in options.items() if name in StoreRetriever.model_fields}
    search = dict(fields.pop("search_kwargs", None) or {})
    for name, value in options.items():
        if name in fields or name == "search_kwargs":
            continue
        if name not in _OF_A_SEARCH:
            raise InvalidInput(f"as_retriever({name}=...): give {', '.join(sorted(_OF_A_SEARCH))} or search_type, tags")
        if name in search:
            raise InvalidInput(f"as_retriever: {name} is given twice, by itself and in search_kwargs")
        search[name] = value
    return fields, search
