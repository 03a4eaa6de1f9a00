"""Importing must cost nothing before something is used."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import pytest

HEAVY = ("onnxruntime", "qdrant_client", "tokenizers", "numpy", "huggingface_hub", "langchain_core", "llama_index.core")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def loaded_after(code: str) -> set[str]:
    return set(run(f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))").split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import colbert_qdrant") == set()


def test_importing_the_package_takes_under_50_ms() -> None:
    timed = "import time; start = time.process_time(); import colbert_qdrant; print(time.process_time() - start)"

    assert median(float(run(timed)) for _ in range(5)) < 0.05


@pytest.mark.parametrize("package", ["langchain_colbert_qdrant", "llama_index_colbert_qdrant"])
def test_importing_an_adapter_loads_neither_the_runtime_nor_qdrant(package: str) -> None:
    assert loaded_after(f"import {package}") & {"onnxruntime", "qdrant_client"} == set()


def test_a_reranker_never_loads_qdrant() -> None:
    code = """
from colbert_qdrant import ColbertReranker
ColbertReranker("all-MiniLM-L6-v2-int8").rerank("a", ["b", "c"])
"""

    assert "qdrant_client" not in loaded_after(code)


def test_every_public_name_can_be_had() -> None:
    import colbert_qdrant

    assert all(getattr(colbert_qdrant, name) is not None for name in colbert_qdrant.__all__)
    assert set(colbert_qdrant.__all__) <= set(dir(colbert_qdrant))


def test_what_searches_take_is_exported() -> None:
    from colbert_qdrant import SearchKeywords, SearchOptions

    assert set(SearchKeywords.__annotations__) | {"limit"} == set(SearchOptions.__dataclass_fields__)
