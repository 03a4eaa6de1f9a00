"""The commands of ``colbert-qdrant``, gathered."""

from __future__ import annotations

import click

from colbert_qdrant import __version__
from colbert_qdrant.cli.agents import mcp
from colbert_qdrant.cli.evaluating import evaluate
from colbert_qdrant.cli.exporting import export
from colbert_qdrant.cli.indexing import index
from colbert_qdrant.cli.inventory import info, list_collections, models
from colbert_qdrant.cli.options import Commands
from colbert_qdrant.cli.removing import delete, prune
from colbert_qdrant.cli.searching import explain, search
from colbert_qdrant.cli.upgrading import downgrade, upgrade

EXAMPLES = """\b
Examples:
  colbert-qdrant index docs/ --path store
  colbert-qdrant search "how do I restore a backup" --path store
  colbert-qdrant explain "how do I restore a backup" --path store --html why.html
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="colbert-qdrant")
def commands() -> None:
    """Index texts with ColBERT on Qdrant, search them, and see why a text was found."""


for command in (
    index,
    search,
    explain,
    evaluate,
    list_collections,
    info,
    delete,
    prune,
    upgrade,
    downgrade,
    mcp,
    models,
    export,
):
    commands.add_command(command)
