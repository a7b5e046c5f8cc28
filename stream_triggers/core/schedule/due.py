"""What a schedule owes: which of the instants that have come fire, which are skipped, and when each takes effect.

Rules:
1. An instant is due when its effective instant has come. What is due at once, after a stop, a pause or a delay, is
   decided by ``catchup`` alone; nothing else asks why it is late.
2. ``latest``: the latest fires. ``none``: so it does, but only if it is at most ``GRACE_MS`` late. ``all``: the latest
   so many. ``window``: those that are at most so late. What is older than what fires is skipped.
3. The jitter of an instant is a hash of the trigger's id and the instant, so it is the same everywhere. It ends before
   the next instant, so that effective instants are in the order of the nominal ones.
4. A new schedule has ``last_ms`` from when it was registered: no earlier instant was ever due.
5. However long the stop, one call looks at no more than ``FIRED_MAX`` instants that fire and ``COUNTED_MAX`` that do
   not. Where more are to fire, the next call goes on after the last of them.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice

import msgspec

from stream_triggers.core.schedule.instants import after, before, between
from stream_triggers.core.schedule.value import CatchUpAll, CatchUpWindow, Schedule

GRACE_MS = 60_000
"""How late an instant may be that is not caught up with: longer than healthy engines need to move a partition."""

FIRED_MAX = 1000
"""Most instants that fire by one call."""

COUNTED_MAX = 100
"""Most skipped instants that are counted: enough to say how many when somebody might ask."""


class Skipped(msgspec.Struct, frozen=True):
    """Instants that do not fire: the first, the last, and how many; None when they are more than ``COUNTED_MAX``."""

    first_ms: int
    last_ms: int
    count: int | None


class Due(msgspec.Struct, frozen=True):
    """What to do: the nominal instants that fire, in order; and what to remember.

    ``last_ms`` is the ``last_ms`` of the next call. When ``is_completed``, nothing will ever be due again.
    """

    fire: tuple[int, ...]
    skipped: Skipped | None
    is_completed: bool
    last_ms: int


def effective_ms(schedule: Schedule, trigger_id: str, nominal_ms: int) -> int:
    """The instant at which the trigger's nominal instant fires: later by its jitter."""
    if not schedule.jitter_ms:
        return nominal_ms
    next_ms = after(schedule, nominal_ms)
    room_ms = schedule.jitter_ms if next_ms is None else min(schedule.jitter_ms, next_ms - nominal_ms)
    digest = blake2b(f"{trigger_id} {nominal_ms}".encode(), digest_size=8, person=b"trigger-jitter-1")
    return nominal_ms + int.from_bytes(digest.digest(), "big") % room_ms


def due(schedule: Schedule, trigger_id: str, *, last_ms: int, now_ms: int, runs: int) -> Due:
    """What is due at ``now_ms`` of the instants after ``last_ms``, when ``runs`` instants of the trigger have fired."""
    has_runs = schedule.max_runs is None or runs < schedule.max_runs
    first_ms = after(schedule, last_ms) if has_runs else None
    if first_ms is None:
        return Due((), None, is_completed=True, last_ms=last_ms)
    newest_ms = _newest(schedule, trigger_id, first_ms, now_ms)
    if newest_ms is None:
        return Due((), None, is_completed=False, last_ms=last_ms)
    oldest_ms = _oldest(schedule, trigger_id, first_ms, newest_ms, now_ms)
    fired_max = FIRED_MAX if schedule.max_runs is None else min(FIRED_MAX, schedule.max_runs - runs)
    fire = tuple(islice(between(schedule, oldest_ms - 1, newest_ms), fired_max))
    skipped = _skipped(schedule, first_ms, oldest_ms) if first_ms < oldest_ms else None
    decided_ms = fire[-1] if fire else newest_ms
    is_completed = runs + len(fire) == schedule.max_runs or after(schedule, decided_ms) is None
    return Due(fire, skipped, is_completed, decided_ms)


def _newest(schedule: Schedule, trigger_id: str, first_ms: int, now_ms: int) -> int | None:
    """The latest instant from ``first_ms`` on that is due."""
    if first_ms > now_ms:
        return None
    next_ms = after(schedule, first_ms)
    has_more = next_ms is not None and next_ms <= now_ms
    newest_ms = before(schedule, now_ms + 1) if has_more else first_ms
    if newest_ms is not None and effective_ms(schedule, trigger_id, newest_ms) > now_ms:
        newest_ms = before(schedule, newest_ms) if has_more else None
    return newest_ms


def _oldest(schedule: Schedule, trigger_id: str, first_ms: int, newest_ms: int, now_ms: int) -> int:
    """The first instant that fires; beyond ``newest_ms`` when none does."""
    match schedule.catchup:
        case "latest":
            return newest_ms
        case "none":
            return _within(schedule, trigger_id, newest_ms, newest_ms, now_ms - GRACE_MS)
        case CatchUpWindow(window_ms):
            return _within(schedule, trigger_id, first_ms, newest_ms, now_ms - window_ms)
        case CatchUpAll(count):
            oldest_ms = newest_ms
            for _ in range(count - 1):
                earlier_ms = before(schedule, oldest_ms) if oldest_ms > first_ms else None
                if earlier_ms is None:
                    break
                oldest_ms = earlier_ms
            return oldest_ms


def _within(schedule: Schedule, trigger_id: str, first_ms: int, newest_ms: int, since_ms: int) -> int:
    """The first instant from ``first_ms`` to ``newest_ms`` that takes effect from ``since_ms`` on, or one beyond."""
    if first_ms >= since_ms:
        return first_ms
    earlier_ms = before(schedule, since_ms)
    if earlier_ms is not None and effective_ms(schedule, trigger_id, earlier_ms) >= since_ms:
        return earlier_ms
    later_ms = after(schedule, since_ms - 1)
    return newest_ms + 1 if later_ms is None or later_ms > newest_ms else later_ms


def _skipped(schedule: Schedule, first_ms: int, end_ms: int) -> Skipped:
    """Those from ``first_ms`` on and before ``end_ms``."""
    counted = list(islice(between(schedule, first_ms - 1, end_ms - 1), COUNTED_MAX + 1))
    if len(counted) <= COUNTED_MAX:
        return Skipped(first_ms, counted[-1], len(counted))
    last_ms = before(schedule, end_ms)
    assert last_ms is not None, "there are some before it"
    return Skipped(first_ms, last_ms, None)
