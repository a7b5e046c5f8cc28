"""Functions that fail in every way there is: the trouble of their trigger, told, and of no other."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from stream_triggers.testing import TriggerTester

HERE = "tests.test_quarantine"
OTHER = {"id": "other", "when": {"event": "paid"}, "task": "t"}
PLAIN = {"id": "fails", "when": {"event": "paid"}, "task": "t"}
KEYED = {**PLAIN, "key": "${event.payload.order}", "cooldown": {"for": "1h"}}

RAISED: dict[str, BaseException] = {
    "ValueError": ValueError("no"),
    "SystemExit": SystemExit(7),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "RecursionError": RecursionError("deep"),
    "MemoryError": MemoryError("large"),
    "GeneratorExit": GeneratorExit(),
}


def fail(message: Any) -> NoReturn:
    """Raise what the message says."""
    payload = message if isinstance(message, dict) else message.payload
    raise RAISED[payload["raises"]]


@pytest.mark.usefixtures("_as_in_a_worker")
@pytest.mark.parametrize("raises", RAISED)
@pytest.mark.parametrize(
    ("trigger", "reason", "stage"),
    [
        ({**PLAIN, "args_from": {"event": f"{HERE}:fail"}}, "arguments_failed", "arguments"),
        ({**KEYED, "args_from": {"event": f"{HERE}:fail"}}, "arguments_failed", "arguments"),
        ({**PLAIN, "when": {"event": "paid", "filter": {"call": f"{HERE}:fail"}}}, "filter_failed", "filter"),
        ({**KEYED, "when": {"event": "paid", "filter": {"call": f"{HERE}:fail"}}}, "filter_failed", "filter"),
    ],
    ids=["arguments", "arguments in the keyed stage", "filter", "filter of a keyed trigger"],
)
def test_a_function_that_fails_is_told_and_the_other_triggers_fire(
    trigger: dict[str, Any], reason: str, stage: str, raises: str
) -> None:
    tester = TriggerTester([trigger, OTHER], allow_modules=[HERE])
    for number in range(2):
        tester.send("paid", {"order": number, "raises": raises}, id=f"e{number}")
    assert [run.trigger for run in tester.runs] == ["other", "other"]
    told = [(each.trigger, each.reason, each.message) for each in tester.decisions]
    assert told == [("fails", reason, "e0"), ("fails", reason, "e1")]
    assert all(raises in each.detail for each in tester.decisions)
    assert [(each.trigger, each.stage) for each in tester.dead_letters] == [("fails", stage)] * 2


@pytest.mark.usefixtures("_as_in_a_program")
def test_a_ctrl_c_while_a_function_runs_ends_the_program() -> None:
    tester = TriggerTester({**PLAIN, "args_from": {"event": f"{HERE}:fail"}}, allow_modules=[HERE])
    with pytest.raises(KeyboardInterrupt):
        tester.send("paid", {"raises": "KeyboardInterrupt"})


def test_a_template_that_fails_on_what_a_key_remembers_is_told_with_the_fact() -> None:
    both = {
        "id": "both",
        "key": "${event.payload.order}",
        "when": {"all": [{"event": "paid", "as": "paid"}, {"event": "packed"}]},
        "task": "t",
        "args": {"total": "${paid.payload.total}"},
    }
    tester = TriggerTester(both)
    tester.send("paid", {"order": 1})
    tester.send("packed", {"order": 1}, id="p1")
    assert [(each.reason, each.message) for each in tester.decisions] == [("arguments_failed", "p1")]
    [letter] = tester.dead_letters
    assert (letter.trigger, letter.stage, letter.topic) == ("both", "arguments", "trigger-facts")
