"""The transactional producer of the in-memory log: fails where, and says no more to the cluster than, librdkafka's.

Rules:
1. ``begin`` is local. A transaction into which nothing was put is committed or aborted without a word to the cluster,
   by a fenced producer too.
2. Produced records are in the log at once. What goes wrong with them is heard of at ``send_offsets`` or ``commit``.
3. An empty mapping of offsets is not sent, and fences nothing.
4. After ``Aborted`` only ``abort`` is allowed, after ``Unsettled`` only ``close``: beginning again on a producer whose
   last outcome is unknown is an assertion. A fenced producer answers ``Fenced`` for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from stream_triggers.errors import Aborted, Fenced, Unsettled
from stream_triggers.runtime.log import Membership, Outgoing, Producer, TopicPartition
from stream_triggers.runtime.memory_log.client import Client, Process, T
from stream_triggers.runtime.memory_log.fault import Fault, Point
from stream_triggers.runtime.memory_log.group import Credentials
from stream_triggers.runtime.memory_log.transaction import Ending, Transaction

_State = Literal["new", "ready", "in transaction", "refused", "unsettled", "fenced"]


class MemoryProducer(Client, Producer):
    """A transactional producer under ``transactional_id``."""

    def __init__(self, process: Process, transactional_id: str, transaction_timeout_ms: int) -> None:
        super().__init__(process)
        self._id = process.cluster.transactional_id(transactional_id)
        self._transaction_timeout_ms = transaction_timeout_ms
        self._state: _State = "new"
        self._epoch = -1
        self._said = False
        """Whether the cluster knows of the current transaction."""
        self._undelivered: BaseException | None = None
        """Why produced records are not in the transaction, until somebody asks."""

    def open(self) -> None:
        self._require("new")
        self._epoch = self._settle("open", lambda now_ms: self._id.open(self._transaction_timeout_ms, now_ms))
        self._state = "ready"

    def begin(self) -> None:
        self._enter()
        self._require("ready")
        self._state = "in transaction"
        self._said = False
        self._undelivered = None

    def produce(self, topic: str, records: list[Outgoing]) -> None:
        now_ms = self._enter()
        self._require("in transaction")
        fault = self._cluster.faults.take("produce", self._process.slot)
        if self._undelivered is None and records:
            if fault is None or fault is Fault.RETRIABLE or fault.applied:
                self._write(topic, records, now_ms)
            if fault is not None and fault is not Fault.RETRIABLE and not fault.crashes:
                self._undelivered = self._error_of("produce", fault)
        if fault is not None and fault.crashes:
            raise self._error_of("produce", fault)

    def send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        self._enter()
        self._require("in transaction")
        if next_offsets:
            self._settle("send_offsets", lambda now_ms: self._send_offsets(next_offsets, membership, now_ms))

    def commit(self) -> None:
        self._enter()
        self._require("in transaction")
        self._settle("commit", lambda now_ms: self._end("committed", now_ms))
        self._state = "ready"

    def abort(self) -> None:
        self._enter()
        if self._state in ("new", "ready"):
            return
        if self._state == "unsettled":
            raise Unsettled("the outcome of the last request is unknown", hint="make a new producer")
        if self._state == "fenced":
            raise _fenced()
        if isinstance(self._undelivered, Aborted):
            self._undelivered = None
        self._settle("abort", lambda now_ms: self._end("aborted", now_ms))
        self._state = "ready"

    def serve(self) -> None:
        """Nothing is reported but in answers."""

    def close(self) -> None:
        self._closed = True

    def _require(self, state: _State) -> None:
        if self._state == state:
            return
        if self._state == "fenced":
            raise _fenced()
        raise AssertionError(f"the producer is {self._state}, not {state}")

    def _settle(self, point: Point, request: Callable[[int], T]) -> T:
        """Make a request, and remember what its error leaves to do."""
        try:
            if self._undelivered is not None:
                raise self._undelivered
            return self._request(point, request)
        except Aborted:
            self._state = "refused"
            raise
        except Unsettled:
            self._state = "unsettled"
            raise
        except Fenced:
            self._state = "fenced"
            raise

    def _write(self, topic: str, records: list[Outgoing], now_ms: int) -> None:
        target = self._cluster.topic(topic)
        try:
            transaction = self._join(now_ms)
        except Fenced as error:
            self._undelivered = error
        else:
            transaction.partitions += target.write(records, now_ms, transaction)

    def _send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership, now_ms: int) -> None:
        transaction = self._join(now_ms)
        token = membership.token
        assert isinstance(token, Credentials), "this membership is of another kind of log"
        group = self._cluster.group(token.group_id)
        group.check_offsets(token)
        transaction.hold(group, next_offsets)

    def _join(self, now_ms: int) -> Transaction:
        transaction = self._id.join(self._epoch, now_ms)
        self._cluster.schedule(transaction.deadline_ms)
        self._said = True
        return transaction

    def _end(self, outcome: Ending, now_ms: int) -> None:
        if self._said:
            self._id.end(self._epoch, outcome, now_ms)


def _fenced() -> Fenced:
    return Fenced("this producer was fenced", hint="stop, or make a new producer if no other worker has this slot")
