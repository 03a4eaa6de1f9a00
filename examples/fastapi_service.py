"""A search service with FastAPI: one model and one collection for all requests, opened and closed with the app.

    pip install "colbert-qdrant[offline]" "fastapi[standard]"
    fastapi run fastapi_service.py
    curl -X PUT localhost:8000/documents --json '[{"id": "heat", "text": "Thieves leave a clue at their heist."}]'
    curl "localhost:8000/search?question=bank+robbers"

With QDRANT_URL set the collection is on that server, its I/O asynchronous; else it is in memory. Questions that come in
at the same time are encoded together.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from colbert_qdrant import AsyncMultivectorCollection, ColbertEmbedder
from colbert_qdrant.errors import InvalidInput


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    async with AsyncMultivectorCollection("service", embedder, url=os.environ.get("QDRANT_URL")) as collection:
        app.state.collection = collection
        yield


def opened(request: Request) -> AsyncMultivectorCollection:
    return request.app.state.collection


app = FastAPI(lifespan=lifespan)
Collection = Annotated[AsyncMultivectorCollection, Depends(opened)]


class Document(BaseModel):
    """What is stored."""

    id: str
    text: str


class Found(Document):
    """What a search finds: the sentence that answers best is its passage."""

    relevance: float
    passage: str


@app.exception_handler(InvalidInput)
async def refuse(request: Request, error: InvalidInput) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.put("/documents")
async def add(documents: list[Document], collection: Collection) -> dict[str, int]:
    report = await collection.add([each.text for each in documents], ids=[each.id for each in documents])
    return {"added": report.added, "updated": report.updated, "unchanged": report.unchanged}


@app.get("/search")
async def search(question: str, collection: Collection, limit: Annotated[int, Query(ge=1, le=50)] = 5) -> list[Found]:
    return [
        Found(id=hit.id, text=hit.text, relevance=hit.relevance, passage="".join(each.text for each in hit.passages))
        for hit in await collection.search(question, limit=limit, passages=1)
    ]
