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
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

import orjson

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import Event, Message, Position, TaskResult, TaskStatus
from stream_triggers.core.record import Definition
from stream_triggers.core.route import LeafGroup, Plan, Route, RouteIndex, plan, route_of
from stream_triggers.core.step import invoke
from stream_triggers.core.trigger import parse_trigger, require_supported
from stream_triggers.errors import EvaluationFailed, InvalidMessage, InvalidTrigger
from stream_triggers.runtime.codec import decode
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
    """What a run id must have led to."""

    times: int
    invocation: Invocation
    cause: Position


def verify(
    cluster: Log, config: Config, functions: Functions, progress: Progress = lambda topic, count: None
) -> Report:
    """Judge everything that ``config.application`` has committed so far; may run beside live workers."""
    topics = Topics(config.application, config.topic_prefix)
    return _Verification(cluster, topics, functions, progress).run()


class _Verification:
    def __init__(self, cluster: Log, topics: Topics, functions: Functions, progress: Progress) -> None:
        self._cluster = cluster
        self._topics = topics
        self._progress = progress
        self._history = History(cluster, topics, functions)
        self._report = Report()
        self._expected: dict[str, _Expected] = {}
        self._recorded: set[str] = set()
        self._later: set[str] = set()
        self._fired: Counter[str] = Counter()

    def run(self) -> Report:
        committed = committed_offsets(self._cluster, partitions_of(self._cluster, self._topics.inputs))
        invocations = partitions_of(self._cluster, [self._topics.invocations])
        invocation_ends = self._cluster.end_offsets(
            invocations
        )  # before those of the run records, so that none is missing
        self._read_runs(committed)
        self._read_inputs(committed)
        self._read_invocations(invocation_ends)
        self._find_missing()
        return self._report

    def _read_runs(self, committed: Mapping[TopicPartition, int]) -> None:
        runs = partitions_of(self._cluster, [self._topics.trigger_runs])
        for record in self._records(self._topics.trigger_runs, read_all(self._cluster, runs)):
            match decode(record.value() or b""):
                case TriggerRun() as run:
                    last = run.participants[-1]
                    is_later = last.offset >= committed[TopicPartition(last.topic, last.partition)]
                    (self._later if is_later else self._recorded).add(run.run_id)
                case Decision(reason="definitions_changed") as decision:
                    self._history.note(decision)

    def _read_inputs(self, committed: Mapping[TopicPartition, int]) -> None:
        starts = self._cluster.start_offsets(committed)
        batches = read_between(self._cluster, starts, committed)
        for record in self._records("inputs", batches):
            self._report.messages += 1
            try:
                message = decode(record.value() or b"")
            except InvalidMessage:
                self._report.rejected += 1
                continue
            if isinstance(message, Event | TaskStatus | TaskResult):
                self._expect(message, Position(record.topic(), record.partition(), record.offset()))

    def _expect(self, message: Message, position: Position) -> None:
        group = self._history.listeners(route_of(message), position)
        if group is None:
            return
        matches, failures = group.match(message)
        self._report.failed += len(failures)
        for owner, _ in matches:
            try:
                invocation = invoke(owner, message)
            except EvaluationFailed:
                self._report.failed += 1
                continue
            before = self._expected.get(invocation.run_id)
            if before is None:
                self._expected[invocation.run_id] = _Expected(1, invocation, position)
            elif (before.cause.topic, before.cause.partition) == (position.topic, position.partition):
                self._report.repeated += 1
            else:  # a repeat under another key, in a partition with claims of its own
                self._expected[invocation.run_id] = before._replace(times=before.times + 1)

    def _read_invocations(self, ends: Mapping[TopicPartition, int]) -> None:
        batches = read_between(self._cluster, self._cluster.start_offsets(ends), ends)
        for record in self._records(self._topics.invocations, batches):
            invocation = decode(record.value() or b"")
            assert isinstance(invocation, Invocation)
            if invocation.run_id not in self._later:
                self._judge(invocation)

    def _judge(self, invocation: Invocation) -> None:
        self._report.invocations += 1
        self._fired[invocation.run_id] += 1
        expected = self._expected.get(invocation.run_id)
        if expected is None:
            self._find("unexpected", invocation, None, "no message asks for it")
        elif self._fired[invocation.run_id] > expected.times:
            self._find("duplicated", invocation, expected.cause, f"fired {self._fired[invocation.run_id]} times")
        elif invocation != expected.invocation:
            self._find("wrong", invocation, expected.cause, _difference(invocation, expected.invocation))
        elif invocation.run_id not in self._recorded:
            self._find("unrecorded", invocation, expected.cause, "it has no run record")

    def _find_missing(self) -> None:
        self._report.expected = sum(expected.times for expected in self._expected.values())
        for run_id, expected in self._expected.items():
            for _ in range(expected.times - self._fired[run_id]):
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
            (record.offset(), (record.key() or b"").decode(), record.value())
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
            definition = decode(value)
            assert isinstance(definition, Definition)
            trigger = parse_trigger(orjson.loads(definition.definition), trigger_id)
            require_supported(trigger)
            return plan(trigger, self._functions)
        except (InvalidMessage, InvalidTrigger):
            return None


def _difference(found: Invocation, expected: Invocation) -> str:
    names = [name for name in Invocation.__struct_fields__ if getattr(found, name) != getattr(expected, name)]
    return f"differs in {', '.join(names)}"
