from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import ValidationError
from qdrant_client import QdrantClient, models

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import CollectionNotFound, InvalidInput
from langchain_colbert_qdrant import ColbertQdrantRetriever, ColbertQdrantVectorStore

QUERY = "the same day again"


class EverythingRetriever(BaseRetriever):
    """Returns all of its documents, in their order; takes nothing but a question."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.documents


class Runs(BaseCallbackHandler):
    """Remembers how each retriever's run began and ended."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.ended: list[list[Document]] = []
        self.failed: list[BaseException] = []

    def on_retriever_start(self, serialized: Any, query: str, **run: Any) -> None:
        self.started.append({"query": query, **run})

    def on_retriever_end(self, documents: Any, **run: Any) -> None:
        self.ended.append(list(documents))

    def on_retriever_error(self, error: BaseException, **run: Any) -> None:
        self.failed.append(error)


@pytest.fixture
def retriever(store: ColbertQdrantVectorStore) -> ColbertQdrantRetriever:
    return ColbertQdrantRetriever(vectorstore=store, k=2)


@pytest.fixture
def scoring(store: ColbertQdrantVectorStore) -> ColbertQdrantRetriever:
    return ColbertQdrantRetriever(vectorstore=store, k=2, with_score=True)


@pytest.fixture
def over_another(offline: ColbertEmbedder, movies: list[Document]) -> ColbertQdrantRetriever:
    return ColbertQdrantRetriever(base_retriever=EverythingRetriever(documents=movies[::-1]), embedding=offline, k=2)


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


class TestFields:
    def test_k(self, retriever: ColbertQdrantRetriever) -> None:
        assert set(ids(retriever.invoke(QUERY))) == {"edge-of-tomorrow", "groundhog-day"}

    @pytest.mark.parametrize(
        "filter",
        [
            {"year": 1979},
            models.Filter(must=[models.FieldCondition(key="metadata.year", match=models.MatchValue(value=1979))]),
        ],
        ids=["dict", "Filter"],
    )
    def test_filter(self, store: ColbertQdrantVectorStore, filter: Any) -> None:
        assert ids(ColbertQdrantRetriever(vectorstore=store, filter=filter).invoke(QUERY)) == ["alien"]

    def test_score_threshold(self, store: ColbertQdrantVectorStore) -> None:
        second = store.similarity_search_with_score(QUERY)[1][1]

        retriever = ColbertQdrantRetriever(vectorstore=store, score_threshold=second - 0.001)

        assert len(retriever.invoke(QUERY)) == 2

    def test_k_and_score_threshold_among_search_kwargs(self, store: ColbertQdrantVectorStore) -> None:
        retriever = ColbertQdrantRetriever(vectorstore=store, search_kwargs={"k": 1, "score_threshold": 0.01})

        assert len(retriever.invoke(QUERY)) == 1
        assert len(retriever.invoke(QUERY, k=2)) == 2

    @pytest.mark.parametrize("search_type", ["similarity", "mmr", "similarity_score_threshold"])
    async def test_search_type(self, store: ColbertQdrantVectorStore, search_type: Any) -> None:
        search = {"k": 2, "score_threshold": 0.1}
        retriever = ColbertQdrantRetriever(vectorstore=store, search_type=search_type, search_kwargs=search)

        found = retriever.invoke(QUERY)

        assert found == store.as_retriever(search_type=search_type, search_kwargs=search).invoke(QUERY)
        assert await retriever.ainvoke(QUERY) == found

    def test_that_are_assigned_are_checked(self, retriever: ColbertQdrantRetriever, offline: ColbertEmbedder) -> None:
        retriever.k = 1

        assert len(retriever.invoke(QUERY)) == 1
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            retriever.k = 0
        with pytest.raises(ValidationError, match="frozen"):
            retriever.embedding = offline

    def test_search_kwargs(self, store: ColbertQdrantVectorStore) -> None:
        everything = ids(store.similarity_search(QUERY))

        retriever = ColbertQdrantRetriever(vectorstore=store, search_kwargs={"offset": 1})

        assert ids(retriever.invoke(QUERY)) == everything[1:]

    @pytest.mark.parametrize("own", [{}, {"search_kwargs": {"k": 1, "score_threshold": 0.0}}])
    def test_configured_by_whoever_calls(self, store: ColbertQdrantVectorStore, own: dict[str, Any]) -> None:
        field = "filter" if own else "search_kwargs"
        retriever = ColbertQdrantRetriever(vectorstore=store, **own).configurable_fields(
            **{field: ConfigurableField(id="it")}
        )

        config: Any = {"configurable": {"it": {"k": 1} if field == "search_kwargs" else {"year": {"$gt": 0}}}}

        assert len(retriever.invoke(QUERY, config)) == 1

    def test_what_is_given_twice_later_on_is_refused_when_it_is_used(self, store: ColbertQdrantVectorStore) -> None:
        retriever = ColbertQdrantRetriever(vectorstore=store, search_kwargs={"k": 1})
        retriever.k = 3

        with pytest.raises(InvalidInput, match="k is given twice"):
            retriever.invoke(QUERY)

    @pytest.mark.parametrize(
        "fields", [{}, {"k": 0}, {"top_k": 3}, {"embedding": "all-MiniLM-L6-v2-int8"}], ids=lambda fields: str(fields)
    )
    def test_that_make_no_retriever(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            ColbertQdrantRetriever(**fields)

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"filter": "year == 1979"}, "filter is a str"),
            ({"filter": {"year": {"$greater": 1}}}, "no operator"),
            ({"score_threshold": 12.0}, "less than or equal to 1"),
            ({"search_kwargs": {"score_threshold": 12.0}}, "a relevance, from 0 to 1"),
            ({"k": 2, "search_kwargs": {"k": 3}}, "k is given twice"),
            ({"search_type": "hybrid"}, "'similarity', 'mmr'"),
            ({"search_type": "similarity_score_threshold"}, "needs a score_threshold"),
            ({"search_type": "mmr", "base_retriever": RunnableLambda(lambda _: [])}, "base_retriever searches"),
        ],
        ids=str,
    )
    def test_are_checked_at_once(self, store: ColbertQdrantVectorStore, fields: dict[str, Any], named: str) -> None:
        with pytest.raises(ValidationError, match=named):
            ColbertQdrantRetriever(vectorstore=store, **fields)

    def test_are_checked_before_anything_is_stored(self, offline: ColbertEmbedder) -> None:
        client = QdrantClient(":memory:")

        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            ColbertQdrantRetriever.from_texts(["A cat."], offline, client=client, collection_name="cats", k=0)

        assert not client.collection_exists("cats")

    def test_two_embedders_are_one_too_many(self, store: ColbertQdrantVectorStore, offline: ColbertEmbedder) -> None:
        with pytest.raises(ValidationError, match="leave embedding out"):
            ColbertQdrantRetriever(vectorstore=store, embedding=offline)


