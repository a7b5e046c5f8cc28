"""Cron expressions: their text, and the lines for croniter that mean the same in each of its versions.

Rules:
1. There are five fields (minute, hour, day of month, month, weekday), or six with seconds first, or one of ``MACROS``.
2. A field is a list of ``*``, ``a``, ``a-b``, each of which may have a step: ``*/n``, ``a-b/n``, and ``a/n`` from ``a``
   to the greatest value. A range may go over the end: ``22-2``, ``sat-mon``. Sunday is 0 and 7.
3. A day of month is also ``L``, the last day, or ``LW``, the last from Monday to Friday. A weekday is also ``n#k``, the
   k-th of the month, or ``nL``, the last of the month.
4. When both day fields say something, a day that either names counts. When one of them begins with ``*``, only a day
   that both name.
5. What means another instant on another machine is refused: hashed and random fields.

croniter reads steps differently in its versions 6 and 7, has no ``LW``, forgets the day of month beside ``n#k``, has
the seconds last, and before 6 goes from February past the 1st of March when the days are 1 and 31. So it gets plain
lists of values, one kind of day at a time: an expression is one or several ``Line`` values, and comes due when one of
them does.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Names that stand for five fields."""

_HASHED = re.compile(r"[hr]([(/].*)?")
_NTH = re.compile(r"(\w+)#([1-5])")


class CronProblem(ValueError):
    """What is wrong with an expression, in words for its author."""


class Line(NamedTuple):
    """An expression for croniter, with the day of month or the weekday a star; and which of its days count."""

    expression: str
    accepts: Callable[[date], bool] | None = None


@dataclass(frozen=True, slots=True)
class CronFields:
    """An expression, read."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: _DaysOfMonth
    weekdays: _Weekdays
    is_every_hour: bool
    """Whether the hour field begins with a star or names every hour, so that no hour in particular is meant."""

    def lines(self) -> tuple[Line, ...]:
        """What to ask croniter for."""
        times = f"{_list(self.minutes, _MINUTE)} {_list(self.hours, _HOUR)}"
        months = _list(self.months, _MONTH)
        seconds = "" if self.seconds == (0,) else f" {_list(self.seconds, _SECOND)}"
        return tuple(
            Line(f"{times} {days} {months} {weekdays}{seconds}", accepts) for days, weekdays, accepts in self._days()
        )

    def _days(self) -> Iterator[tuple[str, str, Callable[[date], bool] | None]]:
        """Day of month, weekday and test of each line: both kinds of day (rule 4), or the one that says something."""
        if self.days.is_star:
            yield from (("*", listed, None) for listed in self.weekdays.lists())
        elif self.weekdays.is_star:
            yield from self.days.lists()
        elif self.days.has_star or self.weekdays.has_star:
            yield from (("*", listed, self.days.names) for listed in self.weekdays.lists())
        else:
            yield from self.days.lists()
            yield from (("*", listed, None) for listed in self.weekdays.lists())


@lru_cache(maxsize=4096)
def read_cron(expression: str) -> CronFields:
    """Read an expression; raises ``CronProblem``."""
    texts = MACROS.get(expression.lower(), expression).lower().split()
    if len(texts) == 5:
        texts.insert(0, "0")
    if len(texts) != 6:
        raise CronProblem(f"expected five fields, or six with seconds first, found {len(texts)}")
    seconds, minutes, hours, days, months, weekdays = texts
    hour_values = _values(hours, _HOUR)
    return CronFields(
        seconds=_values(seconds, _SECOND),
        minutes=_values(minutes, _MINUTE),
        hours=hour_values,
        months=_values(months, _MONTH),
        days=_DaysOfMonth.read(days),
        weekdays=_Weekdays.read(weekdays),
        is_every_hour=hours.startswith("*") or len(hour_values) == 24,
    )


class _Unit(NamedTuple):
    """What the values of a field are."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.high - self.low + 1


