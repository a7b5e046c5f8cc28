"""Schedules as JSON: reading what people write, and the canonical form.

Rules:
1. A schedule says one of ``WORDS``, and whatever else it needs; what is as it would be anyway is left out.
2. Durations, instants and dates have one text each, weekdays and then dates are in order and each is there once. So
   equal schedules are equal bytes. A cron expression stays as it was written but for its spaces.
3. An instant without an offset is a local time of the schedule's zone, where the schedule names one.
4. By default a cron expression has ``fold`` "first" when it means hours in particular, and "both" when its hour field
   begins with ``*`` or names every hour. ``gap`` is "shift" by default.
5. What would have no effect is refused, and so is a schedule that never comes due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal, TypeAlias, TypeVar, get_args
from zoneinfo import ZoneInfo

from stream_triggers.core.duration import duration_text, parse_duration
from stream_triggers.core.fields import at, expected, object_at, only
from stream_triggers.core.instant import instant_text, local_text, parse_instant, parse_local
from stream_triggers.core.message import JsonValue
from stream_triggers.core.schedule.cron import CronProblem, read_cron
from stream_triggers.core.schedule.instants import after
from stream_triggers.core.schedule.times import date_of, day_of
from stream_triggers.core.schedule.value import (
    At,
    CatchUp,
    CatchUpAll,
    CatchUpWindow,
    Cron,
    Every,
    Fold,
    Gap,
    OnExcluded,
    Schedule,
)
from stream_triggers.core.schedule.zone import parse_zone
from stream_triggers.errors import InvalidTrigger

WORDS = ("cron", "every", "at")
"""The words that say what kind of schedule it is."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week that ``exclude`` may name."""

COUNT_MAX = 1000
"""Most instants that ``catchup`` lets fire at once, and most dates of a calendar."""

RUNS_MAX = 2**31 - 1
"""Largest ``max_runs``."""

PERIOD_MIN_MS = 1000
"""Shortest period of ``every``."""

JITTER_MAX_MS = 86_400_000
"""Longest ``jitter``."""

T = TypeVar("T")
D = TypeVar("D")

_FoldOfOne: TypeAlias = Literal["first", "last"]  # what happens once does not happen in both
_COMMON = ("zone", "catchup", "jitter", "start", "end", "max_runs", "exclude", "only", "on_excluded")
_FIELDS = {
    "cron": ("cron", "gap", "fold", *_COMMON),
    "every": ("every", "anchor", *_COMMON),
    "at": ("at", "gap", "fold", *_COMMON),
}


def parse_schedule(value: JsonValue, path: str) -> Schedule:
    """Read a schedule from its JSON form; raises ``InvalidTrigger`` at the first thing that is wrong."""
    fields = object_at(value, path, f"a schedule, an object with one of {', '.join(WORDS)}")
    word = next((word for word in WORDS if word in fields), None)
    if word is None:
        raise InvalidTrigger(path, f"expected a schedule with one of {', '.join(WORDS)}, found none of them")
    only(fields, _FIELDS[word], path)
    schedule = _READERS[word](_Fields(fields, path))
    if after(schedule, -1) is None:
        raise InvalidTrigger(path, "expected a schedule that comes due, found one that is left no instant")
    return schedule


def parse_cron(value: JsonValue, path: str) -> Cron:
    """Read a cron expression; raises ``InvalidTrigger``."""
    what = 'a cron expression such as "30 2 * * mon-fri"'
    if not isinstance(value, str):
        raise expected(what, value, path)
    cron = Cron(" ".join(value.split()))
    try:
        read_cron(cron.expression)
    except CronProblem as problem:
        raise expected(what, value, path, hint=str(problem)) from None
    if after(Schedule(cron), -1) is None:
        raise expected("a cron expression that comes due", value, path)
    return cron


def default_fold(cron: Cron) -> Fold:
    """What ``fold`` is when nothing is said."""
    return "both" if read_cron(cron.expression).is_every_hour else "first"


