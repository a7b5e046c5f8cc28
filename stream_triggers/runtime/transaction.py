"""The slot's transactional producer and the one transaction it may have open.

Rules:
1. A transaction begins with the first record produced, or with the commit if nothing was.
2. After an outcome that is not known nothing more is done with that producer: it is given up, and a new one under the
   same transactional id makes the broker settle what the old one left.
3. After the producer was fenced, the next one is opened only when ``FENCED_PAUSE_S`` have passed.
"""

from __future__ import annotations

from collections.abc import Mapping

from stream_triggers.errors import Aborted, Fenced, StreamTriggersError
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Log, Membership, Outgoing, Producer, TopicPartition

FENCED_PAUSE_S = 5.0
"""A fenced producer means that its own transaction timed out, or that a second worker has its name. In the second case
the member is told within a heartbeat (3 s) and the worker stops; until then it must not fence the newer one back."""


class Transaction:
    """Makes, uses and replaces the producer of one slot."""

    def __init__(self, cluster: Log, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._producer: Producer | None = None
        self._open_again_at_s = 0.0
        self._begun = False

    def ready(self) -> bool:
        """Have a producer, opening one if need be; False while the pause after a fence lasts.

        Raises ``Unavailable`` when the brokers do not answer.
        """
        if self._producer is None and not self.pauses:
            producer = self._cluster.producer()
            try:
                producer.open()
            except BaseException:
                producer.close()
                raise
            self._producer = producer
        return self._producer is not None

    def serve(self) -> None:
        """Let the producer report what has happened meanwhile."""
        if self._producer is not None:
            self._producer.serve()

    @property
    def pauses(self) -> bool:
        """Whether the pause after a fence lasts, in which there is nothing to be done but wait."""
        return self._producer is None and self._clock.monotonic_s() < self._open_again_at_s

    @property
    def begun(self) -> bool:
        """Whether a transaction is open."""
        return self._begun

    def produce(self, topic: str, records: list[Outgoing]) -> None:
        """Write ``records`` within the transaction, beginning one if none is open."""
        if records:
            self._begin().produce(topic, records)

    def commit(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        """Commit what was produced together with the consumed positions.

        Raises ``Aborted`` for a membership that a broker would not check: it takes such positions from anybody.
        """
        assert next_offsets, "a transaction without positions is not fenced"
        if membership.generation < 0 or not membership.member_id:
            raise Aborted("positions of a process that is not a member of its group would not be fenced")
        producer = self._begin()
        producer.send_offsets(next_offsets, membership)
        producer.commit()
        self._begun = False

    def abort(self) -> None:
        """Drop the open transaction, whatever it takes: a producer that cannot say that it is aborted is given up."""
        if self._producer is not None and self._begun:
            try:
                self._producer.abort()
            except StreamTriggersError as error:
                self.give_up(fenced=isinstance(error, Fenced))
        self._begun = False

    def give_up(self, *, fenced: bool = False) -> None:
        """Leave the producer and what it has open; the next one settles it."""
        if self._producer is not None:
            self._producer.close()
        self._producer = None
        self._begun = False
        if fenced:
            self._open_again_at_s = self._clock.monotonic_s() + FENCED_PAUSE_S

    def _begin(self) -> Producer:
        assert self._producer is not None, "a transaction needs ready() first"
        if not self._begun:
            self._producer.begin()
            self._begun = True
        return self._producer
