"""Durations and instants as text."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.duration import DURATION_MAX_MS, duration_text, parse_duration
from stream_triggers.core.instant import INSTANT_END_MS, instant_text, local_text, parse_instant, parse_local
from stream_triggers.errors import InvalidTrigger


@pytest.mark.parametrize(
    ("text", "duration_ms", "canonical"),
    [
        ("1ms", 1, "1ms"),
        ("90s", 90_000, "1m30s"),
        ("90m", 5_400_000, "1h30m"),
        ("2h", 7_200_000, "2h"),
        ("24h", 86_400_000, "1d"),
        ("1d12h", 129_600_000, "1d12h"),
        ("1d2h3m4s5ms", 93_784_005, "1d2h3m4s5ms"),
        ("0h5m", 300_000, "5m"),
        ("3650d", DURATION_MAX_MS, "3650d"),
    ],
)
def test_a_duration_has_this_length_and_this_canonical_text(text, duration_ms, canonical):
    assert parse_duration(text, "every") == duration_ms
    assert duration_text(duration_ms) == canonical


@pytest.mark.parametrize(
    "text", ["", "0s", "5", "m", "5 m", "-5m", "1.5h", "5m1h", "5m5m", "5M", "1w", "3651d", "٣s", 5]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidTrigger, match=r'^every: expected a duration such as "90s", "2h" or "1d12h", at most'):
        parse_duration(text, "every")


@given(st.integers(1, DURATION_MAX_MS))
def test_the_text_of_any_duration_reads_back_equal(duration_ms):
    assert parse_duration(duration_text(duration_ms), "") == duration_ms


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1970-01-01T00:00Z", "1970-01-01T00:00Z"),
        ("2026-03-01T08:00Z", "2026-03-01T08:00Z"),
        ("2026-03-01t08:00:00z", "2026-03-01T08:00Z"),
        ("2026-03-01T08:00+01:00", "2026-03-01T07:00Z"),
        ("2026-03-01T08:00:05-05:30", "2026-03-01T13:30:05Z"),
        ("2026-03-01T08:00:05.25Z", "2026-03-01T08:00:05.250Z"),
    ],
)
def test_an_instant_has_one_canonical_text(text, canonical):
    assert instant_text(parse_instant(text, "start")) == canonical


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-01T08:00", "2026-03-01T07:00Z"),
        ("2026-03-29T02:30", "2026-03-29T01:30Z"),
        ("2026-10-25T02:30", "2026-10-25T00:30Z"),
        ("2026-10-25T02:30Z", "2026-10-25T02:30Z"),
    ],
)
def test_an_instant_without_an_offset_is_a_local_time_of_the_zone(text, instant):
    assert instant_text(parse_instant(text, "start", ZoneInfo("Europe/Berlin"))) == instant


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-03-01", "2026-03-01 08:00Z", "20260301T0800Z", "2026-W10-1T08:00Z", "2026-03-01T24:01Z"),
        *("1969-12-31T23:59Z", "2200-01-01T00:00Z", "2026-03-01T08:00+25:00", "2026-03-01T08:00:00.1234Z", None, 5),
    ],
)
def test_what_is_no_instant_is_refused(text):
    with pytest.raises(InvalidTrigger, match=r"^start: expected an instant from 1970 to 2199 such as"):
        parse_instant(text, "start")


def test_without_a_zone_an_instant_says_its_offset():
    with pytest.raises(InvalidTrigger) as refused:
        parse_instant("2026-03-01T08:00", "start")
    assert refused.value.hint == "add Z for UTC, or an offset such as +01:00"


def test_a_local_time_has_no_offset():
    assert local_text(parse_local("2026-03-01T08:00:00", "at")) == "2026-03-01T08:00"
    with pytest.raises(InvalidTrigger) as refused:
        parse_local("2026-03-01T08:00Z", "at")
    assert refused.value.hint == "leave out the offset, or the zone"


@given(st.integers(0, INSTANT_END_MS - 1))
def test_the_text_of_any_instant_reads_back_equal(instant_ms):
    assert parse_instant(instant_text(instant_ms), "") == instant_ms
