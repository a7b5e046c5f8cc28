"""The keyed stage of one worker, as the worker sees it: records in and out, what it changes, and its upkeep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.keyed.active import Compile
from stream_triggers.runtime.keyed.evaluate_stage import EvaluateStage
from stream_triggers.runtime.keyed.facts import FactWriter
from stream_triggers.runtime.keyed.progress import ProgressTable
from stream_triggers.runtime.keyed.states import States
from stream_triggers.runtime.keyed.upkeep import Definitions, Upkeep
from stream_triggers.runtime.log import Log, Outgoing, Record, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.store import Changes, Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import Counters


class KeyedStage:
    """Everything keyed that one worker does."""

    def __init__(
        self,
        cluster: Log,
        topics: Topics,
        clock: Clock,
        store: Store,
        definitions: Definitions,
        table: ProgressTable,
        compile_: Compile,
        counters: Counters,
        *,
        partitions: int,
        runs_partition: int,
    ) -> None:
        """``partitions`` is the number of those of the facts; run records and decisions go to ``runs_partition``."""
        self._topics = topics
        self._states = States(store)
        self._stage = EvaluateStage(partitions, runs_partition, self._states, compile_, counters)
        self._upkeep = Upkeep(cluster, topics, clock, self._states, definitions, table, partitions)
        self.facts = FactWriter(partitions, clock)
        """Takes the facts of the route stage."""

    def process(self, records: Sequence[Record]) -> Outputs:
        """What records of facts partitions make."""
        return self._stage.process(records)

    def note(self, newest: Mapping[TopicPartition, Record]) -> None:
        """These are the last messages that have been read of their partitions."""
        self._upkeep.note(newest)

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """These are restored and processed from now on."""
        self._upkeep.expect_partitions()
        for topic, number in partitions:
            if topic == self._topics.trigger_facts:
                self._states.partition(number)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours, or start again."""
        self._upkeep.forget(partitions)
        for topic, number in partitions:
            if topic == self._topics.trigger_facts:
                self._states.close(number)

    def look_after(self, next_offsets: Mapping[TopicPartition, int]) -> tuple[Outputs, dict[TopicPartition, int]]:
        """What the owner of partitions that have been processed up to ``next_offsets`` has to write now.

        Second, partitions in which nothing but markers is between that and where they end, with their ends.
        """
        return self._upkeep.write(next_offsets)

    def next_due_in_s(self) -> float:
        """How long nothing is due for certain."""
        return self._upkeep.next_due_in_s()

    @property
    def overlay_bytes(self) -> int:
        """Memory that the open transaction's changes take, roughly."""
        return self._states.overlay_bytes

    def records(self) -> list[Outgoing]:
        """The changelog records of the open transaction."""
        return self._states.records()

    def settle(self, changes: Changes) -> None:
        """Add to ``changes`` what the committed transaction, written by ``records``, changes in the store."""
        self._states.settle(changes)
        self.facts.settle()

    def drop_pending(self) -> None:
        """Forget what the open transaction has changed: it is aborted."""
        self._states.drop_pending()
        self.facts.drop_pending()

    def close(self) -> None:
        """Stop reading."""
        self._upkeep.close()
