"""A member of the consumer group: owns partitions, reads them from the positions it is told.

Rules:
1. The client library holds the partitions that are started, and no others; starting one assigns all of them anew,
   each at its position. That throws away what was fetched and not taken yet; pausing and seeking instead would keep
   it, but a partition resumed after a seek can be left without fetching, for a second or for good.
2. A batch has nothing that was fetched before its partition changed hands, or was started anew: the library drops that
   from its queue and from the batch it is collecting, and ``consuming`` from what was taken before.
3. Closing tells the listener by itself, and closes the library's consumer when nobody listens any more, within a bound.
   A change that the library has still to report while it closes makes it wait for ever for its own answer.
4. A revocation of partitions while the member has no place in its group is a loss. The library tells the two apart,
   but forgets which it is when partitions are started after the loss and before it is reported.
5. A member is fenced when another one has its static name. The library takes itself for fenced in another case, too:
   when a session ended while brokers were away, it goes on without its member id until the loss has been heard, and is
   refused. Then the name is still this member's, or nobody's, and it joins anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from threading import Thread

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from stream_triggers.errors import Fenced
from stream_triggers.runtime.kafka.consuming import Consuming
from stream_triggers.runtime.kafka.failures import error_of, failure, reason
from stream_triggers.runtime.kafka.holder import holder_of
from stream_triggers.runtime.kafka.settings import KafkaSettings, connect, logger
from stream_triggers.runtime.log import Listener, Membership, Record, TopicPartition

CLOSE_S = 5.0
"""How long the library gets to close; it takes some milliseconds."""

_DRAIN_MAX = 100
_METADATA_MARK = b"CGMDv2:"
_GENERATION_BYTES = 4


class KafkaMember:
    """A ``Member`` over confluent-kafka; its partitions come by the range strategy, all anew with every change."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consuming = Consuming(settings, "member", lambda _entry: None)
        self._consumer = self._consuming.consumer
        self._listener: Listener
        self._topics: list[str] = []
        self._member_id = ""
        self._fenced: Fenced | None = None
        self._owned: set[TopicPartition] = set()
        self._started: dict[TopicPartition, int] = {}
        self._closed = False

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._listener = listener
        self._topics = list(topics)
        self._join()

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        try:
            if self._fenced is None:
                return self._consuming.take(records_max, timeout_s)
        except Fenced as error:
            self._fenced = error
        assert self._fenced is not None, "it is one of the two"
        if not self._member_id or holder_of(self._settings) not in (self._member_id, None):
            raise self._fenced
        self._join_anew()
        return []

    def membership(self) -> Membership:
        try:
            data: bytes = self._consumer.consumer_group_metadata()
        except RuntimeError:  # it says so of a consumer that is closed, or has been out of its group for good
            return Membership(-1, "", b"")
        assert data.startswith(_METADATA_MARK), f"unknown form of group metadata: {data!r}"
        start = len(_METADATA_MARK) + _GENERATION_BYTES
        generation = int.from_bytes(data[len(_METADATA_MARK) : start], sys.byteorder, signed=True)
        _group, member_id = data[start:].split(b"\0")[:2]
        return Membership(generation, member_id.decode(), data)

    def committed(self, partitions: Iterable[TopicPartition], timeout_s: float) -> Mapping[TopicPartition, int | None]:
        asked = [Position(*partition) for partition in partitions]
        if not asked:
            return {}
        try:
            answers = self._consumer.committed(asked, timeout_s)
        except KafkaException as error:
            raise failure(error_of(error), "committed positions") from error
        for answer in answers:
            if answer.error is not None:
                raise failure(answer.error, f"committed position of {answer.topic}/{answer.partition}")
        return {
            TopicPartition(answer.topic, answer.partition): None if answer.offset == OFFSET_INVALID else answer.offset
            for answer in answers
        }

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        assert self._owned.issuperset(next_offsets), f"not owned: {next_offsets.keys() - self._owned}"
        self._started.update(self._consuming.reached(self._started))
        self._started.update(next_offsets)
        self._consuming.assign(self._started)

    def known_ends(self) -> Mapping[TopicPartition, int]:
        return {
            partition: self._consumer.get_watermark_offsets(Position(*partition), cached=True)[1]
            for partition in self._started
        }

    def close(self) -> None:
        if self._closed:
            return
        try:
            self._give_back()
        finally:
            self._closed = True
            _close(self._consumer)

    def _join(self) -> None:
        connect(self._consumer)
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _join_anew(self) -> None:
        """Leave behind what the library takes for fenced; what was ours is lost until the group says otherwise."""
        logger.warning("kafka member was out of its group without another one in its place, and joins again")
        fenced, self._fenced = self._consumer, None
        self._consuming = Consuming(self._settings, "member", lambda _entry: None)
        self._consumer = self._consuming.consumer
        owned = sorted(self._owned)
        self._own([])
        if owned:
            self._listener.lost(owned)
        _close(fenced)
        self._join()

    def _give_back(self) -> None:
        """Hear of changes that have happened already; what is ours after them is revoked."""
        try:
            self._consumer.assign([])
            self._consumer.consume(_DRAIN_MAX, 0)
        except KafkaException as error:
            logger.debug("kafka member closes after: %s", reason(error_of(error)))
        if self._owned:
            self._listener.revoked(sorted(self._owned))

    def _on_assign(self, consumer: Consumer, positions: list[Position]) -> None:
        if self._is_of_the_past(consumer):
            return
        consumer.assign([])
        self._own(positions)
        self._member_id = self.membership().member_id
        if positions:
            self._listener.assigned(_names(positions))

    def _on_revoke(self, consumer: Consumer, positions: list[Position]) -> None:
        if self._is_of_the_past(consumer):
            return
        place = self.membership()
        if place.generation < 0 or not place.member_id:
            self._on_lost(consumer, positions)
            return
        try:
            if positions:
                self._listener.revoked(_names(positions))
        finally:
            self._own([])

    def _on_lost(self, consumer: Consumer, positions: list[Position]) -> None:
        if self._is_of_the_past(consumer):
            return
        self._own([])
        if positions:
            self._listener.lost(_names(positions))

    def _is_of_the_past(self, consumer: Consumer) -> bool:
        return self._closed or consumer is not self._consumer

    def _own(self, positions: list[Position]) -> None:
        """From now on these are ours, none of them started: with an eager strategy every change concerns all."""
        self._consuming.changes += 1
        self._owned = set(_names(positions))
        self._started.clear()


def _close(consumer: Consumer) -> None:
    closing = Thread(target=consumer.close, name="kafka member close", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    if closing.is_alive():
        logger.warning("kafka member did not close within %s s and is left behind", CLOSE_S)


def _names(positions: Iterable[Position]) -> list[TopicPartition]:
    return [TopicPartition(position.topic, position.partition) for position in positions]