def schedule_json(schedule: Schedule) -> dict[str, JsonValue]:
    """The canonical JSON form of a schedule that ``parse_schedule`` made."""
    fields = {
        **_timing_json(schedule),
        "zone": _unless(schedule.zone, "UTC"),
        "catchup": _catchup_json(schedule.catchup),
        "jitter": duration_text(schedule.jitter_ms) or None,
        "start": None if schedule.start_ms is None else instant_text(schedule.start_ms),
        "end": None if schedule.end_ms is None else instant_text(schedule.end_ms),
        "max_runs": schedule.max_runs,
        "exclude": [*(WEEKDAYS[day] for day in schedule.exclude_weekdays), *_written(schedule.exclude)] or None,
        "only": _written(schedule.only) or None,
        "on_excluded": _unless(schedule.on_excluded, "skip"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def in_words(schedule: Schedule) -> str:
    """The least that tells one schedule from another: its kind, what it names, and where."""
    word, text = next(iter(_timing_json(schedule).items()))
    return f"{word} {text}" if schedule.zone == "UTC" else f"{word} {text} {schedule.zone}"


class _Fields:
    """The fields of a schedule, read one by one."""

    def __init__(self, fields: dict[str, JsonValue], path: str) -> None:
        self._fields = fields
        self._path = path
        self.zone = self.read("zone", parse_zone, None)
        self._zone_info = None if self.zone is None else ZoneInfo(self.zone)

    def read(self, name: str, parse: Callable[[JsonValue, str], T], default: D) -> T | D:
        return parse(self._fields[name], at(self._path, name)) if name in self._fields else default

    def choice(self, name: str, words: Any, default: str) -> Any:
        """A field that is one of the words of a literal type."""
        value = self._fields.get(name, default)
        if value not in (known := get_args(words)):
            raise expected(f"{', '.join(known[:-1])} or {known[-1]}", value, at(self._path, name))
        return value

    def instant(self, name: str, default: D) -> int | D:
        return self.read(name, lambda value, path: parse_instant(value, path, self._zone_info), default)

    def refuse(self, name: str, without: str, hint: str = "") -> None:
        """Refuse a field that has no effect without others."""
        if name in self._fields:
            raise InvalidTrigger(at(self._path, name), f"expected {without} beside {name}, found neither", hint=hint)

    def common(self) -> dict[str, Any]:
        """What every kind of schedule may say."""
        (weekdays, exclude), listed = self.read("exclude", parse_days, ((), ())), self.read("only", _dates, ())
        is_excluding = bool(weekdays or exclude)
        if is_excluding and listed:
            hint = "leave out of only what you would exclude"
            raise InvalidTrigger(at(self._path, "only"), "expected one of exclude and only, found both", hint=hint)
        if not (is_excluding or listed):
            self.refuse("on_excluded", "exclude or only")
        return {
            "zone": self.zone or "UTC",
            "catchup": self.read("catchup", _catchup, "latest"),
            "jitter_ms": self.read("jitter", _jitter, 0),
            "start_ms": self.instant("start", None),
            "end_ms": self.instant("end", None),
            "max_runs": self.read("max_runs", _whole(RUNS_MAX), None),
            "exclude": exclude,
            "exclude_weekdays": weekdays,
            "only": listed,
            "on_excluded": self.choice("on_excluded", OnExcluded, "skip"),
        }


def _cron(fields: _Fields) -> Schedule:
    cron = fields.read("cron", parse_cron, None)
    assert cron is not None
    gap, fold = fields.choice("gap", Gap, "shift"), fields.choice("fold", Fold, default_fold(cron))
    return Schedule(cron, gap=gap, fold=fold, **fields.common())


def _every(fields: _Fields) -> Schedule:
    every = Every(fields.read("every", _period, 0), fields.instant("anchor", 0))
    schedule = Schedule(every, gap="skip", fold="both", **fields.common())
    if not schedule.has_calendar:
        fields.refuse("zone", "exclude or only", "a period is counted in UTC; a cron expression keeps to local time")
    if schedule.on_excluded != "skip":
        fields.read("on_excluded", _only_skip, None)
    return schedule


def _at(fields: _Fields) -> Schedule:
    local_ms = fields.instant("at", 0) if fields.zone is None else fields.read("at", parse_local, 0)
    gap, fold = fields.choice("gap", Gap, "shift"), fields.choice("fold", _FoldOfOne, "first")
    return Schedule(At(local_ms), gap=gap, fold=fold, **fields.common())


_READERS: Mapping[str, Callable[[_Fields], Schedule]] = {"cron": _cron, "every": _every, "at": _at}


def _whole(high: int) -> Callable[[JsonValue, str], int]:
    """A reader of a number of things, at least one."""

    def read(value: JsonValue, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            raise expected(f"an integer from 1 to {high}", value, path)
        return value

    return read


def _period(value: JsonValue, path: str) -> int:
    period_ms = parse_duration(value, path)
    if period_ms < PERIOD_MIN_MS:
        raise expected(f"a duration of at least {duration_text(PERIOD_MIN_MS)}", value, path)
    return period_ms


def _jitter(value: JsonValue, path: str) -> int:
    jitter_ms = parse_duration(value, path)
    if jitter_ms > JITTER_MAX_MS:
        raise expected(f"a duration of at most {duration_text(JITTER_MAX_MS)}", value, path)
    return jitter_ms


def _only_skip(value: JsonValue, path: str) -> None:
    hint = "a period has no local time to keep; a cron expression has"
    raise expected("skip, where a period is given", value, path, hint=hint)


def _catchup(value: JsonValue, path: str) -> CatchUp:
    if value in ("none", "latest"):
        return "none" if value == "none" else "latest"
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"all", "window"}:
        raise expected('none, latest, {"all": how many} or {"window": how long}', value, path)
    if "all" in value:
        return CatchUpAll(_whole(COUNT_MAX)(value["all"], at(path, "all")))
    return CatchUpWindow(parse_duration(value["window"], at(path, "window")))


def _catchup_json(catchup: CatchUp) -> JsonValue:
    match catchup:
        case "latest":
            return None
        case "none":
            return "none"
        case CatchUpAll(count):
            return {"all": count}
        case CatchUpWindow(window_ms):
            return {"window": duration_text(window_ms)}


def _dates(value: JsonValue, path: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= COUNT_MAX:
        raise expected(f"a list of 1 to {COUNT_MAX} dates", value, path)
    return tuple(sorted({_date(item, f"{path}[{index}]") for index, item in enumerate(value)}))


def parse_days(value: JsonValue, path: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Read a list of weekdays, counted from Monday, and dates, in days since the epoch; raises ``InvalidTrigger``."""
    if not isinstance(value, list) or not 0 < len(value) <= COUNT_MAX:
        raise expected(f"a list of 1 to {COUNT_MAX} dates or weekdays", value, path)
    named = {index: WEEKDAYS.index(item) for index, item in enumerate(value) if item in WEEKDAYS}
    weekdays = tuple(sorted(set(named.values())))
    if len(weekdays) == len(WEEKDAYS):
        raise InvalidTrigger(path, "expected a weekday that counts, found all of them excluded")
    dates = {_date(item, f"{path}[{index}]") for index, item in enumerate(value) if index not in named}
    return weekdays, tuple(sorted(dates))


def _written(days: tuple[int, ...]) -> list[JsonValue]:
    return [date_of(day).isoformat() for day in days]


def _date(value: JsonValue, path: str) -> int:
    try:
        read = date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        read = None
    if read is None or not 1970 <= read.year <= 2199:
        raise expected('a date from 1970 to 2199 such as "2026-12-24"', value, path)
    return day_of(read)


def _timing_json(schedule: Schedule) -> dict[str, JsonValue]:
    match schedule.timing:
        case Cron(expression) as cron:
            fold = _unless(schedule.fold, default_fold(cron))
            return {"cron": expression, "gap": _unless(schedule.gap, "shift"), "fold": fold}
        case Every(period_ms, anchor_ms):
            return {"every": duration_text(period_ms), "anchor": instant_text(anchor_ms) if anchor_ms else None}
        case At(local_ms):
            text = instant_text(local_ms) if schedule.zone == "UTC" else local_text(local_ms)
            return {"at": text, "gap": _unless(schedule.gap, "shift"), "fold": _unless(schedule.fold, "first")}


def _unless(word: str, default: str) -> str | None:
    return None if word == default else word
