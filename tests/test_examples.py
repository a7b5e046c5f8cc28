"""The stories of ``examples/``: each in memory, all on a real Kafka as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from stream_triggers.core.trigger import parse_trigger, trigger_json
from stream_triggers.testing import TriggerTester
from stream_triggers.trigger_file import load_triggers

EXAMPLES = Path(__file__).parent.parent / "examples"
STORIES = ("failing_task", "nightly_report", "unshipped_order", "welcome_mail")


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_trigger_file_with_a_program_is_a_story() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.yaml")}
    assert {name for name in files if (EXAMPLES / f"{name}.py").exists()} == set(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_as_it_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = loaded(name, monkeypatch)
    tester = TriggerTester(EXAMPLES / f"{name}.yaml")
    program.story(tester)
    ran = [(run.task, run.arguments) for run in tester.runs if run.trigger != "start-extracts"]
    assert ran == program.EXPECTED, tester.story()


@pytest.mark.parametrize("name", STORIES)
def test_a_shortened_trigger_differs_in_nothing_but_its_durations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = loaded("live", monkeypatch).shortened
    for trigger in load_triggers(EXAMPLES / f"{name}.yaml"):
        short = trigger_json(parse_trigger(shortened(trigger_json(trigger), 60)))
        assert shortened(short, 1 / 60) == trigger_json(trigger)


def test_the_extracts_start_every_night_at_one_in_berlin() -> None:
    tester = TriggerTester(EXAMPLES / "nightly_report.yaml", start="2026-03-28T12:00Z")
    tester.advance("2d")
    assert [run.time for run in tester.runs_of("start-extracts")] == ["2026-03-29T00:00Z", "2026-03-29T23:00Z"]


def test_a_task_that_fails_slowly_calls_nobody() -> None:
    tester = TriggerTester(EXAMPLES / "failing_task.yaml")
    for _ in range(10):
        tester.failure("mail.send", OSError)
        tester.advance("6m")
    tester.assert_runs("call-for-failing-task", 0)


def test_a_user_who_comes_back_after_a_month_is_welcomed_again() -> None:
    tester = TriggerTester(EXAMPLES / "welcome_mail.yaml")
    for wait in ("29d", "1d", "1d"):
        tester.send("user.registered", {"user": 1, "address": "ada@example.org"})
        tester.advance(wait)
    assert [run.participants for run in tester.runs_of("welcome")] == [("event-1",), ("event-3",)]


@pytest.mark.kafka
@pytest.mark.parametrize("name", STORIES)
def test_a_story_plays_on_kafka(name: str, bootstrap_servers: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env={**os.environ, "STREAM_TRIGGERS_BOOTSTRAP_SERVERS": bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].strip() == "that is what was expected"
