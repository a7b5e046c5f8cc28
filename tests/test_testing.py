"""``TriggerTester``: what happens in a test of triggers, at which instant, and what it tells."""

from __future__ import annotations

import doctest
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from stream_triggers.core.builder import on_event
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.errors import InvalidMessage, InvalidTrigger, Misconfigured
from stream_triggers.testing import DeadLetter, Decision, Pending, Run, TriggerTester, tester

ORDER = "${event.payload.order}"
SHIP = {
    "id": "ship",
    "task": "orders.ship",
    "when": {"event": "paid", "filter": {"total": {"gt": 5}}},
    "args": {"order": ORDER},
}
BOTH = {
    "id": "both",
    "task": "orders.ship",
    "when": {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"},
    "key": ORDER,
    "args": {"order": ORDER},
}
MISSING = {
    "id": "missing",
    "task": "orders.remind",
    "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": "2h"},
    "key": ORDER,
    "args": {"order": ORDER},
}
WELCOME = {
    "id": "welcome",
    "task": "mail.welcome",
    "when": {"event": "registered"},
    "key": "${event.payload.user}",
    "cooldown": {"for": "1d"},
}
HOURLY = {"id": "hourly", "task": "report", "when": {"every": "1h"}}


def test_the_example_of_the_documentation_is_true() -> None:
    assert doctest.testmod(tester, raise_on_error=True).attempted >= 8


# What happens


def test_an_event_that_a_trigger_accepts_runs_its_task() -> None:
    tester = TriggerTester(SHIP)
    tester.send("paid", {"order": 7, "total": 9}, key="k", id="e1")
    assert tester.runs == [
        Run(
            trigger="ship",
            task="orders.ship",
            arguments={"order": 7},
            key=None,
            participants=("e1",),
            time="2026-01-01T00:00Z",
            invocation_id="not compared",
            run_id="nor this",
        )
    ]


def test_an_event_that_no_trigger_accepts_runs_nothing() -> None:
    tester = TriggerTester(SHIP)
    tester.send("paid", {"order": 7, "total": 5})
    assert (tester.runs, tester.decisions, tester.dead_letters) == ([], [], [])


def test_a_retry_is_a_decision() -> None:
    tester = TriggerTester(SHIP)
    for _ in range(2):
        tester.send("paid", {"order": 7, "total": 9}, id="e1")
    assert tester.decisions == [Decision("ship", "duplicate", "", "e1", None, tester.now)]
    tester.assert_runs("ship", 1)


def test_a_template_that_fails_is_a_dead_letter() -> None:
    tester = TriggerTester(SHIP)
    tester.send("paid", {"total": 9})
    assert tester.dead_letters == [
        DeadLetter("ship", "arguments", "when: args.order: event.payload.order is missing", "events", None, tester.now)
    ]
    assert [each.reason for each in tester.decisions_of("ship")] == ["arguments_failed"]


@pytest.mark.parametrize(
    ("when", "report"),
    [
        ({"status": "t", "is": ["failed"]}, lambda tester: tester.status("t", "Failed", previous="running")),
        ({"status": "t", "is": ["on"], "arguments": {"n": 1}}, lambda t: t.status("t", "on", arguments={"n": 1})),
        ({"result": "t", "filter": {"ok": True}}, lambda tester: tester.result("t", {"ok": True})),
        ({"exception": "t", "types": ["OSError"]}, lambda tester: tester.failure("t", TimeoutError)),
        ({"exception": "t", "filter": {"message": "late"}}, lambda t: t.failure("t", TimeoutError("late"))),
        ({"exception": "t", "types": ["Base"]}, lambda tester: tester.failure("t", "Odd", "said", bases=["Base"])),
        ({"exception": "t", "attempts": "every"}, lambda tester: tester.failure("t", OSError, final=False)),
    ],
    ids=["status", "arguments", "result", "base class", "an exception", "a name", "not final"],
)  # fmt: skip
def test_a_report_runs_what_listens_to_it(when: Any, report: Any) -> None:
    tester = TriggerTester({"id": "t", "task": "after", "when": when})
    report(tester)
    assert tester.only_run_of("t").task == "after"


