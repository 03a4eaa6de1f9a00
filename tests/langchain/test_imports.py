"""What an import costs, and what it says without LangChain. Each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = "[name for name in ('onnxruntime', 'qdrant_client', 'langchain_core', 'pydantic') if name in sys.modules]"

RERANK = """
import numpy as np
from langchain_core.documents import Document
from langchain_colbert_qdrant import ColbertRerank
class Fake:
    model_name, dim = "fake", 2
    def embed(self, texts): return [np.eye(2, dtype=np.float32)[:1 + len(text) % 2] for text in texts]
    def query_embed(self, texts): return self.embed(texts)
best = ColbertRerank(embedder=Fake(), top_n=1).compress_documents([Document("ab"), Document("a")], "a")
print([document.page_content for document in best])
"""

WITHOUT_LANGCHAIN = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "langchain_core" else find(name, *rest)
try:
    import langchain_colbert_qdrant{submodule}
except ImportError as error:
    print(type(error).__name__, error)
"""


def run(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert run(f"import langchain_colbert_qdrant\nprint({HEAVY})") == "[]"


def test_a_reranker_needs_no_qdrant() -> None:
    assert run(f"{RERANK}\nprint('qdrant_client' in sys.modules)") == "['a']\nFalse"


@pytest.mark.parametrize("submodule", ["", ".vectorstores", ".compressors"])
def test_without_langchain_the_error_names_the_extra(submodule: str) -> None:
    assert run(WITHOUT_LANGCHAIN.format(submodule=submodule)) == (
        'MissingExtra LangChain is not installed: pip install "colbert-qdrant[langchain]"'
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    import langchain_colbert_qdrant

    with pytest.raises(AttributeError, match="Nothing"):
        _ = langchain_colbert_qdrant.Nothing
