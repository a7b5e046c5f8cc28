"""The facts that the messages ask for, side by side with those that are there.

The core evaluates each message once more; what it makes of it for a trigger with memory must be in the topic of facts:
the same content, under its key, in its partition.

    claims   claim | place | offset | mark | digest | a number  ->  time | partition | offset | trigger id

Rules:
1. A claim belongs to an input partition, so an id that reaches two of them is two messages, and makes two facts.
2. The first message of a claim must have its facts. A repeat must have none, and a decision that says so; unless its
   facts are younger than the last ones by the claim retention.
3. A fact that is missing is *lost*, *wrong* if another one is there in its place. One that is there once more is
   *duplicated*, one that no message asks for *unexpected*.
4. A fact that is missing of a message as old as what the topic has deleted counts as not judged. So does a message that
   is said to be a repeat of what a version without memory may have fired, or of what is outside of the range.
5. A reset by hand is of no message; it must stand where the facts of its key do.
6. However many rows a claim has, what is held of it is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from hashlib import blake2b
from itertools import groupby
from struct import Struct
from typing import NamedTuple

from stream_triggers.core.invocation import RUN_ID_BYTES, Decision
from stream_triggers.core.keyed.follow import RUN
from stream_triggers.core.keyed.manual import reset_in
from stream_triggers.core.message import Message, Position, kind_of
from stream_triggers.core.record import Activation, Fact, Tick
from stream_triggers.core.route import Match
from stream_triggers.errors import EvaluationFailed, InvalidMessage
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.keyed.facts import partition_of, state_key
from stream_triggers.runtime.log import Record, TopicPartition
from stream_triggers.runtime.store import Store
from stream_triggers.verify.buffer import Buffer
from stream_triggers.verify.decoding import digest, read
from stream_triggers.verify.definitions import CLOCKS_DIFFER_MAX_MS
from stream_triggers.verify.history import History
from stream_triggers.verify.ledger import DIGEST_BYTES, NO_DIGEST, run_key
from stream_triggers.verify.report import Fault, Finding, Report
from stream_triggers.verify.scope import Scope

CLAIMS = "claims"
"""The column."""

_KEY = Struct(f">{RUN_ID_BYTES}sIQB{DIGEST_BYTES}sQ")
_VALUE = Struct(">QIQ")


class _Mark(IntEnum):
    SUPPRESSED = 0
    ASKED = 1
    FOUND = 2


class _Row(NamedTuple):
    """A row of the column; ``partition`` is that of the facts topic, ``found`` the fact's offset."""

    claim: bytes
    place: int
    offset: int
    mark: int
    digest: bytes
    time_ms: int
    partition: int
    found: int
    trigger_id: str


