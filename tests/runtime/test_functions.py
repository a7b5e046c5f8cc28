"""The functions that triggers may call: which are found, and that no module takes the program down with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.functions import AllowedFunctions, imported

BROKEN = {
    "syntax error": ("def f(:\n", "SyntaxError: invalid syntax ({name}.py, line 1)"),
    "error": ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero ({file}, line 2)"),
    "exit": ("import sys\nsys.exit(7)\n", "SystemExit: 7 ({file}, line 2)"),
    "missing dependency": (
        "import no_such_dependency\n",
        "ModuleNotFoundError: No module named 'no_such_dependency' ({file}, line 1)",
    ),
    "own kind of exception": (
        "class Odd(BaseException): ...\n\n\nraise Odd\n",
        "{name}.Odd ({file}, line 4)",
    ),
    "error without a text": (
        "class Mute(Exception):\n    def __str__(self):\n        raise self\n\n\nraise Mute\n",
        "{name}.Mute: <exception str() failed> ({file}, line 6)",
    ),
}
"""What stands in a module, and what is said about its import."""


@pytest.fixture
def module(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The name of a module that cannot be imported, and the problem to be told."""
    source, problem = BROKEN[request.param]
    name = f"broken_by_{request.param.replace(' ', '_')}"
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return name, problem.format(name=name, file=file)


@pytest.mark.parametrize("module", BROKEN, indirect=True)
def test_a_module_that_fails_at_import_is_told_with_the_place(module: tuple[str, str]) -> None:
    name, problem = module
    with pytest.raises(Misconfigured) as caught:
        imported(name)
    assert caught.value.message == f"module {name} cannot be imported: {problem}"


@pytest.mark.parametrize("module", BROKEN, indirect=True)
def test_a_function_of_a_module_that_fails_at_import_cannot_be_loaded(module: tuple[str, str]) -> None:
    name, problem = module
    with pytest.raises(Misconfigured) as caught:
        AllowedFunctions([name])(f"{name}:f")
    assert caught.value.message == f"function {name}:f cannot be loaded: module {name} cannot be imported: {problem}"


def test_the_users_own_interrupt_during_an_import_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted_module.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        imported("interrupted_module")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("os:system", "function os:system is in module os, which this worker does not allow"),
        ("math:nothing", "function math:nothing cannot be loaded: module 'math' has no attribute 'nothing'"),
        ("math:pi", "math:pi is not a function"),
        ("no_such_module:f", "function no_such_module:f cannot be loaded: there is no module 'no_such_module'"),
    ],
)
def test_what_cannot_be_used_is_told(name: str, problem: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        AllowedFunctions(["math", "no_such_module"])(name)
    assert caught.value.message == problem


def test_a_module_whose_attributes_fail_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_module.py").write_text("def __getattr__(name):\n    raise SystemExit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Misconfigured, match="function lazy_module:f cannot be loaded: SystemExit: 7"):
        AllowedFunctions(["lazy_module"])("lazy_module:f")
