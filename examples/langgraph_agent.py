"""An agent of LangGraph that looks things up by ColBERT: `create_agent` with a retriever for a tool.

pip install "colbert-qdrant[langchain,offline]" langchain langchain-openai
OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_API_KEY=none python langgraph_agent.py --model llama3.2
"""

import argparse

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import create_retriever_tool
from langchain_openai import ChatOpenAI

from langchain_colbert_qdrant import ColbertQdrantRetriever

FILMS = {
    "Edge of Tomorrow": "A soldier fighting aliens gets to relive the same day over and over again.",
    "Heat": "Professional thieves start to feel the heat from the LAPD when they leave a clue at their latest heist.",
    "Paprika": "A machine that allows therapists to enter their patients' dreams is stolen.",
    "This Is Spinal Tap": "One of England's loudest bands is chronicled by a film director on a fateful tour.",
    "Toy Story 3": "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
}

parser = argparse.ArgumentParser()
parser.add_argument("question", nargs="?", default="In which film does a soldier live the same day over and over?")
parser.add_argument("--model", required=True, help="a chat model that calls tools, at OPENAI_BASE_URL")
options = parser.parse_args()

films = [Document(f"{name}: {text}", id=name) for name, text in FILMS.items()]
search = create_retriever_tool(
    ColbertQdrantRetriever.from_documents(films, "all-MiniLM-L6-v2-int8", k=2),
    name="search_films",
    description="Finds films by what happens in them.",
    response_format="content_and_artifact",  # the artifact: the documents themselves
)
agent = create_agent(ChatOpenAI(model=options.model), [search], system_prompt="Look films up before you answer.")

messages = agent.invoke({"messages": [{"role": "user", "content": options.question}]})["messages"]
print(messages[-1].text)
for message in messages:
    if isinstance(message, ToolMessage):
        print(f"  rests on: {', '.join(document.id for document in message.artifact)}")
