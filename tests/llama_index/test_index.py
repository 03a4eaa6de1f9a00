"""LlamaIndex's own parts work over the store: indices, engines, retrievers, pipelines. No key, no hub."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import Document, ImageNode, IndexNode, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from colbert_qdrant.errors import EngineUnavailable, InvalidInput
from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import (
    ColbertQdrantVectorStore,
    ColbertRerank,
    ColbertTextEmbedding,
    ColbertVectorStoreIndex,
)
from two_copies import TwoCopies

QUESTIONS = {
    "collapse and truncate a text to fit in a width": "textwrap.shorten",
    "delete a whole directory tree": "shutil.rmtree",
    "copy a file with its metadata": "shutil.copy2",
    "remove the common leading whitespace of every line": "textwrap.dedent",
    "the n largest elements of a dataset": "heapq.nlargest",
    "read a JSON document from a string": "json.loads",
}


def sources(nodes: list[NodeWithScore]) -> list[str | None]:
    return [node.node.ref_doc_id for node in nodes]


def documents_of(store: ColbertQdrantVectorStore) -> set[str | None]:
    return {node.ref_doc_id for node in store.get_nodes()}


def texts_of(store: ColbertQdrantVectorStore) -> set[str]:
    return {node.get_content() for node in store.get_nodes()}


@pytest.fixture
def index(store: ColbertQdrantVectorStore, stdlib: list[Document]) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        stdlib,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=ColbertTextEmbedding(),
        transformations=[SentenceSplitter()],
    )


# --- answers


def test_query_engine_answers_with_the_right_sources(index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=3)

    answers = {question: sources(engine.query(question).source_nodes) for question in QUESTIONS}

    assert {question: QUESTIONS[question] in found for question, found in answers.items()} == dict.fromkeys(
        QUESTIONS, True
    )


async def test_query_engine_answers_asynchronously(index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=3)

    response = await engine.aquery("delete a whole directory tree")

    assert sources(response.source_nodes)[0] == "shutil.rmtree"


def test_retriever_filters(index: VectorStoreIndex) -> None:
    in_textwrap = MetadataFilters(filters=[MetadataFilter(key="module", value="textwrap")])

    nodes = index.as_retriever(filters=in_textwrap, similarity_top_k=50).retrieve("delete a directory tree")

    assert {node.metadata["module"] for node in nodes} == {"textwrap"}


def test_retriever_keeps_to_documents(index: VectorStoreIndex) -> None:
    wanted = ["shutil.move", "json.loads"]

    nodes = index.as_retriever(doc_ids=wanted, similarity_top_k=50).retrieve("delete a directory tree")

    assert set(sources(nodes)) == set(wanted)


@pytest.mark.parametrize(
    "node", [IndexNode(text="A red table.", index_id="table", id_="node"), ImageNode(text="A red table.", id_="node")]
)
def test_retriever_finds_all_beside_a_node_that_the_index_remembers(
    node: TextNode, store: ColbertQdrantVectorStore
) -> None:
    index = store.as_index([SOLDIER, HACKER])
    index.insert_nodes([node])

    assert len(index.as_retriever(similarity_top_k=5).retrieve("a red table")) == 3

    index.delete_nodes(["node"])
    assert set(sources(index.as_retriever(similarity_top_k=5).retrieve("a red table"))) == {"soldier", "hacker"}


def test_retriever_keeps_to_nodes(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index([SOLDIER, HACKER])

    nodes = index.as_retriever(node_ids=["soldier#0"], similarity_top_k=5).retrieve("a hacker")

    assert sources(nodes) == ["soldier"]


def test_retriever_hands_its_options_on(index: VectorStoreIndex) -> None:
    def found(threshold: float) -> set[str | None]:
        retriever = index.as_retriever(
            similarity_top_k=5,
            vector_store_query_mode="mmr",
            vector_store_kwargs={"mmr_threshold": threshold},
        )
        return set(sources(retriever.retrieve("the median of some numbers")))

    assert found(1.0) != found(0.5)


def test_query_engine_reranks(index: VectorStoreIndex, embedder: Embedder) -> None:
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=10),
        llm=MockLLM(),
        node_postprocessors=[ColbertRerank(embedder=embedder, top_n=2)],
    )

    response = engine.query("delete a whole directory tree")

    assert sources(response.source_nodes)[0] == "shutil.rmtree"
    assert len(response.source_nodes) == 2


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("mode", ["simple", "reciprocal_rerank", "relative_score"])
def test_fusion_retriever_finds(index: VectorStoreIndex, mode: str, use_async: bool) -> None:
    retriever = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=3), index.as_retriever(similarity_top_k=5)],
        llm=MockLLM(),
        mode=mode,  # type: ignore[arg-type]  # a string will do
        num_queries=1,
        similarity_top_k=3,
        use_async=use_async,
    )

    nodes = retriever.retrieve("delete a whole directory tree")

    assert sources(nodes)[0] == "shutil.rmtree"


def test_chat_engine_finds_its_context(index: VectorStoreIndex) -> None:
    engine = index.as_chat_engine(chat_mode="context", llm=MockLLM(), similarity_top_k=1)

    response = engine.chat("delete a whole directory tree")

    assert sources(response.source_nodes) == ["shutil.rmtree"]
    assert "Recursively delete a directory tree" in str(response)


async def test_chat_engine_chats_asynchronously(index: VectorStoreIndex) -> None:
    engine = index.as_chat_engine(chat_mode="context", llm=MockLLM(), similarity_top_k=1)

    response = await engine.achat("delete a whole directory tree")

    assert sources(response.source_nodes) == ["shutil.rmtree"]


# --- changes

SOLDIER = Document(id_="soldier", text="A soldier relives the same day.")
HACKER = Document(id_="hacker", text="A hacker learns that his world is a simulation.")


def test_inserted_document_is_found(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index()

    index.insert(SOLDIER)
    index.insert(HACKER)

    [best] = index.as_retriever(similarity_top_k=1).retrieve("the same day again")
    assert sources([best]) == ["soldier"]


async def test_document_is_inserted_and_deleted_asynchronously(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index()
    await index.ainsert(SOLDIER)
    await index.ainsert(HACKER)

    await index.adelete_ref_doc("soldier")

    assert documents_of(store) == {"hacker"}


def test_deleted_document_is_gone(index: VectorStoreIndex, store: ColbertQdrantVectorStore) -> None:
    index.delete_ref_doc("shutil.rmtree")

    nodes = index.as_retriever(similarity_top_k=3).retrieve("delete a whole directory tree")
    assert "shutil.rmtree" not in sources(nodes)
    assert len(documents_of(store)) > 1


def test_deleted_node_is_gone(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index()
    index.insert_nodes([TextNode(id_="one", text="A soldier."), TextNode(id_="two", text="A hacker.")])

    index.delete_nodes(["one"])

    assert texts_of(store) == {"A hacker."}


def test_updated_document_takes_the_place_of_the_old(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index()
    index.insert(SOLDIER)

    index.update_ref_doc(Document(id_="soldier", text="A weatherman relives the same day."))

    assert texts_of(store) == {"A weatherman relives the same day."}


@pytest.mark.parametrize("method", ["update_ref_doc", "aupdate_ref_doc", "update"])
async def test_an_update_that_can_not_be_stored_keeps_what_was(store: ColbertQdrantVectorStore, method: str) -> None:
    index = store.as_index([SOLDIER])
    changed = Document(id_="soldier", text="A weatherman.", metadata={"score": float("nan")})

    with pytest.raises(InvalidInput, match="nan"):
        await _awaited(getattr(index, method)(changed))

    assert texts_of(store) == {SOLDIER.text}


async def test_an_update_hands_the_options_of_insertion_on(store: ColbertQdrantVectorStore) -> None:
    bad = Document(id_="soldier", text="A weatherman.", metadata={"bad": b"bytes"})

    await store.as_index().aupdate_ref_doc(bad, insert_kwargs={"on_error": "skip"})

    assert texts_of(store) == set()


async def _awaited(outcome: Any) -> Any:
    return await outcome if inspect.isawaitable(outcome) else outcome


def test_refresh_changes_what_has_changed(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index()
    index.insert(SOLDIER)
    index.insert(HACKER)

    refreshed = index.refresh_ref_docs(
        [SOLDIER, Document(id_="hacker", text="A hacker takes the red pill."), Document(id_="toys", text="Toys.")]
    )

    assert refreshed == [False, True, True]
    assert texts_of(store) == {"A soldier relives the same day.", "A hacker takes the red pill.", "Toys."}


DELETIONS: dict[str, Callable[[ColbertVectorStoreIndex, ColbertQdrantVectorStore], Any]] = {
    "document": lambda index, store: index.delete_ref_doc("soldier", delete_from_docstore=True),
    "nodes": lambda index, store: index.delete_nodes(["soldier#0"]),
    "in the store": lambda index, store: store.delete("soldier"),
    "all": lambda index, store: store.clear(),
}


@pytest.mark.parametrize("is_asynchronous", [False, True])
@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
async def test_refresh_stores_again_what_was_deleted(
    delete: Callable[..., Any], is_asynchronous: bool, store: ColbertQdrantVectorStore
) -> None:
    index = store.as_index([SOLDIER, HACKER])
    delete(index, store)

    refreshed = [
        (await index.arefresh_ref_docs([SOLDIER]) if is_asynchronous else index.refresh_ref_docs([SOLDIER]))
        for _ in range(2)
    ]

    assert refreshed == [[True], [False]]
    assert SOLDIER.text in texts_of(store)


def test_documents_of_a_tenant_are_not_those_of_nobody(make_store: Callable[..., ColbertQdrantVectorStore]) -> None:
    document = Document(id_="soldier", text=" ".join(f"Paragraph {number} of a soldier." for number in range(300)))
    theirs = make_store(collection_name="shared", tenant="they")
    theirs.as_index([document])
    before = texts_of(theirs)
    index = make_store(collection_name="shared").as_index()

    assert [index.refresh_ref_docs([document]) for _ in range(2)] == [[True], [False]]
    index.insert_documents([Document(id_="soldier", text="Another text.")])

    assert len(before) > 1
    assert texts_of(theirs) == before


def test_refresh_that_failed_keeps_the_old_and_is_made_good_by_the_next(
    store: ColbertQdrantVectorStore, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = store.as_index([SOLDIER])
    changed = Document(id_="soldier", text="A weatherman relives the same day.")
    with monkeypatch.context() as patch:
        patch.setattr(embedder, "embed", raising(RuntimeError("out of power")))
        with pytest.raises(RuntimeError, match="out of power"):
            index.refresh_ref_docs([changed])
    assert texts_of(store) == {SOLDIER.text}

    assert index.refresh_ref_docs([changed]) == [True]
    assert texts_of(store) == {changed.text}


def test_refresh_knows_documents_that_are_not_split(store: ColbertQdrantVectorStore) -> None:
    index = store.as_index([SOLDIER, HACKER], transformations=[])

    assert index.refresh_ref_docs([SOLDIER, Document(id_="hacker", text="Toys.")]) == [False, True]


def test_refresh_asks_the_store_once(store: ColbertQdrantVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [Document(id_=f"doc {number}", text=f"text {number}") for number in range(20)]
    index = store.as_index(documents)
    asked = []
    call = store.collection.engine.call
    monkeypatch.setattr(store.collection.engine, "call", lambda name, *rest: (asked.append(name), call(name, *rest))[1])

    assert index.refresh_ref_docs(documents) == [False] * 20
    assert asked == ["scroll"]


def test_of_documents_with_one_id_refresh_stores_the_last(store: ColbertQdrantVectorStore) -> None:
    changed = Document(id_="soldier", text="A weatherman relives the same day.")

    store.as_index().refresh_ref_docs([SOLDIER, changed])

    assert texts_of(store) == {changed.text}


def test_refresh_hands_the_options_of_insertion_on(store: ColbertQdrantVectorStore) -> None:
    nothing = Document(id_="soldier", text="soldier", metadata={"bad": b"bytes"})

    store.as_index().refresh_ref_docs([nothing, HACKER], insert_kwargs={"on_error": "skip"})

    assert documents_of(store) == {"hacker"}


def test_documents_and_nodes_of_a_generator_are_stored_too(store: ColbertQdrantVectorStore) -> None:
    """LlamaIndex goes over them twice, and the second time nothing is there."""
    index = store.as_index(Document(id_=f"doc {number}", text=f"text {number}") for number in range(2))
    index.insert_nodes(TextNode(id_=f"node {number}", text=f"text {number}") for number in range(2))

    refreshed = index.refresh_ref_docs(Document(id_=f"doc {number}", text=f"text {number}") for number in range(3))

    assert refreshed == [False, False, True]
    assert len(store.get_nodes()) == 5


@pytest.fixture
def torn(store: ColbertQdrantVectorStore, embedder: Any, monkeypatch: pytest.MonkeyPatch) -> Document:
    """A document of which some nodes are stored: the run stopped in its midst."""
    document = Document(id_="long", text="".join(f"The word number {word} of many. " for word in range(400)))
    windows = iter([embedder.embed])

    def stops(texts: Iterable[str]) -> Any:
        for encode in windows:
            return encode(texts)
        raise RuntimeError("out of power")

    with monkeypatch.context() as patch:
        patch.setattr("colbert_qdrant.collection.ingest.WINDOW", 2)
        patch.setattr(embedder, "embed", stops)
        with pytest.raises(RuntimeError, match="out of power"):
            store.as_index([document])
    return document


@pytest.mark.parametrize("is_asynchronous", [False, True])
async def test_refresh_finishes_what_was_stored_in_part(
    is_asynchronous: bool, torn: Document, store: ColbertQdrantVectorStore
) -> None:
    whole = store.splitter()([torn])
    assert 0 < len(store.get_nodes()) < len(whole)
    index = store.as_index()

    refreshed = [
        await index.arefresh_ref_docs([torn]) if is_asynchronous else index.refresh_ref_docs([torn]) for _ in range(2)
    ]

    assert refreshed == [[True], [False]]
    assert {node.node_id for node in store.get_nodes()} == {node.node_id for node in whole}
    assert store.as_index().refresh_ref_docs([torn]) == [False]


def test_refresh_takes_away_what_a_splitter_with_new_ids_left(
    store: ColbertQdrantVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored anew was stored, and the run stopped before what was there of it was deleted."""
    document = Document(id_="long", text="".join(f"The word number {word} of many. " for word in range(100)))
    splitter = SentenceSplitter(chunk_size=100, chunk_overlap=0)
    store.as_index([document], transformations=[splitter])
    pieces = len(store.get_nodes())
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "keep_only", raising(RuntimeError("out of power")))
        with pytest.raises(RuntimeError, match="out of power"):
            store.as_index([document], transformations=[splitter])
    assert len(store.get_nodes()) == 2 * pieces > 2

    index = store.as_index(transformations=[splitter])

    assert [index.refresh_ref_docs([document]) for _ in range(2)] == [[True], [False]]
    assert len(store.get_nodes()) == pieces
    assert store.as_index(transformations=[splitter]).refresh_ref_docs([document]) == [False]


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


