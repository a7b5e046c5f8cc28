"""Conditions that join others, in Python, say the same as in a file."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime

import pytest
import yaml

from stream_triggers.core import compose
from stream_triggers.core.builder import on_any_result, on_cron, on_event, on_exception, on_result, on_status
from stream_triggers.core.compose import (
    after,
    aggregate,
    all_of,
    any_of,
    at_least,
    calendar,
    changed,
    count,
    missing,
    not_,
    one_or_more,
    sequence,
    times,
)
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.errors import InvalidTrigger

A, B = on_event("a"), on_event("b")


@pytest.mark.parametrize(
    ("built", "written"),
    [
        (all_of(A, B, within="1h"), "{all: [{event: a}, {event: b}], within: 1h}"),
        (
            on_cron("@daily", exclude=calendar("sun", date(2026, 12, 25), datetime(2026, 12, 26, 8, tzinfo=UTC))),
            "{cron: '@daily', exclude: [sun, '2026-12-25', '2026-12-26']}",
        ),
        (all_of(A, not_(B, last="5m")), "{all: [{event: a}, {not: {event: b}, last: 5m}]}"),
        (
            all_of(on_event("a", name="x"), B, where=[{"left": "${x.payload.n}", "gt": 1}]),
            "{all: [{event: a, as: x}, {event: b}], where: [{left: '${x.payload.n}', gt: 1}]}",
        ),
        (any_of(A, on_cron("@daily")), "{any: [{event: a}, {cron: '@daily'}]}"),
        (at_least(1, A, B, within="1h"), "{at_least: 1, of: [{event: a}, {event: b}], within: 1h}"),
        (sequence(A, B, strict=True), "{sequence: [{event: a}, {event: b}], strict: true}"),
        (
            count(A, 3, within="10m", distinct="payload.u", consume="none"),
            "{count: {event: a}, at_least: 3, within: 10m, distinct: payload.u, consume: none}",
        ),
        (sequence(times(3, A), B), "{sequence: [{times: 3, of: {event: a}}, {event: b}]}"),
        (all_of(times((3, 5), A), B), "{all: [{times: [3, 5], of: {event: a}}, {event: b}]}"),
        (sequence(one_or_more(A), B), "{one_or_more: {event: a}, until: {event: b}}"),
        (one_or_more(A, until=B), "{one_or_more: {event: a}, until: {event: b}}"),
        (
            aggregate("sum", "payload.n", A, {"gt": 5}, within="1h", hold="5m", clear={"lt": 1}),
            "{aggregate: sum, value: payload.n, of: {event: a}, is: {gt: 5}, within: 1h, for: 5m, clear: {lt: 1}}",
        ),
        (
            changed("payload.s", A, before="x", to="y", initial=True),
            "{changed: payload.s, of: {event: a}, from: x, to: y, initial: true}",
        ),
        (after(A, "1h", unless=B), "{after: {event: a}, wait: 1h, unless: {event: b}}"),
        (missing(B, after=A, within="1h"), "{missing: {event: b}, after: {event: a}, within: 1h}"),
        (on_event("a").on_event("b").with_within("1h"), "{all: [{event: a}, {event: b}], within: 1h}"),
        (
            on_event("a", {"x": 1}, name="n", key="${event.key}", select="all", reuse=True),
            "{event: a, filter: {x: 1}, as: n, key: '${event.key}', select: all, reuse: true}",
        ),
        (on_status("t", "failed", name="n"), "{status: t, is: failed, as: n}"),
        (on_any_result("t", name="n"), "{result: t, as: n}"),
        (on_result("t", 5, name="n"), "{result: t, filter: {$: 5}, as: n}"),
        (on_exception("t", "E", name="n"), "{exception: t, types: E, as: n}"),
    ],
)
def test_each_function_says_what_its_word_says(built, written):
    assert built.build("t", "do.it") == parse_trigger({"id": "t", "task": "do.it", "when": yaml.safe_load(written)})


def test_settings_of_memory_and_flow_control():
    built = (
        on_event("a")
        .with_ttl("1d")
        .with_grace("5s")
        .with_reset("fire", on_event("b"), on_cron("@daily"))
        .with_on_timeout("orders.remind", {"v": "${event.id?}"})
        .with_state("reset")
        .with_flow(cooldown={"for": "1d"})
    )
    written = yaml.safe_load("""
        {id: t, task: do.it, when: {event: a}, ttl: 1d, grace: 5s, reset: [fire, {event: b}, {cron: "@daily"}],
         on_timeout: {task: orders.remind, args: {v: "${event.id?}"}}, state: reset, cooldown: {for: 1d}}
    """)
    assert built.build("t", "do.it") == parse_trigger(written)


def test_a_part_without_conditions_is_refused():
    with pytest.raises(InvalidTrigger, match="expected at least one condition, found none"):
        all_of(A, type(A)())


def test_the_example_of_the_module_is_so():
    assert doctest.testmod(compose).failed == 0
