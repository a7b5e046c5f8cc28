"""The circuit breaker: a trigger that fires too often, or whose runs fail too often, is stopped for its key.

Rules:
1. ``fires`` counts the matches that pass, in a window that opens with the first and lasts ``per``, its end excluded.
   The first match after ``max`` trips the breaker and is refused.
2. ``failures`` counts failed runs of the key. When the last ``max`` of them lie within ``per``, the breaker trips, with
   a note of its own that names no match.
3. A breaker that has tripped refuses every match as ``tripped``: for ``for``, its end excluded, or until it is reset.
   Then it starts afresh: what was counted is forgotten.
4. How runs end while it is tripped counts for nothing, and neither does a success at any time.
5. To reset it is to forget its memory. Only fires and failures of one key are counted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream_triggers.core.duration import duration_text
from stream_triggers.core.flow.settings import CircuitBreaker, Rate
from stream_triggers.core.keyed.gates.gate import Memory, Passage, Refused, Window
from stream_triggers.core.keyed.state import Match


class Load(Memory, frozen=True):
    """What is counted: the window of fires, the instants of failures in order, and when the breaker tripped."""

    fires: Window | None = None
    failures: tuple[int, ...] = ()
    tripped_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CircuitBreakerGate:
    """Refuses everything after too much of something."""

    setting: CircuitBreaker

    name: ClassVar[str] = "circuit_breaker"
    memory_type: ClassVar[type[Load]] = Load

    def on_time(self, memory: Load, now_ms: int) -> Passage[Load]:
        if memory.tripped_ms is not None:
            wake_ms = self.wake_ms(memory)
            return Passage(memory if wake_ms is None or now_ms < wake_ms else None)
        fires, failures = self._current(memory, now_ms)
        return Passage(Load(fires, failures) if fires or failures else None)

    def on_match(self, memory: Load | None, match: Match, now_ms: int) -> Passage[Load]:
        load = memory or Load()
        if load.tripped_ms is not None:
            detail = f"the circuit breaker is open{self._until()}"
            return Passage(load, (), (Refused("tripped", detail, match),))
        limit = self.setting.fires
        if limit is None:
            return Passage(memory, (match,))
        window = load.fires or Window(now_ms, 0)
        if window.count >= limit.max:
            return Passage(Load(tripped_ms=now_ms), (), (Refused("tripped", self._opens("fires", limit), match),))
        return Passage(Load(Window(window.start_ms, window.count + 1), load.failures), (match,))

    def on_outcome(self, memory: Load | None, is_success: bool, now_ms: int) -> Passage[Load]:
        """Count how a run of the key ended."""
        memory = self.on_time(memory, now_ms).memory if memory else None
        load = memory or Load()
        limit = self.setting.failures
        if limit is None or is_success or load.tripped_ms is not None:
            return Passage(memory)
        failures = (*load.failures, now_ms)
        if len(failures) >= limit.max:
            return Passage(Load(tripped_ms=now_ms), (), (Refused("tripped", self._opens("failures", limit), None),))
        return Passage(Load(load.fires, failures))

    def wake_ms(self, memory: Load) -> int | None:
        if memory.tripped_ms is not None:
            return None if self.setting.for_ms is None else memory.tripped_ms + self.setting.for_ms
        ends = []
        if memory.fires and self.setting.fires:
            ends.append(memory.fires.start_ms + self.setting.fires.per_ms)
        if memory.failures and self.setting.failures:
            ends.append(memory.failures[0] + self.setting.failures.per_ms)
        return min(ends, default=0)  # 0 at once: nothing of what is remembered is counted any more

    def _current(self, memory: Load, now_ms: int) -> tuple[Window | None, tuple[int, ...]]:
        """What of the memory still counts."""
        fires: Window | None = None
        failures: tuple[int, ...] = ()
        if memory.fires and self.setting.fires and now_ms < memory.fires.start_ms + self.setting.fires.per_ms:
            fires = memory.fires
        if self.setting.failures:
            since_ms = now_ms - self.setting.failures.per_ms
            failures = tuple(at_ms for at_ms in memory.failures if at_ms > since_ms)
        return fires, failures

    def _opens(self, what: str, limit: Rate) -> str:
        reached = f"{what} reached {limit.max} in {duration_text(limit.per_ms)}"
        return f"{reached}: the circuit breaker opens{self._until()}"

    def _until(self) -> str:
        return " until it is reset" if self.setting.for_ms is None else f" for {duration_text(self.setting.for_ms)}"
