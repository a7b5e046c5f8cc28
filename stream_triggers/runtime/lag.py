"""What a consumer group has not read yet, counted in committed records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_triggers.runtime.log import Log, TopicPartition
from stream_triggers.runtime.reading import read_between

COMMITTED_TIMEOUT_S = 30.0


def committed_positions(cluster: Log, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
    """What the group of ``cluster``'s settings has committed of each partition, None where it never has.

    Asks as a client that does not join the group. Waits for transactions that hold positions of these partitions.
    """
    member = cluster.member()
    try:
        return member.committed(partitions, COMMITTED_TIMEOUT_S)
    finally:
        member.close()


def committed_offsets(cluster: Log, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Where the group of ``cluster``'s settings continues in each partition, the start where it never committed."""
    committed = committed_positions(cluster, partitions)
    starts = cluster.start_offsets(partitions)
    return {partition: starts[partition] if offset is None else offset for partition, offset in committed.items()}


def unread(cluster: Log, partitions: Sequence[TopicPartition]) -> int:
    """How many committed records of ``partitions`` the group has still to read.

    Offsets alone do not tell: the markers of transactions count in them and are never read.
    """
    committed = committed_offsets(cluster, partitions)
    return sum(len(batch) for batch in read_between(cluster, committed, cluster.end_offsets(partitions)))


def partitions_of(cluster: Log, topics: Sequence[str]) -> list[TopicPartition]:
    """Every partition of ``topics``."""
    return [TopicPartition(spec.name, at) for spec in cluster.topics(topics).values() for at in range(spec.partitions)]
