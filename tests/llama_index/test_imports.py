"""What importing the adapter costs, and what it says without LlamaIndex."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("onnxruntime", "qdrant_client", "llama_index.core")


def loaded_by(code: str) -> set[str]:
    """Return which of the heavy modules a new interpreter has loaded after this code."""
    report = f"import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing() -> None:
    assert loaded_by("import llama_index_colbert_qdrant") == set()


@pytest.mark.parametrize("name", ["ColbertQdrantVectorStore", "ColbertRerank", "ColbertTextEmbedding"])
def test_importing_a_class_loads_llama_index_alone(name: str) -> None:
    assert loaded_by(f"from llama_index_colbert_qdrant import {name}") == {"llama_index.core"}


def test_reranking_does_without_qdrant() -> None:
    code = """
from llama_index_colbert_qdrant import ColbertRerank
from llama_index.core.schema import NodeWithScore, TextNode
nodes = [NodeWithScore(node=TextNode(text="A soldier."))]
ColbertRerank(model="all-MiniLM-L6-v2-int8").postprocess_nodes(nodes, query_str="soldier")
"""
    assert loaded_by(code) == {"llama_index.core", "onnxruntime"}


def test_star_import_brings_the_three_names() -> None:
    code = """
from llama_index_colbert_qdrant import *
assert {"ColbertQdrantVectorStore", "ColbertRerank", "ColbertTextEmbedding"} <= set(globals())
"""
    loaded_by(code)


@pytest.mark.parametrize("missing", ["llama_index", "llama_index.core"])
def test_without_llama_index_the_error_names_the_extra(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import llama_index_colbert_qdrant
except ImportError as error:
    assert 'pip install "colbert-qdrant[llama-index]"' in str(error), error
else:
    raise AssertionError("no error")
"""
    loaded_by(code)
