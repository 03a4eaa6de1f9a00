"""LangChain: ColBERT behind a retriever you have, here BM25, and what it does to twelve questions with known answers.

    pip install "colbert-qdrant[langchain,offline]" langchain-classic langchain-community rank-bm25
    python langchain_rerank.py

The documents are all that is public in Python's standard library, each by its name and the first paragraph of its
docstring; the questions were written before anything was run. A reranker mends the order of what was found. What BM25
does not find among its first fifty stays lost, as four of these answers do, whose docstrings use other words: for that,
search by token vectors.
"""

import ast
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document

from langchain_colbert_qdrant import ColbertRerank

ANSWERS = {
    "delete a folder and everything in it": ["shutil.rmtree"],
    "cut a long paragraph into lines of at most 70 characters": ["textwrap.wrap", "textwrap.fill"],
    "the element that occurs most often in a list": ["statistics.mode", "statistics.multimode"],
    "remember what a slow function returned": ["functools.lru_cache", "functools.cache"],
    "how much room is left on the disk": ["shutil.disk_usage"],
    "run a command and get what it prints": ["subprocess.check_output", "subprocess.getoutput", "subprocess.run"],
    "put the elements of a list in random order": ["random.Random.shuffle"],
    "compare two texts line by line and show what differs": ["difflib.Differ", "difflib.ndiff", "difflib.unified_diff"],
    "find all files whose name ends in .txt": ["glob.glob", "glob.iglob", "fnmatch.filter"],
    "is this year a leap year": ["calendar.isleap"],
    "where is a program installed": ["shutil.which"],
    "turn a dictionary into text that JavaScript reads": ["json.dumps"],
}


def standard_library() -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for module in sorted(name for name in sys.stdlib_module_names if not name.startswith("_")):
        for path in (root / f"{module}.py", root / module / "__init__.py"):
            if path.is_file():
                yield from members(ast.parse(path.read_text(encoding="utf-8")), module)


def members(node: ast.AST, prefix: str) -> Iterator[Document]:
    """Yield what is public in a module or a class and says what it does, also where an `if` decides what is defined."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try):
            yield from members(child, prefix)
        elif isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            if text := (ast.get_docstring(child) or "").split("\n\n")[0]:
                yield Document(f"{prefix}.{child.name}: {text}", id=f"{prefix}.{child.name}")
            if isinstance(child, ast.ClassDef):
                yield from members(child, f"{prefix}.{child.name}")


def rank(found: list[Document], answers: list[str]) -> int | None:
    return next((place for place, document in enumerate(found, start=1) if document.id in answers), None)


documents = list(standard_library())
print(f"{len(documents)} documents; the rank of the first right answer by BM25, and of BM25's fifty by ColBERT")
bm25 = BM25Retriever.from_documents(documents, k=50, preprocess_func=lambda text: re.findall(r"\w+", text.lower()))
reranker = ColbertRerank(model="all-MiniLM-L6-v2-int8", top_n=50)
retriever = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=bm25)

before, after = [], []
for question, answers in ANSWERS.items():
    found = retriever.invoke(question)
    before.append(rank(bm25.invoke(question), answers))
    after.append(rank(found, answers))
    print(f"  {before[-1] or '-':>2} -> {after[-1] or '-':<2} {question}: {found[0].id}")
for name, ranks in (("BM25", before), ("BM25, then ColBERT", after)):
    print(f"{name}: MRR {sum(1 / place for place in ranks if place) / len(ranks):.2f}")
