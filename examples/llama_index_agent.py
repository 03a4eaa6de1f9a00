"""An agent of LlamaIndex that looks things up by ColBERT: `FunctionAgent` with a retriever for a tool.

pip install "colbert-qdrant[llama-index,offline]" llama-index-llms-openai-like
OPENAI_API_BASE=http://localhost:11434/v1 OPENAI_API_KEY=none python llama_index_agent.py --model llama3.2
"""

import argparse
import asyncio

from llama_index.core import Document
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.tools import RetrieverTool
from llama_index.llms.openai_like import OpenAILike

from llama_index_colbert_qdrant import ColbertQdrantVectorStore

FILMS = {
    "Edge of Tomorrow": "A soldier fighting aliens gets to relive the same day over and over again.",
    "Heat": "Professional thieves start to feel the heat from the LAPD when they leave a clue at their latest heist.",
    "Paprika": "A machine that allows therapists to enter their patients' dreams is stolen.",
    "This Is Spinal Tap": "One of England's loudest bands is chronicled by a film director on a fateful tour.",
    "Toy Story 3": "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("question", nargs="?", default="In which film does a soldier live the same day over and over?")
    parser.add_argument("--model", required=True, help="a chat model that calls tools, at OPENAI_API_BASE")
    options = parser.parse_args()

    store = ColbertQdrantVectorStore("films", "all-MiniLM-L6-v2-int8")
    index = store.as_index([Document(id_=name, text=f"{name}: {text}") for name, text in FILMS.items()])
    search = RetrieverTool.from_defaults(
        index.as_retriever(similarity_top_k=2),
        name="search_films",
        description="Finds films by what happens in them.",
    )
    llm = OpenAILike(model=options.model, is_chat_model=True, is_function_calling_model=True)
    agent = FunctionAgent(tools=[search], llm=llm, system_prompt="Look films up before you answer.")

    handler = agent.run(options.question)
    async for event in handler.stream_events():
        if isinstance(event, ToolCallResult):
            found = event.tool_output.raw_output
            print(f"  looked up: {', '.join(node.node.ref_doc_id for node in found)}")
    print(await handler)


if __name__ == "__main__":
    asyncio.run(main())
