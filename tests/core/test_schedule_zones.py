"""Schedules in every zone, around every change of its clock in ten years, against an oracle that looks at every minute.

Each window has all nine pairs of policies and one expression of the set, in turn. Besides the windows around changes,
every zone has some at random instants.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise, product
from random import Random
from zoneinfo import ZoneInfo, available_timezones
from zoneinfo import _zoneinfo as python_zoneinfo

import pytest

from stream_triggers.core.schedule import Cron, Schedule, between
from stream_triggers.core.schedule.zone import _STEP_S, segment_at
from tests.core.schedule_oracle import Reading, clock_of, names_date, names_time

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FROM_MS, UNTIL_MS = 1_514_764_800_000, 1_830_297_600_000  # 2018 up to 2028
PAIRS = [*product(("shift", "skip", "before"), ("first", "last", "both"))]
EXPRESSIONS = [
    "*/7 * * * *",
    "30 2 * * *",
    "0,30 1-3 * * *",
    "15 */2 * * *",
    "45 0-3 * * *",
    "59 23 * * *",
    "0 0 * * *",
    "30 1,2 * * sun",
    "5 0-4 L * *",
    "10 2 1-7 * sun",
    "10 2 */3 * sat,sun",
    "30 22-3 * mar-may,sep-nov *",
    "20 0,1,2,3 * * sun#1",
    "40 0-4 LW * 5L",
]
ZONES = sorted(available_timezones())
PARTS = 8


@cache
def changes(zone: str) -> list[int]:
    """The instants at which the zone's offset changes, found in steps of half a day and then by halving."""
    info = ZoneInfo(zone)

    def offset(at_ms: int) -> timedelta | None:
        return datetime.fromtimestamp(at_ms // 1000, info).utcoffset()

    found = []
    for low, high in pairwise(range(FROM_MS, UNTIL_MS, 12 * HOUR_MS)):
        if offset(low) != offset(high):
            while high - low > 60_000:
                middle = (low + high) // 120_000 * 60_000
                low, high = (low, middle) if offset(middle) == offset(high) else (middle, high)
            found.append(high)
    return found


def windows(zone: str) -> Iterator[tuple[int, int]]:
    chance = Random(zone)
    for change_ms in changes(zone):
        yield change_ms - 3 * HOUR_MS, change_ms + 3 * HOUR_MS
    for _ in range(2):
        from_ms = chance.randrange(FROM_MS, UNTIL_MS, 60_000)
        yield from_ms, from_ms + 6 * HOUR_MS


def assert_agrees(zone: str, expression: str, from_ms: int, until_ms: int, margin_ms: int = 3 * HOUR_MS) -> None:
    @cache
    def names(reading: datetime) -> bool:
        return names_time(expression, reading) and names_date(expression, reading.date())

    reading = Reading(names, clock_of(zone, from_ms - margin_ms, until_ms + margin_ms))
    for gap, fold in PAIRS:
        schedule = Schedule(Cron(expression), zone=zone, gap=gap, fold=fold)
        oracle = sorted(at_ms for at_ms in reading.instants(gap, fold) if from_ms < at_ms <= until_ms)
        assert list(between(schedule, from_ms, until_ms)) == oracle, (zone, expression, gap, fold, from_ms)


@pytest.mark.parametrize("part", range(PARTS))
def test_row_d2_every_zone_agrees_with_the_oracle_around_every_change(part):
    for zone in ZONES[part::PARTS]:
        for turn, window in enumerate(windows(zone), start=len(zone) + part):
            assert_agrees(zone, EXPRESSIONS[turn % len(EXPRESSIONS)], *window)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Europe/Berlin", "America/Havana"])
def test_row_d2_every_expression_agrees_with_the_oracle_around_changes_of_30_minutes_and_of_midnight(zone, expression):
    for change_ms in changes(zone)[:6]:
        assert_agrees(zone, expression, change_ms - 3 * HOUR_MS, change_ms + 3 * HOUR_MS)


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Pacific/Apia", "2011-12-30T10:00"),  # no 30 December
        ("Antarctica/Vostok", "1994-01-31T17:00"),  # seven hours twice
        ("Europe/Dublin", "1971-10-31T02:00"),
    ],
)
@pytest.mark.parametrize("expression", ["*/45 * * * *", "30 2 * * *", "0 0 30 * *"])
def test_row_d2_a_change_of_a_day_or_of_many_hours_agrees_with_the_oracle(zone, change, expression):
    change_ms = int(datetime.fromisoformat(change + "Z").timestamp()) // 60 * 60_000
    assert_agrees(zone, expression, change_ms - 3 * HOUR_MS, change_ms + 12 * HOUR_MS, margin_ms=27 * HOUR_MS)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Casablanca"])
def test_row_d1_a_year_in_a_zone_agrees_with_the_oracle(zone):
    assert_agrees(zone, "15 */6 1-7,L * *", FROM_MS + 5 * 366 * DAY_MS, FROM_MS + 6 * 366 * DAY_MS)


def test_no_zone_changes_its_offset_twice_in_the_time_between_two_looks():
    """What ``core.schedule.zone`` relies on, read from the files of the database."""
    spacings = {
        (later - earlier, zone)
        for zone in ZONES
        for (earlier, _), (later, _) in pairwise(offsets_of(zone))
        if earlier > 0
    }
    assert min(spacings)[0] > 2 * _STEP_S


def offsets_of(zone: str) -> list[tuple[int, timedelta]]:
    """The seconds at which the offset changes, with the new one."""
    info = python_zoneinfo.ZoneInfo.no_cache(zone)
    found: list[tuple[int, timedelta]] = []
    for at_s, kind in zip(info._trans_utc, info._ttinfos, strict=False):
        if not found or found[-1][1] != kind.utcoff:
            found.append((at_s, kind.utcoff))
    return found


def test_segments_follow_on_each_other_without_a_gap():
    for zone in ("Europe/Berlin", "Pacific/Apia", "UTC"):
        at_ms = 0
        while at_ms < UNTIL_MS:
            segment, following = segment_at(zone, at_ms), segment_at(zone, segment_at(zone, at_ms).end_ms)
            assert (following.start_ms, following.before_ms, following.offset_ms) == (
                segment.end_ms,
                segment.offset_ms,
                segment.after_ms,
            )
            at_ms = segment.end_ms