class TestCopiesThatDiffer:
    """A cluster's, after a call that one of two copies missed, which was an error."""

    LONG = Document(id_="long", text="".join(f"The word number {word} of many. " for word in range(400)))

    @pytest.fixture
    def two(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoCopies]:
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the tries of what is refused
        two = TwoCopies()
        yield two
        two.close()

    @pytest.fixture
    def doubled(self, two: TwoCopies, embedder: Any) -> ColbertQdrantVectorStore:
        return ColbertQdrantVectorStore.of(two.open(embedder))

    @pytest.mark.parametrize("is_asynchronous", [False, True])
    async def test_refresh_stores_again_what_one_missed(
        self, is_asynchronous: bool, doubled: ColbertQdrantVectorStore, two: TwoCopies
    ) -> None:
        whole = {node.node_id for node in doubled.splitter()([self.LONG])}
        with two.refusing(), pytest.raises(EngineUnavailable, match="failed to apply"):
            doubled.as_index().refresh_ref_docs([self.LONG])
        assert two.ids() == [whole, set()]
        index = doubled.as_index()

        refreshed = [
            await index.arefresh_ref_docs([self.LONG]) if is_asynchronous else index.refresh_ref_docs([self.LONG])
            for _ in range(2)
        ]

        assert refreshed == [[True], [False]]
        assert two.ids() == [whole, whole]
        assert doubled.as_index().refresh_ref_docs([self.LONG]) == [False]

    def test_what_a_document_has_no_longer_goes_from_both(
        self, doubled: ColbertQdrantVectorStore, two: TwoCopies
    ) -> None:
        index = doubled.as_index([self.LONG, SOLDIER])
        shorter = Document(id_="long", text=self.LONG.text[:40])
        with two.refusing("delete"), pytest.raises(EngineUnavailable, match="failed to apply"):
            index.insert_documents([shorter])
        assert two.ids()[0] < two.ids()[1]

        index.insert_documents([shorter])

        assert two.ids()[0] == two.ids()[1]
        assert documents_of(doubled) == {"long", "soldier"}
        assert texts_of(doubled) == {shorter.text.strip(), SOLDIER.text}


