"""Measure on your own questions what each way to search finds, keeps and costs, and take the cheapest that will do.

    pip install "colbert-qdrant[edge,evaluate,offline]"
    python evaluate_searches.py

The same from the command line: ``colbert-qdrant evaluate questions.jsonl --path store``. Twelve questions tell a good
search from a bad one; to tell two good ones apart takes some hundred, as the ± says.
"""

import inspect
import tempfile
from importlib import import_module

from colbert_qdrant import Bm25, ColbertEmbedder, MultivectorCollection, Muvera, evaluate

MODULES = ["bisect", "functools", "glob", "heapq", "itertools", "random", "shutil", "statistics", "textwrap"]
ANSWERS = {
    "the middle value of some numbers": ["statistics.median", "statistics.median_low", "statistics.median_high"],
    "the value that occurs most often": ["statistics.mode", "statistics.multimode"],
    "how far numbers spread around their mean": ["statistics.stdev", "statistics.pstdev", "statistics.variance"],
    "the three smallest of a long list": ["heapq.nsmallest"],
    "remember the results of a function": ["functools.lru_cache", "functools.cache"],
    "a function with some arguments fixed": ["functools.partial"],
    "where to insert into a sorted list": ["bisect.bisect_left", "bisect.bisect_right", "bisect.bisect"],
    "put the elements of a list in random order": ["random.shuffle"],
    "all pairs out of a list": ["itertools.combinations", "itertools.permutations", "itertools.product"],
    "break a paragraph into lines": ["textwrap.wrap", "textwrap.fill"],
    "find files by a pattern with stars": ["glob.glob", "glob.iglob"],
    "how much room is left on the disk": ["shutil.disk_usage"],
}

texts = {
    f"{module}.{name}": text
    for module in MODULES
    for name, member in vars(import_module(module)).items()
    if not name.startswith("_") and callable(member) and (text := inspect.getdoc(member))
}
embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents="window")
stages = [Muvera.from_embedder(embedder), Bm25()]
with (
    tempfile.TemporaryDirectory() as folder,
    MultivectorCollection("docs", embedder, path=folder, stages=stages) as docs,
):
    docs.add(texts.values(), ids=texts)
    evaluation = evaluate(docs, list(ANSWERS), ANSWERS, candidates=(20, 50))
print(evaluation)
if evaluation.cheapest is not None:
    print(f"\nUse {evaluation.cheapest.name}, {evaluation.cheapest.candidates or 'all'} candidates")
