"""Paused triggers: what becomes of what comes meanwhile, and of what was kept when they go on."""

from __future__ import annotations

from typing import Any

import pytest

from stream_triggers.core.invocation import Invocation
from stream_triggers.runtime.codec import decode
from stream_triggers.testing import TriggerTester

NOON = "2026-01-01T12:00Z"
SHIP = {
    "id": "ship",
    "task": "orders.ship",
    "when": {"any": [{"event": "paid", "filter": {"total": {"gt": 100}}}, {"event": "paid"}]},
    "args": {"order": "${event.payload.order}", "run": "${run.id}"},
}
KEY = "${event.payload.order}"
BOTH = {
    "id": "both",
    "task": "orders.pack",
    "key": KEY,
    "when": {"all": [{"event": "paid"}, {"event": "picked"}], "within": "2h"},
    "on_timeout": {"task": "orders.chase"},
}
HOURLY = {"id": "hourly", "task": "report", "when": {"every": "1h"}}


def pay(tester: TriggerTester, *orders: str) -> None:
    for order in orders:
        tester.send("paid", {"order": order}, id=order)


def ran(tester: TriggerTester, trigger_id: str = "ship") -> list[str]:
    """What has fired, by its first participant."""
    return [run.participants[0] for run in tester.runs_of(trigger_id)]


def decided(tester: TriggerTester, trigger_id: str = "ship") -> list[str]:
    return [f"{each.reason} {each.message}" for each in tester.decisions_of(trigger_id)]


@pytest.mark.parametrize(
    ("mode", "kept", "refused"),
    [
        ("hold", ["b", "c"], []),
        ("hold_latest", ["c"], ["paused b"]),
        ("drop", [], ["paused b", "paused c"]),
    ],
)
def test_the_mode_says_what_is_kept_of_a_trigger_that_fires_with_the_message(
    mode: Any, kept: list[str], refused: list[str]
) -> None:
    tester = TriggerTester(SHIP)
    pay(tester, "a")
    tester.pause("ship", mode=mode)
    pay(tester, "b", "c")
    assert (ran(tester), decided(tester)) == (["a"], refused)
    tester.resume("ship")
    pay(tester, "d")
    assert ran(tester) == ["a", *kept, "d"]


@pytest.mark.parametrize("mode", ["hold", "drop"])
def test_a_repeat_never_fires_whether_the_first_was_before_or_in_the_pause(mode: Any) -> None:
    tester = TriggerTester(SHIP)
    pay(tester, "a")
    tester.pause("ship", mode=mode)
    pay(tester, "a", "b", "b")
    tester.resume("ship")
    before = ran(tester)
    pay(tester, "a", "b")
    tester.advance("1h")
    pay(tester, "a", "b")
    assert ran(tester) == before
    assert [each for each in decided(tester) if each.startswith("duplicate")] == [
        *("duplicate a", "duplicate b"),
        *("duplicate a", "duplicate b"),
        *("duplicate a", "duplicate b"),
    ]


def test_what_was_held_stays_ahead_of_what_comes_with_the_same_key_after_it() -> None:
    tester = TriggerTester({**SHIP, "key": "${event.payload.order}"})
    tester.pause("ship", until=NOON)
    for number in range(3):
        tester.send("paid", {"order": "o"}, id=f"held-{number}")
    tester.advance_to(NOON)
    tester.send("paid", {"order": "o"}, id="later")
    assert ran(tester) == ["held-0", "held-1", "held-2", "later"]


@pytest.mark.parametrize(
    "trigger",
    [
        SHIP,
        {**SHIP, "key": KEY, "args": {"all": "${message.payload}", "trigger": "${trigger.id}", "id": "${event.id}"}},
        {**SHIP, "args": {}, "args_from": {"event": "tests.test_pause:order_of"}},
    ],
    ids=["templates", "key", "function"],
)
def test_a_held_run_is_the_one_that_would_have_fired_byte_for_byte(trigger: dict[str, Any]) -> None:
    found = []
    for is_paused in (False, True):
        tester = TriggerTester(trigger, allow_modules=["tests.test_pause"])
        if is_paused:
            tester.pause("ship")
        tester.send("paid", {"order": "a", "total": 150}, id="a", key="k")
        tester.send("paid", {"order": "b", "total": 1}, id="b")
        if is_paused:
            tester.resume("ship")
        topics = tester._engine.topics
        entries = [*tester._engine.cluster.records(topics.invocations)]
        assert sorted(decode(each.value(), (Invocation,)).causes for each in entries) == [("event/a",), ("event/b",)]
        runs = [each for each in tester._engine.cluster.records(topics.trigger_runs) if b"event" in each.value()]
        found.append(sorted((each.key(), each.value()) for each in (*entries, *runs) if b"ship" in each.value()))
    assert found[0] == found[1]


def order_of(event: Any) -> dict[str, Any]:
    return {"order": event.payload["order"], "id": event.id}


def test_a_pause_outlives_other_versions_restarts_and_a_lost_disk() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship")
    pay(tester, "a")
    tester.apply({**SHIP, "description": "another version"})
    tester.crash(keep_state=False)
    pay(tester, "b")
    tester.rebalance()
    pay(tester, "c")
    assert ran(tester) == []
    tester.resume("ship")
    assert sorted(ran(tester)) == ["a", "b", "c"]