def test_reopened_index_is_the_same(
    index: VectorStoreIndex,
    store: ColbertQdrantVectorStore,
    stdlib: list[Document],
    make_store: Callable[..., ColbertQdrantVectorStore],
) -> None:
    store.close()

    again = make_store(collection_name=store.collection_name)
    reopened = again.as_index()
    reopened.delete_ref_doc("shutil.copy2")
    reopened.insert(SOLDIER)
    reopened.update_ref_doc(Document(id_="shutil.move", text="Rename a file or a directory."))

    assert documents_of(again) == {document.id_ for document in stdlib} - {"shutil.copy2"} | {"soldier"}
    [best] = reopened.as_retriever(similarity_top_k=1).retrieve("rename a directory")
    assert best.text == "Rename a file or a directory."


def test_index_node_leads_to_its_object(store: ColbertQdrantVectorStore) -> None:
    story = TextNode(id_="story", text="The whole story of the soldier.")
    index = VectorStoreIndex(
        objects=[IndexNode(text="A soldier relives the same day.", index_id="story", obj=story)],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=ColbertTextEmbedding(),
    )

    [best] = index.as_retriever(similarity_top_k=1).retrieve("time loop")

    assert best.node == story


def test_persisting_the_rest_of_an_index_leaves_the_store_alone(
    store: ColbertQdrantVectorStore, tmp_path: Path
) -> None:
    index = store.as_index()
    index.insert(SOLDIER)

    index.storage_context.persist(str(tmp_path / "storage"))

    assert documents_of(store) == {"soldier"}


