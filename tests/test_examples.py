"""Every example runs, as a reader would run it, and prints what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::DeprecationWarning:colbert_qdrant", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "quickstart.py",
            ["1    4.513  Kubo and", "1    4.941  Edge of", "1    4.454  This Is Spinal Tap", "1    3.374  Heat"],
        ),
        ("both_frameworks.py", ["20 movies in one collection", ":\n  0.618  {'minutes': 113}  A soldier"]),
        (
            "multi_stage.py",
            [
                *("stages: muvera, bm25", "threading.Timer (right)", "statistics.median (right)"),
                *("random.Random.sample (right)", "heapq.nlargest (right)"),
                "os.removedirs (wrong: shutil.rmtree answers it)",
            ],
        ),
        ("explain_page.py", ["magical"]),
        ("score_cutoff.py", ["    Kubo and the Two Strings 0.71", "nothing to show"]),
        ("cite_passages.py", ["In 1969 a lunar lander set two men down on the Moon", "The cafe on the second floor"]),
        (
            "langchain_rag.py",
            ["statistics.median, source 1", "heapq.nlargest, source 1", "functools.lru_cache, source 1"],
        ),
        (
            "llama_index_rag.py",
            [
                *("tree?\n  Recursively delete a directory tree.", "elements?\n  Find the n largest elements"),
                "function?\n  Least-recently-used cache decorator.",
            ],
        ),
        (
            "hybrid.py",
            ["the LAPD, by MaxSim: Heat", "the LAPD, by MaxSim and BM25: Heat", "the same day, by MaxSim: Edge of"],
        ),
        ("tenants.py", ["museum: 1 note, ['The museum opens", "school: 1 note, ['Lessons begin"]),
        ("langchain_extract.py", ["some lines may be longer than this"]),
        ("llama_index_extract.py", ["some lines may be longer than this"]),
        ("evaluate_searches.py", ["the quickest that keeps 95% of the exact ten best"]),
    ],
)
def test_an_example_runs_and_prints(name: str, printed: list[str], tmp_path: Path) -> None:
    done = run(name, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert [text for text in printed if text not in done.stdout] == []


def test_the_quickstart_is_silent_in_a_pipe(tmp_path: Path) -> None:
    assert run("quickstart.py", cwd=tmp_path).stderr == ""


def test_a_collection_is_moved_and_moved_again_for_nothing(tmp_path: Path) -> None:
    assert run("both_frameworks.py", "--path", "here", cwd=tmp_path).returncode == 0

    first = run("migrate.py", "movies", "--from", "here", "--to", "there", cwd=tmp_path)
    second = run("migrate.py", "movies", "--from", "here", "--to", "there", cwd=tmp_path)

    assert first.stdout == "20 records copied, 0 were there already\n", first.stderr
    assert second.stdout == "0 records copied, 20 were there already\n"


def test_the_cluster_example_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("cluster.py", "--url", "http://127.0.0.1:9", cwd=tmp_path)

    assert done.returncode == 1
    assert "Is the server running?" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_example_is_run() -> None:
    tests = Path(__file__).parent
    texts = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__), *tests.glob("*/test_examples.py")))
    imported = {"movies", "stdlib_docs"}

    assert {path.stem for path in EXAMPLES.glob("*.py") if path.stem not in texts} <= imported


def test_every_example_is_in_the_index() -> None:
    listed = set(re.findall(r"`(\w+\.py)`", (EXAMPLES / "README.md").read_text(encoding="utf-8")))

    assert listed == {path.name for path in EXAMPLES.glob("*.py")}
