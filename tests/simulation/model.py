"""What a facts partition must lead to, by the core alone: one state after the other, no store, no timers, no batches.

Timers are found by looking at all states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

import orjson

from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.state import Clocks, Firing, KeyState, Outcome, Refusal, Wake
from stream_triggers.core.record import Activation, Behind, Fact, Pause, Start, Tick
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.memory_log import Entry
from tests.simulation.material import EPOCHS, FUNCTIONS, MESSAGE_BYTES_MAX
from tests.simulation.oracle import Letter

TIMERS_PER_TICK, SWEPT_PER_TICK = 3, 2
"""So few that what is due, and what is to be swept, is not all looked at for one tick."""


ENDED = "it was matched before the trigger started again"

STAGES = {"filter_failed": "filter", "arguments_failed": "arguments"}


@dataclass(slots=True)
class Kept:
    """A state, and the position that wrote it last."""

    state: KeyState
    wake: Wake
    at: int


@dataclass(slots=True)
class Model:
    """One partition, and all that has come of it."""

    number: int
    partitions: int
    clocks: Clocks = field(default_factory=lambda: Clocks(0, 0))
    plans: dict[str, KeyedPlan] = field(default_factory=dict)
    pauses: dict[str, Pause | None] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    swept_to: dict[str, str] = field(default_factory=dict)
    starts: dict[str, Start | None] = field(default_factory=dict)
    versions: dict[str, set[str]] = field(default_factory=dict)
    """The versions of each trigger since it started."""
    own_ms: dict[str, int] = field(default_factory=dict)
    """The watermarks of the triggers that are behind."""
    states: dict[tuple[str, str], Kept] = field(default_factory=dict)
    invocations: list[Invocation] = field(default_factory=list)
    runs: list[TriggerRun] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    fact: Entry | None = None
    """The one that is judged, unless it is a dead letter already."""

    def take(self, entries: Iterable[Entry]) -> None:
        """Judge committed records, one after the other."""
        for entry in entries:
            match decode(entry.value(), (Fact, Tick, Activation)):
                case Fact() as fact:
                    self._advance(entry.timestamp()[1], 0)
                    self.fact = entry
                    self._take_fact(fact, entry)
                    self.fact = None
                case Tick(wall_ms, watermark_ms, behind):
                    self._advance(wall_ms, watermark_ms)
                    for each in behind:
                        self._move(each)
                    for trigger_id, key in self._due():
                        if self._is_void(trigger_id, key):
                            del self.states[trigger_id, key]
                        else:
                            self._look_at(trigger_id, key, entry)
                    self._sweep(entry)
                case Activation() as activation:
                    self._advance(activation.wall_ms, 0)
                    self._activate(activation, entry)

    def _is_void(self, trigger_id: str, key: str) -> bool:
        """Whether a state is from before its trigger was deleted."""
        return self.states[trigger_id, key].at < self.deleted.get(trigger_id, 0)

    def _sweep(self, entry: Entry) -> None:
        if self.swept_to:
            trigger_id = min(self.swept_to)
            first = self.swept_to.pop(trigger_id)
            keys = sorted(key for owner, key in self.states if owner == trigger_id and key >= first)[:SWEPT_PER_TICK]
            for key in keys:
                if self._is_void(trigger_id, key):
                    del self.states[trigger_id, key]
                else:
                    self._look_at(trigger_id, key, entry)
            if len(keys) == SWEPT_PER_TICK:
                self.swept_to[trigger_id] = keys[-1] + "\0"

    def _advance(self, wall_ms: int, watermark_ms: int) -> None:
        self.clocks = Clocks(max(self.clocks.wall_ms, wall_ms), max(self.clocks.watermark_ms, watermark_ms))

    def _move(self, behind: Behind) -> None:
        """A trigger that is behind has come so far, or has caught up: then all its states are looked at."""
        trigger_id, epoch, watermark_ms = behind.trigger_id, behind.epoch, behind.watermark_ms
        start, own_ms = self.starts.get(trigger_id), self.own_ms.get(trigger_id)
        if start is None or own_ms is None or start.epoch != epoch:
            return
        if watermark_ms is None:
            del self.own_ms[trigger_id]
            self.swept_to[trigger_id] = ""
        else:
            self.own_ms[trigger_id] = max(own_ms, watermark_ms)

    def _clocks_of(self, trigger_id: str) -> Clocks:
        return Clocks(self.clocks.wall_ms, self.own_ms.get(trigger_id, self.clocks.watermark_ms))

    def _due(self) -> list[tuple[str, str]]:
        due: list[tuple[int, bytes, tuple[str, str]]] = []
        for (trigger_id, key), kept in self.states.items():
            instants = [at for at, now in zip(kept.wake, self.clocks, strict=True) if at is not None and at <= now]
            if instants:
                due.append((min(instants), f"{trigger_id}\0{key}".encode(), (trigger_id, key)))
        return [name for _, _, name in sorted(due)[:TIMERS_PER_TICK]]

    def _activate(self, activation: Activation, entry: Entry) -> None:
        trigger_id = activation.trigger_id
        if activation.definition_offset <= self.offsets.get(trigger_id, -1):
            if activation.start is not None and activation.start == self.starts[trigger_id]:
                self.versions[trigger_id].add(activation.trigger_version)
            return
        self.offsets[trigger_id] = activation.definition_offset
        self.plans.pop(trigger_id, None)
        before, self.pauses[trigger_id] = self.pauses.get(trigger_id), activation.pause
        if before is not None and before != activation.pause:
            self.swept_to[trigger_id] = ""
        self._start(activation, entry)
        if not activation.definition:
            self.deleted[trigger_id] = entry.offset()
            self.swept_to[trigger_id] = ""
            return
        trigger = parse_trigger(orjson.loads(activation.definition))
        self.plans[trigger_id] = KeyedPlan(trigger, FUNCTIONS, MESSAGE_BYTES_MAX)
        is_home = crc32(f"{trigger_id}\0".encode()) % self.partitions == self.number
        if self.plans[trigger_id].is_scheduled and is_home:
            self._look_at(trigger_id, "", entry)

    def _start(self, activation: Activation, entry: Entry) -> None:
        """A trigger starts, or starts again under another epoch: then what it remembers is void, and it is behind."""
        trigger_id, start = activation.trigger_id, activation.start
        before, self.starts[trigger_id] = self.starts.get(trigger_id), start
        if start is None:
            if self.own_ms.pop(trigger_id, None) is not None:
                self.swept_to[trigger_id] = ""
        elif before is None or before.epoch != start.epoch:
            self.versions[trigger_id] = set()
            self.own_ms[trigger_id] = 0
            self.deleted[trigger_id] = entry.offset()
            self.swept_to[trigger_id] = ""

        if start is not None:
            self.versions[trigger_id].add(activation.trigger_version)

    def _take_fact(self, fact: Fact, entry: Entry) -> None:
        plan = self.plans.get(fact.trigger_id)
        if plan is None:
            self._refuse(Refusal("trigger_deleted", "", (fact.participant,)), (fact.trigger_id, fact.key), None, entry)
            return
        start = self.starts[fact.trigger_id]
        if start is not None and fact.trigger_version not in self.versions[fact.trigger_id]:
            self._refuse(Refusal("reset", ENDED, (fact.participant,)), (fact.trigger_id, fact.key), plan.version, entry)
            return
        assert start is None or start.epoch == EPOCHS[fact.trigger_version], f"{fact} counts after {start}"
        name = (fact.trigger_id, fact.key)
        outcome = plan.on_fact(
            self._state(*name), fact.key, fact, entry.offset(), self._clocks_of(name[0]), self.pauses[name[0]]
        )
        self._apply(outcome, name, plan, entry)

    def _look_at(self, trigger_id: str, key: str, entry: Entry) -> None:
        plan = self.plans[trigger_id]
        clocks = self._clocks_of(trigger_id)
        outcome = plan.on_time(self._state(trigger_id, key), key, clocks, self.pauses[trigger_id])
        self._apply(outcome, (trigger_id, key), plan, entry)

    def _state(self, trigger_id: str, key: str) -> KeyState | None:
        name = (trigger_id, key)
        return self.states[name].state if name in self.states and not self._is_void(*name) else None

    def _apply(self, outcome: Outcome, name: tuple[str, str], plan: KeyedPlan, entry: Entry) -> None:
        for firing in outcome.firings:
            self._fire(firing, plan)
        for refusal in outcome.refusals:
            self._refuse(refusal, name, plan.version, entry)
        self.states.pop(name, None)
        if outcome.state is not None:
            wake = Wake(outcome.wake.wall_ms) if name[0] in self.own_ms else outcome.wake
            self.states[name] = Kept(outcome.state, wake, entry.offset())

    def _fire(self, firing: Firing, plan: KeyedPlan) -> None:
        run_id = firing.run_id.hex()
        causes = tuple(f"{each.kind}/{each.id}" for each in firing.participants)
        self.invocations.append(
            Invocation(
                firing.task,
                plan.trigger.id,
                plan.version,
                run_id,
                run_id,
                firing.time_ms,
                firing.key,
                orjson.loads(firing.arguments),
                causes,
                firing.traceparent,
                firing.root,
                firing.depth,
                firing.expires_ms,
            )
        )
        self.runs.append(
            TriggerRun(
                plan.trigger.id,
                plan.version,
                plan.trigger.epoch,
                firing.task,
                run_id,
                run_id,
                firing.time_ms,
                firing.key,
                firing.participants,
                firing.root,
                firing.depth,
            )
        )

    def _refuse(self, refusal: Refusal, name: tuple[str, str], version: str | None, entry: Entry) -> None:
        trigger_id, key = name
        named = [each for each in refusal.participants[-1:] if each.partition >= 0]
        run_id = None if refusal.run_id is None else refusal.run_id.hex()
        if named:
            [one] = named
            place = (one.topic, one.partition, entry.offset() if one.offset < 0 else one.offset, one.time_ms)
            kind, message_id = one.kind, one.id
        else:
            place = (entry.topic(), entry.partition(), entry.offset(), entry.timestamp()[1])
            kind, message_id = "schedule", ""
        self.decisions.append(
            Decision(refusal.reason, *place, trigger_id, version, refusal.detail, run_id, kind, message_id, key or None)
        )
        if refusal.reason in STAGES and self.fact is not None:
            fact, self.fact = self.fact, None
            where = (fact.topic(), fact.partition(), fact.offset())
            self.letters.append(Letter(*where, fact.key(), fact.value(), STAGES[refusal.reason], trigger_id))
