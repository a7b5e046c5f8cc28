"""The route index: who listens, who accepts, and what a failure means."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.message import Event, Failure, Message, Success, TaskResult, TaskStatus
from stream_triggers.core.route import Route, RouteIndex, plan, route_of
from stream_triggers.core.trigger import parse_trigger


def no_functions(name: str) -> Any:
    raise AssertionError(f"no function is named here, but {name} was asked for")


def index_of(*triggers: dict[str, Any], functions: Any = no_functions) -> RouteIndex:
    return RouteIndex([plan(parse_trigger({"task": "t.run", **trigger}), functions) for trigger in triggers])


def matches(index: RouteIndex, message: Message) -> list[tuple[str, str]]:
    group = index.group(route_of(message))
    if group is None:
        return []
    return [(found.plan.trigger.id, found.leaf) for found in group.match(message)[0]]


def failures(index: RouteIndex, message: Message) -> list[tuple[str, str]]:
    group = index.group(route_of(message))
    assert group is not None
    return [(failed.plan.trigger.id, failed.leaf) for failed in group.match(message)[1]]


def event(code: str = "order.paid", **payload: Any) -> Event:
    return Event(code=code, id="e1", time_ms=0, key=None, payload=payload)


STATUS = TaskStatus(task="bill", status="failed", id="s1", invocation_id="i1", time_ms=0, arguments={"kind": "news"})
RESULT = TaskResult(task="bill", outcome=Success(5), id="r1", invocation_id="i1", time_ms=0, arguments={})
RAISED = TaskResult(
    task="bill", outcome=Failure("Timeout", ("OSError",), "late"), id="r2", invocation_id="i1", time_ms=0, arguments={}
)


@pytest.mark.parametrize(
    ("message", "route"),
    [
        (event(), ("event", "order.paid")),
        (STATUS, ("status", "bill", "failed")),
        (RESULT, ("result", "bill")),
        (RAISED, ("exception", "bill")),
    ],
)
def test_the_routing_part_of_each_kind(message: Message, route: Route) -> None:
    assert route_of(message) == route


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"event": "order.paid"}, event()),
        ({"event": "order.paid", "filter": {"currency": "EUR"}}, event(currency="EUR")),
        ({"status": "bill", "is": ["failed", "success"]}, STATUS),
        ({"status": "*", "is": ["failed"]}, STATUS),
        ({"status": "bill", "is": ["failed"], "arguments": {"kind": "news"}}, STATUS),
        ({"result": "bill"}, RESULT),
        ({"result": "bill", "filter": {"$": 5}}, RESULT),
        ({"exception": "bill"}, RAISED),
        ({"exception": "bill", "types": ["OSError"]}, RAISED),
    ],
)
def test_a_leaf_of_each_kind_accepts(when: dict[str, Any], message: Message) -> None:
    assert matches(index_of({"id": "a", "when": when}), message) == [("a", "when")]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"event": "order.sent"}, event()),
        ({"event": "order.paid", "filter": {"currency": "EUR"}}, event(currency="USD")),
        ({"event": "order.paid", "filter": {"currency": "EUR"}}, event()),
        ({"event": "order.paid", "filter": {"total": 1}}, event(total=True)),
        ({"status": "bill", "is": ["success"]}, STATUS),
        ({"status": "ship", "is": ["failed"]}, STATUS),
        ({"result": "bill"}, RAISED),
        ({"exception": "bill"}, RESULT),
        ({"exception": "bill", "types": ["ValueError"]}, RAISED),
    ],
)
def test_a_leaf_of_each_kind_does_not_accept(when: dict[str, Any], message: Message) -> None:
    assert matches(index_of({"id": "a", "when": when}), message) == []


def test_triggers_match_in_the_order_of_their_ids_however_they_were_applied() -> None:
    triggers = [{"id": each, "when": {"event": "order.paid"}} for each in ("c", "a", "b")]
    assert [trigger for trigger, _ in matches(index_of(*triggers), event())] == ["a", "b", "c"]


def test_two_leaves_that_accept_one_message_make_one_match_and_the_first_is_named() -> None:
    when = {"any": [{"event": "order.sent"}, {"event": "order.paid", "filter": {"x": 1}}, {"event": "order.paid"}]}
    index = index_of({"id": "a", "when": when})
    assert matches(index, event(x=1)) == [("a", "when.any[1]")]
    assert matches(index, event(x=2)) == [("a", "when.any[2]")]


def test_the_eleventh_leaf_comes_after_the_second() -> None:
    leaves = [{"status": "*" if at == 1 else "bill", "is": ["failed"], "arguments": {"n": at}} for at in range(12)]
    index = index_of({"id": "a", "when": {"any": [*leaves[:10], {"status": "bill", "is": ["failed"]}, leaves[11]]}})
    message = TaskStatus(task="bill", status="failed", id="s", invocation_id="i", time_ms=0, arguments={"n": 1})
    assert matches(index, message) == [("a", "when.any[1]")]


def test_a_filter_that_fails_is_a_failure_and_the_other_triggers_still_match() -> None:
    broken = {"id": "broken", "when": {"event": "order.paid", "filter": {"total": {"gt": 5}}}}
    index = index_of(broken, {"id": "fine", "when": {"event": "order.paid"}})
    assert matches(index, event(total="many")) == [("fine", "when")]
    assert failures(index, event(total="many")) == [("broken", "when")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_leaf_that_accepts_absorbs_the_failure_of_another(order: tuple[int, int]) -> None:
    leaves = [{"event": "order.paid", "filter": {"total": {"gt": 5}}}, {"event": "order.paid", "filter": {"ok": True}}]
    index = index_of({"id": "a", "when": {"any": [leaves[at] for at in order]}})
    message = event(total="many", ok=True)
    assert [trigger for trigger, _ in matches(index, message)] == ["a"]
    assert failures(index, message) == []


def test_a_failure_counts_once_for_a_trigger() -> None:
    leaves = [{"event": "order.paid", "filter": {"total": {"gt": limit}}} for limit in (5, 6)]
    index = index_of({"id": "a", "when": {"any": leaves}})
    assert failures(index, event(total="many")) == [("a", "when.any[0]")]


def test_a_leaf_filed_under_a_value_is_not_asked_for_another_value() -> None:
    asked: list[Any] = []

    def functions(name: str) -> Any:
        return lambda payload: asked.append(payload) or True

    triggers = [
        {"id": f"t{n}", "when": {"event": "order.paid", "filter": {"customer": n, "call": "mine:check"}}}
        for n in range(100)
    ]
    index = index_of(*triggers, functions=functions)
    assert matches(index, event(customer=42)) == [("t42", "when")]
    assert len(asked) == 1


def test_one_of_several_values_is_found_under_each_of_them() -> None:
    index = index_of({"id": "a", "when": {"event": "order.paid", "filter": {"country": {"in": ["DE", "FR"]}}}})
    assert [bool(matches(index, event(country=one))) for one in ("DE", "FR", "ES")] == [True, True, False]


OWN = msgspec.structs.replace(STATUS, trigger_id="one", trigger_key="k")
"""A status of a run of the trigger ``one``."""

FOLLOWERS = (
    {"id": "one", "task": "bill", "when": {"event": "order.paid"}, "overlap": "skip"},
    {
        "id": "two", "task": "bill", "when": {"event": "order.paid"},
        "circuit_breaker": {"failures": {"max": 2, "per": "1m"}},
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [("one", "run")]),
        ({"status": "running"}, [("one", "run")]),
        ({"status": "of.its.own"}, [("one", "run")]),
        ({"trigger_id": "two"}, [("two", "run")]),
        ({"trigger_id": "two", "status": "killed"}, [("two", "run")]),
        ({"trigger_id": "two", "status": "success"}, []),
        ({"trigger_id": "three"}, []),
        ({"trigger_id": None}, []),
        ({"task": "ship"}, []),
    ],
)
def test_a_status_is_news_for_the_trigger_whose_run_it_is_of(
    changes: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    assert matches(index_of(*FOLLOWERS), msgspec.structs.replace(OWN, **changes)) == found


@pytest.mark.parametrize(
    ("trigger", "kinds"),
    [
        ({"id": "t", "task": "bill", "when": {"event": "order.paid"}}, {"event"}),
        ({"id": "t", "task": "bill", "when": {"any": [{"result": "a"}, {"exception": "b"}]}}, {"result", "exception"}),
        (FOLLOWERS[0], {"event", "status"}),
    ],
)
def test_the_kinds_of_messages_that_a_trigger_may_take(trigger: dict[str, Any], kinds: set[str]) -> None:
    assert plan(parse_trigger(trigger), no_functions).kinds == kinds


def test_news_and_matches_do_not_get_into_each_others_way() -> None:
    listening = {"any": [{"status": "bill", "is": "failed", "arguments": {"n": {"gt": 1}}}, {"event": "order.paid"}]}
    others = [{"id": f"t{n}", "when": {"status": "bill", "is": "failed", "arguments": {"n": n}}} for n in range(3)]
    always = {"id": "always", "when": {"status": "*", "is": "failed"}}
    index = index_of({**FOLLOWERS[0], "when": listening}, always, *others)
    own = msgspec.structs.replace(OWN, arguments={"n": 2})
    filed = [{**each, "id": f"a-{each['id']}"} for each in others]
    assert matches(index_of(FOLLOWERS[0], *filed), own) == [("a-t2", "when"), ("one", "run")]
    leaf = matches(index, own)[1][1]
    assert matches(index, own) == [("always", "when"), ("one", leaf), ("one", "run"), ("t2", "when")]
    failing = msgspec.structs.replace(OWN, arguments={"n": "many"})
    assert matches(index, failing) == [("always", "when"), ("one", "run")]
    assert failures(index, failing) == [("one", leaf)]


def test_a_message_that_is_match_and_news_is_claimed_for_each() -> None:
    made, again = (plan(parse_trigger({**FOLLOWERS[0], "epoch": epoch}), no_functions) for epoch in (0, 1))
    assert made.follower is not None
    assert again.follower is not None
    claims = [each.run_ids.of_one("status", "s1") for each in (made, again, made.follower, again.follower)]
    assert (len(set(claims)), claims[2] == claims[3]) == (3, True)


VALUES = st.sampled_from([None, True, False, 0, 1, 1.0, 2, "1", "a", [1], {"a": 1}])
FILTERS = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.one_of(VALUES.filter(lambda v: not isinstance(v, list | dict)), st.builds(lambda v: {"ne": v}, VALUES)),
    max_size=3,
)


@given(st.lists(FILTERS, max_size=12), st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES), st.randoms())
def test_the_index_finds_what_asking_every_trigger_finds(
    filters: list[dict[str, Any]], payload: dict[str, Any], shuffled: random.Random
) -> None:
    triggers = [{"id": f"t{at:02}", "when": {"event": "order.paid", "filter": each}} for at, each in enumerate(filters)]
    alone = [found for trigger in triggers for found in matches(index_of(trigger), event(**payload))]
    shuffled.shuffle(triggers)
    assert matches(index_of(*triggers), event(**payload)) == alone
