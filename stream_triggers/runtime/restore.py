"""Restore: brings newly owned partitions to the point where processing may start, a bounded step at a time.

Three phases, each partition on its own, so that those that are ready work while others are still being read:

1. *settle*: ask for the committed input offsets of all new partitions at once. The answer waits while a transaction
   that holds any of them is open; until then they stay in this phase. From the answer on, no earlier owner can commit
   for them any more.
2. *read*: read the changelog from where the store has it to the high watermark seen after phase 1. Reading committed
   records only, that position is passed when the last transaction below it has ended, so nothing is missed, and no
   particular record has to be waited for (the last one may be a control record, or compacted away).
3. *ready*: the store holds every claim and state up to the committed offset; input is read from there.

A crash in any phase leaves the store behind the log, never ahead; the next restore starts from its position.

A partition is refused, and the others go on, when its changelog

* holds what this release cannot read, because a newer one has written it: until the partition is assigned anew;
* does not have it, because partitions were added to the input first: until the changelog has it, too.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stream_triggers.errors import Corrupt, Misconfigured, StreamTriggersError, Unavailable
from stream_triggers.runtime import changelog
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Log, Member, Record, TopicPartition, partition_of
from stream_triggers.runtime.store import Changes, Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import Counters, log

logger = logging.getLogger(__name__)

READ_MAX = 2000

LOOK_AGAIN_S = 10.0
"""How often it is looked whether a changelog has got the partitions that it lacked."""

SETTLE_TIMEOUT_S = 1.0
"""One step waits this long for open transactions to end; the worker goes on in between."""


class Table(Protocol):
    """What a changelog is read back into."""

    def begin(self, changelog: TopicPartition, position: int | None, end: int) -> int:
        """Where to begin reading a partition that the store has to ``position`` (None: not at all), and that ends."""
        ...

    def restored(self, records: Sequence[Record]) -> Changes:
        """What a batch of records changes in the store; raises ``Corrupt`` for one that cannot be read."""
        ...


class Restore:
    """The partitions of one worker that are not ready yet."""

    def __init__(
        self,
        cluster: Log,
        member: Member,
        store: Store,
        tables: Mapping[str, Table],
        clock: Clock,
        topics: Topics,
        counters: Counters,
    ) -> None:
        """``tables`` has what each changelog topic is read into."""
        self._cluster = cluster
        self._member = member
        self._store = store
        self._tables = tables
        self._clock = clock
        self._topics = topics
        self._counters = counters
        self._reader = cluster.reader()
        self._settling: set[TopicPartition] = set()
        self._lacking: set[TopicPartition] = set()  # input partitions that their changelogs do not have
        self._look_at_s = 0.0
        self._inputs: dict[TopicPartition, TopicPartition] = {}  # changelog -> input partition being read
        self._ends: dict[TopicPartition, int] = {}  # changelog -> high watermark to reach
        self._starts: dict[TopicPartition, int] = {}  # input partition -> where its processing will start

    @property
    def active(self) -> bool:
        """Whether a step would do something: a partition is on its way to be ready, or may have become fit for it."""
        return bool(self._settling or self._inputs or self._is_time_to_look())

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """These are to be made ready, from the beginning."""
        partitions = list(partitions)
        self.drop(partitions)
        self._settling.update(partitions)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """These are no longer ours."""
        for partition in partitions:
            self._settling.discard(partition)
            self._lacking.discard(partition)
            self._finish(self._topics.changelog_of(partition))
        if self._inputs:
            self._read_only_what_is_left()

    def step(self) -> Mapping[TopicPartition, int]:
        """Go on a little; returns the partitions that became ready, each with the offset to read its input from."""
        if self._is_time_to_look():
            self._look_again()
        if self._settling:
            self._settle()
        return self._read() if self._inputs else {}

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()

    def _settle(self) -> None:
        try:
            committed = self._member.committed(self._settling, SETTLE_TIMEOUT_S)
        except Unavailable:
            return  # asked again in the next step; what went wrong with the brokers shows elsewhere, too
        try:
            self._begin(committed)
        except Misconfigured:
            if not self._set_lacking_aside():
                raise
        else:
            self._settling.clear()

    def _begin(self, committed: Mapping[TopicPartition, int | None]) -> None:
        kept, ends = self._cluster.start_offsets(committed), self._cluster.end_offsets(committed)
        for partition, offset in committed.items():
            if offset is not None and offset < kept[partition]:
                raise _input_lost(partition, offset, kept[partition])
            if offset is not None and offset > ends[partition]:
                raise _input_replaced(partition, offset, ends[partition])
            self._starts[partition] = kept[partition] if offset is None else offset
        self._begin_reading({self._topics.changelog_of(partition): partition for partition in committed})

    def _set_lacking_aside(self) -> bool:
        """Refuse those that cannot be restored before partitions are added; whether there were any."""
        lacking = self._lacking_among(self._settling)
        self._settling.difference_update(lacking)
        self._lacking.update(lacking)
        self._look_at_s = self._clock.monotonic_s() + LOOK_AGAIN_S
        for partition, error in sorted(lacking.items()):
            self._tell_refused(partition, error)
        return bool(lacking)

    def _look_again(self) -> None:
        lacking = self._lacking_among(self._lacking)
        self._look_at_s = self._clock.monotonic_s() + LOOK_AGAIN_S
        self._settling.update(self._lacking.difference(lacking))
        self._lacking.intersection_update(lacking)

    def _is_time_to_look(self) -> bool:
        return bool(self._lacking) and self._clock.monotonic_s() >= self._look_at_s

    def _lacking_among(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Misconfigured]:
        """Those of ``partitions`` that have no changelog partition of their number, and what to do about each."""
        changelogs = {partition: self._topics.changelog_of(partition) for partition in partitions}
        names = {each.topic for pair in changelogs.items() for each in pair}
        counts = {name: spec.partitions for name, spec in self._cluster.topics(names).items()}
        return {
            partition: self._partition_lacking(each, counts[each.topic], counts.get(partition.topic, 0))
            for partition, each in changelogs.items()
            if each.topic in counts and each.partition >= counts[each.topic]
        }

    def _partition_lacking(self, partition: TopicPartition, count: int, wanted: int) -> Misconfigured:
        hint = f"{self._topics.grow_command(partition.topic, max(wanted, partition.partition + 1))};"
        hint += f" it is looked for every {LOOK_AGAIN_S:g} s"
        if partition.topic == self._topics.changelog(self._topics.trigger_facts):
            hint = "nothing is lost while workers go on; before they start again, see stream-triggers topics check"
        return Misconfigured(
            f"topic {partition.topic} has no partition {partition.partition}: it has {count}", hint=hint
        )

    def _begin_reading(self, inputs: Mapping[TopicPartition, TopicPartition]) -> None:
        changelogs = list(inputs)
        ends = self._cluster.end_offsets(changelogs)
        positions = changelog.read_positions(self._store, changelogs)
        for each, position in positions.items():
            if position > ends[each]:
                raise _changelog_replaced(each, position, ends[each])
        kept = self._cluster.start_offsets(changelogs)
        reading = {**self._reader.positions()} if self._inputs else {}
        for each in changelogs:
            begin = self._tables[each.topic].begin(each, positions.get(each), ends[each])
            reading[each] = max(kept[each], begin)
        self._inputs.update(inputs)
        self._ends.update(ends)
        self._reader.assign(reading)

    def _read(self) -> Mapping[TopicPartition, int]:
        positions = self._reader.positions()
        if any(positions[each] < self._ends[each] for each in self._inputs):
            changes = self._changes(self._reader.poll(READ_MAX, timeout_s=0.1))
            positions = {each: offset for each, offset in self._reader.positions().items() if each in self._inputs}
            changelog.write_positions(changes, positions)
            self._store.apply(changes)
        done = [each for each in self._inputs if positions[each] >= self._ends[each]]
        ready = {self._inputs[each]: self._starts[self._inputs[each]] for each in done}
        for each in done:
            self._finish(each)
        if done:
            self._read_only_what_is_left()
        return ready

    def _changes(self, records: Sequence[Record]) -> Changes:
        """What the records change in the store; a partition with one that cannot be read is refused."""
        batches: dict[TopicPartition, list[Record]] = defaultdict(list)
        for record in records:
            batches[partition_of(record)].append(record)
        changes = Changes()
        for each, batch in batches.items():
            try:
                restored = self._tables[each.topic].restored(batch)
                changes.puts += restored.puts
                changes.deletes += restored.deletes
            except Corrupt as error:
                self._refuse(each, error)
        return changes

    def _refuse(self, changelog_partition: TopicPartition, error: Corrupt) -> None:
        refused = self._inputs[changelog_partition]
        self._finish(changelog_partition)
        self._read_only_what_is_left()
        self._tell_refused(refused, error)

    def _tell_refused(self, partition: TopicPartition, error: StreamTriggersError) -> None:
        self._counters.refused += 1
        log(logger, "partition refused", partition=str(partition), error=error.message, hint=error.hint)

    def _read_only_what_is_left(self) -> None:
        positions = self._reader.positions()
        self._reader.assign({each: positions[each] for each in self._inputs})

    def _finish(self, changelog_partition: TopicPartition) -> None:
        partition = self._inputs.pop(changelog_partition, None)
        self._ends.pop(changelog_partition, None)
        if partition is not None:
            self._starts.pop(partition, None)


def _input_lost(partition: TopicPartition, committed: int, kept: int) -> Misconfigured:
    return Misconfigured(
        f"messages {committed} to {kept - 1} of {partition} were deleted before they were processed",
        hint="raise the topic's retention; to go on without them, move the group's offsets with kafka-consumer-groups",
    )


def _input_replaced(partition: TopicPartition, committed: int, end: int) -> Misconfigured:
    return Misconfigured(
        f"the group has committed position {committed} of {partition}, which ends at {end}",
        hint="the topic was made again, or the group's position was set there: move the group's offsets to where it is"
        " to go on, with kafka-consumer-groups.sh --reset-offsets",
    )


def _changelog_replaced(partition: TopicPartition, position: int, end: int) -> Corrupt:
    return Corrupt(
        f"the store has read {partition} to offset {position}, the topic ends at {end}",
        hint="the topic was deleted and made again: delete the slot's state directory",
    )
