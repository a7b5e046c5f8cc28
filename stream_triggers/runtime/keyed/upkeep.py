"""What an owner writes of its own accord: progress of its inputs, ticks and activations for its facts partitions.

Rules:
1. A tick is written when something is due, and at most one is on its way: until it has been read back, or the
   transaction with it has come to nothing, there is no other. Its clocks never go back, whoever wrote the last one.
2. Activations of changed and deleted definitions go to the partitions where the trigger is active, those of scheduled
   triggers to the one they live in. A definition that cannot be used here changes nothing.
3. Progress is measured between two batches, when everything that was read has been routed, and is committed with that.
4. A tick tells how far triggers have come that are behind, too, every ``TELL_BEHIND_S`` and when they have caught up.
5. The log is asked where partitions end every ``ASK_EVERY_S``, and at once when a timer is due, here or with another
   worker, that waits for progress of this one. Without a keyed trigger it is asked seldom, once no message comes: there
   is no progress to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from stream_triggers.core.keyed.state import Clocks
from stream_triggers.core.record import Behind, Tick
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.keyed.facts import Defined, KeyedTriggers, activation, home_of
from stream_triggers.runtime.keyed.progress import NEVER_MS, ProgressTable, Routing, progress_record
from stream_triggers.runtime.keyed.states import FactsPartition, States
from stream_triggers.runtime.log import Log, Outgoing, Record, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.topics import Topics

ASK_EVERY_S = 0.5
"""How often progress is measured for the timers of other workers, and ends of partitions are looked for."""

ASK_SELDOM_S = 5.0
"""The same where nobody waits for it."""

ASK_AGAIN_S = 0.02
"""How soon progress that a timer waits for is looked for again: about what a tick takes until it is read back."""

TELL_BEHIND_S = 0.1
"""How often it is told how far a trigger has come that is behind."""

WAITING_MS = 1000
"""A timer that is late by so much waits for a backlog or for another worker, and ``ASK_EVERY_S`` is soon enough."""


NOTHING_DUE = Clocks(NEVER_MS, NEVER_MS)


class Definitions(Protocol):
    """The definitions, as far as they have been read."""

    @property
    def keyed(self) -> KeyedTriggers: ...


class Upkeep:
    """Keeps the facts partitions and the progress of one worker up to date."""

    def __init__(
        self,
        cluster: Log,
        topics: Topics,
        clock: Clock,
        states: States,
        definitions: Definitions,
        table: ProgressTable,
        partitions: int,
    ) -> None:
        """``partitions`` is the number of partitions of the facts topic."""
        self._topics = topics
        self._clock = clock
        self._states = states
        self._definitions = definitions
        self._partitions = partitions
        self._table = table
        self._routing = Routing(cluster)
        self._asked_at_s = -ASK_SELDOM_S
        self._look_again_at_s = 0.0
        self._is_settled = False  # everything was at its end when it was asked last
        self._is_counted = False  # how many partitions there are of the inputs
        self._homes: tuple[int, dict[int, list[Defined]]] = (-1, {})

    def note(self, newest: Mapping[TopicPartition, Record]) -> None:
        """These are the last records that were read of their partitions."""
        self._routing.note(newest)
        self._is_settled = False

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours, or start again."""
        self._routing.forget(partitions)
        for partition in partitions:
            self._table.forget(partition)

    def expect_partitions(self) -> None:
        """Partitions have been assigned: there may be new ones, which is asked next time."""
        self._is_counted = False

    def next_due_in_s(self) -> float:
        """How long nothing is due for certain."""
        now_ms = self._clock.now_ms()
        wall_ms, watermark_ms = self._due_ms()
        if watermark_ms > now_ms:
            wait_s = (watermark_ms - now_ms) / 1000
        elif watermark_ms > now_ms - WAITING_MS:
            wait_s = self._look_again_at_s - self._clock.monotonic_s()
        else:
            wait_s = ASK_EVERY_S
        return max(0.0, min(wait_s, (wall_ms - now_ms) / 1000))

    def write(self, next_offsets: Mapping[TopicPartition, int]) -> tuple[Outputs, dict[TopicPartition, int]]:
        """All there is to be written now, when everything before ``next_offsets`` has been processed.

        Second, partitions in which nothing but markers is between that and where they end, with their ends.
        """
        outputs, passed = Outputs(), dict[TopicPartition, int]()
        if self._definitions.keyed.defined:
            self._table.catch_up()
        asked = self._to_ask(next_offsets)
        if asked:
            outputs.progress, passed = self._ask(asked)
            if asked is not next_offsets and self._table.is_all_ours:
                outputs.progress.clear()  # nobody else waits for it
        outputs.facts = self.facts()
        outputs.progress += self._awaited()
        return outputs, passed

    def _to_ask(self, next_offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Those partitions whose ends are to be asked for now."""
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        is_seldom = self._is_settled and not self._definitions.keyed.defined
        if now_s >= self._asked_at_s + (ASK_SELDOM_S if is_seldom else ASK_EVERY_S):
            self._asked_at_s = now_s
            return next_offsets
        due_ms = self._due_ms().watermark_ms
        if now_s < self._look_again_at_s or not now_ms - WAITING_MS < due_ms <= now_ms:
            return {}
        self._look_again_at_s = now_s + ASK_AGAIN_S
        inputs = self._inputs(next_offsets)
        return inputs if self._table.least_ms(inputs) < due_ms else {}

    def _due_ms(self) -> Clocks:
        """For each clock, an instant before which nothing is due, here or with others, that is not on its way."""
        waiting = [Clocks(*each.timers.lower) for each in self._states.partitions if not each.is_tick_awaited]
        wall_ms, watermark_ms = map(min, zip(*waiting, NOTHING_DUE, strict=True))
        return Clocks(wall_ms, min(watermark_ms, self._table.awaited_ms))

    def _ask(self, asked: Mapping[TopicPartition, int]) -> tuple[list[Outgoing], dict[TopicPartition, int]]:
        now_ms = self._clock.now_ms()
        ends, passed = self._routing.look(asked)
        reached = {**asked, **passed}
        self._is_settled = all(at >= ends[each] for each, at in reached.items())
        if not self._definitions.keyed.defined:
            return [], passed
        if not self._is_counted:
            self._table.look_for_partitions()
            self._is_counted = True
        measured = self._routing.measure(self._inputs(reached), ends, now_ms)
        return [progress_record(*each) for each in sorted(measured.items()) if self._table.measured(*each)], passed

    def _awaited(self) -> list[Outgoing]:
        """The instants that facts partitions wait for, where others have to make progress for it."""
        records: list[Outgoing] = []
        if self._table.is_all_ours:
            return records
        for each in self._states.partitions:
            due_ms = each.timers.lower[1]
            if self._table.watermark_ms < due_ms < NEVER_MS and due_ms != each.awaited_ms:
                each.awaited_ms = due_ms
                records.append(progress_record(TopicPartition(self._topics.trigger_facts, each.number), due_ms))
        return records

    def _inputs(self, next_offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return {each: at for each, at in next_offsets.items() if each.topic != self._topics.trigger_facts}

    def facts(self) -> list[Outgoing]:
        """Activations and ticks for the facts partitions; asks nobody."""
        now_ms = self._clock.now_ms()
        records: list[Outgoing] = []
        for partition in self._states.partitions:
            if partition.activated_to < self._definitions.keyed.next_offset:
                records += self._activations(partition, now_ms)
                partition.activated_to = self._definitions.keyed.next_offset
            if not partition.is_tick_awaited:
                records += self._ticks(partition, now_ms)
        return records

    def close(self) -> None:
        """Stop reading."""
        self._routing.close()

    def _ticks(self, partition: FactsPartition, now_ms: int) -> list[Outgoing]:
        wall_ms, watermark_ms = partition.clocks
        clocks = Clocks(max(wall_ms, now_ms), max(watermark_ms, self._table.watermark_ms))
        behind = self._behind(partition)
        if not partition.unswept and not behind and not partition.timers.is_due(clocks):
            return []
        partition.is_tick_awaited = True
        return [Outgoing(value=encode(Tick(*clocks, behind)), key=None, partition=partition.number)]

    def _behind(self, partition: FactsPartition) -> tuple[Behind, ...]:
        """How far the triggers have come that are behind in a partition, if it is time to tell and there is news."""
        now_s = self._clock.monotonic_s()
        if not partition.behind or now_s < partition.tell_behind_at_s:
            return ()
        partition.tell_behind_at_s = now_s + TELL_BEHIND_S
        told: list[Behind] = []
        for trigger_id in sorted(partition.behind):
            active = partition.active[trigger_id]
            assert active.start is not None, "who is behind has started"
            watermark_ms = self._table.watermark_of(trigger_id, active.start)
            if watermark_ms is None or watermark_ms > (active.watermark_ms or 0):
                told.append(Behind(trigger_id, active.start.epoch, watermark_ms))
        return tuple(told)

    def _activations(self, partition: FactsPartition, now_ms: int) -> list[Outgoing]:
        known_to, keyed, quarantined = self._definitions.keyed
        wanted: list[Defined] = []
        for active in partition.active.values():
            defined = keyed.get(active.trigger_id)
            if defined is not None:
                if defined.offset > active.offset:
                    wanted.append(defined)
            elif active.form and active.offset < known_to and active.trigger_id not in quarantined:
                wanted.append(Defined(active.trigger_id, "", max(known_to - 1, active.offset + 1), b"", False))
        wanted += [each for each in self._living_in(partition.number) if each.trigger_id not in partition.active]
        wanted.sort()
        return [activation(each, partition.number, now_ms) for each in wanted]

    def _living_in(self, number: int) -> list[Defined]:
        """The scheduled triggers whose home is a partition."""
        known, homes = self._homes
        next_offset, keyed, _ = self._definitions.keyed
        if known != next_offset:
            homes = {}
            for defined in keyed.values():
                if defined.is_scheduled:
                    homes.setdefault(home_of(defined.trigger_id, self._partitions), []).append(defined)
            self._homes = (next_offset, homes)
        return homes.get(number, [])
