"""Run a script as a program of its own, forked from a process that has imported the large packages already."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PATIENCE = 300
"""Seconds that a script may take."""

FORKING = multiprocessing.get_context("forkserver")
# Not this project's own, whose warnings are errors, and nothing that has threads before it is used.
FORKING.set_forkserver_preload(
    [
        *("langchain_classic.retrievers", "langchain_community.retrievers", "langchain_openai", "langgraph.prebuilt"),
        *("llama_index.core", "llama_index.llms.openai_like", "onnxruntime", "qdrant_client", "tokenizers"),
    ]
)


def run_alone(
    script: Path,
    *arguments: str,
    cwd: Path,
    environment: dict[str, str],
    server: dict[str, Any] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Return what ``python script *arguments`` gives in a folder, with these variables and no others.

    With `server`, the arguments of a place, what the script keeps in memory or in a folder is on the server instead.
    """
    with TemporaryDirectory() as folder:
        outputs = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        process = FORKING.Process(target=become, args=(str(script), arguments, str(cwd), environment, server, outputs))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(str(script), PATIENCE)
        stdout, stderr = (Path(output).read_text(encoding="utf-8") for output in outputs)
    return subprocess.CompletedProcess([str(script), *arguments], process.exitcode, stdout, stderr)


def become(
    script: str,
    arguments: tuple[str, ...],
    cwd: str,
    environment: dict[str, str],
    server: dict[str, Any] | None,
    outputs: list[str],
) -> None:
    """Be the interpreter that was started for the script."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for stream, output in zip((sys.stdout, sys.stderr), outputs, strict=True):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    warnings.filterwarnings("error", category=DeprecationWarning, module="colbert_qdrant")
    if server:
        move_to(server)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a child of multiprocessing would leave without


def move_to(server: dict[str, Any]) -> None:
    """Open on a server what this project, or a client of the script's, would open in memory or in a folder."""
    from qdrant_client import QdrantClient

    from colbert_qdrant.collection.engines.place import Place

    check, connect = Place.__post_init__, QdrantClient.__init__

    def moved(place: Place) -> None:
        if place.client is None and not place.is_server:
            for name, value in {"path": None, "location": None, **server}.items():
                object.__setattr__(place, name, value)
        check(place)

    def connected(client: QdrantClient, location: str | None = None, **options: Any) -> None:
        if location == ":memory:":
            location, options = None, Place(**server).arguments
        connect(client, location, **options)

    Place.__post_init__, QdrantClient.__init__ = moved, connected