class TestScore:
    def test_is_the_relevance(self, scoring: ColbertQdrantRetriever, store: ColbertQdrantVectorStore) -> None:
        scores = [document.metadata["relevance_score"] for document in scoring.invoke(QUERY)]

        assert scores == pytest.approx(
            [score for _, score in store.similarity_search_with_relevance_scores(QUERY, k=2)]
        )

    def test_is_left_out_unasked(self, store: ColbertQdrantVectorStore, movies: list[Document]) -> None:
        [document] = ColbertQdrantRetriever(vectorstore=store, k=1).invoke(movies[3].page_content)

        assert document == movies[3]

    def test_is_not_stored(self, scoring: ColbertQdrantRetriever, movies: list[Document]) -> None:
        scoring.invoke(QUERY)

        assert scoring.vectorstore is not None
        assert scoring.vectorstore.get_by_ids(["alien"]) == movies[3:]

    def test_what_was_found_can_be_stored_again(self, store: ColbertQdrantVectorStore, movies: list[Document]) -> None:
        store.add_documents(ColbertQdrantRetriever(vectorstore=store).invoke(QUERY))

        assert sorted(store.get_by_ids(ids(movies)), key=lambda movie: str(movie.id)) == sorted(
            movies, key=lambda movie: str(movie.id)
        )


