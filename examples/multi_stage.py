"""Multi-stage retrieval: cheap first stages find candidates, MaxSim puts them in order, all in one request.

What one learns: how to give a collection first stages, what they cost and what they miss, and how a stage is added
to a collection that exists. The corpus is the standard library's documentation; everything runs in this process, on
the embedded engine, with no hub and no server.

    python examples/multi_stage.py [--path FOLDER]
"""

import argparse
import tempfile
import time
from pathlib import Path

from stdlib_docs import docstrings

from colbert_qdrant import Bm25, ColbertEmbedder, MultivectorCollection, Muvera

QUESTIONS = {
    "run code after a delay": "threading.Timer",
    "the middle value of some numbers": "statistics.median",
    "pick several elements without repeating any": "random.Random.sample",
    "the n largest elements": "heapq.nlargest",
    # One that fails: `os.removedirs` says "remove" and "directories", `shutil.rmtree` speaks of its arguments mostly.
    # No first stage mends that: the order is MaxSim's, and the model's token vectors stay close to the words.
    "remove a directory and everything in it": "shutil.rmtree",
}
"""What is asked, and what answers it."""
MODULES = ("collections", "heapq", "json", "os", "random", "shutil", "statistics", "textwrap", "threading")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="where to keep the collection (a temporary folder)")
    options = parser.parse_args()

    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    corpus = list(docstrings(*MODULES))
    with tempfile.TemporaryDirectory() as temporary:
        path = options.path or temporary
        with MultivectorCollection("stdlib", embedder, path=path, stages=[Muvera.from_embedder(embedder)]) as docs:
            report = docs.add(
                texts=[paragraph.text for paragraph in corpus],
                metadatas=[{"module": paragraph.module} for paragraph in corpus],
                ids=[paragraph.id for paragraph in corpus],
            )
            print(f"{report.stored} docstrings ({report.encoded} encoded now); stages: {stage_names(docs)}")
            compare(docs)

            if "bm25" not in stage_names(docs):
                docs.add_stage(Bm25())  # computed from the texts that are stored; nothing is encoded again
            print(f"\nstages: {stage_names(docs)}")
            compare(docs)


def stage_names(docs: MultivectorCollection) -> str:
    return ", ".join(stage.name for stage in docs.layout.stages)


def compare(docs: MultivectorCollection) -> None:
    """Ask each question through the stages and exhaustively, and show what that takes."""
    docs.search("warm up")
    for question, answer in QUESTIONS.items():
        start = time.perf_counter()
        staged = docs.search(question, limit=10, candidates=50)
        middle = time.perf_counter()
        exact = docs.search(question, limit=10, exhaustive=True)
        end = time.perf_counter()
        same = len({hit.id for hit in staged} & {hit.id for hit in exact})
        best = staged[0]
        verdict = "right" if best.id == answer else f"wrong: {answer} answers it"
        print(f"\n{question}\n  {best.id} ({verdict}): {best.text[:80]}")
        print(
            f"  {1000 * (middle - start):.1f} ms through the stages, {1000 * (end - middle):.1f} ms over all;", end=" "
        )
        print(f"{same} of the ten best are the same")


if __name__ == "__main__":
    main()