# --- pipelines


def pipeline(store: ColbertQdrantVectorStore, strategy: DocstoreStrategy) -> IngestionPipeline:
    return IngestionPipeline(
        transformations=[SentenceSplitter(), ColbertTextEmbedding()],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=strategy,
    )


CHANGED = Document(id_="hacker", text="A hacker takes the red pill.")
TOYS = Document(id_="toys", text="Toys are left at a day-care center.")


def test_pipeline_stores_what_it_makes(store: ColbertQdrantVectorStore) -> None:
    pipeline(store, DocstoreStrategy.DUPLICATES_ONLY).run(documents=[SOLDIER, HACKER])

    assert documents_of(store) == {"soldier", "hacker"}


def test_pipeline_upserts(store: ColbertQdrantVectorStore) -> None:
    ingest = pipeline(store, DocstoreStrategy.UPSERTS)
    ingest.run(documents=[SOLDIER, HACKER])

    made = ingest.run(documents=[SOLDIER, CHANGED, TOYS])

    assert [node.ref_doc_id for node in made] == ["hacker", "toys"]
    assert texts_of(store) == {SOLDIER.text, CHANGED.text, TOYS.text}


def test_pipeline_upserts_and_deletes(store: ColbertQdrantVectorStore) -> None:
    ingest = pipeline(store, DocstoreStrategy.UPSERTS_AND_DELETE)
    ingest.run(documents=[SOLDIER, HACKER])

    ingest.run(documents=[CHANGED, TOYS])

    assert texts_of(store) == {CHANGED.text, TOYS.text}


