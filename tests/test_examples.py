"""Every example runs as a program of its own, copied alone into an empty folder, and prints what it promises."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from alone import run_alone
from chat_endpoint import chat_endpoint
from servers import needs_binary, own_server
from tiny_pdf import write_pdf

EXAMPLES = Path(__file__).absolute().parents[1] / "examples"
FILES = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")])
SOURCES = "[1] 0."


def run(
    name: str, *arguments: str, cwd: Path, server: dict[str, Any] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a copy of the example, which has nothing beside it; on a server what it keeps in memory or in a folder."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "QDRANT_"))}
    alone = Path(shutil.copy(EXAMPLES / name, cwd))
    variables |= {"COLUMNS": "100"} | environment
    return run_alone(alone, *arguments, cwd=cwd, environment=variables, server=server)


def missing(promised: list[str], printed: str) -> list[str]:
    """Return what was promised and not printed; processors differ in the last digits of a number with a point."""
    number = r"\d+\.\d+"
    kept = []
    for text in promised:
        pattern = "(\\d+\\.\\d+)".join(map(re.escape, re.split(number, text)))
        wanted = [float(each) for each in re.findall(number, text)]
        found = [[float(each) for each in match.groups()] for match in re.finditer(pattern, printed)]
        if not any(each == pytest.approx(wanted, abs=0.02) for each in found):
            kept.append(text)
    return kept


PRINTED = [
    (
        "quickstart.py",
        ["child\n  0.62  Philomena", "again\n  0.62  Edge of", "group\n  0.57  This Is", "robbers\n  0.53  Heat"],
    ),
    (
        "multi_stage.py",
        [
            *("MUVERA and BM25", "threading.Timer (right)", "statistics.median (right)", "random.sample (right)"),
            *("heapq.nlargest (right)", "os.removedirs (wrong: shutil.rmtree answers it)"),
        ],
    ),
    ("explain_page.py", ["[magical] suit", "Answered most: magical 0.94", "The page: explain.html"]),
    (
        "score_cutoff.py",
        ["password: best 0.61, kept password", "kept invoice", "rice in it: best 0.18, kept nothing"],
    ),
    (
        "cite_passages.py",
        ["45-129: In 1969 a lunar lander", "130-179: The cafe on the", "180-212: Groups of ten and more pay half."],
    ),
    ("long_documents.py", ["truncate: ", "window: raise", "Exception chaining can be explicitly suppressed"]),
    (
        "hybrid.py",
        [
            "M6x25, zinc plated, for the cover of pump P-101.  ",
            "P-110, rubber, 80 mm.  ",
        ],
    ),
    ("tenants.py", ["museum: 1 note, ['The museum opens", "school: 1 note, ['Lessons begin"]),
    ("evaluate_searches.py", ["12 of them judged", "the quickest that keeps 95% of the exact ten best", "\nUse "]),
    (
        "upgrade_collection.py",
        ["by token vectors: 0.51  Heat", "by single vectors: Heat", "6 films; The Italian Job"],
    ),
    ("from_langchain_qdrant.py", ["0.65  Edge of Tomorrow  {'minutes': 113}", "['Heat']\n['Heat']\n['Edge of"]),
    ("langchain_extract.py", ["the maximum width of wrapped lines", "TextWrapper, characters [["]),
    ("llama_index_extract.py", ["the maximum width of wrapped lines", "textwrap.TextWrapper\n"]),
    ("langchain_rag.py", [f"(name a chat model with --model)\n  {SOURCES}61  statistics.median"]),
]


@pytest.mark.parametrize(("name", "printed"), PRINTED)
def test_an_example_runs_and_prints(name: str, printed: list[str], tmp_path: Path) -> None:
    done = run(name, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert missing(printed, done.stdout) == [], done.stdout


@pytest.fixture
def own(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A server that an example has to itself, as it names its collections."""
    with own_server(tmp_path / "server") as process:
        yield process.grpc if os.environ.get("QDRANT_PREFER_GRPC", "0") != "0" else {"url": process.url}