class Facts:
    """Takes in what is asked for and what is there, and compares."""

    def __init__(
        self, topic: str, scope: Scope, history: History, store: Store, report: Report, claim_retention_ms: int
    ) -> None:
        self._topic = topic
        self._scope = scope
        self._history = history
        self._store = store
        self._report = report
        self._claim_retention_ms = claim_retention_ms
        self._partitions = len(scope.facts_ends)
        self._input_ends: Mapping[TopicPartition, int] = {}
        self._trimmed: set[int] = set()
        self._kept_from_ms: dict[int, int] = {}
        self._buffer = Buffer(store)
        self._count = 0

    def ask(self, match: Match, message: Message, record: Record, place: int) -> None:
        """A trigger with memory has matched a message."""
        plan, leaf, more = match
        assert plan.keyed is not None, "asked of triggers with memory"
        position = Position(*self._scope.inputs[place], record.offset())
        try:
            facts = plan.keyed.routing.facts(message, (leaf, *more), position).facts
            for fact in facts:
                encode(fact)  # raises for one that no worker can write, such as with a document nested too deep
        except (EvaluationFailed, InvalidMessage):  # a worker writes no facts then: a decision and a dead letter
            return
        claim = plan.run_ids.of_one(kind_of(message), message.id)
        for fact in facts:
            key = state_key(fact.trigger_id, fact.key)
            partition = partition_of(key, self._partitions)
            value = _VALUE.pack(record.timestamp()[1], partition, 0)
            self._put(claim, place, record.offset(), _Mark.ASKED, _digest(fact, key, partition), value, fact.trigger_id)

    def suppress(self, decision: Decision, place: int) -> None:
        """A decision says that a message was a repeat."""
        claim = run_key(decision.run_id or "")[0]
        value, trigger_id = _VALUE.pack(0, 0, 0), decision.trigger_id or ""
        self._put(claim, place, decision.offset, _Mark.SUPPRESSED, NO_DIGEST, value, trigger_id)

    def begin(self, starts: Mapping[TopicPartition, int], input_ends: Mapping[TopicPartition, int]) -> None:
        """The topic is read from here on; right is what is about messages before these ends."""
        self._trimmed = {each.partition for each, start in starts.items() if start}
        self._input_ends = input_ends

    def take(self, records: Sequence[Record]) -> None:
        """Records of the topic of facts."""
        for record in records:
            self._kept_from_ms.setdefault(record.partition(), record.timestamp()[1])
            try:
                fact = read(record, (Fact, Activation, Tick))
            except InvalidMessage:
                continue  # workers make a dead letter of it, and nothing else
            if isinstance(fact, Fact) and reset_in(fact) is not None:
                self._take_reset(fact, record)
            elif isinstance(fact, Fact):
                self._take(fact, record)

    def judge(self) -> None:
        """Compare."""
        self._buffer.flush()
        for _, of_claim in groupby(self._rows(), key=lambda row: row.claim):
            for _, of_partition in groupby(of_claim, key=lambda row: row.place):
                fired_ms: int | None = None
                is_claimed = False
                for _, rows in groupby(of_partition, key=lambda row: row.offset):
                    message = _Message(rows)
                    self._judge(message, is_claimed, fired_ms)
                    is_claimed = is_claimed or message.is_asked or message.found > 0
                    fired_ms = message.time_ms if message.found else fired_ms

    def _take(self, fact: Fact, record: Record) -> None:
        who, history = fact.participant, self._history
        history.definitions.require_allowed(fact.trigger_id, fact.trigger_version)
        plan = history.definitions.keyed_versions.get((fact.trigger_id, fact.trigger_version))
        owner = plan.follower if plan is not None and fact.leaves == (RUN,) else plan
        source = TopicPartition(who.topic, who.partition)
        if not 0 <= who.offset < self._input_ends.get(source, 0):
            self._report.add(self._finding("unexpected", fact.trigger_id, record, "a fact of no message that there is"))
            return
        place = self._scope.places[source]
        if owner is None:
            if self._scope.is_judged(place, who.offset) and not history.is_gone(place, who.offset, fact.trigger_id):
                detail = f"a fact of version {fact.trigger_version}, which has none of its kind"
                self._report.add(self._finding("unexpected", fact.trigger_id, record, detail))
            return
        found = _digest(fact, record.key() or b"", record.partition())
        value = _VALUE.pack(max(0, record.timestamp()[1]), record.partition(), record.offset())
        claim = owner.run_ids.of_one(who.kind, who.id)
        self._put(claim, place, who.offset, _Mark.FOUND, found, value, fact.trigger_id)

    def _take_reset(self, fact: Fact, record: Record) -> None:
        key = state_key(fact.trigger_id, fact.key)
        if (record.key(), record.partition()) != (key, partition_of(key, self._partitions)):
            detail = "a reset that does not stand where its key does"
            self._report.add(self._finding("unexpected", fact.trigger_id, record, detail))

    def _judge(self, message: _Message, is_claimed: bool, fired_ms: int | None) -> None:
        """One message, after those before it with the same claim."""
        report, found, keyed = self._report, message.found > 0, self._history.definitions.keyed
        is_counted = message.is_asked and message.asked[0].trigger_id in keyed  # others are by ``runs``
        if not message.is_asked:
            self._judge_unasked(message)
        elif not is_claimed and message.suppressed and not found and not self._may_have_to(message):
            report.unjudged += is_counted
        elif not is_claimed or (found and (fired_ms is None or self._is_forgotten(message.time_ms - fired_ms))):
            self._compare(message)
        else:
            report.repeated += is_counted
            for row in message.matched + message.extra:
                self._find("duplicated", row, "a fact of a repeat")
            if not found and not message.suppressed:
                self._find("unreported", message.asked[0], "a repeat without a decision")

    def _judge_unasked(self, message: _Message) -> None:
        scope, history = self._scope, self._history
        for row in message.extra:
            if scope.is_judged(row.place, row.offset) and not history.is_gone(row.place, row.offset, row.trigger_id):
                self._find("unexpected", row, "a fact that the message does not ask for")

    def _may_have_to(self, message: _Message) -> bool:
        """Whether a message that is said to be a repeat, of nothing that is known, must have its facts all the same."""
        return self._scope.is_whole and message.asked[0].trigger_id not in self._history.definitions.plain

    def _is_forgotten(self, age_ms: int) -> bool:
        return age_ms >= self._claim_retention_ms

    def _compare(self, message: _Message) -> None:
        self._report.facts += len(message.asked)
        missing = [row for row in message.missing if not self._may_be_deleted(row)]
        self._report.unjudged += len(message.missing) - len(missing)
        copies = [row for row in message.extra if row.digest in message.digests]
        others = [row for row in message.extra if row.digest not in message.digests]
        wrong = min(len(missing), len(others))
        for row in others[:wrong]:
            self._find("wrong", row, "a fact that differs from what the message asks for")
        for row in missing[wrong:]:
            self._find("lost", row, f"the message asks for a fact in partition {row.partition}")
        for row in others[wrong:]:
            self._find("unexpected", row, "a fact that the message does not ask for")
        for row in copies:
            self._find("duplicated", row, "a fact once more")

    def _may_be_deleted(self, row: _Row) -> bool:
        kept_from_ms = self._kept_from_ms.get(row.partition, row.time_ms)
        return row.partition in self._trimmed and row.time_ms <= kept_from_ms + CLOCKS_DIFFER_MAX_MS

    def _find(self, fault: Fault, row: _Row, detail: str) -> None:
        cause = Position(*self._scope.inputs[row.place], row.offset)
        found = Position(self._topic, row.partition, row.found) if row.mark == _Mark.FOUND else None
        self._report.add(Finding(fault, "", row.trigger_id, cause, found, detail))

    def _finding(self, fault: Fault, trigger_id: str, record: Record, detail: str) -> Finding:
        found = Position(record.topic(), record.partition(), record.offset())
        return Finding(fault, "", trigger_id, None, found, detail)

    def _put(
        self, claim: bytes, place: int, offset: int, mark: _Mark, digest_: bytes, value: bytes, trigger_id: str
    ) -> None:
        self._count += 1
        key = _KEY.pack(claim, place, offset, mark, digest_, self._count)
        self._buffer.put(CLAIMS, key, value + trigger_id.encode())

    def _rows(self) -> Iterator[_Row]:
        for key, value in self._store.scan(CLAIMS, b"", b"\xff" * (_KEY.size + 1)):
            claim, place, offset, mark, digest_, _ = _KEY.unpack(key)
            time_ms, partition, found = _VALUE.unpack_from(value)
            trigger_id = value[_VALUE.size :].decode()
            yield _Row(claim, place, offset, mark, digest_, time_ms, partition, found, trigger_id)


