"""The shape of the code, as rules that fail the build."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import stream_triggers

PACKAGE = Path(stream_triggers.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400
FORBIDDEN_NAMES = {
    "utils",
    "util",
    "helpers",
    "common",
    "base",
    "manager",
    "handler",
    "misc",
    "data",
    "info",
    "process",
}


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(module: Path) -> None:
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module needs a docstring"
    assert len(text.splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_functions_are_short(module: Path) -> None:
    long = {each.name: code_lines(each) for each in functions(ast.parse(module.read_text()))}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES_MAX} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert {module.stem for module in MODULES} & FORBIDDEN_NAMES == set()


def test_the_tests_that_docstrings_name_exist() -> None:
    named = {name for module in MODULES for name in re.findall(r"``(test_[a-z]\w+)``", module.read_text())}
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_every_module_is_imported_by_the_package_or_is_an_entry_point() -> None:
    entry_points = {"__main__", "testing", "faust", "lock"}
    imported = {
        word
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        for word in (alias.name.split(".")[-1], (getattr(node, "module", "") or "").split(".")[-1])
    }
    named_in_text = {module.stem for module in MODULES if any(f".{module.stem}" in m.read_text() for m in MODULES)}
    alone = (
        {module.stem for module in MODULES if module.name != "__init__.py"} - imported - named_in_text - entry_points
    )
    assert alone == set()
