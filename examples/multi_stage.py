"""First stages find candidates, MaxSim puts them in order, all in one request: what that costs, and what it misses.

    pip install "colbert-qdrant[edge,offline]"
    python multi_stage.py

The texts are the docstrings of Python's standard library; a folder holds them, in Qdrant's embedded engine. A stage is
added to a collection that exists, from the texts that it stores: nothing is encoded again.
"""

import inspect
import tempfile
import time
from importlib import import_module

from colbert_qdrant import Bm25, ColbertEmbedder, MultivectorCollection, Muvera

MODULES = ["heapq", "os", "random", "shutil", "statistics", "threading"]
ANSWERS = {
    "run code after a delay": "threading.Timer",
    "the middle value of some numbers": "statistics.median",
    "pick several elements without repeating any": "random.sample",
    "the n largest elements": "heapq.nlargest",
    # One that fails: `os.removedirs` says "remove" and "directories", `shutil.rmtree` speaks of its arguments mostly.
    # No first stage mends that: the order is MaxSim's, and the model's token vectors stay close to the words.
    "remove a directory and everything in it": "shutil.rmtree",
}


def main() -> None:
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
    muvera = Muvera.from_embedder(embedder)
    with (
        tempfile.TemporaryDirectory() as folder,
        MultivectorCollection("stdlib", embedder, path=folder, stages=[muvera]) as docs,
    ):
        texts = docstrings()
        docs.add(texts.values(), ids=texts)
        print(f"{docs.count()} docstrings, candidates by MUVERA")
        ask(docs)
        docs.add_stage(Bm25())
        print("\nCandidates by MUVERA and BM25")
        ask(docs)


def docstrings() -> dict[str, str]:
    return {
        f"{module}.{name}": text
        for module in MODULES
        for name, member in vars(import_module(module)).items()
        if not name.startswith("_") and callable(member) and (text := inspect.getdoc(member))
    }


def ask(docs: MultivectorCollection) -> None:
    for question, answer in ANSWERS.items():
        began = time.perf_counter()
        staged = docs.search(question, candidates=50)
        between = time.perf_counter()
        exact = docs.search(question, exhaustive=True)
        ended = time.perf_counter()
        verdict = "right" if staged[0].id == answer else f"wrong: {answer} answers it"
        same = len({hit.id for hit in staged} & {hit.id for hit in exact})
        times = f"{1000 * (between - began):.0f} ms, {1000 * (ended - between):.0f} over all"
        print(f"  {question}: {staged[0].id} ({verdict}); {times}; {same} of the exact ten best")


if __name__ == "__main__":
    main()
