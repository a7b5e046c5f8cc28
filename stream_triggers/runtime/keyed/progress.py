"""Progress: how far each input partition has been routed, and from all of them the watermark.

The owner of an input partition writes, in the transaction with the facts, an instant before which everything that was
sent to the partition has been routed. A fact is thus in its partition, before any record of one who has read this.

Rules:
1. The progress of a partition that has been read to its end is the moment at which its end was asked for. Of one with
   a backlog it is the time of the last message routed, and no later than now: a sender's clock may be wrong.
2. Progress never goes back, whoever writes: the table keeps the latest instant of each partition.
3. The watermark is the least progress of all input partitions, and 0 while that of any is unknown. A partition that
   nobody works on holds it back; nothing is concluded from a silence that nobody has listened to.
4. Progress of one's own counts before it is committed: what is written next is in the same transaction or a later one.
5. The owner of a facts partition says there, too, for which instant it waits, so that the owners of inputs measure
   their progress then. That is a hint: they do it now and then anyway.
6. The end of a partition may be a marker of a transaction, which is never delivered: a reader looks whether there are
   messages before it, once nothing has come for a while.
7. A trigger that started in the past has a place of its own in each input partition, its lane, and progress of its own
   there until that has come to where the partition is read. Until it has everywhere, its watermark is the least of all
   these; a partition where it has no lane yet may hold anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from stream_triggers.core.record import Start
from stream_triggers.runtime.log import Log, Outgoing, Reader, Record, TopicPartition, partition_of
from stream_triggers.runtime.topics import Topics

FORMAT = 1
READ_MAX = 1000

PROGRESS_BYTES = 9
LANE_BYTES = 18
NUL = b"\0"

NEVER_MS = 2**63 - 1
"""Later than any instant."""


def progress_record(partition: TopicPartition, routed_ms: int) -> Outgoing:
    """The record of a partition's progress, or of the instant that a facts partition waits for."""
    return Outgoing(key=name_of(partition), value=bytes([FORMAT]) + routed_ms.to_bytes(8, "big"))


def name_of(partition: TopicPartition) -> bytes:
    """What the progress of a partition is filed under."""
    return str(partition).encode()


class Lane(NamedTuple):
    """How far a trigger has come in an input partition, from the start of an epoch.

    All before ``next_offset`` has been routed to it; when it has ``joined``, all that is read of the partition from
    there on is, too. ``routed_ms`` is the time of the last message.
    """

    partition: TopicPartition
    trigger_id: str
    epoch: int
    next_offset: int
    routed_ms: int
    joined: bool


def lane_record(lane: Lane) -> Outgoing:
    """The record of how far a lane has come."""
    name = b"%b\0%b\0%d" % (name_of(lane.partition), lane.trigger_id.encode(), lane.epoch)
    numbers = lane.next_offset.to_bytes(8, "big") + lane.routed_ms.to_bytes(8, "big")
    return Outgoing(key=name, value=bytes([FORMAT]) + numbers + bytes([lane.joined]))


def read_lane(record: Record) -> Lane | None:
    """The lane that a record of the progress topic is about; None if it is about something else."""
    parts, value = (record.key() or b"").split(NUL), record.value() or b""
    if len(parts) != 3 or value[:1] != bytes([FORMAT]) or len(value) != LANE_BYTES:
        return None
    topic, _, number = parts[0].decode().rpartition("/")
    next_offset, routed_ms = int.from_bytes(value[1:9], "big"), int.from_bytes(value[9:17], "big")
    partition = TopicPartition(topic, int(number))
    return Lane(partition, parts[1].decode(), int(parts[2]), next_offset, routed_ms, bool(value[17]))


_Lanes: TypeAlias = defaultdict[tuple[str, int], dict[bytes, Lane]]
"""By trigger and epoch, and by the name of the input partition."""


