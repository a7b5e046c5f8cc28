"""The transaction coordinator of the in-memory log.

Rules:
1. A transactional id has one epoch at a time. A request with an older one is refused: its sender is fenced.
2. Opening an id raises its epoch and aborts what the predecessor left open.
3. A transaction begins with its first record or offsets, not with ``begin``. One that is open longer than its timeout
   is aborted and its id's epoch raised, so that its producer is fenced when it comes back.
4. Offsets are checked against the group when they are sent, and applied when the transaction commits: a member that
   is fenced in between does not stop that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from stream_triggers.errors import Fenced
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log.group import NEVER_MS, Group
from stream_triggers.runtime.memory_log.topic import Fate, Partition

Ending: TypeAlias = Literal["committed", "aborted"]


class Transaction(Fate):
    """An open transaction, later what became of it."""

    __slots__ = ("deadline_ms", "groups", "partitions")

    def __init__(self, deadline_ms: int) -> None:
        super().__init__("open")
        self.deadline_ms = deadline_ms
        self.partitions: list[Partition] = []
        self.groups: list[Group] = []

    def hold(self, group: Group, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep ``offsets`` until the end, together with those sent before."""
        held = group.pending.get(self)
        if held is None:
            held = group.pending[self] = {}
            self.groups.append(group)
        held.update(offsets)

    def end(self, outcome: Ending, time_ms: int) -> None:
        """Commit or abort: markers to the partitions, offsets to the groups."""
        self.outcome = outcome
        for partition in self.partitions:
            partition.finish(self, time_ms)
        for group in self.groups:
            offsets = group.pending.pop(self)
            if outcome == "committed":
                group.offsets.update(offsets)
        self.partitions, self.groups = [], []


class TransactionalId:
    """What the coordinator knows of one transactional id."""

    __slots__ = ("epoch", "name", "timeout_ms", "transaction")

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = -1
        self.timeout_ms = 0
        self.transaction: Transaction | None = None

    def open(self, timeout_ms: int, time_ms: int) -> int:
        """Take the id over; returns the epoch to use from now on."""
        self._fence(time_ms)
        self.timeout_ms = timeout_ms
        return self.epoch

    def join(self, epoch: int, time_ms: int) -> Transaction:
        """The transaction that ``epoch`` has open; begins one if there is none."""
        self._check(epoch)
        if self.transaction is None:
            self.transaction = Transaction(time_ms + self.timeout_ms)
        return self.transaction

    def end(self, epoch: int, outcome: Ending, time_ms: int) -> None:
        """Commit or abort what is open, if anything is."""
        self._check(epoch)
        if self.transaction is not None:
            self.transaction.end(outcome, time_ms)
            self.transaction = None

    def expire(self, time_ms: int) -> None:
        """Abort what has been open for too long."""
        if self.deadline_ms <= time_ms:
            self._fence(time_ms)

    @property
    def deadline_ms(self) -> int:
        """When the open transaction times out."""
        return NEVER_MS if self.transaction is None else self.transaction.deadline_ms

    def _check(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise Fenced(
                f"transactional id {self.name} is at epoch {self.epoch}, this producer has {epoch}",
                hint="another producer took the id over, or a transaction was open longer than its timeout",
            )

    def _fence(self, time_ms: int) -> None:
        self.epoch += 1
        if self.transaction is not None:
            self.transaction.end("aborted", time_ms)
            self.transaction = None
