"""Verify: compare what fired with what had to fire, by id, from the topics alone.

How it judges. The inputs up to the group's committed positions are read again and evaluated with the core, message by
message, by the general decoder: no line of the worker's batch path takes part. The definitions in force at each
position are those that the workers noted in ``trigger-runs``. What comes out is compared with the committed
invocations, byte for byte in everything an invocation derives from its cause.

Rules:
1. *lost*: had to fire, no invocation. *duplicated*: fired more often than it had to. *unexpected*: nothing in the
   inputs asks for it. *wrong*: fired, with other content than the definition gives. *unrecorded*: fired, no run record.
2. What workers have fired since the committed positions were taken is known by its run record's position, and left out.
3. A message that a definition could not handle must have no invocation; it is counted as failed.
4. A run id is judged once for each input partition its messages came in: each has claims of its own. A repeat that
   fired is no fault where its run record is younger than the claim's retention allows it to be remembered.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import Event, Message, Position, TaskResult, TaskStatus
from stream_triggers.core.route import LeafGroup, Plan, Route, RouteIndex, route_of
from stream_triggers.core.step import invoke
from stream_triggers.errors import EvaluationFailed, InvalidMessage
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.definitions import UNUSABLE, read_definition
from stream_triggers.runtime.lag import committed_offsets, partitions_of
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.reading import read_all, read_between
from stream_triggers.runtime.topics import Topics

Fault: TypeAlias = Literal["lost", "duplicated", "unexpected", "wrong", "unrecorded"]

Progress: TypeAlias = Callable[[str, int], None]
"""Told after each batch which topic (or ``inputs``) it came from, and how many records it had."""

_LATEST = 2**63


class Finding(NamedTuple):
    """One invocation that is not as it must be; ``cause`` is the position of the message behind it, where known."""

    fault: Fault
    run_id: str
    trigger_id: str
    cause: Position | None
    detail: str


@dataclass(slots=True)
class Report:
    """The outcome of a verification."""

    messages: int = 0
    expected: int = 0
    invocations: int = 0
    rejected: int = 0
    failed: int = 0
    repeated: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, fault: Fault) -> int:
        """How many findings are of this kind."""
        return sum(finding.fault == fault for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """Every number of the report by name, the findings by fault."""
        numbers = {name: value for name, value in asdict(self).items() if isinstance(value, int)}
        return numbers | {fault: self.count(fault) for fault in get_args(Fault)}


class _Expected(NamedTuple):
    """What a run id must have led to, because of one input partition."""

    invocation: Invocation
    cause: Position


@dataclass(slots=True)
class _Run:
    """What is known of one run id."""

    expected: list[_Expected] = field(default_factory=list)
    missing: list[_Expected] = field(default_factory=list)
    """Those of ``expected`` for which no invocation has been found yet."""
    fired: int = 0
    later: int = 0
    """How often it was recorded for messages after the committed positions."""


def verify(
    cluster: Log, config: Config, functions: Functions, progress: Progress = lambda topic, count: None
) -> Report:
    """Judge everything that ``config.application`` has committed so far; may run beside live workers."""
    topics = Topics(config.application, config.topic_prefix)
    return _Verification(cluster, config, topics, functions, progress).run()


class _Verification:
    def __init__(self, cluster: Log, config: Config, topics: Topics, functions: Functions, progress: Progress) -> None:
        self._cluster = cluster
        self._message_bytes_max = config.payload_bytes_max
        self._claim_retention_ms = config.claim_retention_ms
        self._topics = topics
        self._progress = progress
        self._history = History(cluster, topics, functions)
        self._kinds: Mapping[str, type[Any]] = {
            topics.events: Event,
            topics.task_status: TaskStatus,
            topics.task_results: TaskResult,
        }
        self._report = Report()
        self._runs: dict[str, _Run] = defaultdict(_Run)
        self._recorded: dict[tuple[str, Position], int] = {}
        """When the run record of a run id and the position of its cause was written."""
        self._runs_next = self._cluster.start_offsets(partitions_of(cluster, [topics.trigger_runs]))

    def run(self) -> Report:
        committed = committed_offsets(self._cluster, partitions_of(self._cluster, self._topics.inputs))
        ends = self._cluster.end_offsets(partitions_of(self._cluster, [self._topics.invocations]))
        self._read_runs(committed)
        self._read_inputs(committed)
        odd = self._read_invocations(ends)
        self._read_runs(committed)  # again: of transactions that were half written when the ends were taken
        for invocation in odd:
            self._judge(invocation, self._runs[invocation.run_id])
        self._find_missing()
        return self._report

    def _read_runs(self, committed: Mapping[TopicPartition, int]) -> None:
        ends = self._cluster.end_offsets(self._runs_next)
        for record in self._records(self._topics.trigger_runs, read_between(self._cluster, self._runs_next, ends)):
            match decode(record.value() or b""):
                case TriggerRun() as run:
                    last = run.participants[-1]
                    if last.offset < committed[TopicPartition(last.topic, last.partition)]:
                        cause = Position(last.topic, last.partition, last.offset)
                        self._recorded[run.run_id, cause] = record.timestamp()[1]
                    else:
                        self._runs[run.run_id].later += 1
                case Decision(reason="definitions_changed") as decision:
                    self._history.note(decision)
        self._runs_next = ends

    def _read_inputs(self, committed: Mapping[TopicPartition, int]) -> None:
        starts = self._cluster.start_offsets(committed)
        batches = read_between(self._cluster, starts, committed)
        for record in self._records("inputs", batches):
            self._report.messages += 1
            value = record.value() or b""
            try:
                message: Message = decode(value, (self._kinds[record.topic()],))
            except InvalidMessage:
                self._report.rejected += 1
                continue
            if len(value) > self._message_bytes_max:
                self._report.rejected += 1
            else:
                self._expect(message, Position(record.topic(), record.partition(), record.offset()))

    def _expect(self, message: Message, position: Position) -> None:
        group = self._history.listeners(route_of(message), position)
        if group is None:
            return
        matches, failures = group.match(message)
        self._report.failed += len(failures)
        for owner, _ in matches:
            try:
                invocation = invoke(owner, message, self._message_bytes_max)
            except EvaluationFailed:
                self._report.failed += 1
                continue
            run = self._runs[invocation.run_id]
            if self._is_repeat(run, invocation.run_id, position):
                self._report.repeated += 1
            else:
                run.expected.append(_Expected(invocation, position))
                run.missing.append(run.expected[-1])
                self._report.expected += 1

    def _is_repeat(self, run: _Run, run_id: str, position: Position) -> bool:
        """Whether the run id was taken at ``position``: not if it fired there, and had been forgotten by then."""
        before = [each.cause for each in run.expected if _partition(each.cause) == _partition(position)]
        if not before:
            return False
        first_ms, again_ms = (self._recorded.get((run_id, cause)) for cause in (before[-1], position))
        return first_ms is None or again_ms is None or again_ms < first_ms + self._claim_retention_ms

    def _read_invocations(self, ends: Mapping[TopicPartition, int]) -> list[Invocation]:
        """Tick off what had to fire; returns the invocations that are something else."""
        odd = []
        batches = read_between(self._cluster, self._cluster.start_offsets(ends), ends)
        for record in self._records(self._topics.invocations, batches):
            invocation = decode(record.value() or b"")
            assert isinstance(invocation, Invocation)
            if not self._tick_off(invocation, self._runs[invocation.run_id]):
                odd.append(invocation)
        return odd

    def _tick_off(self, invocation: Invocation, run: _Run) -> bool:
        expected = next((each for each in run.missing if each.invocation == invocation), None)
        if expected is None:
            return False
        run.missing.remove(expected)
        run.fired += 1
        self._report.invocations += 1
        if (invocation.run_id, expected.cause) not in self._recorded:
            self._find("unrecorded", invocation, expected.cause, "it has no run record")
        return True

    def _judge(self, invocation: Invocation, run: _Run) -> None:
        """Say what is wrong with an invocation that no message asks for, or not for exactly this one."""
        if run.later:
            run.later -= 1
            return
        run.fired += 1
        self._report.invocations += 1
        if run.missing:
            other = run.missing.pop(0)
            self._find("wrong", invocation, other.cause, _difference(invocation, other.invocation))
        elif run.expected:
            self._find("duplicated", invocation, run.expected[0].cause, f"fired {run.fired} times")
        else:
            self._find("unexpected", invocation, None, "no message asks for it")

    def _find_missing(self) -> None:
        for run in self._runs.values():
            for expected in run.missing:
                self._find("lost", expected.invocation, expected.cause, "there is no invocation")

    def _find(self, fault: Fault, invocation: Invocation, cause: Position | None, detail: str) -> None:
        self._report.findings.append(Finding(fault, invocation.run_id, invocation.trigger_id, cause, detail))

    def _records(self, name: str, batches: Iterable[Sequence[Record]]) -> Iterator[Record]:
        for batch in batches:
            self._progress(name, len(batch))
            yield from batch


class History:
    """Which triggers were in force at each position of the inputs."""

    def __init__(self, cluster: Log, topics: Topics, functions: Functions) -> None:
        self._functions = functions
        self._versions = [
            (record.offset(), (record.key() or b"").decode(errors="replace"), record.value())
            for batch in read_all(cluster, partitions_of(cluster, [topics.trigger_definitions]))
            for record in batch
        ]
        self._noted: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        self._indexes: dict[int, RouteIndex] = {}
        self._groups: dict[tuple[int, Route], LeafGroup | None] = {}

    def note(self, decision: Decision) -> None:
        """From this decision's position on, the definitions up to the offset it names were in force."""
        insort(self._noted[decision.topic, decision.partition], (decision.offset, int(decision.detail)))

    def listeners(self, route: Route, position: Position) -> LeafGroup | None:
        """The leaves that could accept a message with ``route`` at ``position``."""
        noted = self._noted[position.topic, position.partition]
        at = bisect_right(noted, (position.offset, _LATEST))
        definitions = noted[at - 1][1] if at else 0
        if (definitions, route) not in self._groups:
            self._groups[definitions, route] = self._index(definitions).group(route)
        return self._groups[definitions, route]

    def _index(self, definitions: int) -> RouteIndex:
        if definitions not in self._indexes:
            newest = {key: value for offset, key, value in self._versions if offset < definitions}
            plans = [self._plan(key, value) for key, value in newest.items() if value is not None]
            self._indexes[definitions] = RouteIndex([each for each in plans if each is not None])
        return self._indexes[definitions]

    def _plan(self, trigger_id: str, value: bytes) -> Plan | None:
        """The trigger, None where workers have quarantined the definition, too."""
        try:
            return read_definition(trigger_id, value, self._functions)
        except UNUSABLE:
            return None


def _partition(position: Position) -> TopicPartition:
    return TopicPartition(position.topic, position.partition)


def _difference(found: Invocation, expected: Invocation) -> str:
    names = [name for name in Invocation.__struct_fields__ if getattr(found, name) != getattr(expected, name)]
    return f"differs in {', '.join(names)}"
