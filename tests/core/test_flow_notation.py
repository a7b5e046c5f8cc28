"""Flow control in the words of a trigger file: what is read, what is refused, the normal form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.flow import FLOW_FIELDS, FREE, Flow, flow_json, parse_flow
from stream_triggers.core.flow.settings import (
    COUNT_MAX,
    DEPTH_MAX,
    HELD_MAX,
    Batch,
    CircuitBreaker,
    Collect,
    Cooldown,
    Debounce,
    Overlap,
    Rate,
    Throttle,
)
from stream_triggers.core.message import TIME_MS_MAX
from stream_triggers.errors import InvalidTrigger

EVERYTHING: dict[str, Any] = {
    "max_depth": 8,
    "root_budget": {"max": 100, "per": "1h"},
    "rate_limit": {"max": 5, "per": "1m"},
    "debounce": {"wait": "10s", "max_wait": "1m", "collect": "all"},
    "batch": {"max_size": 100, "max_wait": "30s"},
    "delay": "15m",
    "cooldown": {"for": "1d", "mode": "trailing", "collect": {"first": 3}},
    "throttle": {"max": 10, "per": "1s", "burst": 20, "max_queue": 500, "max_age": "10m"},
    "circuit_breaker": {"fires": {"max": 1000, "per": "1m"}, "failures": {"max": 5, "per": "10m"}, "for": "1h"},
    "overlap": {"policy": "buffer_all", "max": 10, "ttl": "2h"},
    "for_each": "${event.payload.lines}",
    "for_each_key": "sku",
    "expires": "1h30m",
}


def test_a_flow_is_read_into_its_values():
    assert parse_flow(EVERYTHING, "") == Flow(
        max_depth=8,
        root_budget=Rate(100, 3_600_000),
        rate_limit=Rate(5, 60_000),
        debounce=Debounce(10_000, 60_000, Collect("all", HELD_MAX)),
        batch=Batch(100, 30_000),
        delay_ms=900_000,
        cooldown=Cooldown(86_400_000, "trailing", Collect("first", 3)),
        throttle=Throttle(Rate(10, 1000), burst=20, max_queue=500, max_age_ms=600_000),
        circuit_breaker=CircuitBreaker(Rate(1000, 60_000), Rate(5, 600_000), 3_600_000),
        overlap=Overlap("buffer_all", 10, 7_200_000),
        for_each="${event.payload.lines}",
        for_each_key="sku",
        expires_ms=5_400_000,
    )


def test_a_full_flow_is_written_as_it_was_read():
    assert flow_json(parse_flow(EVERYTHING, "")) == EVERYTHING


def test_every_word_is_listed_in_its_order():
    assert tuple(flow_json(parse_flow(EVERYTHING, ""))) == FLOW_FIELDS


def test_without_any_word_nothing_is_set_and_nothing_written():
    assert (parse_flow({"id": "t", "when": {}}, ""), flow_json(FREE)) == (FREE, {})


@pytest.mark.parametrize(
    ("fields", "normal"),
    [
        ({"max_depth": 32}, {}),
        ({"overlap": "allow"}, {}),
        ({"overlap": {"policy": "allow"}}, {}),
        ({"overlap": {"policy": "skip", "ttl": "1h"}}, {"overlap": "skip"}),
        ({"overlap": {"policy": "skip", "ttl": "60s"}}, {"overlap": {"policy": "skip", "ttl": "1m"}}),
        ({"overlap": {"policy": "buffer_all", "max": 1000}}, {"overlap": "buffer_all"}),
        ({"debounce": {"wait": "60s", "collect": "latest"}}, {"debounce": {"wait": "1m"}}),
        ({"cooldown": {"for": "24h", "mode": "drop"}}, {"cooldown": {"for": "1d"}}),
        (
            {"cooldown": {"for": "24h", "mode": "trailing", "collect": "latest"}},
            {"cooldown": {"for": "1d", "mode": "trailing"}},
        ),
        (
            {"throttle": {"max": 3, "per": "1s", "burst": 3, "max_queue": 1000}},
            {"throttle": {"max": 3, "per": "1s"}},
        ),
        (
            {"debounce": {"wait": "60s", "max_wait": "60s"}},
            {"debounce": {"wait": "1m", "max_wait": "1m"}},
        ),
        ({"delay": "90m"}, {"delay": "1h30m"}),
        ({"for_each": "${a}", "for_each_key": "$.a.b"}, {"for_each": "${a}", "for_each_key": "a.b"}),
    ],
)
def test_equal_flows_have_one_normal_form(fields: dict[str, Any], normal: dict[str, Any]):
    assert flow_json(parse_flow(fields, "")) == normal


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"max_depth": 0}, "t.max_depth: expected an integer from 1 to 1000, found 0"),
        ({"max_depth": True}, "t.max_depth: expected an integer from 1 to 1000, found true"),
        ({"rate_limit": 5}, "t.rate_limit: expected an object with max, per, found 5"),
        ({"rate_limit": {"per": "1m"}}, "t.rate_limit.max: expected an integer from 1 to 1000000, found nothing"),
        ({"rate_limit": {"max": 1}}, 't.rate_limit.per: expected a duration such as "1m", found nothing'),
        (
            {"rate_limit": {"max": 1.5, "per": "1m"}},
            "t.rate_limit.max: expected an integer from 1 to 1000000, found 1.5",
        ),
        ({"debounce": {}}, 't.debounce.wait: expected a duration such as "10s", found nothing'),
        (
            {"debounce": {"wait": "10s", "max_wait": "9s"}},
            "t.debounce.max_wait: expected at least wait, which is 10s, found 9s",
        ),
        (
            {"debounce": {"wait": "10s", "collect": "some"}},
            't.debounce.collect: expected latest, all or {first: 3}, found "some"',
        ),
        (
            {"debounce": {"wait": "10s", "collect": {"first": 1001}}},
            "t.debounce.collect.first: expected an integer from 1 to 1000, found 1001",
        ),
        ({"batch": {"max_wait": "1s"}}, "t.batch.max_size: expected an integer from 1 to 1000, found nothing"),
        ({"batch": {"max_size": 5}}, 't.batch.max_wait: expected a duration such as "30s", found nothing'),
        ({"cooldown": {"for": "1s", "mode": "x"}}, 't.cooldown.mode: expected one of drop, trailing, found "x"'),
        ({"cooldown": {"for": "1s", "collect": "all"}}, "t.cooldown.collect: nothing is collected in the mode drop"),
        (
            {"throttle": {"max": 1, "per": "1s", "burst": 0}},
            "t.throttle.burst: expected an integer from 1 to 1000000, found 0",
        ),
        (
            {"throttle": {"max": 1, "per": "1s", "max_queue": 1001}},
            "t.throttle.max_queue: expected an integer from 1 to 1000, found 1001",
        ),
        (
            {"circuit_breaker": {"for": "1h"}},
            "t.circuit_breaker: expected fires or failures, each with max and per, found an object",
        ),
        (
            {"circuit_breaker": {"failures": {"max": 1001, "per": "1m"}}},
            "t.circuit_breaker.failures.max: expected an integer from 1 to 1000, found 1001",
        ),
        ({"overlap": "wait"}, 't.overlap: expected one of allow, skip, buffer_one, buffer_all, found "wait"'),
        ({"overlap": {"policy": "skip", "max": 2}}, "t.overlap.max: skip has no max"),
        ({"overlap": {"policy": "allow", "ttl": "1s"}}, "t.overlap.ttl: allow waits for no run"),
        (
            {"overlap": {"max": 2}},
            "t.overlap.policy: expected one of allow, skip, buffer_one, buffer_all, found nothing",
        ),
        (
            {"for_each": "lines"},
            't.for_each: expected a reference to a list such as "${event.payload.lines}", found "lines"',
        ),
        ({"for_each_key": "sku"}, "t.for_each_key: expected for_each beside it, found nothing"),
        (
            {"for_each": "${a}", "for_each_key": 1},
            't.for_each_key: expected the path of a value in an element, such as "sku", found 1',
        ),
        (
            {"for_each": "${a}", "for_each_key": "a..b"},
            "t.for_each_key: expected names joined by single dots, found an empty name",
        ),
        (
            {"expires": 5},
            't.expires: expected a duration such as "90s", "2h" or "1d12h", at most "3650d", found 5',
        ),
        (
            {"debounce": {"wait": "1s", "waits": "2s"}},
            "t.debounce.waits: unknown field, expected one of wait, max_wait, collect",
        ),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], problem: str):
    with pytest.raises(InvalidTrigger) as raised:
        parse_flow(fields, "t")
    assert raised.value.message == problem


def test_a_run_expires_some_time_after_its_release():
    flow = parse_flow({"expires": "1m"}, "")
    assert (flow.expires_at(5), FREE.expires_at(5)) == (60_005, None)
    assert flow.expires_at(TIME_MS_MAX) == TIME_MS_MAX


counts = st.integers(1, COUNT_MAX)
few = st.integers(1, HELD_MAX)
spans = st.integers(1, 10**9)
collects = st.sampled_from([Collect(), Collect("all", HELD_MAX)]) | st.builds(Collect, st.just("first"), few)
rates = st.builds(Rate, counts, spans)
held_rates = st.builds(Rate, few, spans)
flows = st.builds(
    Flow,
    max_depth=st.integers(1, DEPTH_MAX),
    root_budget=st.none() | rates,
    rate_limit=st.none() | rates,
    debounce=st.none() | st.builds(Debounce, spans, st.none() | st.just(10**9), collects),
    batch=st.none() | st.builds(Batch, few, spans),
    delay_ms=st.none() | spans,
    cooldown=st.none()
    | st.builds(Cooldown, spans)
    | st.builds(Cooldown, spans, mode=st.just("trailing"), collect=collects),
    throttle=st.none() | st.builds(Throttle, rates, counts, few, st.none() | spans),
    circuit_breaker=st.none()
    | st.builds(CircuitBreaker, rates, st.none() | held_rates, st.none() | spans)
    | st.builds(CircuitBreaker, st.none(), held_rates, st.none() | spans),
    overlap=st.sampled_from([Overlap(), Overlap("skip"), Overlap("buffer_one", ttl_ms=5)])
    | st.builds(Overlap, st.just("buffer_all"), few, spans),
    for_each=st.just("${event.payload.lines}"),
    for_each_key=st.none() | st.sampled_from(["sku", "a.b", "$.any"]),
    expires_ms=st.none() | spans,
)


@given(flows)
def test_what_is_written_reads_back_equal(flow: Flow):
    assert parse_flow(flow_json(flow), "") == flow