@needs_binary
@pytest.mark.parametrize(("name", "printed"), PRINTED)
def test_an_example_prints_the_same_on_a_server(
    name: str, printed: list[str], own: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    done = run(name, cwd=tmp_path / "empty", server=own)

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert missing(printed, done.stdout) == [], done.stdout


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        (
            "langchain_rerank.py",
            [
                *(
                    r"\d+ -> 1  delete a folder and everything in it: shutil.rmtree",
                    r"\d+ -> 1  is this year a leap year",
                ),
                r" - -> -  where is a program installed",
            ],
        ),
        (
            "llama_index_rerank.py",
            [
                r"\d+ -> 1  put the elements of a list in random order: random.Random.shuffle",
                *(r" - -> -  find all files", r"Asked again: \d+ ms for 50 nodes"),
            ],
        ),
    ],
)
def test_reranking_is_worth_what_is_said(name: str, ranks: list[str], tmp_path: Path) -> None:
    printed = run(name, cwd=tmp_path).stdout

    assert [pattern for pattern in ranks if not re.search(pattern, printed)] == [], printed
    before, after = re.findall(r"MRR (\d\.\d+)", printed)
    assert float(after) > 1.5 * float(before)


@pytest.fixture(scope="module")
def chat_model() -> Iterator[dict[str, str]]:
    """Where a chat model is, as variables that OpenAI's clients read."""
    with chat_endpoint() as url:
        yield {"OPENAI_BASE_URL": url, "OPENAI_API_BASE": url, "OPENAI_API_KEY": "none"}


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "langchain_rag.py",
            [
                "some numbers?\n  statistics.median: Return the median (middle value)",
                "functools.lru_cache: Least-recently-",
            ],
        ),
        ("langgraph_agent.py", ["Edge of Tomorrow: A soldier", "  rests on: Edge of Tomorrow, "]),
        ("llama_index_agent.py", ["  looked up: Edge of Tomorrow, ", "\nEdge of Tomorrow: A soldier"]),
    ],
)
def test_a_chat_model_answers_from_what_was_found(
    name: str, printed: list[str], chat_model: dict[str, str], tmp_path: Path
) -> None:
    done = run(name, "--model", "quote", cwd=tmp_path, **chat_model)

    assert done.returncode == 0, done.stderr
    assert missing(printed, done.stdout) == [], done.stdout


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder of two PDFs and a page."""
    folder = tmp_path / "papers"
    folder.mkdir()
    repairs = "Repairs\nThe landlord mends the roof and the heating.\nThe tenant mends what guests break."
    write_pdf(folder / "lease.pdf", "Lease of the office\nRent is due on the first working day of a month.", repairs)
    write_pdf(folder / "phones.pdf", "Phones\nA broken screen is paid for by the company, once a year.")
    page = "<title>Terms</title><body><h1>Guests</h1><p>The wifi's password is on the badge.</p></body>"
    (folder / "terms.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def website(papers: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=papers)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/terms.html"
        server.shutdown()
        thread.join()


def test_langchain_answers_from_pdfs_and_a_page_of_the_web(papers: Path, website: str, tmp_path: Path) -> None:
    first = run("langchain_documents.py", "who repairs the heating?", "papers", website, cwd=tmp_path)
    again = run("langchain_documents.py", "what is the password?", "papers", website, cwd=tmp_path)

    assert first.stdout.startswith("papers/lease.pdf, page 2\n"), first.stderr
    assert "The landlord mends the roof and the heating." in first.stdout
    assert again.stdout.startswith(f"{website}\n")
    assert "The wifi's password is on the badge." in again.stdout


def test_llama_index_answers_from_pdfs_and_html(papers: Path, tmp_path: Path) -> None:
    first = run("llama_index_documents.py", "who repairs the heating?", "papers", cwd=tmp_path)
    again = run("llama_index_documents.py", "what is the password?", "papers", cwd=tmp_path)

    assert first.stdout.startswith("lease.pdf, page 2\n"), first.stderr
    assert "The landlord mends the roof and the heating." in first.stdout
    assert again.stdout.startswith("terms.html\n")
    assert "The wifi's password is on the badge." in again.stdout


def test_the_service_adds_and_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    monkeypatch.delenv("QDRANT_URL", raising=False)
    spec = util.spec_from_file_location("fastapi_service", EXAMPLES / "fastapi_service.py")
    assert spec is not None
    assert spec.loader is not None
    service = util.module_from_spec(spec)
    spec.loader.exec_module(service)
    heat = {"id": "heat", "text": "The LAPD is busy. Thieves leave a clue at their latest heist."}
    toys = {"id": "toys", "text": "The toys are left at a day-care center."}

    with TestClient(service.app) as client:
        assert client.put("/documents", json=[heat, toys]).json() == {"added": 2, "updated": 0, "unchanged": 0}
        assert client.put("/documents", json=[heat]).json() == {"added": 0, "updated": 0, "unchanged": 1}
        [found] = client.get("/search", params={"question": "bank robbers", "limit": 1}).json()
        refused = client.get("/search", params={"question": ""})

    assert found["id"] == "heat"
    assert found["passage"] == "Thieves leave a clue at their latest heist."
    assert refused.status_code == 422
    assert "give the words to look for" in refused.json()["detail"]


def test_an_index_is_kept_and_asked_without_a_chat_model(chat_model: dict[str, str], tmp_path: Path) -> None:
    answered = run("llama_index_rag.py", "--model", "quote", cwd=tmp_path, **chat_model)
    again = run("llama_index_rag.py", cwd=tmp_path)

    assert answered.returncode == 0, answered.stderr
    promised = [
        "elements?\n  Find the n largest",
        "function?\n  Least-recently-",
        "written by Ada.",
        "written by Grace.",
    ]
    assert missing(promised, answered.stdout) == [], answered.stdout
    assert f"(name a chat model with --model)\n  {SOURCES}62  heapq.nlargest" in again.stdout
    assert re.findall(r"\[\d\] .*", again.stdout) == re.findall(r"\[\d\] .*", answered.stdout)


def test_a_collection_of_both_frameworks_is_moved_and_moved_again_for_nothing(tmp_path: Path) -> None:
    made = run("both_frameworks.py", cwd=tmp_path)
    promised = ["6 films", "LangChain:  0.62  2014  A soldier", "LlamaIndex: 0.57  1984  One of"]
    assert missing(promised, made.stdout) == [], made.stderr

    first = run("migrate.py", "films", "--from", "films.qdrant", "--to", "there", cwd=tmp_path)
    second = run("migrate.py", "films", "--from", "films.qdrant", "--to", "there", cwd=tmp_path)

    assert first.stdout == "6 records copied, 0 were there already\n", first.stderr
    assert second.stdout == "0 records copied, 6 were there already\n"


def test_the_cluster_example_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("cluster.py", "--url", "http://127.0.0.1:9", cwd=tmp_path)

    assert done.returncode == 1
    assert "Is the server running?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_imports_nothing_from_another(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        source = code_of(source)
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }

    assert names & {each.stem for each in FILES if each.suffix == ".py"} == set()


def code_of(notebook: str) -> str:
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in "".join(cell["source"]).splitlines()]
    return "\n".join(line for line in lines if not line.startswith("%"))


def test_every_example_is_run() -> None:
    tests = Path(__file__).parent
    texts = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__), tests / "test_notebooks.py"))

    assert [path.name for path in FILES if path.name not in texts] == []


def test_the_index_names_every_example_in_four_words() -> None:
    rows = re.findall(r"^\| `([\w./]+)` \| (.+) \|$", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.M)

    assert {name for name, _ in rows} == {path.name for path in FILES} | {"cluster/"}
    assert [said for _, said in rows if len(re.sub(r"\(\w+\)", "", said).split()) > 4] == []


def test_an_example_is_read_in_a_minute() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in EXAMPLES.glob("*.py")}

    assert {name: lines for name, lines in lengths.items() if lines > 100} == {}
