"""Schedules: cron expressions, periods and single instants, as values with pure functions over them.

Rules:
1. A nominal instant is the identity of what fires; nothing that makes it fire later changes it.
2. Everything is a function of the schedule, of instants given to it, and of the time zone database. No clock is read.
3. One direction: local times that the schedule names, those its dates allow, the instants they have in its zone, the
   instants within its limits, what of them is due. Each step is a module and asks only the one before.

``value`` is a schedule as a value, ``notation`` its JSON, ``calendars`` days that have a name there, ``cron`` what an
expression means, ``times`` the local times, ``dates`` which dates count, ``zone`` clocks that are put forward and back,
``instants`` the instants, ``due`` which of them fire.
"""

from stream_triggers.core.schedule.calendars import Calendars, read_calendars, with_calendars
from stream_triggers.core.schedule.due import Due, Skipped, due, effective_ms
from stream_triggers.core.schedule.instants import after, before, between, explained
from stream_triggers.core.schedule.notation import WORDS, in_words, parse_cron, parse_schedule, schedule_json
from stream_triggers.core.schedule.value import (
    Adjustment,
    At,
    CatchUp,
    CatchUpAll,
    CatchUpWindow,
    Cron,
    Every,
    Fold,
    Gap,
    Instant,
    OnExcluded,
    Schedule,
)
from stream_triggers.core.schedule.zone import parse_zone

__all__ = [
    "WORDS",
    "Adjustment",
    "At",
    "Calendars",
    "CatchUp",
    "CatchUpAll",
    "CatchUpWindow",
    "Cron",
    "Due",
    "Every",
    "Fold",
    "Gap",
    "Instant",
    "OnExcluded",
    "Schedule",
    "Skipped",
    "after",
    "before",
    "between",
    "due",
    "effective_ms",
    "explained",
    "in_words",
    "parse_cron",
    "parse_schedule",
    "parse_zone",
    "read_calendars",
    "schedule_json",
    "with_calendars",
]
