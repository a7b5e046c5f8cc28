"""The pause of a trigger: nothing fires while it lasts, and a rule says what becomes of what came meanwhile.

Rules:
1. A pause is in force as ``Pause`` says. To resume a trigger is to give the pause an end, which may also change its
   rule for catching up.
2. While it is in force matches stay outside the other gates, and those gates let nothing go: what they held when the
   pause began fires after it, by their own rules.
3. Mode ``drop`` refuses what comes, as ``paused``. ``hold`` keeps it, up to as many as may be held; what comes then is
   refused as ``queue_full``. ``hold_latest`` keeps the latest and refuses the one before it as ``paused``.
4. When the pause is over, ``catchup`` says which of those that were held go on to the gates, in order: ``none``, the
   ``latest``, or all of them. The rest are refused as ``paused``.
5. Without a pause on record nothing is held back: everything that is held goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream_triggers.core.keyed.gates.gate import Passage, Queue, Refused, Waiting, queued, refused
from stream_triggers.core.keyed.state import Match
from stream_triggers.core.record import CaughtUp, Pause


@dataclass(frozen=True, slots=True)
class PauseGate:
    """Holds back what comes while the trigger is paused."""

    pause: Pause | None

    name: ClassVar[str] = "pause"
    memory_type: ClassVar[type[Queue]] = Queue

    def on_time(self, memory: Queue, now_ms: int) -> Passage[Queue]:
        if self.pause is None:
            return Passage(None, memory.holding())
        if self.pause.is_in_force(now_ms):
            return Passage(memory)
        held = memory.holding()
        count = _going_on(self.pause.catchup, len(held))
        left, going = held[: len(held) - count], held[len(held) - count :]
        return Passage(None, going, refused("paused", "it came during a pause and is not caught up on", left))

    def on_match(self, memory: Queue | None, match: Match, now_ms: int) -> Passage[Queue]:
        if self.pause is None or not self.pause.is_in_force(now_ms):
            return Passage(memory, (match,))
        match self.pause.mode:
            case "drop":
                return Passage(memory, (), (Refused("paused", self.pause.words, match),))
            case "hold":
                return queued(self.name, memory, match, now_ms)
            case "hold_latest":
                left = memory.holding() if memory else ()
                return Passage(Queue((Waiting(match, now_ms),)), (), refused("paused", "a later match came", left))

    def wake_ms(self, memory: Queue) -> int | None:
        return self.pause.until_ms if self.pause else memory.waiting[0].since_ms


def _going_on(catchup: CaughtUp, held: int) -> int:
    """How many of those that are held, counted from the last, go on after a pause."""
    match catchup:
        case "none":
            return 0
        case "latest":
            return min(1, held)
        case "" | "all":
            return held