def test_an_exception_that_another_attempt_follows_runs_nothing() -> None:
    tester = TriggerTester({"id": "t", "task": "after", "when": {"exception": "t"}})
    tester.failure("t", OSError, final=False)
    tester.assert_runs("t", 0)


def test_a_report_on_a_run_has_its_arguments_and_is_of_its_chain() -> None:
    bill = {
        "id": "bill",
        "task": "orders.bill",
        "when": {"result": "orders.ship"},
        "args": {"order": "${result.arguments.order}"},
    }
    tester = TriggerTester([SHIP, bill])
    tester.send("paid", {"order": 7, "total": 9}, id="e1")
    tester.result("orders.ship", "parcel", of=tester.only_run_of("ship"))
    run = tester.only_run_of("bill")
    assert (run.arguments, run.root, run.depth) == ({"order": 7}, "e1", 2)


def test_each_report_without_a_run_is_of_another_invocation() -> None:
    tester = TriggerTester({"id": "t", "task": "after", "when": {"status": "t", "is": ["failed"]}})
    for _ in range(2):
        tester.status("t", "failed")
    tester.status("t", "failed", of="mine")
    tester.status("t", "failed", of="mine")
    tester.assert_runs("t", 3)


# Triggers


def test_triggers_come_from_a_file(tmp_path) -> None:
    path = tmp_path / "triggers.yaml"
    path.write_text("- {id: ship, task: orders.ship, when: {event: paid}}\n- {id: warn, task: w, when: {event: odd}}\n")
    tester = TriggerTester(path)
    tester.send("paid")
    tester.send("odd")
    assert [run.trigger for run in tester.runs] == ["ship", "warn"]


def test_triggers_come_as_values() -> None:
    tester = TriggerTester([parse_trigger(SHIP), HOURLY])
    tester.send("paid", {"order": 7, "total": 9})
    tester.assert_runs("ship", 1)


def test_a_new_version_is_in_force_at_once() -> None:
    tester = TriggerTester(SHIP)
    tester.apply({**SHIP, "when": {"event": "packed"}})
    tester.send("paid", {"order": 7, "total": 9})
    tester.send("packed", {"order": 8})
    assert tester.only_run_of("ship").arguments == {"order": 8}


def test_a_deleted_trigger_fires_no_more_and_its_runs_stay() -> None:
    tester = TriggerTester([SHIP, HOURLY])
    tester.send("paid", {"order": 7, "total": 9})
    tester.delete("ship")
    tester.delete("hourly")
    tester.send("paid", {"order": 8, "total": 9})
    tester.advance("3h")
    assert [run.arguments for run in tester.runs] == [{"order": 7}]


def test_a_function_is_called_if_its_module_is_allowed() -> None:
    trigger = {**SHIP, "when": {"event": "paid", "filter": {"call": "builtins:bool"}}}
    tester = TriggerTester(trigger, allow_modules=["builtins"])
    tester.send("paid", {"order": 7})
    tester.send("paid", {})
    tester.assert_runs("ship", 1)


