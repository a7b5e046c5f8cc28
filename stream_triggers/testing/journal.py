"""What the log says about a test so far: runs, decisions and dead letters in their order, and what still waits.

Rules:
1. Everything is read from committed records, as any consumer would; nothing is asked of a worker.
2. The order is that in which transactions became readable; in one transaction, that of the partitions.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_triggers.core.instant import instant_text
from stream_triggers.core.invocation import NOTES, Invocation, TriggerRun
from stream_triggers.core.invocation import Decision as DecisionRecord
from stream_triggers.core.keyed.pending import pending
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.state import decode_state
from stream_triggers.core.record import DeadLetter as DeadLetterRecord
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.facts import state_key
from stream_triggers.runtime.keyed.state_log import restored
from stream_triggers.runtime.keyed.states import AT_BYTES, STATES, FactsPartition, after, prefix_of
from stream_triggers.runtime.keyed.timers import CLOCKS, TIMERS, timer_key
from stream_triggers.runtime.log import Reader, Record, TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.topics import Topics
from stream_triggers.testing.outcome import DeadLetter, Decision, Pending, Run

READ_MAX = 10_000

_INSTANT_AT, _INSTANT_END = 5, 13  # in a timer's key: behind the partition and the clock
_END_MS = 2**63 - 2


class Journal:
    """Reads along with the topics of an engine."""

    def __init__(self, log: MemoryLog, topics: Topics) -> None:
        self.runs: list[Run] = []
        self.decisions: list[Decision] = []
        self.dead_letters: list[DeadLetter] = []
        self._store = MemoryStore()
        self._invocations: dict[str, Invocation] = {}
        self._outcomes = _reader(log, topics.invocations, topics.trigger_runs, topics.dead_letters)
        changelog = topics.changelog(topics.trigger_facts)
        self._states = _reader(log, changelog)
        self._partitions = range(log.topics([changelog])[changelog].partitions)

    def catch_up(self) -> None:
        """Take in what has been committed."""
        came: list[tuple[Record, TriggerRun]] = []
        while records := self._outcomes.poll(READ_MAX, 0.0):
            for record in sorted(records, key=_place):
                value = decode(record.value())
                match value:
                    case Invocation():
                        self._invocations[value.id] = value
                    case TriggerRun():
                        came.append((record, value))
                    case DecisionRecord():
                        self._take_decision(value, record)
                    case DeadLetterRecord():
                        self._take_letter(value, record)
        self.runs += [_run(run, self._invocations.pop(run.invocation_id), _time(record)) for record, run in came]
        while records := self._states.poll(READ_MAX, 0.0):
            self._store.apply(restored(self._store, records))

    def next_due_ms(self, now_ms: int) -> int | None:
        """The first instant after ``now_ms`` at which something kept wants to be looked at."""
        found: list[int] = []
        for number in self._partitions:
            for clock in CLOCKS:
                prefix = prefix_of(number)
                start, end = timer_key(prefix, clock, now_ms + 1, b""), timer_key(prefix, clock, _END_MS, b"")
                for key, _ in self._store.scan(TIMERS, start, end):
                    found.append(int.from_bytes(key[_INSTANT_AT:_INSTANT_END], "big"))
                    break
        return min(found, default=None)

    def pending(self, plan: KeyedPlan, key: str | None) -> Iterator[Pending]:
        """What waits for a trigger, under one key or all, by partition and key."""
        trigger_id = plan.trigger.id
        for number in self._partitions:
            clocks = FactsPartition(self._store, number).clocks
            first = prefix_of(number) + state_key(trigger_id, "")
            for stored, value in self._store.scan(STATES, first, after(first)):
                found = stored[len(first) :].decode()
                if key is None or found == key:
                    what = pending(decode_state(value[:-AT_BYTES])[0], plan, clocks)
                    for one in what.open:
                        present = tuple([each.id for each in one.present])
                        yield Pending(trigger_id, found, present, one.missing, instant_text(one.until_ms), {}, ())
                    if what.held or what.running:
                        yield Pending(trigger_id, found, (), (), "", what.held, what.running)

    def _take_decision(self, value: DecisionRecord, record: Record) -> None:
        if value.reason not in NOTES:
            about = value.trigger_id or "", value.reason, value.detail, value.id, value.key
            self.decisions.append(Decision(*about, _time(record)))

    def _take_letter(self, value: DeadLetterRecord, record: Record) -> None:
        letter = DeadLetter(value.trigger_id or "", value.stage, value.error, value.topic, value.value, _time(record))
        self.dead_letters.append(letter)


def _reader(log: MemoryLog, *topics: str) -> Reader:
    reader = log.reader()
    found = log.topics(topics).values()
    reader.assign({TopicPartition(spec.name, number): 0 for spec in found for number in range(spec.partitions)})
    return reader


def _run(run: TriggerRun, invocation: Invocation, time: str) -> Run:
    return Run(
        trigger=run.trigger_id,
        task=run.task,
        arguments=invocation.arguments,
        key=run.key,
        participants=tuple([each.id for each in run.participants]),
        time=time,
        invocation_id=invocation.id,
        run_id=run.run_id,
        root=invocation.root,
        depth=invocation.depth,
        traceparent=invocation.traceparent,
    )


def _place(record: Record) -> tuple[int, str, int, int]:
    return record.timestamp()[1], record.topic(), record.partition(), record.offset()


def _time(record: Record) -> str:
    return instant_text(record.timestamp()[1])
