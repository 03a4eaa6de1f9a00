"""LlamaIndex's module guides, each once, over a store of token vectors: the parts are its own, the models are mocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.ingestion import DocstoreStrategy
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.memory import Memory, VectorMemoryBlock
from llama_index.core.node_parser import HierarchicalNodeParser, SentenceWindowNodeParser, get_leaf_nodes
from llama_index.core.postprocessor import MetadataReplacementPostProcessor, SimilarityPostprocessor
from llama_index.core.query_engine import (
    CitationQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    VectorIndexAutoRetriever,
)
from llama_index.core.schema import Document, IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool, RetrieverTool, ToolMetadata
from llama_index.core.vector_stores.types import MetadataInfo, VectorStoreInfo

from colbert_qdrant.types import Embedder
from llama_index_colbert_qdrant import (
    ColbertQdrantVectorStore,
    ColbertRerank,
    ColbertTextEmbedding,
    ColbertVectorStoreIndex,
)

MOVIES = [
    Document(id_="edge", text="A soldier relives the same day of war against aliens.", metadata={"year": 2014}),
    Document(
        id_="matrix", text="A hacker learns that his world is a simulation run by machines.", metadata={"year": 1999}
    ),
    Document(id_="toys", text="Toys are left at a day-care center by mistake.", metadata={"year": 2010}),
    Document(id_="groundhog", text="A weatherman lives through the same winter day again.", metadata={"year": 1993}),
]


class Says(CustomLLM):
    """A language model that says the same to everything."""

    words: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.words)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text=self.words, delta=self.words)


class Replies(Says):
    """A language model that says one thing after another."""

    words: str = ""
    replies: list[str]

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.replies.pop(0))


class Asks(BaseQuestionGenerator):
    """A question generator that always asks the same of each tool."""

    def __init__(self, questions: dict[str, str]) -> None:
        self.questions = questions

    def generate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        return [SubQuestion(sub_question=question, tool_name=name) for name, question in self.questions.items()]

    async def agenerate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        return self.generate(tools, query)

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None:
        pass


@pytest.fixture
def index(store: ColbertQdrantVectorStore) -> ColbertVectorStoreIndex:
    return store.as_index(MOVIES)


def sources(nodes: Sequence[NodeWithScore]) -> list[str | None]:
    return [node.node.ref_doc_id for node in nodes]


def documents_of(store: ColbertQdrantVectorStore) -> list[str | None]:
    return sorted(node.ref_doc_id or "" for node in store.get_nodes())


def test_querying(index: ColbertVectorStoreIndex) -> None:
    response = index.as_query_engine(llm=MockLLM(), similarity_top_k=1).query("machines simulate the world")

    assert sources(response.source_nodes) == ["matrix"]


def test_scores_can_be_cut_at(index: ColbertVectorStoreIndex) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=4, node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.75)]
    )

    assert sources(engine.query(MOVIES[2].get_content()).source_nodes) == ["toys"]


def test_chat(index: ColbertVectorStoreIndex) -> None:
    engine = index.as_chat_engine(chat_mode="context", llm=MockLLM(), similarity_top_k=1)

    assert sources(engine.chat("toys at a day-care center").source_nodes) == ["toys"]


def test_router(index: ColbertVectorStoreIndex) -> None:
    engines = [
        QueryEngineTool.from_defaults(
            index.as_query_engine(llm=MockLLM(), similarity_top_k=1), description=f"movies {number}"
        )
        for number in (1, 2)
    ]
    chooses = Says(words='[{"choice": 2, "reason": "it is the second"}]')

    router = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=chooses), engines, llm=MockLLM())

    assert sources(router.query("the same winter day").source_nodes) == ["groundhog"]


def test_sub_questions(index: ColbertVectorStoreIndex) -> None:
    tool = QueryEngineTool(
        index.as_query_engine(llm=MockLLM(), similarity_top_k=1), ToolMetadata("what is told", name="movies")
    )
    engine = SubQuestionQueryEngine.from_defaults(
        [tool], question_gen=Asks(questions={"movies": "a hacker in a simulation"}), llm=MockLLM(), use_async=False
    )

    found = engine.query("compare").source_nodes

    assert "matrix" in sources(found)


def test_fusion(index: ColbertVectorStoreIndex) -> None:
    retriever = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=2)],
        llm=Says(words="toys left by mistake\na day-care center"),
        num_queries=3,
        mode="reciprocal_rerank",  # type: ignore[arg-type]  # a string will do
        similarity_top_k=1,
        use_async=False,
    )

    assert sources(retriever.retrieve("toys")) == ["toys"]


def test_recursive(store: ColbertQdrantVectorStore) -> None:
    about = IndexNode(text="A summary: wars that repeat.", index_id="whole", id_="about")
    index = store.as_index()
    index.insert_nodes([about, TextNode(text="Toys.")])
    retriever = RecursiveRetriever(
        "root",
        retriever_dict={"root": index.as_retriever(similarity_top_k=1)},
        node_dict={"whole": TextNode(id_="whole", text="The whole chapter.")},
    )

    assert [node.node_id for node in retriever.retrieve("wars that repeat")] == ["whole"]


def test_auto_merging(store: ColbertQdrantVectorStore) -> None:
    text = "The lighthouse keeper lit the lamp. " * 30 + "Ships passed by in the fog. " * 30
    nodes = HierarchicalNodeParser.from_defaults(chunk_sizes=[512, 128]).get_nodes_from_documents([Document(text=text)])
    context = StorageContext.from_defaults(docstore=SimpleDocumentStore(), vector_store=store)
    context.docstore.add_documents(nodes)
    leaves = get_leaf_nodes(nodes)
    index = VectorStoreIndex(leaves, storage_context=context, embed_model=ColbertTextEmbedding())

    merged = AutoMergingRetriever(index.as_retriever(similarity_top_k=len(leaves)), context, verbose=False).retrieve(
        "ships in the fog"
    )

    assert {node.node_id for node in merged} <= {node.node_id for node in nodes}
    assert any(node.node.child_nodes for node in merged)


def test_sentence_window_replacement_and_reranking(store: ColbertQdrantVectorStore) -> None:
    text = "In 1969 a lander came down on the moon. It fell softly. The cook made soup. Nobody saw the eagle."
    parser = SentenceWindowNodeParser.from_defaults(window_size=1)
    index = store.as_index([Document(id_="moon", text=text)], transformations=[parser])
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=4,
        node_postprocessors=[
            MetadataReplacementPostProcessor("window"),
            ColbertRerank(vector_store=store, top_n=2),
        ],
    )

    found = engine.query("softly came the moon lander of 1969").source_nodes

    alone = ColbertRerank(embedder=store.collection.embedder, top_n=2).postprocess_nodes(
        found, query_str="softly came the moon lander of 1969"
    )
    assert [node.text for node in found] == [node.text for node in alone]
    assert [node.score for node in found] == pytest.approx([node.score for node in alone], abs=1e-3)
    assert "1969" in found[0].text
    assert "It fell softly." in found[0].text


def test_auto_retriever(index: ColbertVectorStoreIndex) -> None:
    spec = '{"query": "a day", "filters": [{"key": "year", "operator": ">", "value": "2000"}], "top_k": 4}'
    retriever = VectorIndexAutoRetriever(
        index,
        llm=Says(words=spec),
        vector_store_info=VectorStoreInfo(
            content_info="movies", metadata_info=[MetadataInfo(name="year", type="int", description="of release")]
        ),
        similarity_top_k=4,
    )

    assert set(sources(retriever.retrieve("days after 2000"))) == {"edge", "toys"}


def test_hyde(index: ColbertVectorStoreIndex) -> None:
    imagines = HyDEQueryTransform(llm=Says(words="A hacker in a simulation run by machines."), include_original=False)
    engine = TransformQueryEngine(index.as_query_engine(llm=MockLLM(), similarity_top_k=1), imagines)

    assert sources(engine.query("toys at the day-care center").source_nodes) == ["matrix"]


async def test_hyde_asynchronously(index: ColbertVectorStoreIndex) -> None:
    told = QueryBundle("toys at the day-care center", custom_embedding_strs=["A hacker in a simulation of machines."])

    assert sources(await index.as_retriever(similarity_top_k=1).aretrieve(told)) == ["matrix"]


def test_citation(index: ColbertVectorStoreIndex) -> None:
    engine = CitationQueryEngine.from_args(index, llm=MockLLM(), similarity_top_k=1, citation_chunk_size=512)

    [cited] = engine.query("the same winter day again").source_nodes

    assert "weatherman" in cited.text


@pytest.mark.parametrize("strategy", DocstoreStrategy)
def test_pipeline(store: ColbertQdrantVectorStore, strategy: DocstoreStrategy) -> None:
    pipeline = store.as_pipeline(docstore=SimpleDocumentStore(), docstore_strategy=strategy)
    pipeline.run(documents=MOVIES[:2])
    changed = Document(id_="edge", text="A pilot relives the same night.")

    pipeline.run(documents=[changed])

    texts = {node.get_content() for node in store.get_nodes()}
    hacker = MOVIES[1].text
    assert texts == ({changed.text} if strategy is DocstoreStrategy.UPSERTS_AND_DELETE else {changed.text, hacker})


def test_script_that_runs_twice(store: ColbertQdrantVectorStore) -> None:
    for _ in range(2):
        store.as_index(MOVIES)
        store.as_pipeline().run(documents=MOVIES)

    assert documents_of(store) == sorted(movie.id_ for movie in MOVIES)


def test_refresh_after_a_restart(store: ColbertQdrantVectorStore) -> None:
    store.as_index(MOVIES)
    changed = Document(id_="toys", text="Toys go to college.")

    refreshed = store.as_index().refresh_ref_docs([MOVIES[0], changed])

    assert refreshed == [False, True]
    assert documents_of(store) == sorted(movie.id_ for movie in MOVIES)


def test_document_that_shrank_leaves_nothing_behind(store: ColbertQdrantVectorStore) -> None:
    store.as_index([Document(id_="long", text="A word of many. " * 500)])
    assert len(documents_of(store)) > 1

    store.as_index([Document(id_="long", text="A word.")])

    assert documents_of(store) == ["long"]


async def test_agent_with_a_tool(index: ColbertVectorStoreIndex) -> None:
    tool = RetrieverTool.from_defaults(index.as_retriever(similarity_top_k=1), name="movies", description="stories")
    looks_up = 'Thought: I look it up.\nAction: movies\nAction Input: {"input": "a hacker in a simulation"}'
    answers = "Thought: I can answer.\nAnswer: It is a simulation."
    agent = ReActAgent(tools=[tool], llm=Replies(replies=[looks_up, answers]), streaming=False)

    result = await agent.run("What does the hacker learn?")

    [call] = result.tool_calls
    assert "a simulation run by machines" in str(call.tool_output)
    assert "It is a simulation." in str(result)


async def test_memory(store: ColbertQdrantVectorStore) -> None:
    block = VectorMemoryBlock(
        vector_store=store,
        embed_model=ColbertTextEmbedding(marks_queries=True),
        similarity_top_k=1,
        retrieval_context_window=1,
    )
    memory = Memory.from_defaults(session_id="mine", memory_blocks=[block], insert_method="user")
    said = {"mine": ["My cat is called Tiger.", "I work as a baker."], "another's": ["My cat is called Minka."]}
    for session, texts in said.items():
        for text in texts:
            await block.aput(
                [ChatMessage(text, additional_kwargs={"session_id": session})], from_short_term_memory=True
            )

    asked = [ChatMessage("What is the name of my cat?")]
    remembered = await block.aget(asked, session_id="mine")
    await memory.aput(asked[0])
    [message] = await memory.aget()

    assert remembered == "<message role='user'>My cat is called Tiger.</message>"
    assert remembered in str(message.content)
    assert {node.metadata["session_id"] for node in store.get_nodes()} == {"mine", "another's"}


def test_index_from_storage_without_a_key(store: ColbertQdrantVectorStore, tmp_path: Path) -> None:
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(MOVIES, storage_context=context, embed_model=ColbertTextEmbedding())
    index.set_index_id("movies")
    index.storage_context.persist(tmp_path)

    again = load_index_from_storage(
        StorageContext.from_defaults(vector_store=store, persist_dir=str(tmp_path)),
        "movies",
        embed_model=ColbertTextEmbedding(),
    )

    assert sources(again.as_retriever(similarity_top_k=1).retrieve("hacker")) == ["matrix"]  # type: ignore[attr-defined]


def test_embeddings_that_nobody_uses_are_warned_of(store: ColbertQdrantVectorStore, embedder: Embedder) -> None:
    from llama_index.core.embeddings import MockEmbedding

    context = StorageContext.from_defaults(vector_store=store)

    with pytest.warns(UserWarning, match="nobody looks at"):
        VectorStoreIndex.from_documents(MOVIES, storage_context=context, embed_model=MockEmbedding(embed_dim=8))
