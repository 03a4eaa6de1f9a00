"""LangChain's retrievers, one after the other, over a store of token vectors: each as its how-to writes it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.stores import InMemoryStore
from langchain_core.structured_query import Comparator, Comparison

pytest.importorskip("langchain_classic", reason="LangChain's own retrievers are in langchain-classic")

from langchain_classic.chains.query_constructor.schema import AttributeInfo
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MergerRetriever,
    MultiQueryRetriever,
    MultiVectorRetriever,
    ParentDocumentRetriever,
    SelfQueryRetriever,
    TimeWeightedVectorStoreRetriever,
)
from langchain_text_splitters import RecursiveCharacterTextSplitter

from colbert_qdrant.errors import UnsupportedByEngine
from langchain_colbert_qdrant import (
    ColbertQdrantRetriever,
    ColbertQdrantTranslator,
    ColbertQdrantVectorStore,
    ColbertRerank,
)

QUERY = "the same day again"
LOOPS = {"edge-of-tomorrow", "groundhog-day"}

Find = Callable[..., Awaitable[list[Document]]]


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Find:
    """Ask a retriever, in either way."""

    async def found(retriever: Any, query: str = QUERY) -> list[Document]:
        answer = retriever.ainvoke(query) if request.param == "async" else retriever.invoke(query)
        documents: list[Document] = await answer if inspect.isawaitable(answer) else answer
        return documents

    return found


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


async def test_multi_query(store: ColbertQdrantVectorStore, find: Find) -> None:
    llm = FakeListChatModel(responses=["a day lived again\na time loop\ndying again and again"])

    retriever = MultiQueryRetriever.from_llm(ColbertQdrantRetriever(vectorstore=store, k=2), llm)

    found = ids(await find(retriever))
    assert (len(found), set(found)) == (2, LOOPS)


async def test_ensemble(store: ColbertQdrantVectorStore, find: Find) -> None:
    diverse = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 1.0})

    similar = ColbertQdrantRetriever(vectorstore=store, k=2)
    retriever = EnsembleRetriever(retrievers=[similar, diverse], weights=[0.5, 0.5])

    found = ids(await find(retriever))
    assert (len(found), set(found)) == (2, LOOPS)


async def test_merger(store: ColbertQdrantVectorStore, find: Find) -> None:
    comedies = store.as_retriever(search_kwargs={"filter": {"genres": "comedy"}, "k": 1})
    old = ColbertQdrantRetriever(vectorstore=store, filter={"year": {"$lt": 1990}})

    assert ids(await find(MergerRetriever(retrievers=[comedies, old]))) == ["groundhog-day", "alien"]


async def test_contextual_compression(store: ColbertQdrantVectorStore, find: Find) -> None:
    retriever = ContextualCompressionRetriever(
        base_compressor=ColbertRerank(collection=store, top_n=2),
        base_retriever=store.as_retriever(search_kwargs={"k": 4}),
    )

    found = await find(retriever)
    assert set(ids(found)) == LOOPS
    assert all(0 < document.metadata["relevance_score"] <= 1 for document in found)


async def test_parent_document(open_store: Any, movies: list[Document], find: Find) -> None:
    splitter = RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0)
    retriever = ParentDocumentRetriever(vectorstore=open_store(), docstore=InMemoryStore(), child_splitter=splitter)
    retriever.add_documents(movies, ids=[str(movie.id) for movie in movies])

    found = await find(retriever, "relives the same day")

    assert found[0].page_content == movies[0].page_content


async def test_multi_vector(open_store: Any, movies: list[Document], find: Find) -> None:
    summaries = ["war in a loop", "weather in a loop", "toys", "a monster in space"]
    retriever = MultiVectorRetriever(vectorstore=open_store(), docstore=InMemoryStore(), id_key="doc_id")
    retriever.docstore.mset([(str(movie.id), movie) for movie in movies])
    retriever.vectorstore.add_texts(summaries, [{"doc_id": str(movie.id)} for movie in movies])

    assert ids(await find(retriever, "a monster in space"))[0] == "alien"


async def test_time_weighted(open_store: Any, find: Find) -> None:
    retriever = TimeWeightedVectorStoreRetriever(vectorstore=open_store(), decay_rate=0.5, k=1)
    yesterday = datetime.now() - timedelta(days=1)
    retriever.add_documents([Document("hello world", metadata={"last_accessed_at": yesterday})])
    retriever.add_documents([Document("hello foo")])

    assert [document.page_content for document in await find(retriever, "hello world")] == ["hello foo"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ('gt("year", 1990)', {"edge-of-tomorrow", "groundhog-day", "toy-story-3"}),
        ('and(lt("year", 2000), eq("genres", "comedy"))', {"groundhog-day"}),
        ('or(eq("year", 1979), like("first name", "Rid"))', {"alien"}),
        ('not(in("genres", ["comedy", "horror"]))', {"edge-of-tomorrow"}),
        ("NO_FILTER", {"edge-of-tomorrow", "groundhog-day", "toy-story-3", "alien"}),
    ],
)
async def test_self_query(store: ColbertQdrantVectorStore, find: Find, asked: str, expected: set[str]) -> None:
    pytest.importorskip("lark", reason="LangChain's query language is parsed by lark")
    llm = FakeListChatModel(responses=[f"```json\n{json.dumps({'query': 'film', 'filter': asked})}\n```"])

    retriever = SelfQueryRetriever.from_llm(
        llm,
        store,
        "movies",
        [AttributeInfo(name=name, description="of the movie", type="any") for name in ("year", "genres", "first name")],
        structured_query_translator=ColbertQdrantTranslator(),
    )

    assert set(ids(await find(retriever))) == expected


OFFERS = ["500 items", "get 50% off", "a_b", "a-b"]


@pytest.mark.parametrize(
    ("comparator", "value", "expected"),
    [
        (Comparator.CONTAIN, "50%", {"get 50% off"}),
        (Comparator.CONTAIN, "%", {"get 50% off"}),
        (Comparator.CONTAIN, "%off%", set()),
        (Comparator.CONTAIN, "a_b", {"a_b"}),
        (Comparator.CONTAIN, "50", {"500 items", "get 50% off"}),
        (Comparator.LIKE, "50", {"500 items", "get 50% off"}),
        (Comparator.LIKE, "%50%", {"500 items", "get 50% off"}),
        (Comparator.LIKE, "50%", {"500 items"}),
        (Comparator.LIKE, r"50\%", {"get 50% off"}),
        (Comparator.LIKE, r"a\_", {"a_b"}),
    ],
)
def test_contain_takes_its_value_as_it_is_and_like_as_a_pattern(
    open_store: Any, comparator: Comparator, value: str, expected: set[str]
) -> None:
    store = open_store()
    store.add_texts(OFFERS, [{"name": offer} for offer in OFFERS], ids=OFFERS)

    asked = ColbertQdrantTranslator().visit_comparison(Comparison(comparator, "name", value))

    assert set(ids(store.similarity_search("offers", k=9, filter=asked))) == expected


@pytest.mark.parametrize("pattern", ["Star%Wars", "%Star%Wars%", "Star_Wars", "%Star_Wars%", "%Wars"])
def test_like_refuses_wildcards_that_qdrant_has_not(store: ColbertQdrantVectorStore, pattern: str) -> None:
    asked = ColbertQdrantTranslator().visit_comparison(Comparison(Comparator.LIKE, "name", pattern))

    with pytest.raises(UnsupportedByEngine, match=f"like .*{pattern}"):
        store.similarity_search("films", filter=asked)


@pytest.mark.parametrize(("comparator", "expected"), [(Comparator.IN, {"first", "last"}), (Comparator.NIN, {"other"})])
def test_a_list_may_hold_dates(open_store: Any, comparator: Comparator, expected: set[str]) -> None:
    store = open_store()
    days = {"first": "2020-01-01", "other": "2020-06-01", "last": "2021-01-01T00:00:00Z"}
    store.add_texts(list(days), [{"day": day} for day in days.values()], ids=list(days))
    dates = [{"type": "date", "date": "2020-01-01"}, {"type": "datetime", "datetime": "2021-01-01T00:00:00+00:00"}]

    asked = ColbertQdrantTranslator().visit_comparison(Comparison(comparator, "day", dates))

    assert set(ids(store.similarity_search("days", k=9, filter=asked))) == expected
