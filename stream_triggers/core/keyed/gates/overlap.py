"""The overlap gate: what becomes of a match while a run of the same key still goes on.

Rules:
1. A run goes on from its release until the end of each of its invocations was reported. A report that is not an end
   is news of the run.
2. A run of which there was no news for ``ttl`` counts as ended: a worker that is gone keeps nothing waiting for ever.
3. ``skip`` refuses a match while a run goes on, as ``overlapping``. ``buffer_one`` keeps one match for when the run has
   ended, the first that came, and refuses those after it as ``overlapping``. ``buffer_all`` keeps up to ``max``, or as
   many as may be held, and refuses those after them as ``queue_full``.
4. When the run has ended, the first that was kept is released at the next look at the time, and is then the run.
5. A match that makes no invocations is released and nothing waits for it. One of whose invocations could not be made
   must be reported as ended by who makes them.
6. What was kept and has expired is refused as ``expired``, and makes room.
7. Reports of other invocations than those of the run that goes on change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from stream_triggers.core.flow.settings import Overlap
from stream_triggers.core.keyed.gates.gate import (
    Memory,
    Passage,
    Refused,
    first_expiry_ms,
    has_expired,
    is_full,
    queue_full,
    too_late,
)
from stream_triggers.core.keyed.state import Match

InvocationIds: TypeAlias = Callable[[Match], tuple[str, ...]]
"""The ids of the invocations that a match will make, without making them; empty when it can make none."""


class Running(Memory, frozen=True):
    """The invocations that have not ended, the instant of the latest news of them, and what waits for their end."""

    ids: tuple[str, ...]
    news_ms: int
    held: tuple[Match, ...] = ()

    def holding(self) -> tuple[Match, ...]:
        return self.held


@dataclass(frozen=True, slots=True)
class OverlapGate:
    """Lets one run of a key go on at a time; ``expires_ms`` is what the trigger says of its runs."""

    setting: Overlap
    invocation_ids: InvocationIds
    expires_ms: int | None = None

    name: ClassVar[str] = "overlap"
    memory_type: ClassVar[type[Running]] = Running

    def on_time(self, memory: Running, now_ms: int) -> Passage[Running]:
        if now_ms < self.wake_ms(memory):
            return Passage(memory)
        late = too_late(memory.held, self.expires_ms, now_ms)
        held = tuple(match for match in memory.held if not has_expired(match, self.expires_ms, now_ms))
        if now_ms < self._end_ms(memory):
            return Passage(Running(memory.ids, memory.news_ms, held), (), late)
        for index, match in enumerate(held, start=1):
            ids = self.invocation_ids(match)
            if ids:
                return Passage(Running(ids, now_ms, held[index:]), held[:index], late)
        return Passage(None, held, late)

    def on_match(self, memory: Running | None, match: Match, now_ms: int) -> Passage[Running]:
        if late := too_late((match,), self.expires_ms, now_ms):
            return Passage(memory, (), late)
        if memory is None:
            ids = self.invocation_ids(match)
            return Passage(Running(ids, now_ms) if ids else None, (match,))
        policy, held = self.setting.policy, memory.held
        if policy == "skip" or (policy == "buffer_one" and held):
            detail = "a run of this key goes on" + (", and one match waits for its end" if held else "")
            return Passage(memory, (), (Refused("overlapping", detail, match),))
        if is_full(held, self.setting.max):
            return Passage(memory, (), queue_full(self.name, held, match))
        return Passage(Running(memory.ids, memory.news_ms, (*held, match)))

    def on_report(self, memory: Running, invocation_id: str, is_end: bool, now_ms: int) -> Passage[Running]:
        """Take news of an invocation; what waits is not released here but at the next ``on_time``."""
        if invocation_id not in memory.ids:
            return Passage(memory)
        ids = tuple(each for each in memory.ids if not (is_end and each == invocation_id))
        return Passage(Running(ids, max(memory.news_ms, now_ms), memory.held))

    def wake_ms(self, memory: Running) -> int:
        return first_expiry_ms(memory.held, self.expires_ms, self._end_ms(memory))

    def _end_ms(self, memory: Running) -> int:
        """When the run counts as ended if nothing more is heard of it."""
        return memory.news_ms + self.setting.ttl_ms if memory.ids else memory.news_ms
