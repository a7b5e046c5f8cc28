"""Lanes: triggers that started in the past read what was there before them, beside what is new.

::

    input partition   ──────────────┬───────────────────┬──────▶
                      first message │ lane reads        │ live: read for all the others
                      not older     └──▶                 └──▶
                      than the start        when it has come to the live place, it joins: from there on the trigger
                                            takes what is read for all

A lane is a trigger's own place in one input partition, from the start of an epoch. Rules:

1. The owner of the partition works on its lanes, a batch at a time that takes ``PACE_S``, so that what is new waits no
   longer than that.
2. While a trigger has a lane in a partition, it has no part in what is read live there. So each message from the start
   on comes to it once, and in order.
3. What a lane makes, how far it has come and the live place of its partition are in one transaction. So the fence of
   the live place is that of the lane, too, and nothing fires twice.
4. Where any trigger has a start, a partition is not processed before it is known how far its lanes have come:
   ``progress`` is read to where it ended after the last transaction of the owner before. A lane that has joined is
   never opened again.
5. A lane uses the definition in force, none older than the owner before has used: they are read to their end when a
   partition is taken over. Which it is from where on is noted in ``trigger-runs``, for a later check.
   That of a trigger that is deleted or cannot be used rests where it is.
6. What retention deletes before a lane has come to it is passed over, and said so.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from stream_triggers.core.message import Kind
from stream_triggers.core.record import Start
from stream_triggers.core.route import Plan
from stream_triggers.errors import Misconfigured, Unavailable
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.definitions import DefinitionTable
from stream_triggers.runtime.keyed.progress import Lane, ProgressTable, lane_record
from stream_triggers.runtime.log import Log, Reader, Record, Slice, TopicPartition, slices
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

TRIES_MAX = 100
"""How often it is looked whether progress can be read, when a trigger with a start comes to ready partitions."""

PACE_S = 0.02
"""How long what is new waits for the lanes, about: they are given fewer messages at a time if these take longer."""

PACE_FIRST = 500
"""How many messages the lanes are given at first."""

WAIT_S = 0.01
"""How long a worker that has nothing else to do waits for the messages of its lanes, before it looks for new ones."""


class Lanes:
    """The lanes in the input partitions of one worker."""

    def __init__(
        self,
        cluster: Log,
        topics: Topics,
        clock: Clock,
        table: ProgressTable,
        definitions: DefinitionTable,
        stage: RouteStage,
    ) -> None:
        """``stage`` routes for the lanes, and leaves their triggers out of what is read live."""
        self._cluster = cluster
        self._clock = clock
        self._table = table
        self._definitions = definitions
        self._stage = stage
        self._kinds = topics.kinds
        self._waiting: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}  # where progress has to be read to for each
        self._lanes: dict[TopicPartition, dict[str, Lane]] = {}
        self._listening: Mapping[str, frozenset[Kind]] = {}
        self._noted: set[tuple[TopicPartition, str]] = set()
        self._pace = PACE_FIRST
        self._reader: Reader | None = None
        self._positions: Mapping[TopicPartition, int] = {}
        stage.leave_out(self._lanes)

    # Partitions come and go

    @property
    def is_waiting(self) -> bool:
        """Whether a partition is not processed because it is not known how far its lanes have come."""
        return bool(self._waiting)

    def expect(self, restored: Mapping[TopicPartition, int]) -> None:
        """These partitions are restored, and go on at these offsets once their lanes are known."""
        self._waiting |= restored
        for each in restored:
            self._ends.pop(each, None)

    def admit(self) -> Mapping[TopicPartition, int]:
        """Those of the expected whose lanes are known and open now, with where they go on.

        Nothing is lost by an ``Unavailable``: whoever asks again is told the same.
        """
        unasked = [each for each in self._waiting if each.topic in self._kinds and each not in self._ends]
        if unasked:
            self._ends |= dict.fromkeys(unasked, self._table.end())
        if self._definitions.started:
            self._table.catch_up(WAIT_S)
        known = {each: offset for each, offset in self._waiting.items() if self._is_known(each)}
        if known:
            self.open(known)
        for each in known:
            del self._waiting[each]
        return known

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours, or start again."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._ends.pop(partition, None)
            self._lanes.pop(partition, None)
        self._noted = {each for each in self._noted if each[0] in self._lanes}
        self._rest_if_done()

    def close(self) -> None:
        """Stop reading."""
        self._positions = {}
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # Lanes are opened

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Follow the definitions: every trigger that has a start gets a lane in each, unless it has joined there.

        Asks the brokers where new ones begin; nothing changes if there is no answer. Raises ``Unavailable`` also when
        it cannot be known how far lanes have come, as the first trigger with a start is applied: others may have been.
        """
        started, inputs = self._definitions.started, [each for each in partitions if each.topic in self._kinds]
        self._require_known(inputs)
        lanes, fresh = list[Lane](), defaultdict[Start, list[tuple[TopicPartition, str]]](list)
        for partition in inputs:
            before = self._lanes.get(partition, {})
            for trigger_id, plan in started.items():
                start = _start_of(plan)
                lane = before.get(trigger_id)
                if lane is None or lane.epoch != start.epoch:
                    lane = self._table.lane(partition, trigger_id, start.epoch)
                if lane is None:
                    fresh[start].append((partition, trigger_id))
                elif not lane.joined:
                    lanes.append(lane)
        lanes += self._fresh(fresh)
        self._listening = {trigger_id: plan.kinds for trigger_id, plan in started.items()}
        for partition in inputs:
            self._lanes.pop(partition, None)
        for lane in sorted(lanes):
            self._put(lane)
        self.note_again()

    def note_again(self) -> None:
        """Note once more which definitions the lanes use."""
        self._noted.clear()

    def _fresh(self, places: Mapping[Start, Sequence[tuple[TopicPartition, str]]]) -> Iterator[Lane]:
        """The lanes of triggers that have none in these places."""
        for start, found in places.items():
            first = self._cluster.offsets_at({partition for partition, _ in found}, start.since_ms)
            for partition, trigger_id in found:
                yield Lane(partition, trigger_id, start.epoch, first[partition], start.since_ms, joined=False)

    # Lanes are read

    @property
    def has_any(self) -> bool:
        """Whether any trigger has not joined."""
        return bool(self._lanes)

    @property
    def is_reading(self) -> bool:
        """Whether there is something to be read that is not new."""
        return bool(self._positions)

    def read(
        self, live: Mapping[TopicPartition, int], records_max: int, wait_s: float
    ) -> tuple[Outputs, Sequence[TopicPartition]]:
        """Let the lanes go on, in partitions that have been routed up to the offsets in ``live``.

        They are given ``records_max`` messages at most, or fewer if that takes longer than ``PACE_S``.
        Second, the partitions of lanes that have moved: what was made belongs into a transaction with their positions.
        """
        outputs, moved = Outputs(), list[TopicPartition]()
        self._assign(live)
        last_ms: dict[TopicPartition, int] = {}
        polled = self._poll(min(records_max, self._pace), wait_s)
        begun_s = self._clock.monotonic_s()
        for partition, records in slices(polled):
            old = [record for record in records if record.offset() < live[partition]]
            if old:
                self._route(Slice(partition, old), outputs)
                last_ms[partition] = old[-1].timestamp()[1]
        self._keep_pace(len(polled), self._clock.monotonic_s() - begun_s)
        if self._positions and self._reader is not None:
            self._positions = self._reader.positions()
        for partition in sorted(self._lanes):
            if partition in live and self._move(partition, live[partition], last_ms.get(partition, 0), outputs):
                moved.append(partition)
        self._rest_if_done()
        return outputs, moved

    def _keep_pace(self, taken: int, seconds: float) -> None:
        """Give the lanes fewer messages if those took too long, and more if there were as many as they were given."""
        if seconds > PACE_S:
            self._pace = max(1, taken // 2)
        elif taken >= self._pace:
            self._pace *= 2

    def _assign(self, live: Mapping[TopicPartition, int]) -> None:
        """Read where the hindmost lane of each partition is."""
        wanted: dict[TopicPartition, int] = {}
        for partition, lanes in self._lanes.items():
            places = [lane.next_offset for lane in lanes.values() if self._listens(lane)]
            if partition in live and places and min(places) < live[partition]:
                wanted[partition] = min(places)
        if wanted != self._positions:
            self._reader = self._reader or self._cluster.reader()
            self._reader.assign(wanted)
            self._positions = wanted

    def _poll(self, records_max: int, wait_s: float) -> Sequence[Record]:
        if not self._positions or self._reader is None:
            return ()
        try:
            return self._reader.poll(records_max, wait_s)
        except Misconfigured:
            if not self._pass_deleted():
                raise
            return ()

    def _pass_deleted(self) -> bool:
        """Go on with what is kept; whether anything that had yet to be read is not."""
        kept = self._cluster.start_offsets(self._positions)
        gone = [each for each, at in self._positions.items() if at < kept[each]]
        for each in gone:
            log(
                logger,
                "records deleted unread",
                topic=each.topic,
                partition=each.partition,
                offset=self._positions[each],
                next_offset=kept[each],
            )
            for lane in list(self._lanes[each].values()):
                self._put(lane._replace(next_offset=max(lane.next_offset, kept[each])))
        return bool(gone)

    def _route(self, slice_: Slice, outputs: Outputs) -> None:
        """Route messages, each for the lanes that are not ahead of it."""
        partition, records = slice_
        lanes = sorted(filter(self._listens, self._lanes[partition].values()), key=lambda lane: lane.next_offset)
        self._note([lane for lane in lanes if lane.next_offset <= records[-1].offset()], outputs)
        names, places = [lane.trigger_id for lane in lanes], [lane.next_offset for lane in lanes]
        triggers = frozenset(names)
        for count, part in groupby(records, key=lambda record: bisect_right(places, record.offset())):
            ahead = frozenset(names[count:])
            outputs.add(self._stage.process_lanes(Slice(partition, list(part)), triggers, ahead))

    def _note(self, lanes: Iterable[Lane], outputs: Outputs) -> None:
        now_ms, definitions = self._clock.now_ms(), str(self._definitions.next_offset)
        for lane in lanes:
            place = lane.partition, lane.trigger_id
            if place not in self._noted:
                self._noted.add(place)
                plan = self._definitions.started[lane.trigger_id]
                outputs.runs.append(
                    self._stage.decide("catching_up", lane.partition, lane.next_offset, now_ms, definitions, plan)
                )

    def _move(self, partition: TopicPartition, live: int, last_ms: int, outputs: Outputs) -> bool:
        """Move the lanes of a partition to where it has been read for them; whether any has."""
        lanes = self._lanes[partition]
        read_to = min(self._positions.get(partition, 0), live)
        last_ms, is_moved = min(last_ms, self._clock.now_ms()), False
        for lane in list(lanes.values()):
            at = max(lane.next_offset, read_to)
            if not self._listens(lane):
                self._note([lane] if lane.next_offset < live else [], outputs)
                at = live
            joins = at == live
            if joins or at != lane.next_offset:
                is_moved = True
                moved = lane._replace(next_offset=at, routed_ms=max(lane.routed_ms, last_ms), joined=joins)
                outputs.progress.append(lane_record(moved))
                self._table.measured_lane(moved)
                self._put(moved)
        return is_moved

    # Inside

    def _is_known(self, partition: TopicPartition) -> bool:
        """Whether it is known how far the lanes of a partition have come, or does not matter: there can be none."""
        if not self._definitions.started or partition.topic not in self._kinds:
            return True
        return self._table.has_read_to(self._ends[partition])

    def _require_known(self, inputs: Collection[TopicPartition]) -> None:
        tries = 0
        while not all(map(self._is_known, inputs)):
            if tries == TRIES_MAX:
                raise Unavailable("a transaction is open in progress, and what is behind it cannot be read")
            self._table.catch_up(WAIT_S)
            tries += 1

    def _put(self, lane: Lane) -> None:
        """Keep a lane as it is now; one that has joined is none any more."""
        lanes = self._lanes.setdefault(lane.partition, {})
        if not lane.joined:
            lanes[lane.trigger_id] = lane
            return
        lanes.pop(lane.trigger_id)
        log(
            logger, "trigger caught up", trigger=lane.trigger_id, partition=str(lane.partition), offset=lane.next_offset
        )
        if not lanes:
            del self._lanes[lane.partition]

    def _listens(self, lane: Lane) -> bool:
        """Whether any message of its partition can be one for its trigger."""
        return not self._kinds[lane.partition.topic].isdisjoint(self._listening[lane.trigger_id])

    def _rest_if_done(self) -> None:
        """Read nothing, and ask nobody, where no lane is left."""
        if not self._lanes:
            self.close()


def _start_of(plan: Plan) -> Start:
    assert plan.start is not None, "it is one of those that have a start"
    return plan.start
