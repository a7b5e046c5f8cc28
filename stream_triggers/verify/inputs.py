"""What messages ask for, as rows of the ledger: the core's answer, message by message, with the triggers in force.

Nothing of the worker's batch path takes part: every message is decoded, whether or not anybody listens to it, and the
core evaluates it alone.

A message that cannot be decoded must have a dead letter if its routing part is broken, or if somebody listens to it;
of others workers do not look at the body. One that is too large must have one in any case. All that is told where it is
read for all, not once more by a trigger that comes to it by a lane.

Where not all definitions that were in force are known, a message counts as not judged; what the others ask for is
judged all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Event, Message, TaskResult, TaskStatus, kind_of
from stream_triggers.core.route import LeafGroup, Plan, route_of
from stream_triggers.core.step import invoke, too_deep
from stream_triggers.errors import EvaluationFailed, InvalidMessage
from stream_triggers.runtime.codec import event_prefixes, parse_prefix, result_prefixes, status_prefixes
from stream_triggers.runtime.log import Record, TopicPartition, partition_of
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.decoding import digest, read
from stream_triggers.verify.facts import Facts
from stream_triggers.verify.history import History, Stretch
from stream_triggers.verify.ledger import NO_DIGEST, Ledger, Mark
from stream_triggers.verify.outputs import digest_of_bytes
from stream_triggers.verify.report import Report
from stream_triggers.verify.scope import Scope

Prefixes: TypeAlias = Callable[[Sequence[bytes | None]], list[bytes]]


class Inputs:
    """Takes in the messages."""

    def __init__(
        self,
        topics: Topics,
        scope: Scope,
        history: History,
        ledger: Ledger,
        facts: Facts,
        report: Report,
        message_bytes_max: int,
    ) -> None:
        self._scope = scope
        self._history = history
        self._ledger = ledger
        self._facts = facts
        self._report = report
        self._message_bytes_max = message_bytes_max
        self._kinds: Mapping[str, tuple[type[Message], ...]] = {
            topics.events: (Event,),
            topics.task_status: (TaskStatus,),
            topics.task_results: (TaskResult,),
        }
        self._prefixes: Mapping[str, Prefixes] = {
            topics.events: event_prefixes,
            topics.task_status: status_prefixes,
            topics.task_results: result_prefixes,
        }
        self._stretches: dict[int, Stretch] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Records of the input topics, in order within each partition."""
        places, scope, report = self._scope.places, self._scope, self._report
        message_bytes_max, kinds = self._message_bytes_max, self._kinds
        for record in records:
            topic, offset = record.topic(), record.offset()
            place = places[TopicPartition(topic, record.partition())]
            if not scope.is_judged(place, offset):
                report.unjudged += 1
                continue
            stretch = self._stretches.get(place)
            if stretch is None or not stretch.first <= offset < stretch.end:
                stretch = self._stretches[place] = self._history.stretch(place, offset)
            if stretch.is_complete:
                report.messages += 1
            else:
                report.unjudged += 1
            if len(record.value() or b"") > message_bytes_max:
                self._reject(record, place)
                continue
            try:
                message = read(record, kinds[topic])
            except InvalidMessage:
                self._take_unreadable(record, place, stretch)
                continue
            for group in _groups(stretch, message):
                self._ask(group, message, record, place)

    def invocation_of(self, record: Record, run_id: str) -> Invocation | None:
        """What the trigger that had to fire makes of a message now; None where a function of it does not this time."""
        message = read(record, self._kinds[record.topic()])
        stretch = self._history.stretch(self._scope.places[partition_of(record)], record.offset())
        matches = chain.from_iterable(group.match(message)[0] for group in _groups(stretch, message))
        plans = [match.settled(record.timestamp()[1]).plan for match in matches]
        owners = [plan for plan in plans if run_of(plan, message).hex() == run_id]
        try:
            return invoke(owners[0], message, self._message_bytes_max) if owners else None
        except EvaluationFailed:
            return None

    def _ask(self, group: LeafGroup, message: Message, record: Record, place: int) -> None:
        offset = record.offset()
        matches, failures = group.match(message)
        keyed = self._history.definitions.keyed
        for match in matches:
            time_ms = record.timestamp()[1]
            settled = match.settled(time_ms)
            owner, trigger_id = settled.plan, settled.plan.trigger.id
            if owner.keyed is not None:
                self._facts.ask(settled, message, record, place)
            if trigger_id in keyed:
                continue
            if owner.keyed is not None:
                self._ledger.expect(run_of(owner, message), place, offset, Mark.HELD, NO_DIGEST, trigger_id, time_ms)
                continue
            if too_deep(message) is not None:
                continue
            try:
                invocation = invoke(owner, message, self._message_bytes_max)
            except EvaluationFailed:
                run = run_of(owner, message)
                self._ledger.expect(run, place, offset, Mark.FAILS, message_digest(record), trigger_id)
            else:
                run = bytes.fromhex(invocation.run_id)
                self._ledger.expect(run, place, offset, Mark.ASKED, digest(invocation), trigger_id)
        for failure in failures:
            if failure.plan.trigger.id in keyed:
                continue
            self._report.failed += 1
            run, trigger_id = run_of(failure.plan, message), failure.plan.trigger.id
            self._ledger.expect_notice(run, place, offset, "filter", trigger_id, message_digest(record))

    def _take_unreadable(self, record: Record, place: int, stretch: Stretch) -> None:
        """Who reads for all reports it if anybody listens, and each lane for its trigger."""
        [prefix] = self._prefixes[record.topic()]([record.value()])
        try:
            route = parse_prefix(prefix)
        except InvalidMessage:
            self._reject(record, place)
        else:
            if stretch.in_force[route] is not None:
                self._reject(record, place)
            for number, lane in enumerate(stretch.takers[1:]):
                group = lane[route]
                for trigger_id in () if group is None else group.owners:
                    self._reject(record, place, trigger_id, bytes([number]))

    def _reject(self, record: Record, place: int, trigger_id: str = "", lane: bytes = b"") -> None:
        if trigger_id not in self._history.definitions.keyed:
            self._report.rejected += 1
            self._ledger.expect_notice(lane, place, record.offset(), "decode", trigger_id, message_digest(record))


def _groups(stretch: Stretch, message: Message) -> Iterator[LeafGroup]:
    """The leaves, of each taker, that may accept a message."""
    route = route_of(message)
    for taker in stretch.takers:
        group = taker[route]
        if group is not None:
            yield group


def message_digest(record: Record) -> bytes:
    """The hash of what a dead letter must keep of a message."""
    return digest_of_bytes(record.key(), record.value())


def run_of(owner: Plan, message: Message) -> bytes:
    """The run id, as raw bytes, that a trigger makes of a message."""
    return owner.run_ids.of_one(kind_of(message), message.id)
