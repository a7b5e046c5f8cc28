"""Instants and local times as text: ISO 8601, to the minute or finer.

Rules:
1. An instant is milliseconds since the epoch, UTC. Its text says which instant it is: by an offset or ``Z``, or by a
   zone given beside it. Of a local time that comes twice the first is meant, one that a zone leaves out is as much
   later as what is left out is long.
2. A local time is the reading of a clock on the wall, kept as the milliseconds at which a clock in UTC reads the same.
3. All are from ``INSTANT_MIN_MS`` on and before ``INSTANT_END_MS``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from stream_triggers.core.fields import expected
from stream_triggers.core.message import JsonValue

INSTANT_MIN_MS = 0
"""The first instant: 1970-01-01T00:00Z."""

INSTANT_END_MS = 7_258_118_400_000
"""The first instant that is none any more, 2200-01-01T00:00Z: what is searched for ends there."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?P<offset>Z|[+-]\d\d:\d\d)?", re.ASCII | re.IGNORECASE
)
_IN_YEARS = "from 1970 to 2199"


def parse_instant(value: JsonValue, path: str, zone: tzinfo | None = None) -> int:
    """Read an instant; one without an offset is a local time of ``zone``, if given. Raises ``InvalidTrigger``."""
    what = f'an instant {_IN_YEARS} such as "2026-03-01T08:00Z"'
    read, has_offset = _read(value, path, what)
    if not has_offset and zone is None:
        raise expected(what, value, path, hint="add Z for UTC, or an offset such as +01:00")
    return _bounded(read if has_offset else read.replace(tzinfo=zone), what, value, path)


def parse_local(value: JsonValue, path: str) -> int:
    """Read a local time; raises ``InvalidTrigger``."""
    what = f'a local time {_IN_YEARS} such as "2026-03-01T08:00"'
    read, has_offset = _read(value, path, what)
    if has_offset:
        raise expected(what, value, path, hint="leave out the offset, or the zone")
    return _bounded(read.replace(tzinfo=UTC), what, value, path)


def local_text(local_ms: int) -> str:
    """The canonical text of a local time: no seconds or milliseconds when there are none."""
    time = _EPOCH + timedelta(milliseconds=local_ms)
    unit = "milliseconds" if local_ms % 1000 else "seconds" if time.second else "minutes"
    return time.replace(tzinfo=None).isoformat(timespec=unit)


def instant_text(instant_ms: int) -> str:
    """The canonical text of an instant, in UTC."""
    return local_text(instant_ms) + "Z"


def _read(value: JsonValue, path: str, what: str) -> tuple[datetime, bool]:
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise expected(what, value, path)
    try:
        return datetime.fromisoformat(match[0].upper()), match["offset"] is not None
    except ValueError:
        raise expected(what, value, path, hint="there is no such day, hour or offset") from None


def _bounded(read: datetime, what: str, value: JsonValue, path: str) -> int:
    # The epoch has its own zone, so this is the difference of the instants, not of the clocks.
    instant_ms = (read - _EPOCH) // _MILLISECOND
    if not INSTANT_MIN_MS <= instant_ms < INSTANT_END_MS:
        raise expected(what, value, path)
    return instant_ms
