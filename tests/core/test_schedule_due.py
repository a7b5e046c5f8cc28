"""What of a schedule fires: catch-up after a stop, jitter, and runs that are counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.instant import instant_text, parse_instant
from stream_triggers.core.schedule import Due, Skipped, after, between, due, effective_ms, parse_schedule

HOURLY = {"cron": "0 * * * *"}


def ms(text: str) -> int:
    return parse_instant(f"2026-03-01T{text}Z", "")


def made(written: dict[str, Any], **options: Any) -> Any:
    return parse_schedule(written | options, "when")


def times(instants: tuple[int, ...]) -> list[str]:
    return [instant_text(at_ms)[11:-1] for at_ms in instants]


def at(now: str, last: str, catchup: Any, **options: Any) -> Due:
    schedule = made(HOURLY, catchup=catchup, **options)
    return due(schedule, "t", last_ms=ms(last), now_ms=ms(now), runs=0)


CATCH_UP = [
    ("none", "04:00:00.001", ["04:00"], ("02:00", "03:00", 2)),
    ("none", "04:01", ["04:00"], ("02:00", "03:00", 2)),
    ("none", "04:01:00.001", [], ("02:00", "04:00", 3)),
    ("none", "02:00", ["02:00"], None),
    ("none", "02:30", [], ("02:00", "02:00", 1)),
    ("latest", "02:00", ["02:00"], None),
    ("latest", "02:59", ["02:00"], None),
    ("latest", "04:30", ["04:00"], ("02:00", "03:00", 2)),
    ({"all": 1}, "04:30", ["04:00"], ("02:00", "03:00", 2)),
    ({"all": 2}, "04:30", ["03:00", "04:00"], ("02:00", "02:00", 1)),
    ({"all": 3}, "04:30", ["02:00", "03:00", "04:00"], None),
    ({"all": 9}, "04:30", ["02:00", "03:00", "04:00"], None),
    ({"window": "29m"}, "04:30", [], ("02:00", "04:00", 3)),
    ({"window": "30m"}, "04:30", ["04:00"], ("02:00", "03:00", 2)),
    ({"window": "90m"}, "04:30", ["03:00", "04:00"], ("02:00", "02:00", 1)),
    ({"window": "1d"}, "04:30", ["02:00", "03:00", "04:00"], None),
]


@pytest.mark.parametrize(("catchup", "now", "fire", "skipped"), CATCH_UP)
def test_row_d3_what_is_due_at_once_is_decided_by_catchup(catchup, now, fire, skipped):
    found = at(now, "01:30", catchup)
    expected = skipped and Skipped(ms(skipped[0]), ms(skipped[1]), skipped[2])
    assert (times(found.fire), found.skipped, found.is_completed) == (fire, expected, False)


@pytest.mark.parametrize("catchup", ["none", "latest", {"all": 5}, {"window": "1h"}])
def test_row_d3_what_has_been_decided_is_not_due_again(catchup):
    first = at("04:30", "01:30", catchup)
    again = due(made(HOURLY, catchup=catchup), "t", last_ms=first.last_ms, now_ms=ms("04:59"), runs=0)
    assert (first.last_ms, again) == (ms("04:00"), Due((), None, is_completed=False, last_ms=ms("04:00")))


def test_row_d3_a_new_schedule_does_not_fire_before_its_next_instant():
    assert at("01:30", "01:30", {"all": 9}).fire == ()
    assert at("02:00", "02:00", {"all": 9}).fire == ()
    assert times(at("03:00", "02:00", {"all": 9}).fire) == ["03:00"]


@pytest.mark.parametrize(
    ("catchup", "fired"), [("none", 1), ("latest", 1), ({"all": 7}, 7), ({"window": "1m"}, 61), ({"all": 1000}, 1000)]
)
def test_row_d3_fifty_years_away_are_decided_at_once_and_not_counted(catchup, fired):
    schedule = made({"cron": "* * * * * *"}, catchup=catchup)
    now_ms = ms("00:00")
    found = due(schedule, "t", last_ms=0, now_ms=now_ms, runs=0)
    assert (len(found.fire), found.fire[-1], found.last_ms) == (fired, now_ms, now_ms)
    assert found.skipped == Skipped(1000, found.fire[0] - 1000, None)


def test_row_d3_what_is_too_much_for_one_call_is_due_by_the_next_ones():
    schedule = made({"every": "1s"}, catchup={"window": "1h"})
    now_ms, last_ms, fired = ms("12:00"), ms("00:00"), []
    for expected in (1000, 1000, 1000, 601, 0):
        found = due(schedule, "t", last_ms=last_ms, now_ms=now_ms, runs=0)
        assert len(found.fire) == expected
        fired += found.fire
        last_ms = found.last_ms
    assert fired == list(range(ms("11:00"), now_ms + 1, 1000))


def test_row_d3_skipped_instants_are_counted_up_to_100():
    schedule = made({"every": "1s"})
    assert due(schedule, "t", last_ms=0, now_ms=101_000, runs=0).skipped == Skipped(1000, 100_000, 100)
    assert due(schedule, "t", last_ms=0, now_ms=102_000, runs=0).skipped == Skipped(1000, 101_000, None)


def test_row_d4_jitter_is_the_same_everywhere():
    schedule = made(HOURLY, jitter="10m")
    assert [effective_ms(schedule, "ship", ms(at)) - ms(at) for at in ("01:00", "02:00", "03:00")] == [
        549_194,
        381_265,
        195_441,
    ]
    assert effective_ms(made(HOURLY), "ship", ms("01:00")) == ms("01:00")


@given(st.text("abc-.", min_size=1), st.integers(0, 2**40))
def test_row_d4_jitter_spreads_triggers_and_keeps_their_order(trigger_id, from_ms):
    schedule = made({"every": "1m"}, jitter="1h")
    first = after(schedule, from_ms)
    second = after(schedule, first)
    assert first <= effective_ms(schedule, trigger_id, first) < second <= effective_ms(schedule, trigger_id, second)


def test_row_d4_many_triggers_are_spread_evenly():
    schedule = made(HOURLY, jitter="10m")
    offsets = [effective_ms(schedule, f"t{number}", ms("01:00")) - ms("01:00") for number in range(1000)]
    by_minute = [sum(minute == offset // 60_000 for offset in offsets) for minute in range(10)]
    assert sum(by_minute) == 1000
    assert all(60 < count < 140 for count in by_minute)


@pytest.mark.parametrize("catchup", ["none", "latest", {"all": 5}, {"window": "1ms"}])
def test_row_d4_an_instant_is_due_when_its_jitter_is_over(catchup):
    schedule = made(HOURLY, jitter="30m", catchup=catchup)
    fires_ms = effective_ms(schedule, "t", ms("02:00"))
    early = due(schedule, "t", last_ms=ms("01:30"), now_ms=fires_ms - 1, runs=0)
    assert (early.fire, early.last_ms) == ((), ms("01:30"))
    assert due(schedule, "t", last_ms=ms("01:30"), now_ms=fires_ms, runs=0).fire == (ms("02:00"),)


@pytest.mark.parametrize(
    ("max_runs", "runs", "fire", "is_completed"),
    [
        (5, 0, ["02:00", "03:00", "04:00"], False),
        (5, 2, ["02:00", "03:00", "04:00"], True),
        (5, 3, ["02:00", "03:00"], True),
        (5, 4, ["02:00"], True),
        (5, 5, [], True),
        (5, 6, [], True),
    ],
)
def test_row_d5_after_its_runs_a_schedule_is_completed(max_runs, runs, fire, is_completed):
    schedule = made(HOURLY, catchup={"all": 9}, max_runs=max_runs)
    found = due(schedule, "t", last_ms=ms("01:30"), now_ms=ms("04:30"), runs=runs)
    assert (times(found.fire), found.is_completed) == (fire, is_completed)


@pytest.mark.parametrize(
    ("now", "fire", "is_completed"),
    [("02:30", ["02:00"], False), ("03:30", ["03:00"], True), ("09:30", ["03:00"], True)],
)
def test_row_d5_after_its_end_a_schedule_is_completed(now, fire, is_completed):
    found = at(now, "01:30", "latest", end="2026-03-01T03:00Z")
    assert (times(found.fire), found.is_completed) == (fire, is_completed)


def test_row_a2_a_single_instant_completes_itself():
    schedule = made({"at": "2026-03-01T08:00Z"})
    assert due(schedule, "t", last_ms=0, now_ms=ms("07:59"), runs=0) == Due((), None, is_completed=False, last_ms=0)
    found = due(schedule, "t", last_ms=0, now_ms=ms("08:00"), runs=0)
    assert found == Due((ms("08:00"),), None, is_completed=True, last_ms=ms("08:00"))
    again = due(schedule, "t", last_ms=found.last_ms, now_ms=ms("09:00"), runs=1)
    assert again == Due((), None, is_completed=True, last_ms=ms("08:00"))


def test_row_d8_an_instant_that_fires_is_one_of_the_range():
    schedule = made(HOURLY, catchup={"all": 9})
    found = due(schedule, "t", last_ms=ms("01:00"), now_ms=ms("03:00"), runs=0)
    assert found.fire == tuple(between(schedule, ms("01:00"), ms("03:00")))


CATCH_UPS = st.sampled_from(["none", "latest", {"all": 3}, {"window": "50m"}, {"window": "3h"}])


@settings(deadline=None)
@given(
    st.sampled_from([HOURLY, {"cron": "*/7 1-3 * * *", "zone": "Europe/Berlin"}, {"every": "11m"}]),
    CATCH_UPS,
    st.sampled_from([{}, {"jitter": "5m"}, {"jitter": "2h"}]),
    st.lists(st.integers(1, 20_000_000), max_size=8),
)
def test_row_d3_each_instant_that_comes_is_fired_or_skipped_once_and_in_order(written, catchup, jitter, steps):
    schedule = made(written, catchup=catchup, **jitter)
    start_ms = last_ms = now_ms = parse_instant("2026-10-24T22:00Z", "")
    decided: list[int] = []
    for step in steps:
        now_ms += step
        found = due(schedule, "t", last_ms=last_ms, now_ms=now_ms, runs=0)
        if found.skipped:
            decided += between(schedule, found.skipped.first_ms - 1, found.skipped.last_ms)
            assert found.skipped.count in (None, len(list(between(schedule, last_ms, found.skipped.last_ms))))
        decided += found.fire
        last_ms = found.last_ms
    come = [at_ms for at_ms in between(schedule, start_ms, now_ms) if effective_ms(schedule, "t", at_ms) <= now_ms]
    assert decided == come