class ProgressTable:
    """The progress of every input partition: what others have committed, and what this worker has measured."""

    def __init__(self, cluster: Log, topics: Topics) -> None:
        self._cluster = cluster
        self._topics = topics
        self._partition = TopicPartition(topics.progress, 0)
        self._reader: Reader | None = None
        self._inputs: frozenset[bytes] = frozenset()
        self._committed: dict[bytes, int] = {}
        self._measured: dict[bytes, int] = {}
        self._awaited: dict[bytes, int] = {}
        self._lanes: _Lanes = defaultdict(dict)
        self._own_lanes: _Lanes = defaultdict(dict)

    def look_for_partitions(self) -> None:
        """Count the partitions of the inputs again: they may have become more."""
        specs = self._cluster.topics(self._topics.inputs).values()
        self._inputs = frozenset(
            f"{spec.name}/{number}".encode() for spec in specs for number in range(spec.partitions)
        )

    def catch_up(self, wait_s: float = 0) -> None:
        """Take in what has arrived of what others have committed; waits no longer than ``wait_s``, and asks nobody."""
        if self._reader is None:
            start = self._cluster.start_offsets([self._partition])
            self._reader = self._cluster.reader()
            self._reader.assign(start)
        while records := self._reader.poll(READ_MAX, wait_s):
            for record in records:
                self._take(record)

    def end(self) -> int:
        """Where the topic ends now; asks the brokers."""
        return self._cluster.end_offsets([self._partition])[self._partition]

    def has_read_to(self, end: int) -> bool:
        """Whether everything before ``end`` has been taken in, after a ``catch_up``."""
        return self._reader is not None and self._reader.positions()[self._partition] >= end

    def measured(self, partition: TopicPartition, routed_ms: int) -> bool:
        """Take in progress of this worker; whether it is new, and has yet to be committed."""
        name = name_of(partition)
        is_new = routed_ms > self._routed_ms(name)
        if is_new:
            self._measured[name] = routed_ms
        return is_new

    def forget(self, partition: TopicPartition) -> None:
        """What this worker has measured of a partition may not be committed."""
        self._measured.pop(name_of(partition), None)
        for lanes in self._own_lanes.values():
            lanes.pop(name_of(partition), None)

    def lane(self, partition: TopicPartition, trigger_id: str, epoch: int) -> Lane | None:
        """How far a trigger has come in a partition; None where it has no lane yet."""
        name, trigger = name_of(partition), (trigger_id, epoch)
        return self._own_lanes[trigger].get(name) or self._lanes[trigger].get(name)

    def measured_lane(self, lane: Lane) -> None:
        """Take in how far a lane of this worker has come, which has yet to be committed."""
        self._own_lanes[lane.trigger_id, lane.epoch][name_of(lane.partition)] = lane

    def watermark_of(self, trigger_id: str, start: Start) -> int | None:
        """A trigger's own watermark, 0 while any is unknown; None when it has joined in all partitions."""
        trigger = trigger_id, start.epoch
        lanes = self._lanes[trigger] | self._own_lanes[trigger]
        if not self._inputs or not self._inputs <= lanes.keys():
            return 0
        behind_ms = [lane.routed_ms for lane in lanes.values() if not lane.joined]
        return min(self.watermark_ms, *behind_ms) if behind_ms else None

    def least_ms(self, partitions: Iterable[TopicPartition]) -> int:
        """The least progress of these partitions, 0 while that of any is unknown."""
        return min((self._routed_ms(name_of(each)) for each in partitions), default=0)

    @property
    def is_all_ours(self) -> bool:
        """Whether this worker measures every input partition there is."""
        return self._inputs <= self._measured.keys()

    @property
    def awaited_ms(self) -> int:
        """The next instant that a facts partition waits for, and that what is measured here has not reached."""
        own_ms = min(self._measured.values(), default=NEVER_MS)
        return min((each for each in self._awaited.values() if each > own_ms), default=NEVER_MS)

    @property
    def watermark_ms(self) -> int:
        """The instant before which everything that was sent has been routed."""
        return min(map(self._routed_ms, self._inputs), default=0)

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.close()

    def _routed_ms(self, name: bytes) -> int:
        return max(self._committed.get(name, 0), self._measured.get(name, 0))

    def _take(self, record: Record) -> None:
        value, name = record.value() or b"", record.key() or b""
        lane = read_lane(record)
        if lane is not None:
            self._lanes[lane.trigger_id, lane.epoch][name_of(lane.partition)] = lane
        elif value[:1] == bytes([FORMAT]) and len(value) == PROGRESS_BYTES:
            at_ms = int.from_bytes(value[1:], "big")
            if name.startswith(f"{self._topics.trigger_facts}/".encode()):
                self._awaited[name] = at_ms
            else:
                self._committed[name] = max(at_ms, self._committed.get(name, 0))


class Routing:
    """How far the worker has read the partitions it owns."""

    def __init__(self, cluster: Log) -> None:
        self._cluster = cluster
        self._reader: Reader | None = None
        self._last_ms: dict[TopicPartition, int] = {}
        self._looked: dict[TopicPartition, int] = {}  # next offsets at the last look

    def note(self, newest: Mapping[TopicPartition, Record]) -> None:
        """These are the last messages that were read of their partitions."""
        self._last_ms.update((partition, record.timestamp()[1]) for partition, record in newest.items())

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours, or read again."""
        for partition in partitions:
            self._last_ms.pop(partition, None)
            self._looked.pop(partition, None)

    def look(
        self, next_offsets: Mapping[TopicPartition, int]
    ) -> tuple[Mapping[TopicPartition, int], dict[TopicPartition, int]]:
        """Where partitions that are read up to ``next_offsets`` end, and which of them are at their end behind markers.

        The second have not moved since the last look.
        """
        ends = self._cluster.end_offsets(next_offsets)
        behind = {each: at for each, at in next_offsets.items() if at < ends[each] and self._looked.get(each) == at}
        passed = self._passed(behind, ends) if behind else {}
        self._looked |= {**next_offsets, **passed}
        return ends, passed

    def measure(
        self, next_offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], now_ms: int
    ) -> dict[TopicPartition, int]:
        """The progress of partitions that are read up to ``next_offsets``; of one not known yet there is none.

        ``now_ms`` is the time before the ``ends`` were asked for.
        """
        routed: dict[TopicPartition, int] = {}
        for partition, offset in next_offsets.items():
            if offset >= ends[partition]:
                routed[partition] = now_ms
            elif partition in self._last_ms:
                routed[partition] = min(self._last_ms[partition], now_ms)
        return routed

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.close()

    def _passed(
        self, behind: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """The ends of those in which nothing but markers is left before them."""
        self._reader = self._reader or self._cluster.reader()
        self._reader.assign(behind)
        filled = {partition_of(record) for record in self._reader.poll(READ_MAX, timeout_s=0.1)}
        positions = self._reader.positions()
        passed = {each: ends[each] for each in behind if each not in filled and positions[each] >= ends[each]}
        self._reader.assign({})
        return passed
