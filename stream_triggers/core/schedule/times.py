"""The local times that a schedule names, before its calendar and its zone: by croniter, by counting, or one alone.

A local time is a number of milliseconds, see ``core.instant``. croniter sees only such times and no zone, so it knows
nothing of clocks that are put forward or back.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import date
from functools import lru_cache
from typing import Protocol

from croniter import CroniterBadDateError, croniter

from stream_triggers.core.instant import INSTANT_END_MS
from stream_triggers.core.schedule.cron import Line, read_cron
from stream_triggers.core.schedule.value import At, Cron, Every, Schedule

DAY_MS = 86_400_000
"""A day of a clock that is never put forward or back."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LOCAL_END_MS = INSTANT_END_MS + DAY_MS  # no clock reads this before the last instant


class LocalTimes(Protocol):
    """Local times in order."""

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        """The first one from ``low_ms`` on; ``offset_ms`` is how far the clock is from UTC, in which periods count."""


def named_times(schedule: Schedule) -> LocalTimes:
    """The local times that ``schedule`` names, whatever its calendar says."""
    match schedule.timing:
        case Cron(expression):
            return _cron_times(expression)
        case Every(period_ms, anchor_ms):
            return _PeriodTimes(period_ms, anchor_ms)
        case At(local_ms):
            return _OneTime(local_ms)


def date_of(day: int) -> date:
    """The date that is ``day`` days after the epoch."""
    return date.fromordinal(_EPOCH_ORDINAL + day)


def day_of(date: date) -> int:
    """The days from the epoch to ``date``."""
    return date.toordinal() - _EPOCH_ORDINAL


class _OneTime:
    def __init__(self, local_ms: int) -> None:
        self._local_ms = local_ms

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        return self._local_ms if low_ms <= self._local_ms else None


class _PeriodTimes:
    def __init__(self, period_ms: int, anchor_ms: int) -> None:
        self._period_ms = period_ms
        self._anchor_ms = anchor_ms

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        return low_ms + (self._anchor_ms + offset_ms - low_ms) % self._period_ms


class _CronTimes:
    def __init__(self, lines: tuple[Line, ...]) -> None:
        self._lines = [_Counted(line) for line in lines]

    def first(self, low_ms: int, offset_ms: int) -> int | None:
        found = [line.first_s(-(-low_ms // 1000)) for line in self._lines]
        return min((at_s * 1000 for at_s in found if at_s is not None), default=None)


class _Counted:
    """What croniter counts up for one line."""

    def __init__(self, line: Line) -> None:
        self._croniter = croniter(line.expression, 0.0)
        self._accepts: Callable[[date], bool] | None = line.accepts

    def first_s(self, low_s: int) -> int | None:
        """The first second from ``low_s`` on that the line names and whose date it accepts."""
        counting = copy(self._croniter)  # it remembers where it is, and another thread may be asking too
        while low_s * 1000 < _LOCAL_END_MS:
            counting.set_current(float(low_s - 1), force=True)
            try:
                at_s = int(counting.get_next(float))
            except CroniterBadDateError:
                return None
            day = at_s * 1000 // DAY_MS
            if self._accepts is None or self._accepts(date_of(day)):
                return at_s
            low_s = (day + 1) * DAY_MS // 1000
        return None


@lru_cache(maxsize=4096)
def _cron_times(expression: str) -> _CronTimes:
    return _CronTimes(read_cron(expression).lines())
