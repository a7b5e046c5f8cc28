"""What is doubted of well-formed triggers, and that what is said to be impossible is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.filter import compile_filter, parse_filter
from stream_triggers.core.lint import contradiction, doubts, repeated
from stream_triggers.core.trigger import Trigger, parse_trigger
from stream_triggers.errors import EvaluationFailed
from tests.core.keyed import test_conditions
from tests.core.keyed.machine import Machine

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00Z
NEVER = ("when", "this trigger can never fire")


def trigger(text: str) -> Trigger:
    return parse_trigger({"id": "t", "task": "do.it", **yaml.safe_load(text)})


def said(text: str) -> list[tuple[str, str]]:
    return [(each.path, each.problem) for each in doubts(trigger(text), NOW_MS)]


# Filters


CONTRADICTIONS = {
    "two values": ({"all": [{"a": 1}, {"a": 2}]}, 'no value passes {"a":1} and {"a":2}'),
    "a value and its negation": ({"a": {"eq": 1, "ne": 1}}, 'no value passes {"a":1} and {"a":{"ne":1}}'),
    "a value out of range": ({"a": {"eq": 5, "gt": 7}}, 'no value passes {"a":5} and {"a":{"gt":7}}'),
    "a value of another type": ({"a": {"eq": "x", "gt": 7}}, 'no value passes {"a":"x"} and {"a":{"gt":7}}'),
    "none of a list": ({"a": {"in": [1, 2], "gt": 2}}, 'no value passes {"a":{"in":[1,2]}} and {"a":{"gt":2}}'),
    "an empty range": ({"a": {"gt": 5, "lt": 5}}, 'no value passes {"a":{"gt":5}} and {"a":{"lt":5}}'),
    "half an open point": ({"a": {"gte": 5, "lt": 5}}, 'no value passes {"a":{"gte":5}} and {"a":{"lt":5}}'),
    "a range of two types": ({"a": {"gt": 5, "lt": "x"}}, 'no value passes {"a":{"gt":5}} and {"a":{"lt":"x"}}'),
    "two beginnings": (
        {"all": [{"a": {"prefix": "ab"}}, {"a": {"prefix": "ac"}}]},
        'no value passes {"a":{"prefix":"ab"}} and {"a":{"prefix":"ac"}}',
    ),
    "nothing with a value": (
        {"a": {"exists": False, "lt": 1}},
        'no value passes {"a":{"exists":false}} and {"a":{"lt":1}}',
    ),
    "something below nothing": (
        {"a": {"exists": False}, "a.b": 1},
        'no value passes {"a":{"exists":false}} and {"a.b":1}',
    ),
    "something below a number": (
        {"a": {"gt": 1}, "a.b": {"exists": True}},
        'no value passes {"a":{"gt":1}} and {"a.b":{"exists":true}}',
    ),
    "something below a scalar": ({"a": "x", "a.b": 1}, 'no value passes {"a":"x"} and {"a.b":1}'),
    "every branch": (
        {"a": 1, "any": [{"a": 2}, {"a": 3}]},
        'no value passes {"a":1} and {"a":2}; no value passes {"a":1} and {"a":3}',
    ),
    "a negation of any": ({"a": 1, "not": {"any": [{"a": 1}, {"b": 1}]}}, 'no value passes {"a":1} and {"a":{"ne":1}}'),
}


@pytest.mark.parametrize(("filter_", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_filter_that_no_value_passes_is_found(filter_, reason):
    assert contradiction(parse_filter(filter_, "filter")) == reason


@pytest.mark.parametrize(
    "filter_",
    [
        {},
        {"a": {"gte": 5, "lte": 5}},
        {"a": {"gt": 5, "lt": 6}},
        {"a": {"eq": 1, "exists": True}},
        {"a": {"exists": False}, "b": 1},
        {"a": {"exists": False, "ne": 1}},
        {"a": {"in": [1, "x"], "prefix": "x"}},
        {"all": [{"a": {"prefix": "ab"}}, {"a": {"prefix": "abc"}}]},
        {"a": 1, "any": [{"a": 2}, {"b": 3}]},
        {"not": {"a": {"gt": 5}}, "a": {"exists": False}},
        {"a": {"eq": {"b": 1}}, "a.b": 1},
        {"call": "m:f", "a": 1},
    ],
    ids=str,
)
def test_a_filter_that_a_value_may_pass_is_not_doubted(filter_):
    assert contradiction(parse_filter(filter_, "filter")) == ""


VALUES = st.recursive(
    st.sampled_from([0, 1, 2, "", "a", "ab", True, None]),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)
TESTS = st.one_of(
    VALUES.map(lambda value: {"eq": value}),
    st.lists(VALUES, min_size=1, max_size=2).map(lambda values: {"in": values}),
    st.booleans().map(lambda there: {"exists": there}),
    st.tuples(st.sampled_from(["lt", "lte", "gt", "gte"]), st.sampled_from([0, 1, 2, "a", "ab"])).map(
        lambda test: dict([test])
    ),
    st.tuples(st.sampled_from(["prefix", "suffix"]), st.sampled_from(["a", "b", "ab"])).map(lambda test: dict([test])),
    st.sampled_from([0, 1, "a"]).map(lambda value: {"not": {"gt": value}}),
)
FILTERS = st.recursive(
    st.dictionaries(st.sampled_from(["$", "a", "b", "a.b"]), TESTS, min_size=1, max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)


@given(FILTERS, st.lists(VALUES, min_size=1, max_size=20))
def test_no_value_passes_what_is_called_contradictory(filter_: Any, values: list[Any]):
    tree = parse_filter(filter_, "filter")
    if not contradiction(tree):
        return
    accepts = compile_filter(tree, lambda name: pytest.fail(name))
    for value in values:
        with suppress(EvaluationFailed):
            assert accepts(value) is False, value


# Triggers that can never fire

IMPOSSIBLE = {
    "an event that no payload passes": (
        "when: {event: a, filter: {all: [{n: 1}, {n: 2}]}}",
        [("when.filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}'), NEVER],
    ),
    "arguments that no call passes": (
        "when: {status: a.b, is: success, arguments: {n: {gt: 2, lt: 1}}}",
        [("when.arguments", 'it accepts nothing: no value passes {"n":{"gt":2}} and {"n":{"lt":1}}'), NEVER],
    ),
    "a field that exceptions do not have": (
        "when: {exception: a.b, filter: {code: 5}}",
        [
            (
                "when.filter",
                'it accepts nothing: there is no "code" in an exception, which has type, message, attempt, final',
            ),
            NEVER,
        ],
    ),
    "an attempt that is not final among those that are": (
        "when: {exception: a.b, filter: {final: false}}",
        [("when.filter", 'it accepts nothing: no value passes {"final":true} and {"final":false}'), NEVER],
    ),
    "an instant that is over": (
        "when: {at: 2025-12-31T23:59Z}",
        [("when", "at 2025-12-31T23:59Z never comes due again"), NEVER],
    ),
    "a schedule that is exhausted": (
        "when: {cron: '@daily', end: 2025-12-31T00:00Z}",
        [("when", "cron @daily never comes due again"), NEVER],
    ),
    "a member of all that never holds": (
        "when: {all: [{event: a}, {event: b, filter: {all: [{n: 1}, {n: 2}]}}]}",
        [("when.all[1].filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}'), NEVER],
    ),
    "a step that never comes": (
        "when: {sequence: [{event: a}, {event: b, filter: {all: [{n: 1}, {n: 2}]}}], within: 1h}",
        [("when.sequence[1].filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}'), NEVER],
    ),
    "too few that can hold": (
        "when: {at_least: 2, of: [{event: a}, {event: b, filter: {all: [{n: 1}, {n: 2}]}}]}",
        [("when.of[1].filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}'), NEVER],
    ),
    "runs of which every one lacks something": (
        "when: {any: [{event: a}, {result: b.c}]}\nargs: {x: '${event.id}', y: '${result.id}'}",
        [
            ("when.any[0]", "its runs always fail: args.y needs ${result.id}, which takes no part in them"),
            ("when.any[1]", "its runs always fail: args.x needs ${event.id}, which takes no part in them"),
            NEVER,
        ],
    ),
    "a key from another kind of message": (
        "key: ${event.payload.id}\nwhen: {all: [{event: a}, {result: b.c}]}",
        [("when.all[1]", "it never has a key: there is no ${event.payload.id} in a message of kind result"), NEVER],
    ),
    "a key that is null": (
        "key: ${event.payload.id?}\nwhen: {all: [{event: a}, {result: b.c}]}",
        [("when.all[1]", "it never has a key: there is no ${event.payload.id} in a message of kind result"), NEVER],
    ),
    "a leaf with a key and one without": (
        "when: {all: [{event: a, key: '${event.payload.id}'}, {event: b}], within: 1h}",
        [("when", "its members never meet: some have a key and some have none"), NEVER],
    ),
    "a sequence of a step with a key and one without": (
        "when: {sequence: [{event: a}, {event: b, key: '${event.payload.id}'}], within: 1h}",
        [("when", "its members never meet: some have a key and some have none"), NEVER],
    ),
    "more different values than the filter lets pass": (
        "when: {count: {event: a, filter: {n: {in: [1, 2]}}}, at_least: 3, distinct: payload.n}",
        [("when.distinct", "it never counts to 3: its filter lets 2 values pass"), NEVER],
    ),
    "an aggregate that nothing is": (
        "when: {aggregate: sum, value: payload.n, of: {event: a}, is: {gt: 2, lt: 1}}",
        [("when.is", 'nothing can be so: no value passes {"$":{"gt":2}} and {"$":{"lt":1}}'), NEVER],
    ),
    "a change from a value to itself": (
        "when: {changed: payload.n, of: {event: a}, from: 1, to: 1}",
        [("when.to", "it never changes: from and to are both 1"), NEVER],
    ),
    "a change of what the filter holds fast": (
        "when: {changed: payload.n, of: {event: a, filter: {n: 1}}}",
        [("when.of", "payload.n never changes: its filter lets one value pass"), NEVER],
    ),
}


@pytest.mark.parametrize(("text", "expected"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_never_fire_is_said(text, expected):
    assert said(text) == expected


PARTIAL = {
    "a member of any that accepts nothing": (
        "when: {any: [{event: a}, {event: b, filter: {all: [{n: 1}, {n: 2}]}}]}",
        [("when.any[1].filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}')],
    ),
    "one of several that never holds, and is not needed": (
        "when: {at_least: 1, of: [{event: a}, {event: b, filter: {all: [{n: 1}, {n: 2}]}}]}",
        [("when.of[1].filter", 'it accepts nothing: no value passes {"n":1} and {"n":2}')],
    ),
    "a member of any that one before it covers": (
        "when: {any: [{event: a}, {event: b}, {event: a, filter: {n: 1}}]}",
        [("when.any[2]", "it adds nothing: when.any[0] accepts all that it does")],
    ),
    "a status that another covers": (
        "when: {any: [{status: '*', is: [failed, success]}, {status: a.b, is: failed}]}",
        [("when.any[1]", "it adds nothing: when.any[0] accepts all that it does")],
    ),
    "a result that another covers": (
        "when: {any: [{result: '*', filter: {n: 1}}, {result: a.b, filter: {n: 1, m: 2}}]}",
        [("when.any[1]", "it adds nothing: when.any[0] accepts all that it does")],
    ),
    "an exception that another covers": (
        "when: {any: [{exception: a.b, types: [E, F], attempts: every}, {exception: a.b, types: [E]}]}",
        [("when.any[1]", "it adds nothing: when.any[0] accepts all that it does")],
    ),
    "a way to fire whose runs lack an argument": (
        "when: {any: [{event: a}, {result: b.c}]}\nargs: {x: '${event.payload.id}'}",
        [("when.any[1]", "its runs always fail: args.x needs ${event.payload.id}, which takes no part in them")],
    ),
    "a way to fire whose runs lack a named leaf": (
        "when: {any: [{all: [{event: a, as: one}, {event: b}]}, {event: c}]}\nargs: {x: '${one.id}'}",
        [("when.any[1]", "its runs always fail: args.x needs ${one.id}, which takes no part in them")],
    ),
    "a status that nobody reports": (
        "when: {status: a.b, is: [sucess, failure, succeeded]}",
        [
            ("when.is", 'no worker of this package reports the status "failure"'),
            ("when.is", 'no worker of this package reports the status "succeeded"'),
            ("when.is", 'no worker of this package reports the status "sucess"'),
        ],
    ),
    "an alternative that never meets the rest": (
        "when: {all: [{any: [{event: a}, {event: b, key: '${event.id}'}]}, {event: c, key: '${event.id}'}]}",
        [("when.all[0].any[0]", "it never meets what it is joined with: it has no key, unlike the rest")],
    ),
    "a veto that never meets the rest": (
        "when: {all: [{event: a, key: '${event.id}'}, {not: {event: b}}], within: 1h}",
        [("when.all[1]", "it never meets what it is joined with: it has no key, unlike the rest")],
    ),
    "an unless that never meets what it is for": (
        "when: {after: {event: a}, wait: 1h, unless: {event: b, key: '${event.id}'}}",
        [
            (
                "when.unless",
                "it never meets what it is joined with: it has a key, which what it is joined with has not",
            )
        ],
    ),
    "a reset that finds nothing": (
        "when: {count: {event: a, key: '${event.id}'}, at_least: 2}\nreset: {event: b}",
        [("reset[0]", "it resets nothing: it has no key, and what is kept has one")],
    ),
    "a reset that never comes": (
        "when: {count: {event: a}, at_least: 2}\nreset: {at: 2025-12-31T23:59Z}",
        [("reset[0]", "at 2025-12-31T23:59Z never comes due again")],
    ),
    "a window longer than the ttl": (
        "when: {all: [{event: a}, {event: b}], within: 2d}\nttl: 1d",
        [("when.within", "2d is longer than the ttl of 1d, which does not bound what has a window")],
    ),
    "values that are forgotten before their window ends": (
        "when: {aggregate: sum, value: payload.n, of: {event: a}, is: {gt: 1}, within: 30d}",
        [("when.within", "its values are forgotten 7d after the last one, before 30d are over")],
    ),
    "a timeout of what never waits": (
        "when: {any: [{event: a}, {event: b}]}\non_timeout: {task: x.y}",
        [("on_timeout", "it never runs: nothing of this condition waits for anything else")],
    ),
    "a start that is yet to come": (
        "when: {event: a}\nstart: '2026-01-01T00:00:00.001Z'",
        [("start", "it is yet to come: until then a new trigger is refused")],
    ),
    "a run that expires before it comes": (
        "when: {event: a}\ndebounce: {wait: 4m}\ndelay: 6m\nexpires: 10m",
        [("expires", "no run is ever started: each is held back for 10m, and has expired then")],
    ),
    "a veto on what is repeated": (
        "when: {all: [{times: 2, of: {event: a, filter: {n: 1}}}, {not: {event: a}}], within: 1h}",
        [("when.all[1]", "it forbids what when.all[0] needs, so this never holds")],
    ),
    "a veto on so many": (
        "when: {all: [{times: 2, of: {event: a}}, {not: {times: 2, of: {event: a}}}], within: 1h}",
        [("when.all[1]", "it forbids what when.all[0] needs, so this never holds")],
    ),
    "a repetition that nothing ends": (
        "when: {sequence: [{event: a}, {one_or_more: {event: b}}], within: 1h}",
        [("when.sequence[1]", "no more than 1 of it are waited for: nothing comes after it")],
    ),
    "a repetition that is everything": (
        "when: {any: [{times: [2, 3], of: {event: a}}, {event: b}]}",
        [("when.any[0]", "no more than 2 of it are waited for: nothing comes after it")],
    ),
    "a timeout of what is there at once": (
        "when: {times: 1, of: {event: a}}\non_timeout: {task: x.y}",
        [("on_timeout", "it never runs: nothing of this condition waits for anything else")],
    ),
    "a veto on what is needed": (
        "when: {all: [{event: a, filter: {n: 1}}, {event: b}, {not: {event: a}}], within: 1h}",
        [("when.all[2]", "it forbids what when.all[0] needs, so this never holds")],
    ),
}


@pytest.mark.parametrize(("text", "expected"), PARTIAL.values(), ids=PARTIAL)
def test_what_is_surely_not_meant_is_said(text, expected):
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "when: {event: a}",
        "when: {event: a, filter: {n: {gt: 1, lt: 3}}}",
        "when: {event: a}\ndebounce: {wait: 4m}\ndelay: 5m\nexpires: 10m",
        "when: {event: a}\nexpires: 1ms",
        "when: {event: a}\nstart: '2026-01-01T00:00Z'",
        "when: {event: a}\nstart: {lookback: 1ms}",
        "when: {event: a}\nstart: earliest",
        "when: {status: '*', is: [killed, cancelled, success]}",
        "when: {any: [{event: a, filter: {n: 1}}, {event: a}]}",
        "when: {any: [{event: a, key: '${event.id}'}, {event: b}]}\ncooldown: {for: 1h}",
        "when: {any: [{event: a, key: '${event.id}'}, {event: a, key: '${event.code}'}]}\ncooldown: {for: 1h}",
        "when: {any: [{exception: a.b}, {exception: a.b, attempts: every}]}",
        "when: {any: [{exception: a.b, types: [E]}, {exception: a.b}]}",
        "when: {any: [{event: a}, {result: b.c}]}\nargs: {x: '${event.payload.id?}', y: '${message.id}'}",
        "when: {all: [{event: a}, {event: b}], within: 30d}",
        "when: {all: [{event: a}, {event: b}]}\nttl: 1d\non_timeout: {task: x.y}",
        "when: {all: [{event: a}, {not: {event: a, filter: {n: 1}}}], within: 1h}",
        "when: {all: [{event: a}, {event: b}, {not: {event: a}, last: 1h}]}",
        "when: {after: {event: a}, wait: 1h, unless: {event: a}}",
        "when: {all: [{times: 2, of: {event: a}}, {not: {times: 3, of: {event: a}}}], within: 1h}",
        "when: {sequence: [{any: [{times: [1, 2], of: {event: a}}, {event: c}]}, {event: b}], within: 1h}",
        "when: {one_or_more: {event: a}, until: {event: b}}",
        "when: {all: [{one_or_more: {event: a}}, {event: b}], within: 1h}",
        "when: {times: 2, of: {event: a}}\non_timeout: {task: x.y}",
        "when: {all: [{cron: '@daily'}, {event: a, key: '${event.id}'}]}",
        "when: {cron: '@daily', end: 2026-01-03T00:00Z}",
        "when: {exception: a.b, filter: {final: false}, attempts: every}",
        "key: ${message.id}\nwhen: {all: [{event: a}, {result: b.c}]}",
        "key: x-${event.payload.id?}\nwhen: {all: [{event: a}, {result: b.c}]}",
        "when: {changed: payload.n, of: {event: a, filter: {n: 1}}, initial: true}",
        "when: {count: {event: a, filter: {n: {in: [1, 2]}}}, at_least: 2, distinct: payload.n}",
    ],
)
def test_what_may_be_meant_is_not_doubted(text):
    assert said(text) == []


FIRING = [
    row[0]
    for table in vars(test_conditions).values()
    if isinstance(table, dict)
    for row in table.values()
    if isinstance(row, tuple) and len(row) == 4 and isinstance(row[0], str) and row[2]
]
"""Triggers of which the tables of conditions say when they fire."""


def test_what_fires_is_never_said_to_be_unable_to():
    assert len(FIRING) > 50
    assert [text for text in FIRING if NEVER in said(text)] == []


SCRIPT = (
    ("a", {"n": 1, "id": "x"}),
    ("b", {"n": 2, "id": "x"}),
    ("a", {"n": 2, "id": "x"}),
    ("b", {"n": 1, "id": "x"}),
    ("c", {"id": "x"}),
)


@pytest.mark.parametrize(
    "text",
    [text for text, expected in IMPOSSIBLE.values() if "event" in text]
    + [text for name, (text, _) in PARTIAL.items() if name.startswith("a veto on")],
)
def test_what_is_said_never_to_fire_does_not(text):
    machine = Machine(text)
    for at, (code, payload) in enumerate(SCRIPT * 3):
        machine.send(code, at, **payload)
    machine.tick(30 * 86_400)
    assert machine.ran == []


def test_the_hint_says_what_to_do():
    [doubt] = doubts(trigger("when: {status: a.b, is: sucess}"), NOW_MS)
    assert doubt.hint == "did you mean success?"


def test_triggers_that_share_an_id_are_named():
    one, other = trigger("when: {event: a}"), trigger("when: {event: b}")
    assert repeated([one, other, parse_trigger({"id": "u", "task": "x", "when": {"event": "a"}}), one]) == (1, 3)
