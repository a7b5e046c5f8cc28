"""Gates that make one run of several matches: debounce, batch and cooldown.

A run of several matches has the occurrences of all of them, so its id says which they were: a batch that is made again
from the same matches is the same run.

``debounce``:
1. The matches of a key gather from the first on, and fire ``wait`` after the latest, but never later than ``max_wait``
   after the first. Instants are those of arrival.
2. ``collect: latest`` fires for the latest match, ``{first: n}`` for the first n, ``all`` for all of them in one run.
   Those that do not take part are refused as ``debounced``: an older one when the next comes, one too many as it comes.
   Each of them moves the instant of firing.
3. ``all`` fires at once when as many have gathered as may be held, rather than refuse what was asked for.

``batch``:
4. It fires for ``max_size`` matches, or as many as may be held, when the last of them comes, or for what there is
   ``max_wait`` after the first.

``cooldown``:
5. A match that passes begins a cooldown of ``for``, its end excluded, during which none passes.
6. Mode ``drop`` refuses those that come meanwhile as ``cooling_down``. Mode ``trailing`` gathers them as ``collect``
   says, and fires once for them when the cooldown ends, which begins the next one; those that do not take part are
   refused as ``cooling_down``.
7. A cooldown begins when a match passes here, be it late: two never pass within ``for``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream_triggers.core.duration import duration_text
from stream_triggers.core.flow.settings import Batch, Collect, Cooldown, Debounce
from stream_triggers.core.keyed.gates.gate import Memory, Passage, gathered, is_full, merged, refused
from stream_triggers.core.keyed.state import Match


class Gathering(Memory, frozen=True):
    """The matches that will be one run, at least one, and when the first and the latest of all came."""

    first_ms: int
    latest_ms: int
    held: tuple[Match, ...]

    def holding(self) -> tuple[Match, ...]:
        return self.held


@dataclass(frozen=True, slots=True)
class DebounceGate:
    """Fires when matches have stopped coming."""

    setting: Debounce

    name: ClassVar[str] = "debounce"
    memory_type: ClassVar[type[Gathering]] = Gathering

    def on_time(self, memory: Gathering, now_ms: int) -> Passage[Gathering]:
        return _once_due(memory, self.wake_ms(memory), now_ms)

    def on_match(self, memory: Gathering | None, match: Match, now_ms: int) -> Passage[Gathering]:
        memory = memory or Gathering(now_ms, now_ms, ())
        collect = self.setting.collect
        held, left = gathered(memory.held, match, collect)
        refusals = refused("debounced", _why_left(collect, held), left)
        if collect.which == "all" and is_full(held):
            return Passage(None, (merged(held),), refusals)
        return Passage(Gathering(memory.first_ms, max(memory.latest_ms, now_ms), held), (), refusals)

    def wake_ms(self, memory: Gathering) -> int:
        due_ms = memory.latest_ms + self.setting.wait_ms
        longest_ms = self.setting.max_wait_ms
        return due_ms if longest_ms is None else min(due_ms, memory.first_ms + longest_ms)


@dataclass(frozen=True, slots=True)
class BatchGate:
    """Fires for many matches at once."""

    setting: Batch

    name: ClassVar[str] = "batch"
    memory_type: ClassVar[type[Gathering]] = Gathering

    def on_time(self, memory: Gathering, now_ms: int) -> Passage[Gathering]:
        return _once_due(memory, self.wake_ms(memory), now_ms)

    def on_match(self, memory: Gathering | None, match: Match, now_ms: int) -> Passage[Gathering]:
        first_ms, held = (memory.first_ms, (*memory.held, match)) if memory else (now_ms, (match,))
        if is_full(held, self.setting.max_size):
            return Passage(None, (merged(held),))
        return Passage(Gathering(first_ms, now_ms, held))

    def wake_ms(self, memory: Gathering) -> int:
        if is_full(memory.held, self.setting.max_size):  # a new version made it smaller
            return memory.first_ms
        return memory.first_ms + self.setting.max_wait_ms


class Cooling(Memory, frozen=True):
    """When a match passed, and what has gathered since."""

    since_ms: int
    held: tuple[Match, ...] = ()

    def holding(self) -> tuple[Match, ...]:
        return self.held


@dataclass(frozen=True, slots=True)
class CooldownGate:
    """Lets no match pass for some time after one passed."""

    setting: Cooldown

    name: ClassVar[str] = "cooldown"
    memory_type: ClassVar[type[Cooling]] = Cooling

    def on_time(self, memory: Cooling, now_ms: int) -> Passage[Cooling]:
        if now_ms < self.wake_ms(memory):
            return Passage(memory)
        if not memory.held:
            return Passage(None)
        return Passage(Cooling(now_ms), (merged(memory.held),))

    def on_match(self, memory: Cooling | None, match: Match, now_ms: int) -> Passage[Cooling]:
        if memory is None:
            return Passage(Cooling(now_ms), (match,))
        if self.setting.mode == "drop":
            detail = f"a run was less than {duration_text(self.setting.for_ms)} ago"
            return Passage(memory, (), refused("cooling_down", detail, (match,)))
        collect = self.setting.collect
        held, left = gathered(memory.held, match, collect)
        return Passage(Cooling(memory.since_ms, held), (), refused("cooling_down", _why_left(collect, held), left))

    def wake_ms(self, memory: Cooling) -> int:
        return memory.since_ms + self.setting.for_ms


def _once_due(memory: Gathering, wake_ms: int, now_ms: int) -> Passage[Gathering]:
    """Let go what has gathered, as one match, when it is time."""
    return Passage(memory) if now_ms < wake_ms else Passage(None, (merged(memory.held),))


def _why_left(collect: Collect, held: tuple[Match, ...]) -> str:
    """Why a match takes no part in the run that the ``held`` ones will be."""
    return "a later match came" if collect.which == "latest" else f"it is beyond the first {len(held)}"