class TestCalls:
    def test_k_and_filter_of_one_call(self, retriever: ColbertQdrantRetriever) -> None:
        assert ids(retriever.invoke(QUERY, k=1, filter={"genres": "animation"})) == ["toy-story-3"]

    def test_score_threshold_of_one_call(self, retriever: ColbertQdrantRetriever) -> None:
        assert retriever.invoke(QUERY, score_threshold=1.0) == []

    def test_a_score_threshold_that_is_a_maxsim_is_refused(self, retriever: ColbertQdrantRetriever) -> None:
        with pytest.raises(InvalidInput, match="a relevance, from 0 to 1"):
            retriever.invoke(QUERY, score_threshold=12.5)

    def test_a_filter_of_one_call_does_not_lift_the_retrievers(self, store: ColbertQdrantVectorStore) -> None:
        mine = ColbertQdrantRetriever(
            vectorstore=store, filter={"genres": "sci-fi"}, search_kwargs={"filter": {"year": {"$gt": 1900}}}
        )

        assert ids(mine.invoke(QUERY, filter={"year": 1993})) == []
        assert ids(mine.invoke(QUERY, filter={"year": 1979})) == ["alien"]
        assert set(ids(mine.invoke(QUERY, filter={}))) == {"alien", "edge-of-tomorrow"}

    async def test_nor_does_it_where_langchain_made_the_retriever(self, store: ColbertQdrantVectorStore) -> None:
        mine = store.as_retriever(filter={"genres": "sci-fi"})

        assert ids(mine.invoke(QUERY, filter={"year": 1993})) == []
        assert ids(await mine.ainvoke(QUERY, filter={"year": 1979})) == ["alien"]

    async def test_asynchronous(self, retriever: ColbertQdrantRetriever) -> None:
        arguments: dict[str, Any] = {"k": 3, "filter": {"year": [1979, 1993]}, "offset": 1}

        assert await retriever.ainvoke(QUERY, **arguments) == retriever.invoke(QUERY, **arguments)

    def test_batch(self, retriever: ColbertQdrantRetriever) -> None:
        assert retriever.batch([QUERY, "toys"]) == [retriever.invoke(QUERY), retriever.invoke("toys")]

    async def test_abatch(self, retriever: ColbertQdrantRetriever) -> None:
        assert await retriever.abatch([QUERY, "toys"]) == [retriever.invoke(QUERY), retriever.invoke("toys")]

    def test_stream(self, retriever: ColbertQdrantRetriever) -> None:
        assert list(retriever.stream(QUERY)) == [retriever.invoke(QUERY)]

    async def test_astream(self, retriever: ColbertQdrantRetriever) -> None:
        assert [part async for part in retriever.astream(QUERY)] == [retriever.invoke(QUERY)]

    def test_in_a_chain(self, retriever: ColbertQdrantRetriever) -> None:
        chain = retriever | (lambda documents: " ".join(document.id for document in documents)) | StrOutputParser()

        assert set(chain.invoke(QUERY).split()) == {"edge-of-tomorrow", "groundhog-day"}

    def test_fields_are_configurable(self, retriever: ColbertQdrantRetriever) -> None:
        configurable = retriever.configurable_fields(k=ConfigurableField(id="k"))

        assert len(configurable.with_config(configurable={"k": 3}).invoke(QUERY)) == 3


