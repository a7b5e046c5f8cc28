"""Time as the package sees it: the system's clocks, and one that stands still until it is told to move.

Rules:
1. Nothing else in ``runtime``, ``client`` or ``consumer`` reads a clock; whoever needs the time is given a ``Clock``.
2. ``now_ms`` says when something happened and may jump, also backwards, when the machine's clock is set.
   ``monotonic_s`` measures how long something takes and never goes back; its zero means nothing.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day, how time passes, and when a pause is over."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def sleep(self, pause_s: float) -> None:
        """Return when ``pause_s`` have passed."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, pause_s: float) -> None:
        time.sleep(pause_s)


class ManualClock:
    """A clock for tests and simulations: it moves by ``advance``, and by ``sleep``, which takes no time."""

    def __init__(self, now_ms: int = 0) -> None:
        self._start_ms = now_ms
        self._passed_ms = 0

    def now_ms(self) -> int:
        return self._start_ms + self._passed_ms

    def monotonic_s(self) -> float:
        return self._passed_ms / 1000

    def sleep(self, pause_s: float) -> None:
        self.advance(round(pause_s * 1000))

    def advance(self, ms: int) -> None:
        """Let ``ms`` milliseconds pass, on both clocks."""
        assert ms >= 0, f"time does not go back: {ms}"
        self._passed_ms += ms
