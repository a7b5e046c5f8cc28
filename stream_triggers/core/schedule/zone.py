"""A zone's clock as segments of time in which its offset from UTC stays the same.

Rules:
1. A segment knows the offsets before and after it, so the gap or fold at either end is known without looking further.
2. Segments also end where a block of time does, with the same offset on both sides. They are found one block at a time
   and kept; that takes some 200 questions to the zone.
3. Between two changes of an offset there are more than ``_STEP_S``; a test asks all zones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from stream_triggers.core.fields import expected
from stream_triggers.core.message import JsonValue

_BLOCK_S = 400 * 86_400
_STEP_S = 2 * 86_400


class Segment(NamedTuple):
    """The instants from ``start_ms`` on and before ``end_ms``; what is added to UTC before, in and after it."""

    start_ms: int
    end_ms: int
    before_ms: int
    offset_ms: int
    after_ms: int

    @property
    def is_after_gap(self) -> bool:
        """Whether the clock was put forward when the segment began."""
        return self.before_ms < self.offset_ms

    @property
    def is_before_gap(self) -> bool:
        """Whether the clock is put forward when the segment ends."""
        return self.offset_ms < self.after_ms

    @property
    def start_fold_ms(self) -> int:
        """How much of the segment's start has local times that came before."""
        return max(0, self.before_ms - self.offset_ms)

    @property
    def end_fold_ms(self) -> int:
        """How much of the segment's end has local times that come again."""
        return max(0, self.offset_ms - self.after_ms)


def parse_zone(value: JsonValue, path: str) -> str:
    """Check the name of a time zone."""
    if isinstance(value, str):
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError):  # unknown, not a name, or the name of a directory
            pass
    raise expected('the name of a time zone, such as "Europe/Berlin"', value, path)


def segment_at(zone: str, instant_ms: int) -> Segment:
    """The segment that ``instant_ms`` is in."""
    segments = _segments(zone, instant_ms // 1000 // _BLOCK_S)
    return next(segment for segment in segments if instant_ms < segment.end_ms)


@lru_cache(maxsize=8192)
def _segments(name: str, block: int) -> tuple[Segment, ...]:
    zone = ZoneInfo(name)
    start_s, end_s = block * _BLOCK_S, (block + 1) * _BLOCK_S
    borders = [start_s, *_changes(zone, start_s, end_s), end_s]
    offsets = [_offset_s(zone, at_s) for at_s in (start_s - 1, *borders)]
    rows = zip(borders, borders[1:], offsets, offsets[1:], offsets[2:], strict=False)
    return tuple(Segment(*(number * 1000 for number in row)) for row in rows)


def _changes(zone: ZoneInfo, start_s: int, end_s: int) -> list[int]:
    """The first seconds of new offsets after ``start_s`` and before ``end_s``."""
    changes = []
    for low in range(start_s, end_s, _STEP_S):
        high = low + _STEP_S
        before = _offset_s(zone, low)
        if _offset_s(zone, high) == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset_s(zone, middle) == before else (low, middle)
        changes.append(high)
    return [at_s for at_s in changes if at_s < end_s]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    assert offset is not None, "a zone of the database has an offset at every instant"
    return int(offset.total_seconds())
