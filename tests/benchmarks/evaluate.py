"""What `evaluate` says of a collection with three first stages: what each way to search keeps, finds and costs.

    python tests/benchmarks/evaluate.py [--data DIR] [--set NAME] [--queries N] [--json FILE]

The set is loaded into the embedded engine with the offline model, its single vector as the stage `Dense`, MUVERA and
BM25, and indexed. All of what follows is the function's own text; its plot goes to plots/evaluate.svg.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from judged import DATA, load

from colbert_qdrant import Bm25, ColbertEmbedder, Dense, Evaluation, MultivectorCollection, Muvera, evaluate
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.embedding.sentence import SentenceEmbedder

PLOT = Path(__file__).parent / "plots" / "evaluate.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--set", default="xquad_en", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=100, help="most questions, default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here, and the plot")
    arguments = parser.parse_args()

    judged = load(arguments.data / arguments.set).sample(arguments.queries)
    embedder = ColbertEmbedder(OFFLINE_MODEL)
    stages = [Dense(SentenceEmbedder(OFFLINE_MODEL)), Muvera.from_embedder(embedder), Bm25()]
    with (
        tempfile.TemporaryDirectory() as folder,
        MultivectorCollection(judged.name, embedder, path=folder, stages=stages) as collection,
    ):
        collection.add(judged.documents.values(), ids=judged.documents, show_progress=False)
        collection.optimize()
        grades = {query: judged.grades[query] for query in judged.queries}
        evaluation = evaluate(collection, judged.queries, grades, candidates=(20, 50, 100), show_progress=False)
    print(f"### {judged.name}\n\n```\n{evaluation}\n```")
    if arguments.json:
        arguments.json.write_text(json.dumps(evaluation.as_dict(), indent=1) + "\n", encoding="utf-8")
        draw(evaluation)


def draw(evaluation: Evaluation) -> None:
    """Write the plot, the same file for the same figures; text stays text."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "colbert-qdrant", "svg.fonttype": "none"}):
        evaluation.plot().savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