_SECOND = _Unit("second", 0, 59)
_MINUTE = _Unit("minute", 0, 59)
_HOUR = _Unit("hour", 0, 23)
_DAY = _Unit("day of month", 1, 31)
_MONTH = _Unit("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
_WEEKDAY = _Unit("weekday", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


@dataclass(frozen=True, slots=True)
class _DaysOfMonth:
    numbers: tuple[int, ...]
    has_last: bool
    has_last_workday: bool
    has_star: bool
    is_star: bool

    @classmethod
    def read(cls, text: str) -> _DaysOfMonth:
        items = text.split(",")
        numbers = ",".join(item for item in items if item not in ("l", "lw"))
        return cls(
            _values(numbers, _DAY) if numbers else (), "l" in items, "lw" in items, text.startswith("*"), text == "*"
        )

    def lists(self) -> Iterator[tuple[str, str, Callable[[date], bool] | None]]:
        """Day of month, weekday and test for croniter, which miscounts when not every month has all days of a list."""
        if len(self.numbers) == _DAY.size:
            yield "*", "*", None
        else:
            yield from ((listed, "*", None) for listed in _grouped(self.numbers))
        if self.has_last:
            yield "l", "*", None
        if self.has_last_workday:
            yield "*", "l1,l2,l3,l4,l5", _is_last_workday

    def names(self, day: date) -> bool:
        return (
            day.day in self.numbers
            or (self.has_last and day.day == monthrange(day.year, day.month)[1])
            or (self.has_last_workday and _is_last_workday(day))
        )


@dataclass(frozen=True, slots=True)
class _Weekdays:
    numbers: tuple[int, ...]
    nth: tuple[str, ...]
    last: tuple[int, ...]
    has_star: bool
    is_star: bool

    @classmethod
    def read(cls, text: str) -> _Weekdays:
        plain, nth, last = [], set(), set()
        for item in text.split(","):
            if match := _NTH.fullmatch(item):
                nth.add(f"{_value(match[1], _WEEKDAY) % 7}#{match[2]}")
            elif len(item) > 1 and item.endswith("l"):
                last.add(_value(item[:-1], _WEEKDAY) % 7)
            else:
                plain.append(item)
        numbers = _values(",".join(plain), _WEEKDAY) if plain else ()
        return cls(numbers, tuple(sorted(nth)), tuple(sorted(last)), text.startswith("*"), text == "*")

    def lists(self) -> Iterator[str]:
        """Lists for croniter, which does not take them mixed."""
        if self.numbers:
            yield _list(self.numbers, _WEEKDAY)
        if self.nth:
            yield ",".join(self.nth)
        if self.last:
            yield ",".join(f"l{number}" for number in self.last)


def _is_last_workday(day: date) -> bool:
    """Whether ``day``, a Monday to Friday, is the last such day of its month."""
    next_workday = day + timedelta(days=3 if day.weekday() == 4 else 1)
    return day.weekday() < 5 and next_workday.month != day.month


def _grouped(days: tuple[int, ...]) -> Iterator[str]:
    """``days`` in lists of which each month has all or none: those of every month together, the others alone."""
    if in_every_month := [str(day) for day in days if day <= 28]:
        yield ",".join(in_every_month)
    yield from (str(day) for day in days if day > 28)


def _list(values: tuple[int, ...], unit: _Unit) -> str:
    return "*" if len(values) == unit.size else ",".join(map(str, values))


def _values(text: str, unit: _Unit) -> tuple[int, ...]:
    """The values of a field, sorted and unique."""
    return tuple(sorted({value for item in text.split(",") for value in _span(item, unit)}))


def _span(item: str, unit: _Unit) -> Iterator[int]:
    span, has_step, step = item.partition("/")
    first, is_range, last = span.partition("-")
    if span == "*":
        low, high = unit.low, unit.high
    else:
        low = _value(first, unit)
        high = _value(last, unit) if is_range else unit.high if has_step else low
    if high < low:  # over the end
        high += unit.size
    for value in range(low, high + 1, _step(step, unit) if has_step else 1):
        yield unit.low + (value - unit.low) % unit.size


def _step(text: str, unit: _Unit) -> int:
    if not _is_number(text) or not 1 <= int(text) <= unit.size:
        raise CronProblem(f'expected a step from 1 to {unit.size} in the {unit.name} field, found "{text}"')
    return int(text)


def _value(text: str, unit: _Unit) -> int:
    if text in unit.names:
        return unit.low + unit.names.index(text)
    high = unit.high + (unit is _WEEKDAY)
    if _is_number(text) and unit.low <= int(text) <= high:
        return int(text)
    if _HASHED.fullmatch(text):
        raise CronProblem("hashed and random fields are not the same everywhere; to spread load, use jitter")
    names = f" or {unit.names[0]} to {unit.names[-1]}" if unit.names else ""
    raise CronProblem(f'expected {unit.low} to {high}{names} in the {unit.name} field, found "{text}"')


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3