async def test_pipeline_upserts_and_deletes_asynchronously(store: ColbertQdrantVectorStore) -> None:
    ingest = pipeline(store, DocstoreStrategy.UPSERTS_AND_DELETE)
    await ingest.arun(documents=[SOLDIER, HACKER])

    await ingest.arun(documents=[CHANGED, TOYS])

    assert texts_of(store) == {CHANGED.text, TOYS.text}


def test_pipeline_without_a_splitter_upserts_and_deletes(store: ColbertQdrantVectorStore) -> None:
    ingest = pipeline(store, DocstoreStrategy.UPSERTS_AND_DELETE)
    ingest.transformations = [ColbertTextEmbedding()]
    ingest.run(documents=[SOLDIER, HACKER])

    ingest.run(documents=[CHANGED, TOYS])

    assert texts_of(store) == {CHANGED.text, TOYS.text}


def test_pipeline_goes_on_after_a_restart(
    store: ColbertQdrantVectorStore, make_store: Callable[..., ColbertQdrantVectorStore], tmp_path: Path
) -> None:
    first = pipeline(store, DocstoreStrategy.UPSERTS_AND_DELETE)
    first.run(documents=[SOLDIER, HACKER])
    first.persist(str(tmp_path / "pipeline"))
    store.close()

    again = make_store(collection_name=store.collection_name)
    second = pipeline(again, DocstoreStrategy.UPSERTS_AND_DELETE)
    second.load(str(tmp_path / "pipeline"))
    second.run(documents=[SOLDIER, TOYS])

    assert texts_of(again) == {SOLDIER.text, TOYS.text}
