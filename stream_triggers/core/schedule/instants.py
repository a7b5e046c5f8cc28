"""The instants of a schedule: local times taken through the zone, where clocks are put forward and back.

Rules:
1. Instants are in order and each is there once, so ``after`` moves forward and can go on from any instant.
2. A local time that a clock put forward leaves out is, by ``gap``, the first instant after the gap ("shift"), a minute
   before the gap ("before"), or none ("skip"). If an instant is there anyway, it is the same one.
3. A local time that a clock put back has twice is, by ``fold``, the first of the two, the last, or both.
4. Only instants from ``start_ms`` up to ``end_ms``, and none outside the years of ``core.instant``.

Theory: while the offset stays the same, local times and instants are in the same order. So the search goes from segment
to segment, and in each asks for the first local time of what the segment has. Folds take away from the ends of a
segment what the policy does not want; gaps add one instant, at the start of a segment or just before its end. A local
time far beyond a whole segment lets the search jump to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_triggers.core.instant import INSTANT_END_MS, INSTANT_MIN_MS
from stream_triggers.core.schedule.dates import local_times, moved_from
from stream_triggers.core.schedule.times import DAY_MS, LocalTimes
from stream_triggers.core.schedule.value import Adjustment, Instant, Schedule
from stream_triggers.core.schedule.zone import Segment, segment_at

BEFORE_GAP_MS = 60_000
"""How long before a gap its local times are with ``gap`` "before": the last whole minute that the clock shows."""

_FIRST_REACH_MS = 60_000


def after(schedule: Schedule, instant_ms: int) -> int | None:
    """The first nominal instant strictly after ``instant_ms``; None when there is none."""
    low_ms = max(instant_ms + 1, INSTANT_MIN_MS if schedule.start_ms is None else schedule.start_ms)
    end_ms = INSTANT_END_MS if schedule.end_ms is None else schedule.end_ms + 1
    times = local_times(schedule)
    while low_ms < end_ms:
        segment = segment_at(schedule.zone, low_ms)
        found_ms = _first_in(segment, times, schedule, low_ms)
        if found_ms is not None:
            return found_ms if found_ms < end_ms else None
        next_ms = _next_low(segment, times, low_ms)
        if next_ms is None:
            return None
        low_ms = next_ms
    return None


def before(schedule: Schedule, instant_ms: int) -> int | None:
    """The last nominal instant strictly before ``instant_ms``; None when there is none.

    Costs some ten times what ``after`` does, which it asks: first ever farther back, then ever closer.
    """
    reach_ms = _FIRST_REACH_MS
    while (found_ms := after(schedule, instant_ms - reach_ms)) is None or found_ms >= instant_ms:
        if reach_ms > instant_ms:
            return None
        reach_ms *= 4
    high_ms = instant_ms
    while (next_ms := after(schedule, found_ms)) is not None and next_ms < instant_ms:
        middle_ms = (next_ms + high_ms) // 2
        later_ms = after(schedule, middle_ms)
        if later_ms is not None and later_ms < instant_ms:
            found_ms = later_ms
        else:
            found_ms, high_ms = next_ms, middle_ms
    return found_ms


def between(schedule: Schedule, after_ms: int, until_ms: int) -> Iterator[int]:
    """The nominal instants strictly after ``after_ms`` and up to ``until_ms``, in order, as they are asked for."""
    found_ms = after(schedule, after_ms)
    while found_ms is not None and found_ms <= until_ms:
        yield found_ms
        found_ms = after(schedule, found_ms)


def explained(schedule: Schedule, nominal_ms: int) -> Instant:
    """What ``nominal_ms``, an instant of ``schedule``, is on the clock, and whether anything made it so."""
    segment = segment_at(schedule.zone, nominal_ms)
    local_ms = nominal_ms + segment.offset_ms
    named_ms, adjusted = _through_gap(segment, schedule, nominal_ms)
    moved_from_ms = moved_from(schedule, named_ms, segment.offset_ms)
    if moved_from_ms is not None:
        adjusted = (Adjustment("calendar", moved_from_ms), *adjusted)
    if nominal_ms < segment.start_ms + segment.start_fold_ms:
        adjusted = (*adjusted, Adjustment("second", local_ms))
    elif nominal_ms >= segment.end_ms - segment.end_fold_ms:
        adjusted = (*adjusted, Adjustment("first", local_ms))
    return Instant(nominal_ms, local_ms, adjusted)


def _first_in(segment: Segment, times: LocalTimes, schedule: Schedule, low_ms: int) -> int | None:
    """The first instant of ``segment`` from ``low_ms`` on."""
    if schedule.gap == "shift" and low_ms <= segment.start_ms and _gap_at_start(segment, times) is not None:
        return segment.start_ms
    found_ms = _natural(segment, times, schedule, low_ms)
    before_gap_ms = segment.end_ms - BEFORE_GAP_MS
    if schedule.gap != "before" or low_ms > before_gap_ms or (found_ms is not None and found_ms <= before_gap_ms):
        return found_ms
    return found_ms if _gap_at_end(segment, times) is None else before_gap_ms


def _natural(segment: Segment, times: LocalTimes, schedule: Schedule, low_ms: int) -> int | None:
    """The first instant of ``segment`` from ``low_ms`` on whose local time is named."""
    start_ms = segment.start_ms + (segment.start_fold_ms if schedule.fold == "first" else 0)
    end_ms = segment.end_ms - (segment.end_fold_ms if schedule.fold == "last" else 0)
    local_ms = times.first(max(low_ms, start_ms) + segment.offset_ms, segment.offset_ms)
    if local_ms is None or local_ms - segment.offset_ms >= end_ms:
        return None
    return local_ms - segment.offset_ms


def _gap_at_start(segment: Segment, times: LocalTimes) -> int | None:
    """The first local time that is named and left out just before the segment."""
    return _between(times, segment.start_ms + segment.before_ms, segment.start_ms + segment.offset_ms, segment)


def _gap_at_end(segment: Segment, times: LocalTimes) -> int | None:
    """The first local time that is named and left out just after the segment."""
    return _between(times, segment.end_ms + segment.offset_ms, segment.end_ms + segment.after_ms, segment)


def _between(times: LocalTimes, low_ms: int, high_ms: int, segment: Segment) -> int | None:
    local_ms = times.first(low_ms, segment.offset_ms) if low_ms < high_ms else None
    return None if local_ms is None or local_ms >= high_ms else local_ms


def _next_low(segment: Segment, times: LocalTimes, low_ms: int) -> int | None:
    """From where to search when ``segment`` has nothing from ``low_ms`` on; None when there is nothing at all."""
    if low_ms > segment.start_ms:
        return segment.end_ms  # after a fold, the next segment has local times again that were before low_ms
    local_ms = times.first(segment.start_ms + segment.offset_ms, segment.offset_ms)
    if local_ms is None:
        return None
    return max(segment.end_ms, local_ms - segment.offset_ms - 2 * DAY_MS)  # no two offsets are farther apart


def _through_gap(segment: Segment, schedule: Schedule, nominal_ms: int) -> tuple[int, tuple[Adjustment, ...]]:
    """The local time that made ``nominal_ms``, and what a gap did to it."""
    times = local_times(schedule)
    if _natural(segment, times, schedule, nominal_ms) == nominal_ms:
        return nominal_ms + segment.offset_ms, ()
    find = _gap_at_start if schedule.gap == "shift" else _gap_at_end
    named_ms = find(segment, times)
    assert named_ms is not None, "not an instant of this schedule"
    return named_ms, (Adjustment("gap", named_ms),)
