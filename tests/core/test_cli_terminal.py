"""Nothing from outside steers the terminal: one boundary, which every print goes through."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from colbert_qdrant.terminal import printable
from faulty_server import serving

pytest.importorskip("qdrant_edge")
click = pytest.importorskip("click")
from click.testing import CliRunner  # noqa: E402  # click may be missing

from colbert_qdrant import cli  # noqa: E402
from colbert_qdrant.cli.commands import commands  # noqa: E402

NASTY = "\x1b]0;OWNED\x07\x1b[31mred\x9b2J\u202egnp.exe\u2066"


def run(*arguments: object, **options: Any) -> Any:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments], **options)


def steering(text: str) -> set[str]:
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        letter
        for letter in text
        if (unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t")
        or unicodedata.bidirectional(letter) in bidirectional
    }


def test_every_character_that_steers_is_shown_as_unknown_and_none_is_lost() -> None:
    everything = "".join(map(chr, range(0x30000)))

    for keep_lines in (True, False):
        shown = printable(everything, keep_lines=keep_lines)
        assert len(shown) == len(everything)
        assert steering(shown) == set()


def test_lines_are_kept_where_asked() -> None:
    assert printable("a\n\tb\r\nc") == "a  b  c"
    assert printable("a\n\tb\r\nc", keep_lines=True) == "a\n\tb \nc"


def test_letters_of_every_script_pass() -> None:
    text = "naïve 日本語 العربية עברית 👩‍👩‍👧 \u200f!"

    assert printable(text) == text


def test_all_that_is_printed_goes_through_the_boundary() -> None:
    """No module of the command line prints but `terminal`."""
    printing = {"print", "echo", "secho", "echo_via_pager", "confirm", "prompt", "write", "to_terminal"}
    for file in Path(cli.__file__).parent.rglob("*.py"):
        if file.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in printing, f"{file.name}:{node.lineno} prints by itself"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / f"{NASTY}.md").write_bytes(b"\xff\xfe\xfd")
    (folder / f"{NASTY}.txt").write_text("a text")
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_names_of_files_do_not_steer(folder: Path) -> None:
    store = folder.parent / f"store {NASTY}"

    indexed = run("index", folder, "--path", store, "--model", "all-MiniLM-L6-v2-int8")
    found = run("search", "text", "--path", store)
    about = run("info", "--path", store)

    assert "Failed: " in indexed.stderr
    assert ".txt:1" in found.stdout
    assert steering(indexed.output + found.output + about.output) == set()


def test_a_servers_answers_do_not_steer(tmp_path: Path) -> None:
    answers = tmp_path / "server.py"
    body = json.dumps(NASTY, ensure_ascii=False)
    answers.write_text(
        f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {body!r}.encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
    )
    with subprocess.Popen([sys.executable, answers], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        result = run("search", "x", "--url", f"http://127.0.0.1:{process.stdout.readline().strip()}")
        process.kill()

    assert "OWNED" in result.stderr
    assert steering(result.stderr) == set()


@pytest.mark.parametrize("arguments", [[NASTY], ["search", "q", f"--{NASTY}"], ["search", "q", NASTY, "--path", "x"]])
def test_what_is_repeated_of_the_arguments_does_not_steer(arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert steering(result.stderr) == set()


def test_the_collections_of_a_store_do_not_steer(words: Any) -> None:
    with serving() as (_, url):
        from colbert_qdrant import MultivectorCollection

        MultivectorCollection("\x1b[31mred", words, url=url).close()
        listed = run("list", "--url", url)
        missing = run("search", "x", "--url", url, "--collection", NASTY)

    assert "[31mred" in listed.stdout
    assert "[31mred" in missing.stderr
    assert steering(listed.output + missing.output) == set()


def test_a_traceback_does_not_steer(tmp_path: Path) -> None:
    code = "from colbert_qdrant.cli import main; main()"
    command = [sys.executable, "-c", code, "search", "x", "--path", tmp_path / NASTY, "--debug"]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "Traceback" in result.stderr
    assert steering(result.stderr) == set()