EXTRA_MAX = 100
"""So many facts of one message that nothing accounts for are held; those beyond are only counted."""


class _Message:
    """What is asked for and what is there of one message, for one claim."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self.suppressed = False
        self.asked: list[_Row] = []
        self.matched: list[_Row] = []
        self.extra: list[_Row] = []
        self.found = 0
        self.time_ms = 0
        """When the first of its facts was written."""
        self.digests: set[bytes] = set()
        open_ = Counter[bytes]()
        for row in rows:
            if row.mark == _Mark.SUPPRESSED:
                self.suppressed = True
            elif row.mark == _Mark.ASKED:
                self.asked.append(row)
                self.digests.add(row.digest)
                open_[row.digest] += 1
            else:
                self.found += 1
                self.time_ms = min(self.time_ms, row.time_ms) or row.time_ms
                if open_[row.digest] > 0:
                    open_[row.digest] -= 1
                    self.matched.append(row)
                elif len(self.extra) < EXTRA_MAX:
                    self.extra.append(row)
        self.missing = [row for row in self.asked if open_[row.digest] > 0]

    @property
    def is_asked(self) -> bool:
        """Whether a trigger asks for any fact of it."""
        return bool(self.asked)


def _digest(fact: Fact, key: bytes, partition: int) -> bytes:
    """A hash of a fact's content, of its record's key, and of its partition."""
    return blake2b(b"%b%d %b" % (digest(fact), partition, key), digest_size=DIGEST_BYTES).digest()
