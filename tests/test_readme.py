"""The README says what is so: its tables are generated, its examples run, the tests it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from stream_triggers import config, telemetry
from stream_triggers.trigger_file import read_triggers

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("table", [config.markdown(), telemetry.markdown()], ids=["settings", "telemetry"])
def test_the_tables_of_settings_counters_and_log_events_are_the_present_ones(table: str) -> None:
    assert table.strip() in README


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_trigger_file_is_one(text: str) -> None:
    assert read_triggers(text, "readme.yaml")


@pytest.mark.parametrize("code", [code for code in blocks("python") if "Client(" not in code])
def test_every_python_example_without_a_broker_runs(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_the_test_that_it_shows_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = next(code for code in blocks("python") if "TriggerTester(" in code)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    names["test_an_order_that_is_not_shipped_is_reminded_of_once"]()


def test_the_builder_makes_the_trigger_of_the_file() -> None:
    code = next(code for code in blocks("python") if "with_args_from_event" in code)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    (trigger,) = read_triggers(blocks("yaml")[0], "readme.yaml")
    assert names["trigger"] == trigger


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", README))
    assert len(named) >= 8
    for path, name in named:
        functions = {
            node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{path} has no {name}"


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "@@" not in README