class TestOneCall:
    def test_from_texts(self, offline: ColbertEmbedder) -> None:
        retriever = ColbertQdrantRetriever.from_texts(["A cat.", "A dog."], offline, [{"n": 1}, {"n": 2}], k=1)

        [document] = retriever.invoke("A dog.")

        assert document.metadata["n"] == 2

    def test_from_documents_under_ids_that_are_given(self, offline: ColbertEmbedder, movies: list[Document]) -> None:
        ids = [f"film {number}" for number, _ in enumerate(movies)]

        retriever = ColbertQdrantRetriever.from_documents(movies, offline, ids=ids, location=":memory:")

        assert {document.id for document in retriever.vectorstore.get_by_ids(ids)} == set(ids)

    def test_from_documents(self, offline: ColbertEmbedder, movies: list[Document], place: dict[str, Any]) -> None:
        retriever = ColbertQdrantRetriever.from_documents(movies, offline, filter={"year": 1979}, **place)

        assert ids(retriever.invoke(QUERY)) == ["alien"]
        assert retriever.vectorstore is not None
        retriever.vectorstore.close()

    def test_from_existing(self, offline: ColbertEmbedder, movies: list[Document]) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore("movies", offline, client=client).add_documents(movies)

        retriever = ColbertQdrantRetriever.from_existing("movies", offline, client=client, k=1, with_score=False)

        assert retriever.invoke(movies[2].page_content) == movies[2:3]

    def test_from_existing_does_not_create(self, offline: ColbertEmbedder) -> None:
        with pytest.raises(CollectionNotFound):
            ColbertQdrantRetriever.from_existing("movies", offline, client=QdrantClient(":memory:"))

    @pytest.mark.parametrize("way", ["texts", "documents", "existing"])
    async def test_asynchronously(self, offline: ColbertEmbedder, movies: list[Document], way: str) -> None:
        client = QdrantClient(":memory:")
        place: dict[str, Any] = {"client": client, "collection_name": "movies", "k": 1}
        texts, metadatas, names = zip(*[(m.page_content, m.metadata, m.id) for m in movies], strict=True)
        match way:
            case "texts":
                making = ColbertQdrantRetriever.afrom_texts(texts, offline, metadatas, names, **place)
            case "documents":
                making = ColbertQdrantRetriever.afrom_documents(movies, offline, **place)
            case _:
                ColbertQdrantVectorStore("movies", offline, client=client).add_documents(movies)
                making = ColbertQdrantRetriever.afrom_existing(embedding=offline, **place)

        async with await making as retriever:
            assert await retriever.ainvoke(movies[2].page_content) == movies[2:3]

    async def test_removes_its_collection(self, offline: ColbertEmbedder) -> None:
        client = QdrantClient(":memory:")

        ColbertQdrantRetriever.from_texts(["A cat."], offline, client=client).delete_collection()
        assert client.get_collections().collections == []
        await ColbertQdrantRetriever.from_texts(["A cat."], offline, client=client).adelete_collection()
        assert client.get_collections().collections == []
        with pytest.raises(InvalidInput, match="no collection to remove"):
            ColbertQdrantRetriever(base_retriever=RunnableLambda(lambda _: []), embedding=offline).delete_collection()

    def test_closes_as_a_context(self, offline: ColbertEmbedder, tmp_path: Any) -> None:
        pytest.importorskip("qdrant_edge")
        for _ in range(2):
            with ColbertQdrantRetriever.from_texts(["A cat."], offline, ids=["cat"], path=tmp_path) as retriever:
                assert ids(retriever.invoke("cat")) == ["cat"]


class TestOverAnother:
    def test_keeps_the_best_of_what_that_finds(self, over_another: ColbertQdrantRetriever) -> None:
        assert set(ids(over_another.invoke(QUERY))) == {"edge-of-tomorrow", "groundhog-day"}

    async def test_asynchronous(self, over_another: ColbertQdrantRetriever) -> None:
        assert await over_another.ainvoke(QUERY, k=3) == over_another.invoke(QUERY, k=3)

    def test_scores_are_those_of_a_store(
        self, over_another: ColbertQdrantRetriever, scoring: ColbertQdrantRetriever
    ) -> None:
        over_another.with_score = True
        reranked, searched = over_another.invoke(QUERY), scoring.invoke(QUERY)

        assert [document.metadata["relevance_score"] for document in reranked] == pytest.approx(
            [document.metadata["relevance_score"] for document in searched], abs=1e-3
        )

    def test_leaves_its_documents_as_they_are(
        self, over_another: ColbertQdrantRetriever, movies: list[Document]
    ) -> None:
        over_another.invoke(QUERY)

        assert isinstance(over_another.base_retriever, EverythingRetriever)
        assert over_another.base_retriever.documents == movies[::-1]

    def test_stored_vectors_are_used(self, counting: Any, movies: list[Document]) -> None:
        store = ColbertQdrantVectorStore.from_documents(movies, counting)
        counting.encoded = 0

        retriever = ColbertQdrantRetriever(base_retriever=EverythingRetriever(documents=movies), vectorstore=store)

        assert len(retriever.invoke(QUERY)) == 4
        assert counting.encoded == 0

    def test_any_runnable_will_do(self, offline: ColbertEmbedder, movies: list[Document]) -> None:
        retriever = ColbertQdrantRetriever(base_retriever=RunnableLambda(lambda _: movies), embedding=offline, k=1)

        assert ids(retriever.invoke(movies[3].page_content)) == ["alien"]

    def test_nothing_found_is_nothing_returned(self, offline: ColbertEmbedder) -> None:
        retriever = ColbertQdrantRetriever(base_retriever=EverythingRetriever(documents=[]), embedding=offline)

        assert retriever.invoke(QUERY) == []

    def test_the_filter_goes_to_the_one_that_searches(self, store: ColbertQdrantVectorStore) -> None:
        retriever = ColbertQdrantRetriever(base_retriever=store.as_retriever(), vectorstore=store)

        assert ids(retriever.invoke(QUERY, filter={"year": 1979})) == ["alien"]

    def test_filters_of_one_language_are_put_together(self, store: ColbertQdrantVectorStore) -> None:
        retriever = ColbertQdrantRetriever(
            base_retriever=store.as_retriever(), vectorstore=store, filter={"seen": True}
        )

        assert retriever.invoke(QUERY, filter={"year": 1979}) == []
        assert ids(retriever.invoke(QUERY, filter={"year": 1993})) == ["groundhog-day"]
        with pytest.raises(InvalidInput, match="different kinds"):
            retriever.invoke(QUERY, filter=models.Filter(must=[models.HasIdCondition(has_id=[1])]))

    def test_a_filter_that_would_be_dropped_is_an_error(self, over_another: ColbertQdrantRetriever) -> None:
        with pytest.raises(InvalidInput, match="EverythingRetriever takes no filter"):
            over_another.invoke(QUERY, filter={"year": 1979})