@pytest.mark.parametrize(
    ("triggers", "says"),
    [
        ({**SHIP, "when": {"event": "paid", "filter": {"call": "builtins:bool"}}}, "does not allow"),
        ({**SHIP, "when": {"evnt": "paid"}}, "did you mean event"),
        ([SHIP, SHIP], 'found "ship" again'),
        (on_event("paid"), "found a Python TriggerBuilder"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
    ids=["function", "form", "twice", "not built", "no file"],
)
def test_a_trigger_that_cannot_work_raises(triggers: Any, says: str) -> None:
    with pytest.raises((InvalidTrigger, Misconfigured), match=says):
        TriggerTester(triggers)


def test_a_message_that_a_client_refuses_raises() -> None:
    with pytest.raises(InvalidMessage, match="payload"):
        TriggerTester(SHIP).send("paid", float("nan"))


@pytest.mark.parametrize("ask", ["runs_of", "decisions_of", "pending", "only_run_of", "delete", "pause", "resume"])
def test_asking_for_a_trigger_that_is_not_there_raises(ask: str) -> None:
    with pytest.raises(Misconfigured, match="did you mean ship"):
        getattr(TriggerTester(SHIP), ask)("shipp")


# Time


def test_time_stands_still_but_for_advance() -> None:
    tester = TriggerTester([BOTH, MISSING, WELCOME, HOURLY], start="2026-03-01T08:30+01:00")
    for number in range(20):
        tester.send("paid", {"order": number})
    tester.crash()
    tester.rebalance()
    assert tester.now == "2026-03-01T07:30Z"
    tester.advance("1h1ms")
    assert tester.now == "2026-03-01T08:30:00.001Z"
    tester.advance_to("2026-03-02T00:00Z")
    assert tester.now == "2026-03-02T00:00Z"


def test_what_comes_due_is_done_at_its_instant_and_in_order() -> None:
    tester = TriggerTester([MISSING, HOURLY], start="2026-01-01T00:30Z")
    tester.send("paid", {"order": 7})
    tester.advance("10m")
    tester.send("paid", {"order": 8})
    tester.advance("3h")
    assert [f"{run.time} {run.trigger} {run.key}" for run in tester.runs] == [
        "2026-01-01T01:00Z hourly None",
        "2026-01-01T02:00Z hourly None",
        "2026-01-01T02:30Z missing 7",
        "2026-01-01T02:40Z missing 8",
        "2026-01-01T03:00Z hourly None",
    ]


def test_what_is_due_a_moment_later_is_not_done() -> None:
    tester = TriggerTester(MISSING)
    tester.send("paid", {"order": 7})
    tester.advance("1h59m59s999ms")
    tester.assert_runs("missing", 0)
    tester.advance("1ms")
    tester.assert_runs("missing", 1)


def test_time_does_not_go_back() -> None:
    with pytest.raises(Misconfigured, match="it is 2026-01-01T00:00Z"):
        TriggerTester().advance_to("2025-12-31T23:59Z")


@pytest.mark.parametrize("duration", ["2 hours", "", "-1h"])
def test_a_duration_that_is_none_raises(duration: str) -> None:
    with pytest.raises(InvalidTrigger, match="such as"):
        TriggerTester().advance(duration)


def test_an_event_can_name_an_earlier_instant() -> None:
    tester = TriggerTester(BOTH)
    tester.advance("3h")
    tester.send("paid", {"order": 7}, at="2026-01-01T01:00Z")
    tester.send("packed", {"order": 7})
    tester.assert_runs("both", 0)
    tester.send("paid", {"order": 7}, at="2026-01-01T02:30Z")
    tester.assert_runs("both", 1)


# Crashes and changes of ownership


@pytest.mark.parametrize("keep_state", [True, False], ids=["kept", "lost"])
@pytest.mark.parametrize("point", ["now", "before commit", "after commit"])
def test_a_crash_changes_nothing(point: Any, keep_state: bool) -> None:
    tester = TriggerTester([SHIP, BOTH, MISSING, WELCOME, HOURLY], partitions=2)
    tester.send("paid", {"order": 7, "total": 9})
    tester.send("registered", {"user": 1})
    tester.crash(point, keep_state=keep_state)
    tester.send("packed", {"order": 7})
    tester.crash(point, keep_state=keep_state)
    tester.advance("2h")
    tester.crash(point, keep_state=keep_state)
    tester.send("registered", {"user": 1})
    assert tester.crashes == 3
    assert sorted(run.trigger for run in tester.runs) == ["both", "hourly", "hourly", "ship", "welcome"]
    assert [(each.reason, each.key) for each in tester.decisions] == [("vetoed", "7"), ("cooling_down", "1")]


def test_a_second_worker_goes_on_with_what_the_first_has_kept_and_back() -> None:
    tester = TriggerTester([BOTH, HOURLY])
    for number in range(20):
        tester.send("paid", {"order": number})
    assert tester.rebalance() == 2
    for number in range(10):
        tester.send("packed", {"order": number})
    tester.crash()
    assert tester.rebalance() == 1
    for number in range(10, 20):
        tester.send("packed", {"order": number})
    assert [run.key for run in tester.runs_of("both")] == [str(number) for number in range(20)]
    tester.advance("2h")
    tester.assert_runs("hourly", 2)
    assert tester.crashes == 2


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_same_calls_make_the_same_runs(partitions: int) -> None:
    def played() -> list[str]:
        tester = TriggerTester([SHIP, BOTH, MISSING, WELCOME, HOURLY], partitions=partitions)
        for number in range(6):
            tester.send("paid", {"order": number % 4, "total": 9})
            tester.rebalance()
            tester.advance("40m")
        return [f"{run} {run.run_id} {run.invocation_id}" for run in tester.runs]

    assert played() == played()


# Resets by hand


@pytest.mark.parametrize("keep_state", [True, False])
@pytest.mark.parametrize("point", ["now", "before commit", "after commit"])
def test_a_key_that_is_reset_has_forgotten_whoever_takes_over(point: Any, keep_state: bool) -> None:
    both = {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"}
    tester = TriggerTester({"id": "both", "task": "ship", "key": ORDER, "when": both})
    for order in (7, 8):
        tester.send("paid", {"order": order})
    tester.advance("1m")
    tester.crash(point, keep_state=keep_state)
    tester.reset("both", "7", author="ada", why="paid by mistake")
    tester.crash(point, keep_state=keep_state)
    tester.advance("1m")
    for order in (7, 8):
        tester.send("packed", {"order": order})
    assert [run.participants for run in tester.runs] == [("event-2", "event-4")]
    assert [(decision.reason, decision.detail) for decision in tester.decisions] == [
        ("reset", "ada: paid by mistake"),
        ("reset", "the trigger was reset"),
    ]


# Following runs

ONE = {**SHIP, "key": ORDER, "overlap": "buffer_one"}


@pytest.mark.parametrize("keep_state", [True, False])
@pytest.mark.parametrize("point", ["now", "before commit", "after commit"])
def test_a_run_that_goes_on_is_remembered_by_whoever_takes_over(point: Any, keep_state: bool) -> None:
    tester = TriggerTester(ONE)
    tester.send("paid", {"order": 7, "total": 9}, id="e1")
    tester.crash(point, keep_state=keep_state)
    tester.send("paid", {"order": 7, "total": 9}, id="e2")
    tester.send("paid", {"order": 8, "total": 9}, id="e3")
    assert [run.participants for run in tester.runs] == [("e1",), ("e3",)]
    tester.rebalance()
    tester.crash(point, keep_state=keep_state)
    tester.status("orders.ship", "success", of=tester.runs[0])
    assert [run.participants for run in tester.runs] == [("e1",), ("e3",), ("e2",)]
    assert tester.crashes >= 2


def test_only_a_status_that_names_the_run_is_news_of_it() -> None:
    tester = TriggerTester(ONE)
    tester.send("paid", {"order": 7, "total": 9})
    tester.send("paid", {"order": 7, "total": 9})
    [run] = tester.runs
    tester.status("orders.ship", "success", of=run.invocation_id)
    tester.status("orders.ship", "success", of=replace(run, key="8"))
    tester.status("orders.ship", "success", of=replace(run, trigger="other"))
    tester.result("orders.ship", of=run)
    assert len(tester.runs) == 1
    tester.advance("59m")
    tester.status("orders.ship", "running", of=run)
    tester.advance("59m")
    assert len(tester.runs) == 1
    tester.advance("1m")
    assert len(tester.runs) == 2


def test_a_failure_that_is_reported_again_counts_once() -> None:
    breaker = {"failures": {"max": 2, "per": "10m"}, "for": "1h"}
    tester = TriggerTester({**SHIP, "circuit_breaker": breaker})
    tester.send("paid", {"order": 7, "total": 9})
    for _ in range(3):
        tester.status("orders.ship", "failed", of=tester.runs[0])
    tester.send("paid", {"order": 8, "total": 9})
    assert [decision.reason for decision in tester.decisions] == ["duplicate", "duplicate"]
    tester.status("orders.ship", "failed", of=tester.runs[1])
    tester.send("paid", {"order": 9, "total": 9})
    assert [decision.reason for decision in tester.decisions[2:]] == ["tripped", "tripped"]


def test_the_end_of_a_run_is_noticed_in_a_pause_and_what_waits_goes_on_after_it() -> None:
    tester = TriggerTester(ONE)
    for name in ("e1", "e2"):
        tester.send("paid", {"order": 7, "total": 9}, id=name)
    tester.pause("ship", mode="drop")
    tester.status("orders.ship", "success", of=tester.runs[0])
    assert len(tester.runs) == 1
    tester.resume("ship")
    assert [run.participants for run in tester.runs] == [("e1",), ("e2",)]


def test_what_waits_goes_on_when_a_new_version_follows_nothing() -> None:
    tester = TriggerTester(ONE)
    for _ in range(2):
        tester.send("paid", {"order": 7, "total": 9})
    tester.apply({**SHIP, "key": ORDER, "delay": "1s"})
    tester.send("paid", {"order": 7, "total": 9})
    tester.advance("1s")
    assert len(tester.runs) == 3


# What waits


def test_what_waits_names_what_has_come_and_what_is_missing() -> None:
    tester = TriggerTester(BOTH)
    tester.send("paid", {"order": 8}, id="e8")
    tester.send("packed", {"order": 7}, id="e7")
    assert tester.pending("both") == [
        Pending("both", "7", ("e7",), ("when.all[0]",), "2026-01-01T01:00Z", {}, ()),
        Pending("both", "8", ("e8",), ("when.all[1]",), "2026-01-01T01:00Z", {}, ()),
    ]
    assert [each.key for each in tester.pending("both", "8")] == ["8"]
    tester.send("packed", {"order": 8})
    assert tester.pending("both", "8") == []


def test_what_flow_control_keeps_back_waits() -> None:
    tester = TriggerTester({**SHIP, "key": ORDER, "debounce": {"wait": "10m"}})
    tester.send("paid", {"order": 7, "total": 9})
    assert tester.pending("ship") == [Pending("ship", "7", (), (), "", {"debounce": 1}, ())]
    tester.advance("10m")
    assert (tester.pending("ship"), len(tester.runs)) == ([], 1)


def test_what_waits_for_the_end_of_a_run_says_so() -> None:
    tester = TriggerTester({**SHIP, "key": ORDER, "overlap": "buffer_one"})
    tester.send("paid", {"order": 7, "total": 9})
    [run] = tester.runs
    assert tester.pending("ship") == [Pending("ship", "7", (), (), "", {}, (run.invocation_id,))]
    tester.send("paid", {"order": 7, "total": 9})
    assert tester.pending("ship")[0].held == {"overlap": 1}
    assert repr(tester.pending("ship")[0]).endswith(f"overlap holds 1, waits for the end of {run.invocation_id[:10]}…>")


def test_nothing_waits_for_a_trigger_that_fires_with_the_message() -> None:
    tester = TriggerTester(SHIP)
    tester.send("paid", {"order": 7, "total": 9})
    assert tester.pending("ship") == []


# Words


def test_a_wrong_count_tells_all_that_happened() -> None:
    tester = TriggerTester([BOTH, SHIP])
    tester.send("paid", {"order": 7, "total": 9})
    tester.send("paid", {"total": 9})
    with pytest.raises(AssertionError) as caught:
        tester.only_run_of("both")
    assert str(caught.value).splitlines() == [
        "expected 1 run of both, found 0",
        "it is 2026-01-01T00:00Z",
        "runs:",
        '  <ship ran orders.ship({"order":7}) at 2026-01-01T00:00Z because of event-1>',
        "decisions:",
        "  <both no_key event-2 at 2026-01-01T00:00Z: key: event.payload.order is missing>",
        "  <ship arguments_failed event-2 at 2026-01-01T00:00Z: when: args.order: event.payload.order is missing>",
        "dead letters:",
        "  <dead letter of ship from events at 2026-01-01T00:00Z, arguments: "
        "when: args.order: event.payload.order is missing>",
        "pending:",
        "  <both key=7 has event-1, lacks when.all[1], until 2026-01-01T01:00Z>",
    ]  # fmt: skip


def test_a_tester_says_how_far_it_is() -> None:
    tester = TriggerTester(SHIP)
    tester.send("paid", {"order": 7, "total": 9})
    assert repr(tester) == "<TriggerTester at 2026-01-01T00:00Z, 1 trigger, 1 run, 0 decisions, 0 dead letters>"


def test_a_session_that_uses_none_of_it_does_not_load_the_engine() -> None:
    code = "import sys, stream_triggers.testing; print([n for n in sys.modules if n.startswith('stream_triggers.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert loaded == "['stream_triggers.testing']"
