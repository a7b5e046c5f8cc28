"""Which dates count: a calendar, and the local times of a schedule that keeps to it.

Rules:
1. A date counts when neither it nor its weekday is excluded or, where the dates that count are listed, when it is one
   of them.
2. A time on a date that does not count is left out, or moves to the same time on the next or the previous date that
   counts, at most ``MOVE_DAYS_MAX`` days away. Times that come to stand on each other are one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from stream_triggers.core.schedule.times import DAY_MS, LocalTimes, named_times
from stream_triggers.core.schedule.value import OnExcluded, Schedule

_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

MOVE_DAYS_MAX = 31
"""Farthest that a time moves: over the longest holidays, and no farther than a search for it can afford."""


def local_times(schedule: Schedule) -> LocalTimes:
    """The local times that ``schedule`` names and its calendar allows or moves."""
    times = named_times(schedule)
    if not schedule.has_calendar:
        return times
    calendar = _calendar_of(schedule)
    return _KeptTimes(times, calendar) if schedule.on_excluded == "skip" else _MovedTimes(times, calendar)


def moved_from(schedule: Schedule, local_ms: int, offset_ms: int) -> int | None:
    """The nearest named local time that moved to ``local_ms``; None when ``local_ms`` is named itself."""
    times = named_times(schedule)
    day, of_day_ms = divmod(local_ms, DAY_MS)
    for source in _calendar_of(schedule).sources(day):
        named_ms = source * DAY_MS + of_day_ms
        if times.first(named_ms, offset_ms) == named_ms:
            return None if source == day else named_ms
    return None


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days count, as days since the epoch, and where the others go."""

    excluded: frozenset[int]
    weekdays: frozenset[int]
    only: tuple[int, ...]
    on_excluded: OnExcluded

    def allows(self, day: int) -> bool:
        """Whether ``day`` counts."""
        return self.next_allowed(day) == day

    def next_allowed(self, day: int) -> int | None:
        """The first day from ``day`` on that counts."""
        if self.only:
            index = bisect_left(self.only, day)
            return self.only[index] if index < len(self.only) else None
        while self._is_excluded(day):
            day += 1
        return day

    def previous_allowed(self, day: int) -> int | None:
        """The last day up to ``day`` that counts."""
        if self.only:
            index = bisect_right(self.only, day)
            return self.only[index - 1] if index else None
        while self._is_excluded(day):
            day -= 1
        return day

    def _is_excluded(self, day: int) -> bool:
        return day in self.excluded or (day + _EPOCH_WEEKDAY) % 7 in self.weekdays

    def sources(self, day: int) -> Iterator[int]:
        """The days whose times happen on ``day``, which counts: itself, and those that move to it."""
        yield day
        step = {"skip": 0, "next": -1, "previous": 1}[self.on_excluded]
        for source in range(day + step, day + step * (MOVE_DAYS_MAX + 1), step) if step else ():
            if self.allows(source):
                return
            yield source


@lru_cache(maxsize=1024)
def _calendar(
    exclude: tuple[int, ...], weekdays: tuple[int, ...], only: tuple[int, ...], on_excluded: OnExcluded
) -> Calendar:
    return Calendar(frozenset(exclude), frozenset(weekdays), only, on_excluded)


def _calendar_of(schedule: Schedule) -> Calendar:
    return _calendar(schedule.exclude, schedule.exclude_weekdays, schedule.only, schedule.on_excluded)


class _KeptTimes:
    """Times without those on dates that do not count."""

    def __init__(self, times: LocalTimes, calendar: Calendar) -> None:
        self._times = times
        self._calendar = calendar

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        while (local_ms := self._times.first(low_ms, offset_ms)) is not None:
            day = local_ms // DAY_MS
            allowed = self._calendar.next_allowed(day)
            if allowed == day:
                return local_ms
            if allowed is None:
                return None
            low_ms = allowed * DAY_MS
        return None


class _MovedTimes:
    """Times of which those on dates that do not count are on others."""

    def __init__(self, times: LocalTimes, calendar: Calendar) -> None:
        self._times = times
        self._calendar = calendar

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        low_day, of_day_ms = divmod(low_ms, DAY_MS)
        day = self._calendar.next_allowed(low_day)
        if day != low_day:
            of_day_ms = 0
        while day is not None:
            found = [self._on(source, of_day_ms, offset_ms) for source in self._calendar.sources(day)]
            earliest_ms = min((time_ms for time_ms in found if time_ms is not None), default=None)
            if earliest_ms is not None:
                return day * DAY_MS + earliest_ms
            day, of_day_ms = self._next_day(day, offset_ms), 0
        return None

    def _on(self, day: int, of_day_ms: int, offset_ms: int) -> int | None:
        """The first time of day on ``day`` from ``of_day_ms`` on."""
        local_ms = self._times.first(day * DAY_MS + of_day_ms, offset_ms)
        return None if local_ms is None or local_ms // DAY_MS != day else local_ms % DAY_MS

    def _next_day(self, day: int, offset_ms: int) -> int | None:
        """The first day after ``day`` that may have times: where the next time that does not go to ``day`` goes."""
        calendar = self._calendar
        is_forward = calendar.on_excluded == "next"
        from_day = day + 1 if is_forward else calendar.next_allowed(day + 1)
        if from_day is None:
            return None
        local_ms = self._times.first(from_day * DAY_MS, offset_ms)
        if local_ms is None:
            return None
        named = local_ms // DAY_MS
        return calendar.next_allowed(named) if is_forward else calendar.previous_allowed(named)
