"""What README.md, CONTRIBUTING.md, SKILL.md and llms.txt print runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from colbert_qdrant import errors
from colbert_qdrant.embedding import registry
from tiny_pdf import write_pdf

ROOT = Path(__file__).absolute().parents[1]
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "SKILL.md", "llms.txt")
}

RUN = ("colbert-qdrant ", "python -m pytest tests/", "ruff check ", "ruff format --check ")
NOT_RUN = {
    "sh tests/run": "makes an environment and runs all tests, these among them",
    "sh tests/check_wheel": "makes environments",
    "sh examples/run": "makes an environment; what it runs, tests/test_examples.py runs",
    "pip install": "changes the environment; the extras are looked up",
    ". .venv/bin/activate": "is for the shell of a reader",
    "mypy": "takes minutes; sh tests/run runs it",
    "pytest": "runs all tests, or needs a server or the hub",
    "python tests/benchmarks/": "takes minutes to an hour, and writes its results",
    "python tests/data/": "makes environments, and writes into the checkout",
    "docker ": "needs Docker",
    "QDRANT_URL=": "needs a server",
    "QDRANT_BINARY=": "needs Qdrant's executable",
}
IN_BLOCKS = ("mkdir ", "printf ")
PROGRAMS = r"(?:[A-Z_]+=\S+ )*(?:sh|python|pip|pytest|ruff|mypy|docker|colbert-qdrant) "


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the lines of the page's shell blocks, and what a program's name begins in its prose."""
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    lines = "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    listed = [re.sub(r"(^|\s+)#.*", "", line) for line in lines]
    return [*filter(None, listed), *(code for code in inline if re.match(PROGRAMS, code))]


def is_run(command: str) -> bool:
    return command.startswith(RUN) and not command.startswith(tuple(NOT_RUN)) and command not in IN_ONE_SHELL


