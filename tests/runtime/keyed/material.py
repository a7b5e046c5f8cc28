"""Plans made by hand, facts, and partitions to put them in: what tests of the keyed stage need whatever ``core`` makes.

The form of a definition is JSON here: ``{"kind": "pair", "within": 1000}``. A pair fires when a fact of leaf ``a`` and
one of leaf ``b`` have come; an ``a`` that has waited for ``within`` on the watermark fires the task ``alone``.
``every`` is a schedule on the wall clock. ``broken`` cannot be used.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from stream_triggers.core.invocation import Decision, Invocation, RunIds
from stream_triggers.core.keyed.state import (
    Clocks,
    Firing,
    KeyState,
    Occurrence,
    Outcome,
    Refusal,
    Wake,
    nominal_id,
)
from stream_triggers.core.message import Kind, Participant
from stream_triggers.core.record import Activation, Behind, Fact, Pause, Start, Tick
from stream_triggers.core.trigger import Trigger, parse_trigger
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.keyed.evaluate_stage import EvaluateStage
from stream_triggers.runtime.keyed.facts import partition_of, state_key
from stream_triggers.runtime.keyed.plans import Plan
from stream_triggers.runtime.keyed.states import States
from stream_triggers.runtime.log import Outgoing, TopicSpec
from stream_triggers.runtime.memory_log import Entry, MemoryCluster
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.store import Changes, MemoryStore, Store
from stream_triggers.telemetry import Counters

FACTS = "trigger-facts"
CHANGELOG = "changelog"
START_MS = 1_700_000_000_000


class Pair:
    """Both leaves, or one that has waited too long."""

    def __init__(self, trigger: Trigger, version: str, form: dict[str, Any]) -> None:
        self.trigger, self.version = trigger, version
        self.is_scheduled = False
        self._within_ms = form.get("within", 1000)
        self._leaves = frozenset(form.get("leaves", ("a", "b")))
        self._run_ids = RunIds(trigger.id, trigger.epoch)

    def on_fact(
        self, state: KeyState | None, key: str, fact: Fact, at: int, clocks: Clocks, pause: Pause | None
    ) -> Outcome:
        if not self._leaves.issuperset(fact.leaves):
            return Outcome(state, (), (Refusal("filter_failed", "gone", (fact.participant,)),), self._wake(state))
        one = fact.participant
        came = Occurrence(
            fact.leaves, one.kind, one.id, one.topic, one.partition, one.offset, one.time_ms, at, fact.fields
        )
        kept = (*(state.occurrences if state else ()), came)
        if {leaf for each in kept for leaf in each.leaves} == self._leaves:
            return Outcome(None, (self._fire("both", key, kept, fact),))
        after = KeyState(self.version, kept)
        return Outcome(after, (), (), self._wake(after))

    def on_time(self, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None) -> Outcome:
        wake = self._wake(state)
        if state is None or not state.occurrences:
            return Outcome(None)
        if wake.watermark_ms is None or wake.watermark_ms > clocks.watermark_ms:
            return Outcome(state, (), (), wake)
        return Outcome(None, (self._fire("alone", key, state.occurrences, None),))

    def _wake(self, state: KeyState | None) -> Wake:
        return Wake(None, state.occurrences[0].time_ms + self._within_ms) if state and state.occurrences else Wake()

    def _fire(self, task: str, key: str, kept: Sequence[Occurrence], fact: Fact | None) -> Firing:
        return Firing(
            run_id=self._run_ids.of((each.kind, each.id) for each in kept),
            task=task,
            time_ms=max(each.time_ms for each in kept),
            key=key or None,
            arguments=orjson.dumps({"ids": [each.id for each in kept]}),
            participants=tuple(
                Participant(each.leaves[0], each.kind, each.id, each.topic, each.partition, each.offset, each.time_ms)
                for each in kept
            ),
            traceparent=None,
            root=kept[0].id,
            depth=1 if fact is None else fact.depth + 1,
        )


class Every:
    """A schedule; of what is due it fires one instant at each look."""

    def __init__(self, trigger: Trigger, version: str, form: dict[str, Any]) -> None:
        self.trigger, self.version = trigger, version
        self.is_scheduled = True
        self._every_ms = form["every"]
        self._run_ids = RunIds(trigger.id, trigger.epoch)

    def on_fact(
        self, state: KeyState | None, key: str, fact: Fact, at: int, clocks: Clocks, pause: Pause | None
    ) -> Outcome:
        raise AssertionError("a schedule gets no facts")

    def on_time(self, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None) -> Outcome:
        if state is None or "next" not in state.memory:
            next_ms = (clocks.wall_ms // self._every_ms + 1) * self._every_ms
            return Outcome(KeyState(self.version, memory={"next": next_ms}), (), (), Wake(next_ms))
        due_ms = state.memory["next"]
        if due_ms > clocks.wall_ms:
            return Outcome(state, (), (), Wake(due_ms))
        name = nominal_id(due_ms)
        firing = Firing(
            self._run_ids.of_one("schedule", name), "every", due_ms, None, b"{}",
            (Participant("when", "schedule", name, "", -1, -1, due_ms),), None, name, 0,
        )  # fmt: skip
        next_ms = due_ms + self._every_ms
        return Outcome(KeyState(self.version, memory={"next": next_ms}), (firing,), (), Wake(next_ms))


class Raising(Pair):
    """A pair that raises, at its facts or as time passes."""

    def __init__(self, trigger: Trigger, version: str, form: dict[str, Any]) -> None:
        super().__init__(trigger, version, form)
        self._at, self._error = form["at"], form["error"]

    def on_fact(
        self, state: KeyState | None, key: str, fact: Fact, at: int, clocks: Clocks, pause: Pause | None
    ) -> Outcome:
        if self._at == "fact":
            raise getattr(builtins, self._error)("out of order")
        return super().on_fact(state, key, fact, at, clocks, pause)

    def on_time(self, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None) -> Outcome:
        if self._at == "time":
            raise getattr(builtins, self._error)("out of order")
        return super().on_time(state, key, clocks, pause)


@lru_cache
def compiled(trigger_id: str, form: bytes) -> Plan | None:
    """The plan of one of the forms above."""
    fields = orjson.loads(form)
    trigger = parse_trigger({"id": trigger_id, "task": "t", "when": {"event": "x"}})
    version = form_version(form)
    match fields["kind"]:
        case "pair":
            return Pair(trigger, version, fields)
        case "raising":
            return Raising(trigger, version, fields)
        case "every":
            return Every(trigger, version, fields)
    return None


def form_version(form: bytes) -> str:
    return f"v{len(form)}" if form else ""


def form(kind: str = "pair", **more: Any) -> bytes:
    return orjson.dumps({"kind": kind, **more})


PAIR = form()


def fact(leaf: str, id_: str, key: str = "k", trigger_id: str = "t", time_ms: int = 100, kind: Kind = "event") -> Fact:
    """A fact of an event at position 0 of ``events/0``, matched with the version of ``PAIR``."""
    return Fact(
        trigger_id, form_version(PAIR), key, Participant(leaf, kind, id_, "events", 0, 0, time_ms), {}, leaves=(leaf,)
    )


def active(
    definition: bytes = PAIR, offset: int = 0, trigger_id: str = "t", wall_ms: int = 0, start: Start | None = None
) -> Activation:
    return Activation(trigger_id, form_version(definition), offset, definition, wall_ms, start=start)


def tick(wall_ms: int = 0, watermark_ms: int = 0, *behind: Behind) -> Tick:
    return Tick(wall_ms, watermark_ms, behind)


class Bench:
    """A facts topic, its changelog, and one owner of all its partitions with a store; no worker, no transactions."""

    def __init__(self, partitions: int = 1, store: Store | None = None, cluster: MemoryCluster | None = None) -> None:
        self.partitions = partitions
        self.clock = cluster.clock if cluster else ManualClock(START_MS)
        self.cluster = cluster or MemoryCluster(self.clock)
        self.cluster.create_topics([TopicSpec(FACTS, partitions, {}), TopicSpec(CHANGELOG, partitions, {})])
        self.store = MemoryStore() if store is None else store
        self.states = States(self.store)
        self.counters = Counters()
        self.stage = EvaluateStage(partitions, 0, self.states, compiled, self.counters)
        self.outputs: list[Outputs] = []
        self._read = [0] * partitions

    def write(self, *values: Fact | Activation | Tick, partition: int | None = None) -> None:
        """Append records to the partitions they belong to, ticks and activations to ``partition``."""
        for value in values:
            key = None if isinstance(value, Tick) else state_key(value.trigger_id, getattr(value, "key", ""))
            number = partition_of(key, self.partitions) if isinstance(value, Fact) and key else partition or 0
            self.cluster.write(FACTS, [Outgoing(value=encode(value), key=key, partition=number)])

    def unread(self) -> list[Entry]:
        """What has not been processed."""
        found = [
            each for number, entries in enumerate(self.cluster.entries(FACTS)) for each in entries[self._read[number] :]
        ]
        self._read = [len(entries) for entries in self.cluster.entries(FACTS)]
        return found

    def process(self, *values: Fact | Activation | Tick, partition: int | None = None) -> Outputs:
        """Append these and process all that has not been."""
        self.write(*values, partition=partition)
        outputs = self.stage.process(self.unread())
        self.outputs.append(outputs)
        return outputs

    def commit(self) -> list[Outgoing]:
        """Write the changelog, then the store; returns what was written."""
        records = self.states.records()
        self.cluster.write(CHANGELOG, list(records))
        changes = Changes()
        self.states.settle(changes)
        self.store.apply(changes)
        return records

    def fired(self) -> list[str]:
        """Task, key and causes of every invocation so far."""
        found = [decode(each["value"], (Invocation,)) for outputs in self.outputs for each in outputs.invocations]
        return [f"{each.task} {each.key}: {' '.join(each.causes)}" for each in found]

    def decisions(self) -> list[Decision]:
        """Every decision so far."""
        found = [decode(each["value"]) for outputs in self.outputs for each in outputs.runs]
        return [each for each in found if isinstance(each, Decision)]

    def decided(self) -> list[str]:
        """Reason and message of every decision so far."""
        return [f"{each.reason} {each.trigger_id} {each.id}" for each in self.decisions()]


def contents(store: Store) -> dict[str, dict[bytes, bytes]]:
    """Everything in the columns of the keyed stage."""
    return {column: dict(store.scan(column, b"", b"\xff" * 8)) for column in ("states", "timers", "active", "clocks")}


def plain(outputs: Outputs) -> Any:
    """Outputs in a form that is compared byte for byte."""
    return msgspec.json.encode([outputs.invocations, outputs.runs, outputs.dead_letters])
