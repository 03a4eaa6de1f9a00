"""What measures a collection: ``colbert-qdrant evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from colbert_qdrant.cli import terminal
from colbert_qdrant.cli.options import as_json, carefully, on_collection
from colbert_qdrant.cli.reading.questions import read_questions
from colbert_qdrant.cli.target import Target


@click.command()
@click.argument("questions", type=click.Path(exists=True, path_type=Path))
@on_collection
@click.option("--qrels", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What answers, BEIR's TSV.")
@click.option("-k", "--limit", type=click.IntRange(min=10), default=10, show_default=True, help="Hits of a search.")
@click.option("--candidates", multiple=True, type=click.IntRange(min=1), help="Of first stages; may be given again.")
@click.option("--keep", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True, help="To keep.")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it: .svg, .png.")
@as_json
@carefully
def evaluate(
    *,
    target: Target,
    questions: Path,
    qrels: Path | None,
    limit: int,
    candidates: tuple[int, ...],
    keep: float,
    picture: Path | None,
    to_json: bool,
) -> None:
    """Measure every way to search a collection with QUESTIONS: what it finds, keeps and costs.

    QUESTIONS is a text file with a question a line; or JSON lines with a "question" and, where it is known, the
    "expected" id (or a list of ids); or a folder in BEIR's layout, with queries.jsonl and qrels.tsv or qrels/test.tsv.

    Where it is known what answers there are nDCG@10, recall and MRR@10. Always there is the share of the ten best of
    exact MaxSim that each way keeps; the quickest that keeps --keep of them is marked.
    """
    from colbert_qdrant.evaluation import evaluate as measured
    from colbert_qdrant.evaluation.measuring import CANDIDATES

    asked, expected = read_questions(questions, qrels)
    with target.to_search() as collection:
        tried = candidates or CANDIDATES
        evaluation = measured(collection, asked, expected, limit=limit, share=keep, candidates=tried)
    if to_json:
        terminal.say_json(evaluation.as_dict())
    else:
        terminal.say(str(evaluation))
        terminal.say(f"{target.described}", dim=True)
    if picture is not None:
        evaluation.plot().savefig(picture)
        terminal.complain(f"The plot: {picture}")
