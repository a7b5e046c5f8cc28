"""The instants of schedules: each policy with its literal instants, and what holds for any schedule."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream_triggers.core.instant import instant_text, local_text, parse_instant
from stream_triggers.core.schedule import (
    Schedule,
    after,
    before,
    between,
    explained,
    in_words,
    parse_schedule,
    parse_zone,
    schedule_json,
)
from stream_triggers.errors import InvalidTrigger

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"


def ms(text: str) -> int:
    return parse_instant(text, "")


def instants(written: dict[str, Any], from_: str, until: str) -> list[str]:
    """The instants from one up to another."""
    return [instant_text(at_ms) for at_ms in between(parse_schedule(written, "when"), ms(from_) - 1, ms(until))]


# Cron expressions in zones


def test_row_a1_an_expression_fires_once_for_each_nominal_instant():
    assert instants({"cron": "0 9 * * mon-fri"}, "2026-01-02T00:00Z", "2026-01-06T12:00Z") == [
        "2026-01-02T09:00Z",
        "2026-01-05T09:00Z",
        "2026-01-06T09:00Z",
    ]


def test_row_d1_a_schedule_keeps_to_the_local_time_of_its_zone():
    assert instants({"cron": "0 9 1 * *", "zone": "America/New_York"}, "2026-02-01T00:00Z", "2026-04-30T00:00Z") == [
        "2026-02-01T14:00Z",
        "2026-03-01T14:00Z",
        "2026-04-01T13:00Z",
    ]


@pytest.mark.parametrize("zone", ["UTC", BERLIN, LORD_HOWE])
def test_row_d1_a_zone_is_a_name_of_the_database(zone):
    assert parse_zone(zone, "zone") == zone


@pytest.mark.parametrize("zone", ["", "Mars", "Europe", "../UTC", "/UTC", "UTC\0", None, 5])
def test_row_d1_what_is_no_zone_is_refused(zone):
    with pytest.raises(InvalidTrigger, match='zone: expected the name of a time zone, such as "Europe/Berlin", found'):
        parse_zone(zone, "zone")


GAPS = [
    (BERLIN, "30 2 * * *", None, ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
    (BERLIN, "30 2 * * *", "shift", ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
    (BERLIN, "30 2 * * *", "skip", ["2026-03-28T01:30Z", "2026-03-30T00:30Z"]),
    (BERLIN, "30 2 * * *", "before", ["2026-03-28T01:30Z", "2026-03-29T00:59Z", "2026-03-30T00:30Z"]),
    (BERLIN, "*/15 2 29 3 *", "shift", ["2026-03-29T01:00Z"]),
    (BERLIN, "0 2,3 29 3 *", "shift", ["2026-03-29T01:00Z"]),
    (BERLIN, "59 1,2 29 3 *", "before", ["2026-03-29T00:59Z"]),
    (BERLIN, "58 1,2 29 3 *", "before", ["2026-03-29T00:58Z", "2026-03-29T00:59Z"]),
    (BERLIN, "0 0-6/2 29 3 *", None, [f"2026-03-{at}Z" for at in ("28T23:00", "29T01:00", "29T02:00", "29T04:00")]),
]


@pytest.mark.parametrize(("zone", "expression", "gap", "expected"), GAPS)
def test_row_d2_a_local_time_that_is_left_out(zone, expression, gap, expected):
    written = {"cron": expression, "zone": zone} | ({"gap": gap} if gap else {})
    assert instants(written, "2026-03-28T00:00Z", "2026-03-30T00:30Z") == expected


def test_row_d2_a_gap_may_have_seconds_and_may_be_a_day():
    monrovia = {"cron": "0 0 7 1 *", "zone": "Africa/Monrovia"}
    assert instants(monrovia, "1972-01-01T00:00Z", "1972-12-31T00:00Z") == ["1972-01-07T00:44:30Z"]
    apia = {"cron": "0 12 * * *", "zone": "Pacific/Apia"}
    assert instants(apia, "2011-12-29T00:00Z", "2011-12-31T00:00Z") == [
        "2011-12-29T22:00Z",  # the 29th at noon
        "2011-12-30T10:00Z",  # the 30th, which is not there, is the start of the 31st
        "2011-12-30T22:00Z",
    ]


FOLDS = [
    (BERLIN, "30 2 25 10 *", None, ["2026-10-25T00:30Z"]),
    (BERLIN, "30 2 25 10 *", "first", ["2026-10-25T00:30Z"]),
    (BERLIN, "30 2 25 10 *", "last", ["2026-10-25T01:30Z"]),
    (BERLIN, "30 2 25 10 *", "both", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
    (BERLIN, "30 0-23 25 10 *", None, [f"2026-10-25T0{hour}:30Z" for hour in (0, 1, 2)]),
    (BERLIN, "30 1-3 25 10 *", None, ["2026-10-25T00:30Z", "2026-10-25T02:30Z"]),
    (BERLIN, "30 * 25 10 *", None, [f"2026-10-25T0{hour}:30Z" for hour in (0, 1, 2)]),
    (BERLIN, "30 */2 25 10 *", None, ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
    (BERLIN, "30 * 25 10 *", "first", ["2026-10-25T00:30Z", "2026-10-25T02:30Z"]),
    (BERLIN, "30 * 25 10 *", "last", ["2026-10-25T01:30Z", "2026-10-25T02:30Z"]),
]


@pytest.mark.parametrize(("zone", "expression", "fold", "expected"), FOLDS)
def test_row_d2_a_local_time_that_comes_twice(zone, expression, fold, expected):
    written = {"cron": expression, "zone": zone} | ({"fold": fold} if fold else {})
    assert instants(written, "2026-10-25T00:00Z", "2026-10-25T02:30Z") == expected


def test_row_d2_a_change_of_30_minutes_has_both_or_one_of_its_half_hours():
    forth = {"cron": "15 2 4 10 *", "zone": LORD_HOWE}
    assert instants(forth, "2026-10-03T12:00Z", "2026-10-04T12:00Z") == ["2026-10-03T15:30Z"]
    back = {"cron": "*/15 1 5 4 *", "zone": LORD_HOWE}
    assert instants(back, "2026-04-04T12:00Z", "2026-04-05T12:00Z") == [
        f"2026-04-04T14:{minute:02}Z" for minute in (0, 15, 30, 45)
    ]
    both = instants(back | {"fold": "both"}, "2026-04-04T12:00Z", "2026-04-05T12:00Z")
    assert both == [f"2026-04-04T{at}Z" for at in ("14:00", "14:15", "14:30", "14:45", "15:00", "15:15")]


# Periods and single instants


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"every": "6h"}, ["2026-03-29T00:00Z", "2026-03-29T06:00Z", "2026-03-29T12:00Z"]),
        ({"every": "6h", "anchor": "2026-03-29T01:00Z"}, ["2026-03-29T01:00Z", "2026-03-29T07:00Z"]),
        (
            {"every": "6h", "anchor": "2030-01-01T07:00+02:00"},
            [f"2026-03-{at}:00Z" for at in ("28T23", "29T05", "29T11")],
        ),
        ({"every": "7h"}, ["2026-03-29T05:00Z", "2026-03-29T12:00Z"]),
        ({"every": "6h", "exclude": ["2026-03-29"]}, []),
        (
            {"every": "6h", "exclude": ["2026-03-28"], "zone": BERLIN},
            [f"2026-03-29T{at}:00Z" for at in ("00", "06", "12")],
        ),
    ],
)
def test_row_a2_a_period_is_counted_in_utc_from_its_anchor(written, expected):
    assert instants(written, "2026-03-28T23:00Z", "2026-03-29T12:00Z") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"at": "2026-03-01T08:00Z"}, ["2026-03-01T08:00Z"]),
        ({"at": "2026-03-01T08:00:00.5+01:00"}, ["2026-03-01T07:00:00.500Z"]),
        ({"at": "2026-03-01T08:00", "zone": BERLIN}, ["2026-03-01T07:00Z"]),
        ({"at": "2026-03-29T02:30", "zone": BERLIN}, ["2026-03-29T01:00Z"]),
        ({"at": "2026-03-29T02:30", "zone": BERLIN, "gap": "before"}, ["2026-03-29T00:59Z"]),
        ({"at": "2026-10-25T02:30", "zone": BERLIN}, ["2026-10-25T00:30Z"]),
        ({"at": "2026-10-25T02:30", "zone": BERLIN, "fold": "last"}, ["2026-10-25T01:30Z"]),
        ({"at": "2026-12-25T08:00Z", "exclude": ["2026-12-25"], "on_excluded": "next"}, ["2026-12-26T08:00Z"]),
    ],
)
def test_row_a2_a_single_instant_is_there_once(written, expected):
    assert instants(written, "1970-01-01T00:00Z", "2199-12-31T00:00Z") == expected


# Limits


def test_row_d5_start_and_end_belong_to_a_schedule():
    written = {"every": "1h", "start": "2026-01-01T02:00Z", "end": "2026-01-01T04:00Z"}
    assert instants(written, "1970-01-01T00:00Z", "2199-12-31T00:00Z") == [
        "2026-01-01T02:00Z",
        "2026-01-01T03:00Z",
        "2026-01-01T04:00Z",
    ]


def test_row_d5_limits_may_be_local_times_of_the_zone():
    schedule = parse_schedule({"cron": "@daily", "zone": BERLIN, "start": "2026-07-01T00:00"}, "when")
    assert schedule_json(schedule)["start"] == "2026-06-30T22:00Z"


# Calendars

CHRISTMAS = ["2026-12-24", "2026-12-25", "2026-12-26"]


@pytest.mark.parametrize(
    ("written", "days"),
    [
        ({"cron": "0 9 * * *", "exclude": CHRISTMAS}, [23, 27, 28]),
        ({"cron": "0 9 25 * *", "exclude": CHRISTMAS, "on_excluded": "next"}, [27]),
        ({"cron": "0 9 25 * *", "exclude": CHRISTMAS, "on_excluded": "previous"}, [23]),
        ({"cron": "0 9 * * *", "exclude": CHRISTMAS, "on_excluded": "next"}, [23, 27, 28]),
        ({"cron": "0 9 * * *", "exclude": CHRISTMAS, "on_excluded": "previous"}, [23, 27, 28]),
        ({"cron": "0 9 * * *", "only": CHRISTMAS}, [24, 25, 26]),
        ({"cron": "0 9 23 * *", "only": CHRISTMAS, "on_excluded": "next"}, [24]),
        ({"cron": "0 9 * * *", "exclude": ["wed", "sat", "sun"]}, [24, 25, 28]),
        ({"cron": "0 9 24 * *", "exclude": ["thu", "fri", "sat", "sun"], "on_excluded": "next"}, [28]),
        ({"cron": "0 9 27 * *", "exclude": ["2026-12-24", "fri", "sat", "sun"], "on_excluded": "previous"}, [23]),
        ({"cron": "0 9 28 * *", "only": CHRISTMAS, "on_excluded": "previous"}, [26]),
    ],
)
def test_row_d6_a_date_that_does_not_count(written, days):
    expected = [f"2026-12-{day}T09:00Z" for day in days]
    assert instants(written, "2026-12-23T00:00Z", "2026-12-28T12:00Z") == expected


def test_row_d6_dates_are_those_of_the_zone():
    written = {"cron": "30 0 * * *", "zone": BERLIN, "exclude": ["2026-12-25"]}
    assert instants(written, "2026-12-23T12:00Z", "2026-12-26T12:00Z") == ["2026-12-23T23:30Z", "2026-12-25T23:30Z"]


def test_row_d6_an_instant_that_moves_keeps_its_local_time():
    written = {"cron": "30 2 28 3 *", "zone": BERLIN, "exclude": ["2026-03-28"], "on_excluded": "next"}
    assert instants(written, "2026-03-28T00:00Z", "2026-03-30T00:00Z") == ["2026-03-29T01:00Z"]  # 02:30 is left out


def test_row_d6_an_instant_moves_to_a_day_that_begins_after_the_one_asked_from():
    written = {"cron": "0 9 * * *", "exclude": CHRISTMAS, "on_excluded": "next"}
    assert instants(written, "2026-12-25T12:00Z", "2026-12-27T12:00Z") == ["2026-12-27T09:00Z"]


def test_row_d6_an_instant_moves_no_farther_than_31_days():
    written = {"cron": "0 9 1 1 *", "only": ["2026-02-01"], "on_excluded": "next"}
    assert instants(written, "2025-01-01T00:00Z", "2027-01-01T00:00Z") == ["2026-02-01T09:00Z"]
    with pytest.raises(InvalidTrigger, match="expected a schedule that comes due, found one that is left no instant"):
        parse_schedule(written | {"only": ["2026-02-02"]}, "when")


DATES = [date(2026, 1, 1) + timedelta(days=number) for number in range(120)]


@settings(deadline=None, max_examples=50)
@given(
    st.sets(st.sampled_from(DATES), min_size=1, max_size=60),
    st.sets(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), max_size=6),
    st.sampled_from(["exclude", "only"]),
    st.sampled_from(["skip", "next", "previous"]),
    st.sampled_from(["0 9 * * *", "0 9,15 */2 * *", "0 9 1,15 * mon", "30 1 L * *"]),
)
def test_row_d6_any_calendar_agrees_with_looking_at_every_day(dates, weekdays, word, on_excluded, expression):
    plain = parse_schedule({"cron": expression}, "when")
    weekdays = weekdays if word == "exclude" else set()
    schedule = made({"cron": expression, word: [*weekdays, *map(str, dates)], "on_excluded": on_excluded})
    is_excluded = lambda day: day in dates or day.strftime("%a").lower() in weekdays  # noqa: E731
    counts = (lambda day: not is_excluded(day)) if word == "exclude" else (lambda day: day in dates)
    expected = set()
    step = {"next": 1, "previous": -1}.get(on_excluded, 0)
    for at_ms in between(plain, ms("2025-11-01T00:00Z"), ms("2026-07-01T00:00Z")):
        day = date(1970, 1, 1) + timedelta(days=at_ms // 86_400_000)
        reach = range(32 if step else 1)
        moved = next((number * step for number in reach if counts(day + timedelta(days=number * step))), None)
        if moved is not None:
            expected.add(at_ms + moved * 86_400_000)
    low, high = ms("2025-12-15T00:00Z"), ms("2026-05-15T00:00Z")
    assert list(between(schedule, low, high)) == sorted(at for at in expected if low < at <= high)


# Backfill and preview


def test_row_d8_a_range_has_the_instants_after_its_start_and_up_to_its_end():
    schedule = parse_schedule({"every": "1h"}, "when")
    found = between(schedule, ms("2026-01-01T00:00Z"), ms("2026-01-01T02:00Z"))
    assert [instant_text(at_ms) for at_ms in found] == ["2026-01-01T01:00Z", "2026-01-01T02:00Z"]


@pytest.mark.parametrize(
    ("written", "instant", "local", "adjusted"),
    [
        ({"cron": "30 2 * * *"}, "2026-03-28T01:30Z", "2026-03-28T02:30", []),
        ({"cron": "30 2 * * *"}, "2026-03-29T01:00Z", "2026-03-29T03:00", [("gap", "2026-03-29T02:30")]),
        ({"cron": "*/20 * * * *"}, "2026-03-29T01:00Z", "2026-03-29T03:00", []),
        (
            {"cron": "30 2 * * *", "gap": "before"},
            "2026-03-29T00:59Z",
            "2026-03-29T01:59",
            [("gap", "2026-03-29T02:30")],
        ),
        ({"cron": "30 2 * * *"}, "2026-10-25T00:30Z", "2026-10-25T02:30", [("first", "2026-10-25T02:30")]),
        ({"cron": "30 * * * *"}, "2026-10-25T01:30Z", "2026-10-25T02:30", [("second", "2026-10-25T02:30")]),
        ({"cron": "30 * * * *"}, "2026-10-25T02:30Z", "2026-10-25T03:30", []),
        (
            {"cron": "30 2 27 * *", "exclude": ["2026-03-27", "2026-03-28"], "on_excluded": "next"},
            "2026-03-29T01:00Z",
            "2026-03-29T03:00",
            [("calendar", "2026-03-27T02:30"), ("gap", "2026-03-29T02:30")],
        ),
    ],
)
def test_row_d9_an_adjusted_instant_says_what_it_was_and_why(written, instant, local, adjusted):
    found = explained(parse_schedule(written | {"zone": BERLIN}, "when"), ms(instant))
    assert local_text(found.local_ms) == local
    assert [(each.by, local_text(each.from_ms)) for each in found.adjusted] == adjusted


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"cron": "@daily"}, "cron @daily"),
        ({"cron": "@daily", "zone": BERLIN}, "cron @daily Europe/Berlin"),
        ({"every": "90m"}, "every 1h30m"),
        ({"at": "2026-03-01T08:00", "zone": BERLIN}, "at 2026-03-01T08:00 Europe/Berlin"),
    ],
)
def test_a_schedule_in_words(written, words):
    assert in_words(parse_schedule(written, "when")) == words


# Any schedule

ZONES = st.sampled_from(["UTC", BERLIN, LORD_HOWE, "America/New_York", "Pacific/Apia", "Asia/Gaza"])
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "catchup": st.sampled_from(["none", "latest"]) | st.integers(1, 9).map(lambda count: {"all": count}),
    "jitter": st.sampled_from(["90s", "1h"]),
    "start": st.just("2010-01-01T00:00Z"),
    "end": st.just("2040-01-01T00:00Z"),
    "max_runs": st.integers(1, 9),
}
LOCAL: dict[str, st.SearchStrategy[Any]] = {
    "zone": ZONES,
    "gap": st.sampled_from(["shift", "skip", "before"]),
    "fold": st.sampled_from(["first", "last"]),
}
MOVED: dict[str, st.SearchStrategy[Any]] = {
    "exclude": st.sampled_from([["2026-03-29"], ["2026-10-24", "2026-10-25"], ["2011-12-30", "2026-12-31"]]),
    "on_excluded": st.sampled_from(["skip", "next", "previous"]),
}
EXPRESSIONS = [
    "*/20 * * * *",
    "30 2 * * *",
    "0 1-3 * * *",
    "15 */2 L * *",
    "0 0 1 * mon",
    "30 2 29 2,3 *",
    "0 30 2 * * *",
]


def _optional(all_of: dict[str, Any], required: dict[str, Any]) -> dict[str, Any]:
    return {name: strategy for name, strategy in all_of.items() if name not in required}


def options(**required: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.fixed_dictionaries(required, optional=_optional(COMMON | LOCAL, required)),
        st.fixed_dictionaries(required | MOVED, optional=_optional(COMMON | LOCAL, required)),
    )


SCHEDULES = st.one_of(
    options(cron=st.sampled_from(EXPRESSIONS)),
    options(at=st.sampled_from(["2026-03-29T02:30", "2026-10-25T02:30", "2026-03-29T02:00"]), zone=ZONES),
    st.fixed_dictionaries({"every": st.sampled_from(["20m", "7h", "3d"])}, optional=COMMON),
)
# Around the changes of clocks in 2011 and 2026, where it matters, and anywhere.
INSTANTS = st.one_of(
    st.integers(1_774_700_000_000, 1_774_900_000_000),
    st.integers(1_792_800_000_000, 1_793_000_000_000),
    st.integers(1_325_000_000_000, 1_325_400_000_000),
    st.integers(0, 4_000_000_000_000),
)


def made(written: dict[str, Any]) -> Schedule:
    try:
        return parse_schedule(written, "when")
    except InvalidTrigger:  # nothing is left of it
        assume(False)
        raise


@given(SCHEDULES)
def test_the_canonical_form_of_any_schedule_reads_back_equal(written):
    schedule = made(written)
    assert parse_schedule(schedule_json(schedule), "when") == schedule


@given(SCHEDULES, INSTANTS, st.integers(0, 10**9))
def test_after_moves_forward_and_a_later_question_has_no_earlier_answer(written, instant_ms, more_ms):
    schedule = made(written)
    found, later = after(schedule, instant_ms), after(schedule, instant_ms + more_ms)
    assert found is None or found > instant_ms
    assert later is None or (found is not None and found <= later)


@given(SCHEDULES, INSTANTS)
def test_what_is_after_an_instant_just_before_the_next_is_the_next(written, instant_ms):
    schedule = made(written)
    found = after(schedule, instant_ms)
    assume(found is not None)
    assert after(schedule, found - 1) == found


@given(SCHEDULES, INSTANTS)
def test_before_is_the_last_one_that_after_steps_over(written, instant_ms):
    schedule = made(written)
    found = before(schedule, instant_ms)
    if found is None:
        first = after(schedule, -1)
        assert first is None or first >= instant_ms
    else:
        following = after(schedule, found)
        assert found < instant_ms
        assert following is None or following >= instant_ms


@given(SCHEDULES, INSTANTS, st.integers(1, 5))
def test_going_on_from_any_instant_gives_the_same_sequence(written, instant_ms, count):
    schedule = made(written)
    sequence = list(islice(between(schedule, instant_ms, 2**53), 10))
    assert sequence == sorted(set(sequence))
    for start, at_ms in enumerate(sequence[:count], start=1):
        assert list(islice(between(schedule, at_ms, 2**53), len(sequence) - start)) == sequence[start:]


@given(SCHEDULES, INSTANTS)
def test_row_d9_every_instant_can_be_explained(written, instant_ms):
    schedule = made(written)
    for at_ms in islice(between(schedule, instant_ms, 2**53), 5):
        assert explained(schedule, at_ms).nominal_ms == at_ms
