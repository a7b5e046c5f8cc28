"""Named calendars: days that several schedules share, in the place of whose names they are put.

Rules:
1. A calendar is a list of dates and weekdays under a name: what ``exclude`` and, without weekdays, ``only`` take.
2. A schedule names calendars where it could list days, one as a text or several among the days. The names are gone
   before the trigger is read, so its canonical form has the days, and with the days changes the version of a trigger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from stream_triggers.core.fields import at, expected, object_at, suggestion
from stream_triggers.core.message import JsonValue
from stream_triggers.core.schedule.notation import WEEKDAYS, WORDS, parse_days
from stream_triggers.errors import InvalidTrigger

Calendars: TypeAlias = Mapping[str, list[JsonValue]]
"""Lists of days by their names."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FIELDS = ("exclude", "only")

_ELSEWHERE: Final = frozenset({"filter", "arguments", "where", "is", "from", "to", "clear"})
"""Fields of conditions in which are values that only look like schedules."""


def read_calendars(value: JsonValue, path: str) -> Calendars:
    """Read calendars by their names; raises ``InvalidTrigger`` at the first thing that is wrong."""
    calendars: dict[str, list[JsonValue]] = {}
    for name, days in object_at(value, path, "calendars by their names").items():
        if not _is_name(name):
            what = "a name that is no weekday and begins with a letter, of letters, digits, underscores and hyphens"
            raise expected(what, name, path)
        parse_days(days, at(path, name))
        assert isinstance(days, list), "parse_days takes nothing else"
        calendars[name] = days
    return calendars


def with_calendars(trigger: JsonValue, path: str, calendars: Calendars) -> JsonValue:
    """A trigger in its JSON form with days in the place of the names of calendars; raises ``InvalidTrigger``."""
    if not isinstance(trigger, dict):
        return trigger
    parts = {name: _resolved(trigger[name], at(path, name), calendars) for name in ("when", "reset") if name in trigger}
    return trigger | parts


def _resolved(value: JsonValue, path: str, calendars: Calendars) -> JsonValue:
    if isinstance(value, list):
        return [_resolved(item, f"{path}[{index}]", calendars) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    is_schedule = any(word in value for word in WORDS)
    return {
        name: _days(item, at(path, name), calendars)
        if is_schedule and name in _FIELDS
        else item
        if name in _ELSEWHERE
        else _resolved(item, at(path, name), calendars)
        for name, item in value.items()
    }


def _days(value: JsonValue, path: str, calendars: Calendars) -> JsonValue:
    if isinstance(value, str) and _is_name(value):
        return _calendar(value, path, calendars)
    if not isinstance(value, list):
        return value
    days: list[JsonValue] = []
    for index, item in enumerate(value):
        is_calendar = isinstance(item, str) and _is_name(item)
        days += _calendar(str(item), f"{path}[{index}]", calendars) if is_calendar else [item]
    return days


def _calendar(name: str, path: str, calendars: Calendars) -> list[JsonValue]:
    if name not in calendars:
        hint = suggestion(name, [*calendars, *WEEKDAYS]) or "name its days under calendars of the same file"
        raise InvalidTrigger(path, f'there is no calendar "{name}"', hint=hint)
    return calendars[name]


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text.lower() not in WEEKDAYS