[SHELL] = [block for block in blocks(PAGES["README.md"], "sh") if "colbert-qdrant index" in block]
IN_ONE_SHELL = commands(f"```sh\n{SHELL}```")
SNIPPETS = [(name, snippet) for name, page in PAGES.items() for snippet in blocks(page, "python")]
COMMANDS = [(name, command) for name, page in PAGES.items() for command in commands(page)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, for commands to write into."""
    ignored = shutil.ignore_patterns(".?*", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "checkout", ignore=ignored))


def write_lease(folder: Path) -> None:
    """Write what stands for a reader's own PDFs."""
    folder.mkdir()
    rent = "Rent is due on the first working day of a month. It includes water and the caretaker, but no electricity.\n"
    use = "The rooms are used as an office. Walls may be painted in white. A sign at the door is agreed upon first.\n"
    repairs = "The landlord mends the roof and the heating. The tenant mends what guests break.\n"
    end = "Whoever leaves hands in all keys, and the rooms as they were when the lease began.\n"
    write_pdf(folder / "lease.pdf", rent + use, repairs + end)


def promised_by(snippet: str) -> list[str]:
    """Return what stands in comments behind and under its `print` calls."""
    shown = re.findall(r"print\(.*\)(?:[ ]{2}|\n *)# (.+(?:\n *# .+)*)", snippet)
    return [re.sub(r"^ *# ", "", line) for lines in shown for line in lines.split("\n")]


def is_as_promised(promised: str, printed: str) -> bool:
    """Whether a line was printed; processors differ in the last digits of a number with a point."""
    number = r"\d+\.\d+"
    alike = re.sub(number, "#", promised) == re.sub(number, "#", printed)
    numbers = [[float(found) for found in re.findall(number, line)] for line in (promised, printed)]
    return alike and numbers[1] == pytest.approx(numbers[0], abs=0.02)


@pytest.mark.parametrize(("name", "snippet"), SNIPPETS, ids=[snippet.split("\n", 1)[0][:60] for _, snippet in SNIPPETS])
def test_a_snippet_prints_what_stands_under_it(
    name: str, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    write_lease(tmp_path / "papers")
    names = {"__name__": "__main__"}
    exec("".join(re.findall(r"^films = \{\n.*?^\}", blocks(PAGES["README.md"], "python")[0], re.DOTALL | re.M)), names)
    promised = promised_by(snippet)
    assert promised

    exec(compile(snippet, name, "exec"), names)

    printed = capsys.readouterr().out.splitlines()
    assert [line for line in promised if not any(is_as_promised(line, one) for one in printed)] == []


def test_the_readme_is_read_in_one_sitting() -> None:
    assert PAGES["README.md"].count("\n") <= 250
    assert max(snippet.count("\n") for name, snippet in SNIPPETS if name == "README.md") <= 16


def test_the_skill_is_sixty_lines() -> None:
    assert PAGES["SKILL.md"].count("\n") <= 60


def test_links_of_the_readme_hold_on_any_page() -> None:
    assert [link for link in re.findall(r"\]\(([^)]*)\)", PAGES["README.md"]) if "://" not in link] == []


@pytest.mark.parametrize("command", dict.fromkeys(command for _, command in COMMANDS if is_run(command)))
def test_a_command_runs(command: str, checkout: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Tests that a command names are run beside this one: it is enough that it finds some.
    environment = os.environ | {"PATH": path, "PYTEST_ADDOPTS": "--collect-only --quiet"}

    done = subprocess.run(
        command, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_prints_what_stands_under_it(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    promised = re.findall(r"^# (.+)", SHELL, re.MULTILINE)

    done = subprocess.run(
        ["sh", "-ec", SHELL], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert [one for one in promised if not any(is_as_promised(one, line) for line in done.stdout.splitlines())] == []
    assert (tmp_path / "why.html").stat().st_size > 1000


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_command_is_run_or_has_a_reason_not_to_be(name: str, command: str) -> None:
    assert command.startswith((*RUN, *NOT_RUN, *IN_BLOCKS)), (
        f"{name} has a new command; name it in RUN or, with a reason, NOT_RUN"
    )


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"\b(?:core|examples|integrations|tests)/[\w/.]*\w", PAGES[page])

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_figures_are_those_of_the_results() -> None:
    number = r"\d+(?:[,.]\d+)*(?:e-\d+)?[x%]?(?!\w)"
    results = (ROOT / "tests/benchmarks/RESULTS.md").read_text(encoding="utf-8")
    parts = re.split(r"^<!-- (\w+) -->$", results, flags=re.MULTILINE)
    printed = {name: set(re.findall(number, text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    [measured] = re.findall(r"^## Measured\n(.*?)^## ", PAGES["README.md"], re.DOTALL | re.MULTILINE)
    [why] = re.findall(r"^## Why late interaction\n(.*?)^## ", PAGES["README.md"], re.DOTALL | re.MULTILINE)
    reasons = re.findall(r"^\d\. ([^`]+)\(`(\w+)`", why, re.MULTILINE)
    rows = re.findall(r"^\|(?P<what>.+)\|(?P<figures>.+)\|.*`(?P<benchmark>\w+)`.*\|$", measured, re.MULTILINE)

    said = [*reasons, *((figures, name) for _, figures, name in rows)]
    unknown = [(name, set(re.findall(number, figures)) - printed[name]) for figures, name in said]

    assert rows
    assert len(reasons) == 3
    assert [(name, figures) for name, figures in unknown if figures] == []


def test_every_error_is_explained() -> None:
    raised = [name for name, kind in vars(errors).items() if isinstance(kind, type)]

    assert [name for name in raised if f"`{name}`" not in PAGES["README.md"]] == []


def test_extras_that_are_named_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"colbert-qdrant\[([\w,-]+)\]", "".join(PAGES.values()))

    assert set(",".join(named).split(",")) <= set(extras)


def test_every_script_that_makes_golden_files_is_listed() -> None:
    scripts = {f"tests/data/{path.name}" for path in (ROOT / "tests/data").glob("make_*.py")}

    assert scripts == set(re.findall(r"tests/data/make_\w+\.py", PAGES["CONTRIBUTING.md"]))


def test_every_call_that_an_engine_answers_is_listed() -> None:
    sources = (ROOT / "core/colbert_qdrant/collection").glob("*.py")
    made = {name for path in sources for name in re.findall(r'\bCall\("(\w+)"', path.read_text(encoding="utf-8"))}

    [section] = re.findall(r"^## An engine\n(.*?)^## ", PAGES["CONTRIBUTING.md"], re.DOTALL | re.M)
    assert made <= set(re.findall(r"`(\w+)`", section))
