"""The tool server, asked by the client of the package that it is made with."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant import ColbertEmbedder, MultivectorCollection
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

pytest.importorskip("click")
pytest.importorskip("qdrant_edge")
mcp = pytest.importorskip("mcp")
from colbert_qdrant.cli.tools import server  # noqa: E402  # it needs mcp

MAIN = "from colbert_qdrant.cli import main; main()"


@asynccontextmanager
async def client_of(collection: MultivectorCollection, *, may_write: bool = False) -> AsyncIterator[Any]:
    async with mcp.Client(server(collection, may_write=may_write)) as client:
        yield client


async def answer(client: Any, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content.get("result", result.structured_content)


async def refusal(client: Any, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)


@pytest.fixture
def notes(collection: MultivectorCollection) -> MultivectorCollection:
    extras = [{"_source": "/notes", "_file": "/notes/a.md"}] * 3
    metadata = [{"path": "/notes/a.md", "first_line": 2 * number, "last_line": 2 * number} for number in (1, 2, 3)]
    ids = [f"/notes/a.md#{number}" for number in (1, 2, 3)]
    collection.add(["first things", "second chance", "third man"], metadata, ids, extras=extras)
    collection.add(["by hand"], [{"year": 1999}], ["own"])
    return collection


async def test_a_hit_says_where_it_stands(notes: MultivectorCollection) -> None:
    async with client_of(notes) as client:
        [hit] = await answer(client, "search", question="second chance", limit=1)

    assert hit == {
        "relevance": 1.0,
        "id": "/notes/a.md#2",
        "place": "/notes/a.md:4",
        "text": "second chance",
        "metadata": {"path": "/notes/a.md", "first_line": 4, "last_line": 4},
    }


async def test_a_search_is_filtered(notes: MultivectorCollection) -> None:
    async with client_of(notes) as client:
        hits = await answer(client, "search", question="second chance", filter=["year>=1990"])

    assert [hit["id"] for hit in hits] == ["own"]


async def test_a_document_is_read_with_what_stands_around_it(notes: MultivectorCollection) -> None:
    async with client_of(notes) as client:
        alone = await answer(client, "read", id="/notes/a.md:2")
        around = await answer(client, "read", id="/notes/a.md#1", around=1)

    assert alone["text"] == "first things"
    assert around["text"] == "first things\n\nsecond chance"


async def test_the_chunks_around_one_of_a_pdf_may_be_of_other_pages(collection: MultivectorCollection) -> None:
    numbers = ["1.9", "1.10", "2.1", "4.1", "4.2"]  # the third page is a picture
    metadata = [{"path": "/a.pdf", "page": int(number[0])} for number in numbers]
    extras = [{"_source": "/a.pdf", "_file": "/a.pdf"}] * len(numbers)
    collection.add(numbers, metadata, [f"/a.pdf#{number}" for number in numbers], extras=extras)

    async with client_of(collection) as client:
        around = await answer(client, "read", id="/a.pdf#page=2", around=1)
        more = await answer(client, "read", id="/a.pdf#2.1", around=2)
        shared = await refusal(client, "read", id="/a.pdf#page=4")

    assert around["text"] == "1.10\n\n2.1\n\n4.1"
    assert more["text"] == "\n\n".join(numbers)
    assert shared.endswith("give the id of one of them: /a.pdf#4.1, /a.pdf#4.2")


async def test_what_there_is_is_listed_by_file(notes: MultivectorCollection) -> None:
    async with client_of(notes) as client:
        listed = await answer(client, "list")

    assert listed["documents"] == 4
    assert listed["files"] == [{"file": "(no file)", "documents": 1}, {"file": "/notes/a.md", "documents": 3}]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"question": " "}, "the question is empty"),
        ("search", {"question": "x", "filter": ["year"]}, "write key=value"),
        ("read", {"id": "none"}, "there is no document with the id 'none'"),
        ("explain", {"question": "", "id": "own"}, "the question is empty"),
    ],
)
async def test_what_is_refused_says_why(
    notes: MultivectorCollection, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with client_of(notes) as client:
        assert said in await refusal(client, tool, **arguments)


async def test_nothing_can_be_changed_unless_told_so(notes: MultivectorCollection) -> None:
    async with client_of(notes) as client:
        tools = (await client.list_tools()).tools
        with pytest.raises(Exception, match=r"delete"):
            await answer(client, "delete", ids=["own"])

    assert [tool.name for tool in tools] == ["search", "read", "explain", "list"]
    assert all(tool.annotations.read_only_hint for tool in tools)
    assert notes.count() == 4


async def test_documents_are_added_and_deleted_where_told_so(notes: MultivectorCollection) -> None:
    async with client_of(notes, may_write=True) as client:
        added = await answer(client, "add", text="a new one", id="n", metadata={"by": "me"})
        again = await answer(client, "add", text="a new one", id="n")
        taken = await refusal(client, "add", text="another", id="own")
        missing = await refusal(client, "delete", ids=["n", "none"])
        deleted = await answer(client, "delete", ids=["n", "n"])

    assert (added["documents"], again["documents"], deleted["documents"]) == (5, 5, 4)
    assert deleted["deleted"] == 1
    assert "there is a document with the id 'own'" in taken
    assert "no document with the id 'none'" in missing


async def test_nothing_that_is_stored_is_overwritten(notes: MultivectorCollection) -> None:
    before = {record.id: record.payload for record in notes.scroll()}

    async with client_of(notes, may_write=True) as client:
        other = await refusal(client, "add", text="first things", id="/notes/a.md#1", metadata={"k": 1})
        none = await refusal(client, "add", text="by hand", id="own", metadata={})
        same = await answer(client, "add", text="first things", id="/notes/a.md#1")
        again = await answer(client, "add", text="by hand", id="own", metadata={"year": 1999})

    assert "there is a document with the id '/notes/a.md#1'" in other
    assert "there is a document with the id 'own'" in none
    assert (same["id"], again["id"]) == ("/notes/a.md#1", "own")
    assert {record.id: record.payload for record in notes.scroll()} == before


async def test_it_speaks_over_standard_input_and_output(tmp_path: Path) -> None:
    embedder = ColbertEmbedder(OFFLINE_MODEL, long_documents="window")
    with MultivectorCollection("documents", embedder, path=tmp_path / "store") as collection:
        long = "Some words of no matter. " * 100 + "Toys are left at a day-care center."
        collection.add(["A soldier relives the same day.", long], ids=["a", "b"])
    command = mcp.StdioServerParameters(
        command=sys.executable, args=["-c", MAIN, "mcp", "--path", str(tmp_path / "store")]
    )

    async with mcp.Client(command) as client:
        [hit] = await answer(client, "search", question="toys", limit=1)
        why = await answer(client, "explain", question="toys", id="b")

    assert (hit["id"], hit["text"]) == ("b", None)
    assert hit["passages"][0]["text"] == "Toys are left at a day-care center."
    assert why["words"][0]["word"] == "Toys"
