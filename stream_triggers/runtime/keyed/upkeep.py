"""What an owner writes of its own accord: progress of its inputs, ticks and activations for its facts partitions.

Rules:
1. A tick is written when something is due, and at most one is on its way: until it has been read back, or the
   transaction with it has come to nothing, there is no other. Its clocks never go back, whoever wrote the last one.
2. Activations of changed and deleted definitions go to the partitions where the trigger is active, those of scheduled
   triggers to the one they live in. A definition that cannot be used here changes nothing.
3. Progress is measured between two batches, when everything that was read has been routed, and is committed with that.
4. The log is asked every ``ASK_EVERY_S``; progress is kept only while there is a keyed trigger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from stream_triggers.core.keyed.state import Clocks
from stream_triggers.core.record import Tick
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.keyed.facts import Defined, KeyedTriggers, activation, home_of
from stream_triggers.runtime.keyed.progress import ProgressTable, Routing, name_of, progress_record
from stream_triggers.runtime.keyed.states import FactsPartition, States
from stream_triggers.runtime.log import Log, Outgoing, Record, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.topics import Topics

ASK_EVERY_S = 0.5
"""How often progress is written and read: an absence is known this much later, twice at most."""


class Definitions(Protocol):
    """The definitions, as far as they have been read."""

    @property
    def keyed(self) -> KeyedTriggers: ...


class Upkeep:
    """Keeps the facts partitions and the progress of one worker up to date."""

    def __init__(
        self, cluster: Log, topics: Topics, clock: Clock, states: States, definitions: Definitions, partitions: int
    ) -> None:
        """``partitions`` is the number of partitions of the facts topic."""
        self._topics = topics
        self._clock = clock
        self._states = states
        self._definitions = definitions
        self._partitions = partitions
        self._table = ProgressTable(cluster, topics)
        self._routing = Routing(cluster)
        self._written: dict[TopicPartition, int] = {}
        self._ask_again_at_s = 0.0
        self._is_counted = False  # how many partitions there are of the inputs
        self._homes: tuple[int, dict[int, list[Defined]]] = (-1, {})

    @property
    def is_time_to_ask(self) -> bool:
        """Whether the log is to be asked again: for progress, and by the caller for definitions."""
        return self._clock.monotonic_s() >= self._ask_again_at_s

    def note(self, newest: Mapping[TopicPartition, Record]) -> None:
        """These are the last records that were read of their partitions."""
        self._routing.note(newest)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours, or start again."""
        self._routing.forget(partitions)
        for partition in partitions:
            self._written.pop(partition, None)

    def expect_partitions(self) -> None:
        """Partitions have been assigned: there may be new ones, which is asked next time."""
        self._is_counted = False

    def next_due_in_s(self) -> float:
        """How long nothing is due by the wall clock for certain."""
        now_ms = self._clock.now_ms()
        waits_ms = [each.timers.lower[0] - now_ms for each in self._states.partitions if not each.is_tick_awaited]
        return max(0.0, min(waits_ms, default=3_600_000) / 1000)

    def write(self, next_offsets: Mapping[TopicPartition, int]) -> tuple[Outputs, dict[TopicPartition, int]]:
        """All there is to be written now, when everything before ``next_offsets`` has been processed.

        Second, partitions in which nothing but markers is between that and where they end, with their ends.
        """
        outputs, passed = Outputs(), dict[TopicPartition, int]()
        if self.is_time_to_ask:
            self._ask_again_at_s = self._clock.monotonic_s() + ASK_EVERY_S
            outputs.progress, passed = self._ask(next_offsets)
        outputs.facts = self.facts()
        return outputs, passed

    def _ask(self, next_offsets: Mapping[TopicPartition, int]) -> tuple[list[Outgoing], dict[TopicPartition, int]]:
        now_ms = self._clock.now_ms()
        ends, passed = self._routing.look(next_offsets)
        if not self._definitions.keyed.defined:
            return [], passed
        if not self._is_counted:
            self._table.look_for_partitions()
            self._is_counted = True
        self._table.catch_up()
        reached = {**next_offsets, **passed}
        inputs = {each: at for each, at in reached.items() if each.topic != self._topics.trigger_facts}
        records: list[Outgoing] = []
        for partition, routed_ms in sorted(self._routing.measure(inputs, ends, now_ms).items()):
            known_ms = max(self._written.get(partition, 0), self._table.routed_ms.get(name_of(partition), 0))
            if routed_ms > known_ms:
                self._written[partition] = routed_ms
                records.append(progress_record(partition, routed_ms))
        return records, passed

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
        self._table.close()
        self._routing.close()

    def _ticks(self, partition: FactsPartition, now_ms: int) -> list[Outgoing]:
        wall_ms, watermark_ms = partition.clocks
        clocks = Clocks(max(wall_ms, now_ms), max(watermark_ms, self._table.watermark_ms))
        if not partition.unswept and not partition.timers.is_due(clocks):
            return []
        partition.is_tick_awaited = True
        return [Outgoing(value=encode(Tick(*clocks)), key=None, partition=partition.number)]

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
