"""A second opinion on schedules, by looking at every minute: slow, short, and without croniter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
NAMES = {
    name: number
    for names in ("jan feb mar apr may jun jul aug sep oct nov dec", "mon tue wed thu fri sat sun")
    for number, name in enumerate(names.split(), start=1)
}


def number(text: str) -> int:
    return NAMES[text] if text in NAMES else int(text)


def names_value(field: str, value: int, low: int, high: int) -> bool:
    """Whether one of the items of a field names a value."""
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        start = low if span == "*" else number(first)
        end = number(last) if last else high if span == "*" or step else start
        size = high - low + 1
        if (value - start) % size <= (end - start) % size and (value - start) % size % int(step or 1) == 0:
            return True
    return False


def names_day_of_month(field: str, day: date) -> bool:
    last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    last_workday = next(each for back in range(3) if (each := last - timedelta(days=back)).isoweekday() <= 5)
    return any(
        day == last if item == "L" else day == last_workday if item == "LW" else names_value(item, day.day, 1, 31)
        for item in field.split(",")
    )


def names_weekday(field: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    for item in field.split(","):
        name, _, nth = item.partition("#")
        if nth:
            found = number(name) % 7 == weekday and (day.day - 1) // 7 + 1 == int(nth)
        elif item.endswith("L"):
            found = number(item[:-1]) % 7 == weekday and (day + timedelta(days=7)).month != day.month
        else:
            span, slash, step = item.partition("/")
            found = names_value(span.replace("0-7", "0-6").replace("7", "0") + slash + step, weekday, 0, 6)
        if found:
            return True
    return False


def names_date(expression: str, day: date) -> bool:
    *_, days, months, weekdays = expression.split()
    if not names_value(months, day.month, 1, 12):
        return False
    by_day, by_weekday = names_day_of_month(days, day), names_weekday(weekdays, day)
    return by_day and by_weekday if "*" in (days[0], weekdays[0]) else by_day or by_weekday


def names_time(expression: str, time: datetime) -> bool:
    minutes, hours, *_ = expression.split()
    return names_value(minutes, time.minute, 0, 59) and names_value(hours, time.hour, 0, 23)


@cache
def _times_of_day(expression: str) -> tuple[timedelta, ...]:
    midnight = datetime(2000, 1, 1, tzinfo=UTC)
    minutes = [timedelta(minutes=minute) for minute in range(24 * 60)]
    return tuple(minute for minute in minutes if names_time(expression, midnight + minute))


def named_in_utc(expression: str, first: date, days: int) -> Iterator[datetime]:
    """What an expression of five fields names on some days."""
    for day in (first + timedelta(days=number) for number in range(days)):
        if names_date(expression, day):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            yield from (midnight + time for time in _times_of_day(expression))


Clock = list[tuple[int, datetime]]


def clock_of(zone: str, from_ms: int, until_ms: int) -> Clock:
    """What a clock reads at each minute."""
    info = ZoneInfo(zone)
    return [
        (at_ms, datetime.fromtimestamp(at_ms // 1000, info).replace(tzinfo=None))
        for at_ms in range(from_ms, until_ms + 1, MINUTE_MS)
    ]


class Reading:
    """What a clock reads of what is named; true away from the ends of ``clock``."""

    def __init__(self, names: Callable[[datetime], bool], clock: Clock) -> None:
        self._read: dict[datetime, list[int]] = defaultdict(list)
        self._jumps = {at_ms for at_ms, missing in left_out(clock) if names(missing)}
        for at_ms, reading in clock:
            if names(reading):
                self._read[reading].append(at_ms)

    def instants(self, gap: str, fold: str) -> set[int]:
        """When it is due by the policies."""
        chosen = {"first": slice(0, 1), "last": slice(-1, None), "both": slice(None)}[fold]
        found = {at_ms for instants in self._read.values() for at_ms in instants[chosen]}
        moved_ms = {"shift": 0, "before": MINUTE_MS}
        return found | {at_ms - moved_ms[gap] for at_ms in self._jumps if gap in moved_ms}


def left_out(clock: Clock) -> Iterator[tuple[int, datetime]]:
    """The minutes that a clock never reads, each with the instant at which it jumps over it."""
    minute = timedelta(minutes=1)
    for (_, before), (at_ms, reading) in pairwise(clock):
        missing = before + minute
        while missing < reading:
            yield at_ms, missing
            missing += minute
