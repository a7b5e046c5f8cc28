"""What a worker has once its slot's store is open: the two stages, what they remember, and what is being restored.

Rules:
1. The worker decides when; this says what: which stage gets which records, what a commit writes to the changelogs, and
   what it changes in the store.
2. A store is opened once: whatever may go unanswered is asked before.
3. Run records and decisions of a worker go to one partition, chosen by its slot: each partition that takes part in a
   transaction costs a request and a marker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.runtime import changelog
from stream_triggers.runtime.changelog import ClaimsLog
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.definitions import DefinitionTable
from stream_triggers.runtime.keyed.compiler import compiler
from stream_triggers.runtime.keyed.facts import partition_of
from stream_triggers.runtime.keyed.progress import ProgressTable
from stream_triggers.runtime.keyed.stage import KeyedStage
from stream_triggers.runtime.keyed.state_log import StateLog
from stream_triggers.runtime.lanes import Lanes
from stream_triggers.runtime.log import Log, Member, Outgoing, Slice, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.restore import Restore, Table
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.store import Changes, Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import Counters


@dataclass(frozen=True, slots=True)
class Local:
    """The stages of one worker over its store."""

    topics: Topics
    store: Store
    claims: Claims
    stage: RouteStage
    keyed: KeyedStage
    lanes: Lanes
    progress: ProgressTable
    restore: Restore

    def process(self, batch: Sequence[Slice]) -> Outputs:
        """What ``batch`` makes; claims and states change in overlays, positions and writing are the caller's."""
        facts = [each for each in batch if each.partition.topic == self.topics.trigger_facts]
        if not facts:
            return self.stage.process(batch)
        outputs = self.keyed.process([record for each in facts for record in each.records])
        outputs.add(self.stage.process([each for each in batch if each.partition.topic != self.topics.trigger_facts]))
        return outputs

    def use(self, definitions: DefinitionTable, partitions: Iterable[TopicPartition]) -> None:
        """From the next batch on, these triggers are in force in partitions that are being processed."""
        self.stage.use(definitions.index, definitions.keyed.defined, definitions.started)
        self.lanes.open(partitions)

    def is_busy(self, *, can_write: bool) -> bool:
        """Whether there is something to do at once, without any input."""
        return self.lanes.is_reading or (can_write and (self.restore.active or self.lanes.is_waiting))

    @property
    def overlay_bytes(self) -> int:
        """Memory that the open transaction takes, roughly."""
        return self.claims.overlay_bytes + self.keyed.overlay_bytes

    def changelog_records(
        self, read: Mapping[TopicPartition, int], segment: int
    ) -> Iterator[tuple[str, list[Outgoing]]]:
        """What the open transaction, which has ``read`` up to these offsets, adds to each changelog."""
        for source, run_ids in self.claims.pending().items():
            topic, partition = self.topics.changelog_of(source)
            yield topic, list(changelog.records(read[source], segment, run_ids, partition))
        yield self.topics.changelog(self.topics.trigger_facts), self.keyed.records()

    def settle(self, segment: int) -> Changes:
        """What the committed transaction changes in the store; nothing is pending any more."""
        changes = self.claims.settle(segment)
        self.keyed.settle(changes)
        return changes

    def drop_pending(self) -> None:
        """The open transaction has come to nothing."""
        self.claims.drop_pending()
        self.keyed.drop_pending()

    def make_ready(self, partitions: Collection[TopicPartition]) -> None:
        """Begin to restore these, forgetting what is in memory of them."""
        self.forget(partitions)
        self.restore.add(partitions)

    def let_go(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours."""
        self.forget(partitions)
        self.restore.drop(partitions)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing in memory of these counts any more."""
        self.keyed.forget(partitions)
        self.lanes.forget(partitions)

    def close(self) -> None:
        """Release the readers and the store."""
        self.keyed.close()
        self.lanes.close()
        self.progress.close()
        self.restore.close()
        self.store.close()


def open_local(
    cluster: Log,
    member: Member,
    open_store: Callable[[], Store],
    clock: Clock,
    config: Config,
    definitions: DefinitionTable,
    functions: Functions,
    counters: Counters,
) -> Local:
    """Open the slot's store; raises ``StateInUse`` while a predecessor still holds it, and then leaves nothing open."""
    topics = Topics.of(config)
    specs = cluster.topics([topics.trigger_facts, topics.trigger_runs])
    partitions = specs[topics.trigger_facts].partitions
    runs_partition = partition_of(config.slot.encode(), specs[topics.trigger_runs].partitions)
    topic_ids = cluster.topic_ids(topics.changelogs)
    store = open_store()
    changelog.forget_other_changelogs(store, topic_ids)
    claims = Claims(store, config.claim_retention_ms)
    table = ProgressTable(cluster, topics)
    keyed = KeyedStage(
        cluster,
        topics,
        clock,
        store,
        definitions,
        table,
        compiler(functions, config.payload_bytes_max),
        counters,
        partitions=partitions,
        runs_partition=runs_partition,
    )
    stage = RouteStage(topics, runs_partition, claims, keyed.facts, counters, config.payload_bytes_max)
    stage.use(definitions.index, definitions.keyed.defined, definitions.started)
    tables: dict[str, Table] = {topics.changelog(name): ClaimsLog(claims, name, clock) for name in topics.inputs}
    tables[topics.changelog(topics.trigger_facts)] = StateLog(cluster, store, clock)
    restore = Restore(cluster, member, store, tables, clock, topics, counters)
    lanes = Lanes(cluster, topics, clock, table, definitions, stage)
    return Local(topics, store, claims, stage, keyed, lanes, table, restore)
