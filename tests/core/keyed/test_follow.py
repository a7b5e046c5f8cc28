"""How a trigger follows its runs: which statuses it wants, the facts they become, and what is made of those."""

from __future__ import annotations

from typing import Any

import pytest

from stream_triggers.core.flow import parse_flow
from stream_triggers.core.keyed.follow import RUN, news_in, wanted_news
from stream_triggers.core.message import Participant, Position, TaskStatus
from stream_triggers.core.record import Fact
from stream_triggers.core.report import News, news_of
from stream_triggers.errors import EvaluationFailed
from tests.core.keyed.machine import Machine, plan_of

FAILURES = {"circuit_breaker": {"failures": {"max": 2, "per": "1m"}, "for": "1h"}}
FIRES = {"circuit_breaker": {"fires": {"max": 2, "per": "1m"}, "for": "1h"}}


@pytest.mark.parametrize(
    ("status", "news"),
    [
        ("success", "succeeded"),
        ("failed", "failed"),
        ("killed", "failed"),
        ("expired", "unstarted"),
        ("running", "running"),
        ("retry", "running"),
        ("paused", "running"),
    ],
)
def test_a_status_says_that_a_run_goes_on_or_how_it_ended(status: str, news: News) -> None:
    assert news_of(status) == news


@pytest.mark.parametrize(
    ("flow", "wanted"),
    [
        ({}, set()),
        (FIRES, set()),
        ({"overlap": "allow"}, set()),
        (FAILURES, {"failed"}),
        ({"overlap": "skip"}, {"running", "succeeded", "failed", "unstarted"}),
        ({"overlap": "buffer_one", **FAILURES}, {"running", "succeeded", "failed", "unstarted"}),
    ],
)
def test_what_is_wanted_is_what_makes_a_difference(flow: dict[str, Any], wanted: set[News]) -> None:
    assert wanted_news(parse_flow(flow, "")) == wanted


def status(name: str, invocation_id: str = "i1", key: str | None = "o1") -> TaskStatus:
    return TaskStatus("do.it", name, f"s-{name}", invocation_id, 7, trigger_id="t", trigger_key=key)


@pytest.mark.parametrize(("key", "state_key"), [("o1", "o1"), ("", ""), (None, "")])
def test_a_status_is_a_fact_for_the_key_that_it_says(key: str | None, state_key: str) -> None:
    plan = plan_of("when: {event: a}\nkey: ${event.id}\noverlap: skip")
    routed = plan.routing.facts(status("success", key=key), (RUN,), Position("task-status", 1, 2))
    assert routed.refusals == ()
    assert routed.facts == (
        Fact(
            "t", plan.version, state_key, Participant(RUN, "status", "s-success", "task-status", 1, 2, 7),
            {"invocation_id": "i1", "status": "success"}, leaves=(RUN,),
        ),
    )  # fmt: skip
    assert news_in(routed.facts[0]) == ("i1", "succeeded")


def test_a_key_that_no_run_can_have_makes_no_fact() -> None:
    plan = plan_of("when: {event: a}\nkey: ${event.id}\noverlap: skip")
    with pytest.raises(EvaluationFailed, match="key has 65537 bytes"):
        plan.routing.facts(status("success", key="k" * 65_537), (RUN,), Position("task-status", 1, 2))


def test_a_match_is_no_news() -> None:
    plan = plan_of("when: {status: do.it, is: success}\noverlap: skip")
    [fact] = plan.routing.facts(status("success"), (plan.places[0].id,), Position("task-status", 1, 2)).facts
    assert news_in(fact) is None


def test_the_end_of_a_run_lets_the_next_one_go() -> None:
    machine = Machine("when: {event: a}\noverlap: buffer_one")
    machine.send("a", 0)
    machine.send("a", 1)
    first = machine.firings[0].run_id.hex()
    machine.hear(status("running", first, None))
    assert len(machine.firings) == 1
    machine.hear(status("success", first, None))
    assert [firing.participants[0].id for firing in machine.firings] == ["a0", "a1"]


def test_news_of_a_key_without_a_state_leave_none() -> None:
    machine = Machine("when: {event: a}\nkey: ${event.id}\noverlap: skip")
    machine.hear(status("success"))
    assert machine.states == {}


def test_failures_trip_the_breaker_and_what_expired_does_not() -> None:
    machine = Machine({"when": {"event": "a"}, **FAILURES})
    for name in ("expired", "expired", "success", "killed"):
        machine.hear(status(name, key=None))
    machine.send("a", 0)
    assert len(machine.firings) == 1
    machine.hear(status("failed", key=None))
    machine.send("a", 1)
    assert len(machine.firings) == 1
    assert [refusal.reason for refusal in machine.refusals] == ["tripped", "tripped"]


@pytest.mark.parametrize("more", ["args: {n: '${event.payload.n}'}", "expires: 10s"])
def test_what_is_not_made_is_no_failed_run(more: str) -> None:
    machine = Machine(f"when: {{event: a}}\ncircuit_breaker: {{failures: {{max: 2, per: 1m}}}}\noverlap: skip\n{more}")
    machine.tick(20)
    machine.hear(status("failed", key=None))
    for at in range(3):
        machine.send("a", at)
    machine.send("a", 20, n=1)
    assert [firing.participants[0].id for firing in machine.firings] == ["a20"]
