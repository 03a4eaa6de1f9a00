"""A corpus that every machine has: the documentation strings of Python's own standard library."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Paragraph(NamedTuple):
    """A paragraph of a docstring, and where it stands."""

    id: str
    text: str
    module: str
    name: str


def paragraphs(*modules: str, shortest: int = 80) -> Iterator[Paragraph]:
    """Yield the paragraphs of at least `shortest` characters of these modules' docstrings, or of all modules'."""
    root = Path(sysconfig.get_path("stdlib"))
    names = modules or sorted(name for name in sys.stdlib_module_names if not name.startswith("_"))
    for module in names:
        path = next((p for p in (root / f"{module}.py", root / module / "__init__.py") if p.is_file()), None)
        if path is None:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = getattr(node, "name", module)
                for number, text in enumerate((ast.get_docstring(node) or "").split("\n\n")):
                    flat = " ".join(text.split())
                    if len(flat) >= shortest:
                        yield Paragraph(f"{module}.{name}:{node_line(node)}.{number}", flat, module, name)


def docstrings(*modules: str) -> Iterator[Paragraph]:
    """Yield the whole docstrings of what is public in these modules: a paragraph alone seldom says what it is about."""
    root = Path(sysconfig.get_path("stdlib"))
    for module in modules:
        path = next(p for p in (root / f"{module}.py", root / module / "__init__.py") if p.is_file())
        yield from _of_members(ast.parse(path.read_text(encoding="utf-8")), module, module)


def _of_members(node: ast.Module | ast.ClassDef, module: str, prefix: str) -> Iterator[Paragraph]:
    for member in node.body:
        if isinstance(member, ast.ClassDef | ast.FunctionDef) and not member.name.startswith("_"):
            name = f"{prefix}.{member.name}"
            if text := " ".join((ast.get_docstring(member) or "").split()):
                yield Paragraph(name, text, module, name)
            if isinstance(member, ast.ClassDef):
                yield from _of_members(member, module, name)


def node_line(node: ast.AST) -> int:
    """Return the line a definition starts at; 0 for a module."""
    return getattr(node, "lineno", 0)
