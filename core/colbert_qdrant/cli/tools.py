"""The tools that a program of another's is given over MCP: search, read, explain, list; add and delete where told so.

https://modelcontextprotocol.io
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from colbert_qdrant import Hit, MultivectorCollection, Record, __version__
from colbert_qdrant.cli import filters, sources, tables
from colbert_qdrant.cli.searching import explain_record, named, words_of
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput

T = TypeVar("T", bound=Callable[..., Any])

ADDED = "added over MCP"
"""The source of documents that no file holds."""

FILES_LISTED = 200
PASSAGES = 3
LONGEST_TEXT = 2000
"""Characters of a document that a hit comes with; twice a chunk's."""

Question = Annotated[str, Field(description="What to look for, in the words that an answer would use.")]
Id = Annotated[str, Field(description="A document's id, as search returns it; FILE:LINE of a chunk does as well.")]
Conditions = Annotated[
    list[str], Field(description="Conditions on metadata, all of which must hold: year>=1999, lang=en, tag!=old.")
]


def server(collection: MultivectorCollection, *, may_write: bool) -> MCPServer[Any]:
    """Return the server of a collection.

    Parameters
    ----------
    collection
        What the tools work on.
    may_write
        Whether there are tools that change it.
    """
    tools = Tools(collection)
    made: MCPServer[Any] = MCPServer(
        "colbert-qdrant",
        version=__version__,
        instructions=f"Documents of the collection {collection.name!r}. Search first; read what a hit stands in.",
        log_level="WARNING",
    )
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    reading: dict[str, Any] = {
        "search": tools.search,
        "read": tools.read,
        "explain": tools.explain,
        "list": tools.files,
    }
    for name, tool in reading.items():
        made.add_tool(_refusing(tool), name=name, annotations=reads)
    if may_write:
        adds = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
        made.add_tool(_refusing(tools.add), name="add", annotations=adds)
        deletes = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)
        made.add_tool(_refusing(tools.delete), name="delete", annotations=deletes)
    return made


def _refusing(tool: T) -> T:
    """Let what is refused be read by whoever asked; any other exception is kept from them."""

    @functools.wraps(tool)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return tool(*arguments, **options)
        except ColbertQdrantError as error:
            raise ToolError(str(error)) from None

    return run  # type: ignore[return-value]  # of the same signature


class Tools:
    """What the tools do. Their docstrings are what a model reads of them.

    Parameters
    ----------
    collection
        What they work on.
    """

    def __init__(self, collection: MultivectorCollection) -> None:
        self._collection = collection

    def search(
        self,
        question: Question,
        limit: Annotated[int, Field(ge=1, le=50, description="Most hits to return.")] = 5,
        filter: Conditions = [],  # noqa: B006  # never changed; the schema that is read shows it
    ) -> list[dict[str, Any]]:
        """Find the documents that answer a question best, the best first, each with the passages that do so.

        Relevance is from 0 to 1, a passage's share of it too. A long document comes without its text: read it.
        """
        chosen = filters.parsed(filter, self._collection.layout)
        asked = _asked(question)
        try:
            hits = self._collection.search(asked, limit=limit, filter=chosen, passages=PASSAGES)
        except InvalidInput:  # vectors that were pooled, or made by other means, don't say where they stand
            hits = self._collection.search(asked, limit=limit, filter=chosen)
        return [_hit_row(hit) for hit in hits]

    def read(
        self,
        id: Id,
        around: Annotated[int, Field(ge=0, le=20, description="Chunks before and after it to read as well.")] = 0,
    ) -> dict[str, Any]:
        """Read a document whole; of a file that was cut into chunks also what stands around it."""
        record = self._existing(id)
        chunks = sources.around(self._collection, record, around) if around else [record]
        return {**_row(record), "text": "\n\n".join(chunk.text for chunk in chunks)}

    def explain(self, question: Question, id: Id) -> dict[str, Any]:
        """Say which words of a document answered a question, and how strongly."""
        record = self._existing(id)
        explanation = explain_record(self._collection, _asked(question), record)
        words = [
            {"word": word.text, "similarity": round(word.heat, 3), "span": word.span}
            for word in words_of(record, explanation)
        ]
        return {"id": record.id, "score": round(explanation.score, 3), "of": len(explanation.matches), "words": words}

    def files(
        self,
        filter: Conditions = [],  # noqa: B006  # as above
    ) -> dict[str, Any]:
        """List what there is: how many documents, and the files and sources that they are from."""
        chosen = filters.parsed(filter, self._collection.layout)
        files = Counter(
            str(record.payload.get(sources.FILE_KEY, "(no file)")) for record in self._collection.scroll(chosen)
        )
        return {
            "collection": self._collection.name,
            "documents": files.total(),
            "files": [{"file": file, "documents": count} for file, count in sorted(files.items())[:FILES_LISTED]],
            "more_files": max(0, len(files) - FILES_LISTED),
        }

    def add(
        self,
        text: Annotated[str, Field(description="The document.")],
        id: Annotated[str | None, Field(description="An id of its own; without one it is made of the text.")] = None,
        metadata: Annotated[dict[str, Any] | None, Field(description="What else is known of it.")] = None,
    ) -> dict[str, Any]:
        """Store a document. One that is stored under the id is not overwritten: delete it first."""
        if not text.strip():
            raise InvalidInput("the text is empty")
        before = next(iter(self._collection.get([id])), None) if id else None
        if before is None:
            extra = {sources.SOURCE_KEY: ADDED, sources.FILE_KEY: ADDED}
            id = self._collection.add([text], [metadata], [id], extras=[extra], show_progress=False).ids[0]
        elif before.text != text or metadata not in (None, before.metadata):
            raise InvalidInput(f"there is a document with the id {id!r}; delete it first, or choose another id")
        return {"id": id, "documents": self._collection.count()}

    def delete(self, ids: Annotated[list[str], Field(description="Ids as search returns them.")]) -> dict[str, Any]:
        """Delete documents. An id that is not there is an error, and nothing is deleted."""
        found = list(dict.fromkeys(self._existing(each).id for each in ids))
        self._collection.delete(found)
        return {"deleted": len(found), "documents": self._collection.count()}

    def _existing(self, shown: str) -> Record:
        record = named(self._collection, shown) if shown else None
        if record is None:
            raise InvalidInput(f"there is no document with the id {shown!r}")
        return record


def _asked(question: str) -> str:
    if not question.strip():
        raise InvalidInput("the question is empty; give the words to look for")
    return question


def _hit_row(hit: Hit) -> dict[str, Any]:
    passages = [{"text": passage.text, "share": round(passage.share, 3)} for passage in hit.passages or ()]
    row = {"relevance": round(hit.relevance, 3), **_row(hit), **({"passages": passages} if passages else {})}
    if passages and len(hit.text) > LONGEST_TEXT:
        row["text"] = None
    return row


def _row(record: Record) -> dict[str, Any]:
    place = tables.location(record)
    return {"id": record.id, **({"place": place} if place else {}), "text": record.text, "metadata": record.metadata}