def test_a_pause_says_who_and_why_wherever_something_does_not_fire() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship", mode="drop", why="the warehouse moves", author="ann")
    pay(tester, "a")
    assert [each.detail for each in tester.decisions] == ["the trigger is paused by ann: the warehouse moves"]


def test_a_pause_ends_by_itself() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship", until=NOON)
    pay(tester, "a")
    tester.advance_to("2026-01-01T11:59Z")
    assert ran(tester) == []
    tester.advance_to(NOON)
    assert [(run.participants, run.time) for run in tester.runs] == [(("a",), NOON)]


def test_a_pause_can_be_changed_and_made_shorter() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship", until="2026-01-03T00:00Z")
    pay(tester, "a")
    tester.pause("ship", mode="drop", until=NOON)
    pay(tester, "b")
    tester.advance_to(NOON)
    assert (ran(tester), decided(tester)) == (["a"], ["paused b"])


@pytest.mark.parametrize(
    ("catchup", "fired", "refused"),
    [("", ["a", "b"], []), ("latest", ["b"], ["paused a"]), ("none", [], ["paused a", "paused b"])],
)
def test_what_was_held_is_caught_up_on_as_is_said(catchup: Any, fired: list[str], refused: list[str]) -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship")
    pay(tester, "a", "b")
    tester.resume("ship", catchup=catchup)
    assert (ran(tester), decided(tester)) == (fired, refused)


def test_a_deleted_trigger_that_was_paused_fires_nothing_and_comes_back_unpaused() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship")
    pay(tester, "a")
    tester.delete("ship")
    tester.apply(SHIP)
    pay(tester, "b")
    tester.advance("1d")
    assert ran(tester) == ["b"]


def test_conditions_remember_meanwhile_and_every_key_goes_on_when_the_trigger_does() -> None:
    tester = TriggerTester(BOTH)
    pay(tester, "a")
    tester.pause("both")
    orders = [f"o{number}" for number in range(30)]
    for order in orders:
        tester.send("paid", {"order": order})
        tester.send("picked", {"order": order})
    tester.send("picked", {"order": "a"})
    assert tester.runs == []
    tester.resume("both")
    assert sorted(run.key or "" for run in tester.runs) == sorted(["a", *orders])


def test_no_task_of_on_timeout_runs_meanwhile_and_a_decision_says_so() -> None:
    tester = TriggerTester(BOTH)
    tester.pause("both", until="2026-01-02T00:00Z")
    pay(tester, "a")
    tester.advance("2d")
    assert ran(tester, "both") == []
    assert [each.reason for each in tester.decisions] == ["partial_expired", "paused"]
    pay(tester, "b")
    tester.advance("3h")
    assert [run.task for run in tester.runs] == ["orders.chase"]


def hours(tester: TriggerTester) -> list[str]:
    return [participant[11:13] for participant in ran(tester, "hourly")]


@pytest.mark.parametrize(
    ("mode", "own", "catchup", "fired"),
    [
        ("hold", "latest", "", ["01", "04", "05"]),
        ("hold", "none", "", ["01", "05"]),
        ("hold", {"all": 2}, "", ["01", "03", "04", "05"]),
        ("hold", {"window": "45m"}, "", ["01", "04", "05"]),
        ("hold", "latest", "all", ["01", "02", "03", "04", "05"]),
        ("hold", "latest", "none", ["01", "05"]),
        ("hold_latest", {"all": 9}, "", ["01", "04", "05"]),
        ("hold_latest", "none", "", ["01", "05"]),
        ("drop", {"all": 9}, "", ["01", "05"]),
    ],
)
def test_instants_of_a_pause_are_caught_up_on_by_mode_and_rule(
    mode: Any, own: Any, catchup: Any, fired: list[str]
) -> None:
    tester = TriggerTester({**HOURLY, "when": {"every": "1h", "catchup": own}})
    tester.advance("90m")
    tester.pause("hourly", mode=mode, until="2026-01-01T04:30Z", catchup=catchup)
    tester.advance("4h")
    assert hours(tester) == fired


def test_instants_that_were_dropped_are_told_in_one_decision() -> None:
    tester = TriggerTester(HOURLY)
    tester.pause("hourly", mode="drop")
    tester.advance("210m")
    tester.resume("hourly")
    assert [(each.reason, each.detail) for each in tester.decisions] == [
        ("paused", "the trigger is paused, and instants from 2026-01-01T01:00:00Z on were dropped")
    ]
    tester.advance("1h")
    assert hours(tester) == ["04"]


def test_a_schedule_that_is_new_while_its_trigger_is_paused_owes_nothing_from_before() -> None:
    tester = TriggerTester(HOURLY)
    tester.pause("hourly")
    tester.advance("150m")
    tester.apply({**HOURLY, "when": {"every": "2h", "catchup": {"all": 9}}})
    tester.advance("2h")
    tester.resume("hourly")
    assert hours(tester) == ["04"]


def test_messages_of_before_the_end_of_a_pause_are_taken_after_it_as_any_others() -> None:
    tester = TriggerTester(SHIP)
    tester.pause("ship")
    tester.advance("1h")
    tester.resume("ship")
    tester.advance("9m")
    pay(tester, "a")
    tester.advance("2m")
    pay(tester, "a", "b")
    assert (ran(tester), decided(tester)) == (["a", "b"], ["duplicate a"])
