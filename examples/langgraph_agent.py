"""An agent of LangGraph that looks things up by ColBERT: `create_agent` with a retriever for a tool.

What one learns: make a tool of a retriever, give it to an agent, and see which documents an answer rests on.

The chat model needs no network: it asks the tool what it was asked, and quotes the first document that comes back. Put
your own in its place, such as ``create_agent("openai:gpt-...", tools)``; nothing else changes.

    pip install "colbert-qdrant[langchain,offline]" langchain
    python examples/langgraph_agent.py "Which film is about a time loop?"
"""

import argparse
from typing import Any

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import create_retriever_tool
from movies import MOVIES
from pydantic import Field

from langchain_colbert_qdrant import ColbertQdrantRetriever

QUESTION = "In which film does a soldier live the same day over and over?"


class Librarian(BaseChatModel):
    """A chat model without a model: calls its first tool with the question, then quotes what the tool found first."""

    tools: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> "Librarian":
        """Return a librarian with these tools."""
        return Librarian(tools=list(tools))

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(last.text.split("\n\n")[0])
        else:
            call = {"name": self.tools[0].name, "args": {"query": last.text}, "id": "1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "librarian"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a ColBERT's name or folder (%(default)s)")
    options = parser.parse_args()

    films = [Document(f"{movie.name}: {movie.description}", id=movie.name) for movie in MOVIES]
    retriever = ColbertQdrantRetriever.from_documents(films, options.model, k=2)
    search = create_retriever_tool(
        retriever, "search_films", "Finds films by what happens in them.", response_format="content_and_artifact"
    )

    agent = create_agent(Librarian(), [search])
    messages = agent.invoke({"messages": [{"role": "user", "content": options.question}]})["messages"]

    print(messages[-1].text)
    for message in messages:
        if isinstance(message, ToolMessage):
            print(f"  rests on: {', '.join(document.id for document in message.artifact)}")


if __name__ == "__main__":
    main()
