"""What serves a collection to other programs: ``colbert-qdrant mcp``."""

from __future__ import annotations

import click

from colbert_qdrant.cli.options import carefully, on_collection
from colbert_qdrant.cli.target import Target
from colbert_qdrant.errors import MissingExtra

CLIENTS = """\b
Claude Code:
  claude mcp add docs -- colbert-qdrant mcp --path /home/me/store
\b
Claude Desktop, Cursor (mcpServers in their settings):
  {"mcpServers": {"docs": {"command": "colbert-qdrant",
                           "args": ["mcp", "--path", "/home/me/store"]}}}
"""


@click.command(epilog=CLIENTS)
@on_collection
@click.option("--write", is_flag=True, help="Let the client add and delete documents, too.")
@carefully
def mcp(*, target: Target, write: bool) -> None:
    """Let a program search the collection: a server of the Model Context Protocol on standard input and output.

    Its tools are search, read, explain and list; with --write also add and delete. Give the place as a full path, as
    clients start it anywhere.
    """
    try:
        from colbert_qdrant.cli.tools import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise MissingExtra('mcp is not installed: pip install "colbert-qdrant[mcp]"') from None
    with target.to_search() as collection:
        server(collection, may_write=write).run("stdio")
