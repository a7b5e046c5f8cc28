"""All gates of a trigger, one behind the other in the order that holds for every trigger.

Rules:
1. The order is ``GATE_TYPES``: first what refuses most cheaply, then what makes one run of several matches, then what
   waits, and last what protects those who run the tasks, so that it sees what really fires. What a gate has let through
   it has counted, though a later one may refuse it.
2. A gate takes a match at the instant at which the one before let it go. A late tick is late for all that follow.
3. Time is looked at from the last gate to the first, so that what has come further stays ahead of what comes behind it.
4. While a pause is in force only reports are taken in; no gate but that of the pause takes a match or lets one go.
5. When a new version of a trigger has no such gate any more, what that gate held goes on to the gates behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from stream_triggers.core.flow.settings import Flow
from stream_triggers.core.keyed.gates.breaker import CircuitBreakerGate
from stream_triggers.core.keyed.gates.gate import Gate, Memory, Passage, Refused
from stream_triggers.core.keyed.gates.gather import BatchGate, CooldownGate, DebounceGate
from stream_triggers.core.keyed.gates.limit import DepthGate, RateLimitGate, RootBudgetGate
from stream_triggers.core.keyed.gates.overlap import InvocationIds, OverlapGate, Running
from stream_triggers.core.keyed.gates.pace import DelayGate, ThrottleGate
from stream_triggers.core.keyed.gates.pause import PauseGate
from stream_triggers.core.keyed.state import Match
from stream_triggers.core.record import Pause
from stream_triggers.core.report import News
from stream_triggers.errors import Corrupt

GATE_TYPES: Final[tuple[type[Gate[Any]], ...]] = (
    PauseGate,
    DepthGate,
    RootBudgetGate,
    RateLimitGate,
    DebounceGate,
    BatchGate,
    DelayGate,
    CooldownGate,
    ThrottleGate,
    CircuitBreakerGate,
    OverlapGate,
)
"""Every kind of gate, in the order in which a match meets them."""

S = TypeVar("S")


class Flowed(NamedTuple):
    """What flow control makes of its input; ``memories`` by name of the gate, for the next input."""

    memories: dict[str, Memory]
    released: tuple[Match, ...]
    refused: tuple[Refused, ...]
    wake_ms: int | None


def compile_flow(flow: Flow, invocation_ids: InvocationIds) -> tuple[Gate[Any], ...]:
    """The gates that ``flow`` sets, in their order."""
    overlap = flow.overlap if flow.overlap.policy != "allow" else None
    gates = (
        DepthGate(flow.max_depth),
        _set(RootBudgetGate, flow.root_budget),
        _set(RateLimitGate, flow.rate_limit),
        _set(DebounceGate, flow.debounce),
        _set(BatchGate, flow.batch),
        _set(DelayGate, flow.delay_ms),
        _set(CooldownGate, flow.cooldown),
        _set(partial(ThrottleGate, expires_ms=flow.expires_ms), flow.throttle),
        _set(CircuitBreakerGate, flow.circuit_breaker),
        _set(partial(OverlapGate, invocation_ids=invocation_ids, expires_ms=flow.expires_ms), overlap),
    )
    return tuple(gate for gate in gates if gate is not None)


@dataclass(frozen=True, slots=True)
class Chain:
    """The ``gates`` of a trigger at work.

    ``memories`` are those that the last call gave, or as they are read back from a state: plain JSON values. ``pause``
    is the pause on record for the trigger. Every call may let matches go, whatever it was called for.
    """

    gates: tuple[Gate[Any], ...]

    def on_matches(
        self, memories: Mapping[str, Any], matches: Iterable[Match], now_ms: int, pause: Pause | None = None
    ) -> Flowed:
        """Take ``matches``, in order."""
        passing = _Passing(self.gates, memories, now_ms, pause)
        passing.look()
        for match in matches:
            passing.push(match, 0)
        return passing.flowed()

    def on_time(self, memories: Mapping[str, Any], now_ms: int, pause: Pause | None = None) -> Flowed:
        """Let go what is due."""
        return self.on_matches(memories, (), now_ms, pause)

    def on_report(
        self, memories: Mapping[str, Any], invocation_id: str, news: News, now_ms: int, pause: Pause | None = None
    ) -> Flowed:
        """Take news of an invocation of the trigger and key."""
        passing = _Passing(self.gates, memories, now_ms, pause)
        passing.look()
        passing.report(invocation_id, news)
        passing.look()
        return passing.flowed()


def _set(make: Callable[[S], Gate[Any]], setting: S | None) -> Gate[Any] | None:
    return None if setting is None else make(setting)


def held_in(memories: Mapping[str, Any]) -> dict[str, tuple[Match, ...]]:
    """The matches that each gate holds, by its name, in the order of the gates; without those that hold none."""
    held = {kind.name: _typed(kind, memories[kind.name]).holding() for kind in GATE_TYPES if kind.name in memories}
    return {name: matches for name, matches in held.items() if matches}


def running_in(memories: Mapping[str, Any]) -> tuple[str, ...]:
    """The invocations whose end what is held waits for."""
    name = OverlapGate.name
    memory = _typed(OverlapGate, memories[name]) if name in memories else None
    return memory.ids if isinstance(memory, Running) else ()


class _Passing:
    """One input on its way through the gates."""

    def __init__(
        self, gates: tuple[Gate[Any], ...], memories: Mapping[str, Any], now_ms: int, pause: Pause | None
    ) -> None:
        there: dict[str, Gate[Any]] = {gate.name: gate for gate in (PauseGate(pause), *gates)}
        self._gates = [there.get(kind.name) for kind in GATE_TYPES]
        self._memories = {kind.name: _typed(kind, memories[kind.name]) for kind in GATE_TYPES if kind.name in memories}
        self._now_ms = now_ms
        self._pause = pause if pause is not None and pause.is_in_force(now_ms) else None
        self._released: list[Match] = []
        self._refused: list[Refused] = []

    def look(self) -> None:
        """Let go what is due, unless a pause is in force."""
        if self._pause is not None:
            return
        for place in reversed(range(len(GATE_TYPES))):
            memory = self._memories.get(GATE_TYPES[place].name)
            if memory is None:
                continue
            gate = self._gates[place]
            passage = gate.on_time(memory, self._now_ms) if gate else Passage(None, memory.holding())
            self._follow(passage, place)

    def push(self, match: Match, place: int) -> None:
        """Give ``match`` to the first gate from ``place`` on."""
        for at, gate in enumerate(self._gates[place:], start=place):
            if gate is not None:
                self._follow(gate.on_match(self._memories.get(gate.name), match, self._now_ms), at)
                return
        self._released.append(match)

    def report(self, invocation_id: str, news: News) -> None:
        """Give news of an invocation to the gates that want to know."""
        for place, gate in enumerate(self._gates):
            memory: Any = self._memories.get(GATE_TYPES[place].name)
            if isinstance(gate, CircuitBreakerGate) and news != "running":
                self._follow(gate.on_outcome(memory, news != "failed", self._now_ms), place)
            if isinstance(gate, OverlapGate) and memory is not None:
                self._follow(gate.on_report(memory, invocation_id, news != "running", self._now_ms), place)

    def flowed(self) -> Flowed:
        """What has come of it."""
        return Flowed(self._memories, tuple(self._released), tuple(self._refused), self._wake_ms())

    def _follow(self, passage: Passage[Any], place: int) -> None:
        """Keep what the gate at ``place`` remembers, and send on what it let go."""
        name = GATE_TYPES[place].name
        if passage.memory is None:
            self._memories.pop(name, None)
        else:
            self._memories[name] = passage.memory
        self._refused += passage.refused
        for match in passage.released:
            self.push(match, place + 1)

    def _wake_ms(self) -> int | None:
        if self._pause is not None:
            return self._pause.until_ms if self._memories else None
        wakes = [
            gate.wake_ms(self._memories[gate.name]) for gate in self._gates if gate and gate.name in self._memories
        ]
        return min((wake_ms for wake_ms in wakes if wake_ms is not None), default=None)


def _typed(kind: type[Gate[Any]], memory: Any) -> Memory:
    """``memory`` as the gate knows it, from that or from the plain values that it is read back as."""
    if isinstance(memory, Memory):
        return memory
    try:
        typed: Memory = msgspec.convert(memory, kind.memory_type)
    except msgspec.ValidationError as error:
        problem = f"what the gate {kind.name} remembers cannot be read: {error}"
        raise Corrupt(problem, hint="delete the state directory; it is restored from the changelog") from error
    return typed
