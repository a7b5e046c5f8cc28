"""What is judged: one stretch of each input partition, fixed before anything is read.

Rules:
1. It ends where the group has committed, or before, where the first message of ``until_ms`` stands.
2. It begins with the oldest message kept, or later, with the first message of ``since_ms``. Kafka's timestamps decide:
   a stretch ends before the first record that is too new, whatever comes behind it.
3. Where outputs were deleted because of their age, messages that may be older than an output kept begin it later.
4. Outputs are read from ``2 * claim_retention_ms`` before ``since_ms``: what was fired earlier is forgotten, even if
   the clocks of senders and workers differ by hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.lag import committed_positions, partitions_of
from stream_triggers.runtime.log import Log, TopicPartition
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.definitions import CLOCKS_DIFFER_MAX_MS

LOOK_BACK_RETENTIONS = 2

_ALWAYS = 2**62
_NEVER = 2**63 - 1


class Scope:
    """The stretches to judge, and where to read outputs from."""

    def __init__(
        self,
        cluster: Log,
        topics: Topics,
        *,
        claim_retention_ms: int,
        since_ms: int | None,
        until_ms: int | None,
        now_ms: int,
    ) -> None:
        """Takes the committed positions.

        Raises ``Misconfigured`` when there are none, when one is behind the end of its input, or a topic is missing.
        """
        _require(cluster, (*topics.inputs, *_outputs(topics), topics.trigger_definitions))
        self._cluster = cluster
        self._since_ms, self._until_ms = since_ms, until_ms
        self._look_back_ms = LOOK_BACK_RETENTIONS * claim_retention_ms
        self.inputs = tuple(sorted(partitions_of(cluster, topics.inputs)))
        """The input partitions; a place is an index of this."""
        self.places = {partition: place for place, partition in enumerate(self.inputs)}
        facts = partitions_of(cluster, [topics.trigger_facts])
        committed = _committed(cluster, topics.application, (*self.inputs, *facts))
        self.facts_ends = {each: committed[each] for each in facts}
        """Where the group has committed the facts partitions."""
        first = self._from_instant(self.inputs, since_ms)
        ends: Mapping[TopicPartition, int] = {each: committed[each] for each in self.inputs}
        if until_ms is not None:
            ends = _least(ends, cluster.offsets_at(self.inputs, max(0, until_ms)))
        self.starts = _least(first, ends)
        self.ends = ends
        self._first = [self.starts[each] for each in self.inputs]
        self._end = [self.ends[each] for each in self.inputs]
        self.is_whole = not self._leave_out_deleted(topics, now_ms) and since_ms is None
        """Whether everything that was ever fired or decided is read."""
        self.is_everything = self.is_whole and until_ms is None
        """Whether there is no limit at all to what is judged."""

    def is_judged(self, place: int, offset: int) -> bool:
        """Whether the message at this position is one of those judged."""
        return self._first[place] <= offset < self._end[place]

    def end(self, place: int) -> int:
        """Where a stretch ends."""
        return self._end[place]

    def begin_at(self, place: int, offset: int) -> None:
        """Leave out what is before ``offset``: it cannot be judged."""
        self._first[place] = max(self._first[place], offset)

    def is_in_time(self, time_ms: int) -> bool:
        """Whether an output that nothing asks for is one of those to be judged."""
        return (self._since_ms or 0) <= time_ms < (_NEVER if self._until_ms is None else self._until_ms)

    def output_starts(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """From where the partitions of an output topic are read."""
        return self._from_instant(partitions, None if self._since_ms is None else self._since_ms - self._look_back_ms)

    def _from_instant(self, partitions: Sequence[TopicPartition], time_ms: int | None) -> Mapping[TopicPartition, int]:
        if time_ms is None:
            return self._cluster.start_offsets(partitions)
        return self._cluster.offsets_at(partitions, max(0, time_ms))

    def _leave_out_deleted(self, topics: Topics, now_ms: int) -> bool:
        """Begin where outputs are complete; returns whether any were deleted."""
        specs = self._cluster.topics(_outputs(topics))
        kept = self._cluster.start_offsets(partitions_of(self._cluster, _outputs(topics)))
        trimmed = {topic for (topic, _), offset in kept.items() if offset > 0}
        ages = [int(specs[topic].settings.get("retention.ms", "-1")) for topic in trimmed]
        limited = [age for age in ages if age >= 0]
        if limited:
            complete_from_ms = now_ms - min(limited) + CLOCKS_DIFFER_MAX_MS
            for each, offset in self._cluster.offsets_at(self.inputs, max(0, complete_from_ms)).items():
                self.begin_at(self.places[each], offset)
            self._since_ms = max(self._since_ms or 0, complete_from_ms)
        return bool(trimmed)


def _outputs(topics: Topics) -> tuple[str, str, str]:
    return topics.invocations, topics.trigger_runs, topics.dead_letters


def _require(cluster: Log, topics: Sequence[str]) -> None:
    missing = [topic for topic in topics if topic not in cluster.topics(topics)]
    if missing:
        raise Misconfigured(
            f"there is nothing to verify: topic {missing[0]} does not exist",
            hint="check application and topic_prefix, or make the topics: stream-triggers topics create",
        )


def _committed(cluster: Log, application: str, inputs: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """Where the group continues in each input, the start where it never committed."""
    committed = committed_positions(cluster, inputs)
    if all(offset is None for offset in committed.values()):
        raise Misconfigured(
            f"there is nothing to verify: application {application} has not committed any position",
            hint="check application and topic_prefix, or start workers: stream-triggers run",
        )
    starts, ends = cluster.start_offsets(inputs), cluster.end_offsets(inputs)
    found = {each: starts[each] if offset is None else offset for each, offset in committed.items()}
    for partition, offset in found.items():
        end = ends[partition]
        if offset > end:
            raise Misconfigured(
                f"application {application} has committed {partition} up to {offset}, which ends at {end}",
                hint="the topic was made again, or has lost messages; stop all workers and let them begin anew there:\n"
                f"      kafka-consumer-groups.sh --bootstrap-server BROKER --group {application}"
                f" --topic {partition.topic}:{partition.partition} --reset-offsets --to-earliest --execute",
            )
    return found


def _least(one: Mapping[TopicPartition, int], other: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
    return {each: min(offset, other[each]) for each, offset in one.items()}
