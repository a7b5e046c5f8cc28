"""The evaluate stage: records of facts partitions in, the records of everything that fires out.

    fact        -> one step of its trigger over the state of its key
    activation  -> another definition in force; the first look at a schedule
    tick        -> clocks move, and a bounded number of due states are looked at

Rules:
1. What comes out, and what is remembered, is a function of the records of the partition in their order and of nothing
   else: no clock, no configuration, no other topic. ``replay`` makes the same of them again.
2. Every fact ends in a state, a run, or a decision, but for news of a run that nothing waits for. A record that is no
   fact, activation or tick is a dead letter. So is a fact on which a function, a template or the whole step of its
   trigger fails, beside the decision that says so: what is remembered stays as it was, and the others go on. A state
   that cannot be read is dropped in the same way.
3. At most ``TIMERS_PER_TICK`` states are looked at for one tick, in the order (instant, state key); what is left is due
   at the next tick, which the owner of the partition writes as soon as it has read this one.
4. The wall clock of a fact is the time of its record. Clocks never go back, whatever is written.
5. While a trigger is behind, its states have no timers on the watermark, for its own is not the one that timers are
   held against: the watermark has its effect on a state with the next fact, and on all when the trigger has caught up.
6. A state that outgrows what the changelog takes is dropped, a run that outgrows what its topics take is not made, and
   a decision says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import msgspec

from stream_triggers.core.invocation import Decision, Reason
from stream_triggers.core.keyed.state import NO_POSITION, Firing, KeyState, Outcome, Refusal, Wake, encode_state
from stream_triggers.core.message import TEXT_BYTES_MAX, Participant
from stream_triggers.core.record import Activation, Behind, Fact, Tick
from stream_triggers.core.words import counted
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.dead_letters import dead_letter
from stream_triggers.runtime.functions import raised_text
from stream_triggers.runtime.keyed.active import NOTHING, Active, Compile
from stream_triggers.runtime.keyed.facts import home_of, state_key
from stream_triggers.runtime.keyed.firing import write_firing
from stream_triggers.runtime.keyed.plans import Plan
from stream_triggers.runtime.keyed.states import NEVER, FactsPartition, Kept, States
from stream_triggers.runtime.log import Record
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX
from stream_triggers.telemetry import Counters, Stage

TIMERS_PER_TICK = 1000
"""States looked at for one tick: some ten milliseconds of work."""

SWEPT_PER_TICK = 1000
"""States looked at for one tick because their trigger was deleted, or its pause has ended."""

STATE_BYTES_MAX = 2 * 1024 * 1024
"""Largest state, written: half of what a record of the changelog may have."""

SIZE_CHECKED_BYTES = STATE_BYTES_MAX // 4
"""From which estimated size on a state is written to see how large it is."""

RUN_BYTES_MAX = MESSAGE_BYTES_MAX - TEXT_BYTES_MAX - 1024
"""Largest invocation, and largest run record: what a topic takes, less the key and what Kafka adds."""

NUL = b"\0"

FAILED: Mapping[Reason, Stage] = {"filter_failed": "filter", "arguments_failed": "arguments", "step_failed": "step"}
"""Decisions with which the fact that led to them goes to the dead letters, and the stage that these name."""

ENDED = "it was matched before the trigger started again"

TICK_STATE_BYTES = 200
"""What a state may grow by when the clocks move, about; a fact adds what its record has."""


class EvaluateStage:
    """Evaluates the records of all facts partitions of a worker."""

    def __init__(
        self, partitions: int, runs_partition: int, states: States, compile_: Compile, counters: Counters
    ) -> None:
        """``partitions`` is the number of those of the facts; run records and decisions go to ``runs_partition``."""
        self.runs_partition = runs_partition
        self._partitions = partitions
        self._states = states
        self._compile = compile_
        self._counters = counters

    def process(self, records: Sequence[Record]) -> Outputs:
        """What ``records`` make; states change in the overlay, positions and writing are the caller's."""
        outputs = Outputs()
        for number, batch in groupby(records, key=_partition):
            partition = self._states.partition(number)
            _Batch(self, partition, outputs).process(list(batch))
        return outputs

    def is_home(self, trigger_id: str, partition: int) -> bool:
        """Whether the schedules of a trigger live in a partition."""
        return home_of(trigger_id, self._partitions) == partition

    def plan_of(self, active: Active) -> Plan | None:
        """The plan of a definition in force; None when it cannot be used here."""
        return self._compile(active.trigger_id, active.form)

    def count(self, facts: int) -> None:
        """Add to the counters."""
        self._counters.facts += facts

    def count_decision(self, reason: Reason) -> None:
        """Add to the counters."""
        self._counters.decisions[reason] += 1

    def count_letter(self, stage: Stage) -> None:
        """Add to the counters."""
        self._counters.dead_letters[stage] += 1