class TestTracing:
    def test_the_run_is_named_after_the_class(self, retriever: ColbertQdrantRetriever) -> None:
        runs = Runs()

        retriever.invoke(QUERY, {"callbacks": [runs]})

        assert [run["name"] for run in runs.started] == ["ColbertQdrantRetriever"]

    def test_or_as_the_call_says(self, retriever: ColbertQdrantRetriever) -> None:
        runs = Runs()

        retriever.invoke(QUERY, {"callbacks": [runs], "run_name": "movies", "tags": ["call"]})

        [run] = runs.started
        assert (run["name"], run["tags"]) == ("movies", ["call"])

    def test_tags_of_the_retriever_and_of_the_call(self, store: ColbertQdrantVectorStore) -> None:
        runs = Runs()
        retriever = ColbertQdrantRetriever(vectorstore=store, tags=["own"], metadata={"team": "search"})

        retriever.invoke(QUERY, {"callbacks": [runs], "tags": ["call"]})

        [run] = runs.started
        assert set(run["tags"]) == {"own", "call"}
        assert run["metadata"]["team"] == "search"

    def test_langsmith_is_told_what_searched(self, retriever: ColbertQdrantRetriever) -> None:
        runs = Runs()

        retriever.invoke(QUERY, {"callbacks": [runs]})

        [run] = runs.started
        assert {name: value for name, value in run["metadata"].items() if name.startswith("ls_")} == {
            "ls_retriever_name": "colbertqdrant",
            "ls_vector_store_provider": "ColbertQdrantVectorStore",
            "ls_embedding_provider": "ColbertEmbedder",
            "ls_embedding_model": "all-MiniLM-L6-v2-int8",
        }

    async def test_asynchronous_runs_too(self, retriever: ColbertQdrantRetriever) -> None:
        runs = Runs()

        found = await retriever.ainvoke(QUERY, {"callbacks": [runs], "run_name": "movies"})

        [run] = runs.started
        assert (run["name"], run["metadata"]["ls_embedding_provider"]) == ("movies", "ColbertEmbedder")
        assert runs.ended == [found]

    async def test_the_base_retriever_is_a_child(self, over_another: ColbertQdrantRetriever) -> None:
        for invoke in (over_another.invoke, over_another.ainvoke):
            runs = Runs()

            outcome = invoke(QUERY, {"callbacks": [runs]})
            if not isinstance(outcome, list):
                await outcome

            parent, child = runs.started
            assert child["name"] == "EverythingRetriever"
            assert child["parent_run_id"] == parent["run_id"]

    def test_a_failure_is_reported(self, retriever: ColbertQdrantRetriever) -> None:
        runs = Runs()

        with pytest.raises(InvalidInput):
            retriever.invoke(QUERY, {"callbacks": [runs]}, k=0)

        assert len(runs.failed) == 1

    def test_as_retriever_names_the_store(self, store: ColbertQdrantVectorStore) -> None:
        runs = Runs()

        store.as_retriever().invoke(QUERY, {"callbacks": [runs]})

        [run] = runs.started
        assert run["tags"] == ["ColbertQdrantVectorStore", "ColbertEmbedder"]
        assert run["metadata"]["ls_embedding_provider"] == "ColbertEmbedder"
        assert run["metadata"]["ls_vector_store_provider"] == "ColbertQdrantVectorStore"
