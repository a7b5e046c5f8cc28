"""A schedule as a value, and what is said of its instants."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Gap: TypeAlias = Literal["shift", "skip", "before"]
"""What becomes of a local time that a clock put forward leaves out."""

Fold: TypeAlias = Literal["first", "last", "both"]
"""Which are meant of the two instants of a local time that a clock put back has twice."""

OnExcluded: TypeAlias = Literal["skip", "next", "previous"]
"""What becomes of an instant on an excluded date."""


class Cron(msgspec.Struct, frozen=True):
    """The local times that a cron expression names; single spaces between its fields."""

    expression: str


class Every(msgspec.Struct, frozen=True):
    """The instants that are a whole number of periods before or after the anchor, counted in UTC."""

    period_ms: int
    anchor_ms: int = 0


class At(msgspec.Struct, frozen=True):
    """One local time."""

    local_ms: int


class CatchUpAll(msgspec.Struct, frozen=True):
    """Of the instants that are due at once, the latest ``count`` fire."""

    count: int


class CatchUpWindow(msgspec.Struct, frozen=True):
    """Of the instants that are due at once, those fire that are at most this late."""

    window_ms: int


CatchUp: TypeAlias = Literal["none", "latest"] | CatchUpAll | CatchUpWindow
"""Which of several instants that are due at once fire, see ``due``."""


class Schedule(msgspec.Struct, frozen=True):
    """When something is due. ``parse_schedule`` makes them, so every one that exists comes due.

    ``start_ms`` and ``end_ms`` belong to it. ``exclude`` and ``only`` are dates of the zone, as days since the epoch,
    in order, and ``exclude_weekdays`` days of the week, Monday being 0; with ``only`` there is neither of the others. A
    period has gap "skip" and fold "both": nothing happens to it.
    """

    timing: Cron | Every | At
    zone: str = "UTC"
    gap: Gap = "shift"
    fold: Fold = "first"
    catchup: CatchUp = "latest"
    jitter_ms: int = 0
    start_ms: int | None = None
    end_ms: int | None = None
    max_runs: int | None = None
    exclude: tuple[int, ...] = ()
    exclude_weekdays: tuple[int, ...] = ()
    only: tuple[int, ...] = ()
    on_excluded: OnExcluded = "skip"

    @property
    def has_calendar(self) -> bool:
        """Whether some dates do not count."""
        return bool(self.exclude or self.exclude_weekdays or self.only)


class Adjustment(msgspec.Struct, frozen=True):
    """Why an instant is not simply the one with the local time ``from_ms``.

    "gap": there is none. "calendar": its date is excluded. "first" and "second": there are two, of which this is one.
    """

    by: Literal["gap", "calendar", "first", "second"]
    from_ms: int


class Instant(msgspec.Struct, frozen=True):
    """A nominal instant, what a clock of the schedule's zone reads then, and how it came about: in order of steps."""

    nominal_ms: int
    local_ms: int
    adjusted: tuple[Adjustment, ...] = ()