class _Batch:
    """A run of records of one partition."""

    def __init__(self, stage: EvaluateStage, partition: FactsPartition, outputs: Outputs) -> None:
        self._stage = stage
        self._partition = partition
        self._outputs = outputs
        self._fact: Record | None = None  # that is being taken, and is no dead letter

    def process(self, records: list[Record]) -> None:
        """In their order; states of all facts are fetched at once."""
        values = [self._read(record) for record in records]
        facts = [record.key() or b"" for record, value in zip(records, values, strict=True) if value.__class__ is Fact]
        self._partition.load(facts)
        self._stage.count(len(facts))
        for record, value in zip(records, values, strict=True):
            if value.__class__ is Fact:
                self._fact = record
                self._take_fact(value, record)
                self._fact = None
            elif value.__class__ is Tick:
                self._take_tick(value, record)
            elif value.__class__ is Activation:
                self._take_activation(value, record)

    def _read(self, record: Record) -> Fact | Tick | Activation | None:
        try:
            return decode(record.value(), (Fact, Tick, Activation))  # type: ignore[return-value]
        except InvalidMessage as error:
            self._dead_letter(record, "decode", error.message)
            return None

    def _take_fact(self, fact: Fact, record: Record) -> None:
        partition, at, key = self._partition, record.offset(), record.key() or b""
        partition.advance(record.timestamp()[1])
        active = partition.active.get(fact.trigger_id) or Active(fact.trigger_id, fact.trigger_version, -1, b"")
        plan = self._stage.plan_of(active) if active.form else None
        if plan is None:
            reason: Reason = "trigger_unusable" if active.form else "trigger_deleted"
            self._refuse(Refusal(reason, "", (fact.participant,)), active, key, record)
            return
        if not active.takes(fact.trigger_version):
            self._refuse(Refusal("reset", ENDED, (fact.participant,)), active, key, record)
            return
        before, clocks = partition.get(key), partition.clocks_of(active)
        state = before.state if before.at >= active.void_before else None
        refusal, outcome = _stepped(
            before, state, partial(plan.on_fact, state, fact.key, fact, at, clocks, active.pause), (fact.participant,)
        )
        if refusal is not None:
            self._refuse(refusal, active, key, record)
        size = len(record.value() or b"")
        self._take(outcome, plan, active, key, before, record, size, always=bool(before.problem))

    def _take_activation(self, activation: Activation, record: Record) -> None:
        partition, trigger_id = self._partition, activation.trigger_id
        partition.advance(activation.wall_ms)
        before = partition.active.get(trigger_id, NOTHING)
        if before is NOTHING:
            before = Active(trigger_id, "", -1, b"")
        active = before.after(activation, record.offset())
        if active is before:
            return
        partition.activate(active)
        plan = self._stage.plan_of(active) if active.form else None
        if plan is not None and plan.is_scheduled and self._stage.is_home(trigger_id, partition.number):
            self._look_at(state_key(trigger_id, ""), plan, active, record)

    def _take_tick(self, tick: Tick, record: Record) -> None:
        partition = self._partition
        partition.is_tick_awaited = False
        clocks = partition.advance(tick.wall_ms, tick.watermark_ms)
        for behind in tick.behind:
            self._move(behind)
        due = partition.timers.take(clocks, TIMERS_PER_TICK)
        partition.load(due)
        for key in due:
            active = partition.active.get(key.partition(NUL)[0].decode(), NOTHING)
            plan = self._stage.plan_of(active) if active.form else None
            kept = partition.get(key)
            if kept.at < active.void_before or not active.form:
                partition.put(key, None, NEVER, record.offset(), 0)
            elif plan is None:
                partition.put(key, kept.state, NEVER, kept.at, 0)
            else:
                self._look_at(key, plan, active, record)
        self._sweep(record)

    def _move(self, behind: Behind) -> None:
        """Take in how far a trigger has come that is behind."""
        active = self._partition.active.get(behind.trigger_id, NOTHING)
        moved = active.moved(behind)
        if moved is not active:
            self._partition.activate(moved)

    def _look_at(self, key: bytes, plan: Plan, active: Active, record: Record) -> None:
        """Let the clocks have their effect on one state."""
        before, clocks = self._partition.get(key), self._partition.clocks_of(active)
        state = before.state if before.at >= active.void_before else None
        name = key.partition(NUL)[2].decode()
        refusal, outcome = _stepped(before, state, partial(plan.on_time, state, name, clocks, active.pause))
        if refusal is not None:
            self._refuse(refusal, active, key, record)
            outcome = msgspec.structs.replace(outcome, wake=NEVER)
        self._take(outcome, plan, active, key, before, record, TICK_STATE_BYTES, always=True)

    def _take(
        self,
        outcome: Outcome,
        plan: Plan,
        active: Active,
        key: bytes,
        before: Kept,
        record: Record,
        more_bytes: int,
        *,
        always: bool = False,
    ) -> None:
        """Write what a step has made; ``always``, also when nothing is to be remembered anew: its timer is over."""
        for firing in outcome.firings:
            self._fire(firing, plan, active, key, record)
        for refusal in outcome.refusals:
            self._refuse(refusal, active, key, record)
        wake = outcome.wake if active.watermark_ms is None else Wake(outcome.wake.wall_ms)
        if always or outcome.state is not before.state or wake != before.wake:
            size = self._partition.put(key, outcome.state, wake, record.offset(), more_bytes)
            if size > SIZE_CHECKED_BYTES and outcome.state is not None:
                self._bound(key, outcome, active, record)

    def _fire(self, firing: Firing, plan: Plan, active: Active, key: bytes, record: Record) -> None:
        invocation, run, run_hex = write_firing(firing, plan.trigger, plan.version)
        size, limit = max(len(invocation), len(run)), RUN_BYTES_MAX
        if size > limit:
            detail = (
                f"a run with {counted(len(firing.participants), 'participant')} has {size} bytes, the limit is {limit}"
            )
            self._refuse(Refusal("arguments_failed", detail, firing.participants, firing.run_id), active, key, record)
            return
        out_key = firing.key.encode() if firing.key else run_hex
        self._outputs.invocations.append({"value": invocation, "key": out_key})
        self._outputs.runs.append({"value": run, "key": run_hex, "partition": self._stage.runs_partition})

    def _bound(self, key: bytes, outcome: Outcome, active: Active, record: Record) -> None:
        """Drop a state that a record of the changelog cannot hold."""
        assert outcome.state is not None, "what is not there has no size"
        size = len(encode_state(outcome.state, outcome.wake))
        if size > STATE_BYTES_MAX:
            detail = (
                f"the state of key {key.partition(NUL)[2].decode()!r} has {size} bytes, the limit is {STATE_BYTES_MAX}"
            )
            self._refuse(Refusal("hot_key", detail), active, key, record)
            self._partition.put(key, None, NEVER, record.offset(), 0)

    def _sweep(self, record: Record) -> None:
        """Look at some states of a trigger that was deleted, has caught up, or whose pause has ended."""
        partition = self._partition
        if not partition.unswept:
            return
        active = partition.active[min(partition.unswept)]
        plan = self._stage.plan_of(active) if active.form else None
        keys = partition.sweep(active, SWEPT_PER_TICK)
        partition.load(keys)
        for key in keys:
            if partition.get(key).at < active.void_before:
                partition.put(key, None, NEVER, record.offset(), 0)
            elif plan is not None:
                self._look_at(key, plan, active, record)

    def _refuse(self, refusal: Refusal, active: Active, key: bytes, record: Record) -> None:
        """Write a decision about the state ``key``, and the last message that took part, else the record itself."""
        self._stage.count_decision(refusal.reason)
        last = refusal.participants[-1] if refusal.participants else None
        if last is None or last.partition == NO_POSITION:
            last = Participant("", "schedule", "", *_position(record), record.timestamp()[1])
        elif last.offset == NO_POSITION:  # who wrote it into this record could not know where that would stand
            last = msgspec.structs.replace(last, offset=record.offset())
        decision = Decision(
            reason=refusal.reason,
            topic=last.topic,
            partition=last.partition,
            offset=last.offset,
            time_ms=last.time_ms,
            trigger_id=active.trigger_id or None,
            trigger_version=active.version or None,
            detail=refusal.detail,
            run_id=None if refusal.run_id is None else refusal.run_id.hex(),
            kind=last.kind,
            id=last.id,
            key=_told_key(key),
        )
        out_key = (decision.run_id or decision.id).encode()
        self._outputs.runs.append({"value": encode(decision), "key": out_key, "partition": self._stage.runs_partition})
        if self._fact is not None and refusal.reason in FAILED:
            fact, self._fact = self._fact, None
            self._dead_letter(fact, FAILED[refusal.reason], refusal.detail, active.trigger_id)

    def _dead_letter(self, record: Record, stage: Stage, error: str, trigger_id: str | None = None) -> None:
        self._stage.count_letter(stage)
        self._outputs.dead_letters.append(dead_letter(record, stage, error, trigger_id))


def _stepped(
    before: Kept, state: KeyState | None, step: Callable[[], Outcome], about: tuple[Participant, ...] = ()
) -> tuple[Refusal | None, Outcome]:
    """What ``step`` makes of a state; or why it fails, and what is remembered then."""
    if before.problem:
        return Refusal("step_failed", f"{before.problem}; it is dropped", about), Outcome(None)
    try:
        return None, step()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the trouble of one trigger and key
        return Refusal("step_failed", raised_text(error), about), Outcome(state, (), (), before.wake)


def _told_key(name: bytes) -> str | None:
    """The key in a state key; None for the empty one, of what has no key, and for one that no router lets pass."""
    key = name.partition(NUL)[2]
    return (key.decode(errors="replace") or None) if len(key) <= TEXT_BYTES_MAX else None


def _partition(record: Record) -> int:
    return record.partition()


def _position(record: Record) -> tuple[str, int, int]:
    return record.topic(), record.partition(), record.offset()
