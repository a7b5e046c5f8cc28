"""Triggers that start in the past: what the README says of them, played on the engine in memory."""

from __future__ import annotations

from typing import Any

import pytest

from stream_triggers.errors import InvalidTrigger
from stream_triggers.testing import TriggerTester

NOTE: dict[str, Any] = {"id": "note", "task": "notes.write", "when": {"event": "a"}}
EARLY = {**NOTE, "start": "earliest"}


def ran(tester: TriggerTester) -> list[str]:
    """When each run was, and its participants."""
    return [" ".join([run.time[11:].removesuffix("Z"), *run.participants]) for run in tester.runs]


def with_history() -> TriggerTester:
    """Three events, an hour apart and the last an hour ago, and no trigger."""
    tester = TriggerTester()
    for _ in range(3):
        tester.send("a", key="k")
        tester.advance("1h")
    return tester


@pytest.mark.parametrize(
    ("start", "runs"),
    [
        ("now", []),
        ("earliest", ["03:00 event-1", "03:00 event-2", "03:00 event-3"]),
        ("2026-01-01T01:00Z", ["03:00 event-2", "03:00 event-3"]),
        ("2026-01-01T01:00:00.001Z", ["03:00 event-3"]),
        ("2026-01-01T03:00Z", []),
        ({"lookback": "1h"}, ["03:00 event-3"]),
        ({"lookback": "59m"}, []),
        ({"lookback": "365d"}, ["03:00 event-1", "03:00 event-2", "03:00 event-3"]),
    ],
)
def test_a_trigger_takes_what_is_there_from_its_start_on_and_what_comes_once(start: Any, runs: list[str]) -> None:
    tester = with_history()
    tester.apply({**NOTE, "start": start})
    tester.send("a", key="k")
    assert ran(tester) == [*runs, "03:00 event-4"]
    assert tester.decisions == []


@pytest.mark.parametrize("keep_state", [True, False])
@pytest.mark.parametrize("point", ["before commit", "after commit", "now"])
def test_a_worker_that_ends_while_a_trigger_catches_up_changes_nothing(point: Any, keep_state: bool) -> None:
    tester = with_history()
    tester.crash(point, keep_state=keep_state)
    tester.apply(EARLY)
    tester.rebalance()
    tester.crash("now", keep_state=keep_state)
    tester.send("a", key="k")
    assert ran(tester) == ["03:00 event-1", "03:00 event-2", "03:00 event-3", "03:00 event-4"]
    assert tester.decisions == []


def test_what_did_not_come_in_time_is_told_by_the_times_of_the_messages() -> None:
    tester = TriggerTester()
    tester.send("paid", {"order": 1})
    tester.advance("1h")
    tester.send("shipped", {"order": 1})
    tester.send("paid", {"order": 2})
    tester.advance("3h")
    tester.send("shipped", {"order": 2})  # too late
    tester.send("paid", {"order": 3})
    tester.advance("1h")
    tester.apply(
        {
            "id": "remind",
            "task": "orders.remind",
            "start": "earliest",
            "key": "${event.payload.order}",
            "when": {"missing": {"event": "shipped"}, "after": {"event": "paid"}, "within": "2h"},
        }
    )
    assert ran(tester) == ["05:00 event-3"]
    tester.advance("2h")
    assert ran(tester) == ["05:00 event-3", "06:00 event-5"]


def test_flow_control_goes_by_the_clock_of_the_workers() -> None:
    tester = with_history()
    tester.apply({**EARLY, "cooldown": {"for": "10m"}})
    assert ran(tester) == ["03:00 event-1"]
    assert [decision.reason for decision in tester.decisions] == ["cooling_down", "cooling_down"]


def test_other_triggers_go_on() -> None:
    tester = TriggerTester({**NOTE, "id": "other"})
    tester.send("a")
    tester.apply(EARLY)
    tester.send("a")
    assert sorted(f"{run.trigger} {run.participants[0]}" for run in tester.runs) == [
        *("note event-1", "note event-2"),
        *("other event-1", "other event-2"),
    ]


def test_an_edit_a_pause_and_a_resume_start_nothing_again() -> None:
    tester = with_history()
    tester.apply(EARLY)
    tester.apply({**EARLY, "description": "another"})
    tester.pause("note", mode="drop")
    tester.resume("note")
    assert ran(tester) == ["03:00 event-1", "03:00 event-2", "03:00 event-3"]
    assert tester.decisions == []


def test_a_higher_epoch_starts_again_and_fires_again_what_has_fired() -> None:
    tester = with_history()
    tester.apply(EARLY)
    tester.apply({**NOTE, "epoch": 1, "start": {"lookback": "1h"}})
    assert ran(tester) == ["03:00 event-1", "03:00 event-2", "03:00 event-3", "03:00 event-3"]


def test_a_lower_epoch_starts_nothing() -> None:
    tester = with_history()
    tester.apply({**EARLY, "epoch": 1})
    tester.apply(EARLY)
    tester.send("a", key="k")
    assert ran(tester) == ["03:00 event-1", "03:00 event-2", "03:00 event-3", "03:00 event-4"]


def test_a_trigger_that_comes_back_under_an_epoch_that_had_started_does_not_start_again() -> None:
    tester = with_history()
    tester.apply(EARLY)
    tester.delete("note")
    tester.send("a", key="k")
    tester.apply(EARLY)
    tester.send("a", key="k")
    assert ran(tester) == ["03:00 event-1", "03:00 event-2", "03:00 event-3", "03:00 event-5"]
    tester.delete("note")
    tester.apply({**EARLY, "epoch": 1})
    assert ran(tester)[4:] == [f"03:00 event-{number}" for number in range(1, 6)]


def test_a_repeat_in_the_history_fires_nothing() -> None:
    tester = TriggerTester()
    tester.send("a", id="same", key="k")
    tester.advance("2d")  # longer than claims are kept
    tester.send("a", id="same", key="k")
    tester.apply(EARLY)
    assert ran(tester) == ["00:00 same"]
    assert [decision.reason for decision in tester.decisions] == ["duplicate"]
    tester.advance("2d")
    tester.send("a", id="same", key="k")
    assert ran(tester) == ["00:00 same", "00:00 same"]


def test_what_a_deleted_trigger_had_fired_for_fires_again_when_its_claims_are_gone() -> None:
    tester = TriggerTester(NOTE)
    tester.send("a", key="k")
    tester.advance("2d")  # longer than claims are kept
    tester.send("a", key="k")
    tester.delete("note")
    tester.apply(EARLY)
    assert ran(tester) == ["00:00 event-1", "00:00 event-2", "00:00 event-1"]
    assert [(decision.reason, decision.message) for decision in tester.decisions] == [("duplicate", "event-2")]


def test_another_start_under_the_same_epoch_is_refused() -> None:
    tester = TriggerTester(NOTE)
    with pytest.raises(InvalidTrigger, match=r'^note\.start: expected "now", as it is stored under this epoch'):
        tester.apply(EARLY)


def test_a_start_that_is_yet_to_come_is_refused() -> None:
    with pytest.raises(InvalidTrigger, match=r"^note\.start: expected an instant that has been"):
        TriggerTester({**NOTE, "start": "2026-01-01T00:01Z"})
