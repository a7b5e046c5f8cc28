"""Reading a bounded stretch of partitions: everything committed from one set of positions to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.log import Log, Record, TopicPartition, partition_of

BATCH_MAX = 2000


def read_between(
    cluster: Log,
    next_offsets: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    *,
    waits_for: Callable[[Sequence[TopicPartition]], None] = lambda _partitions: None,
) -> Iterator[Sequence[Record]]:
    """Batches of the committed records from ``next_offsets`` up to, not including, ``ends``.

    Waits for transactions that are open below ``ends``; in order within each partition, not among them.
    ``waits_for`` is told what has not been read to its end each time that nothing has come.
    Raises ``Misconfigured`` where a partition does not reach so far.
    """
    wanted = {partition: offset for partition, offset in next_offsets.items() if offset < ends[partition]}
    for partition, written in cluster.end_offsets(wanted).items():
        if written < ends[partition]:
            raise Misconfigured(
                f"{partition} is to be read up to {ends[partition]}, and ends at {written}",
                hint="the topic was made again, or has lost records",
            )
    reader = cluster.reader()
    try:
        reader.assign(wanted)
        positions = reader.positions()
        while any(offset < ends[partition] for partition, offset in positions.items()):
            records = reader.poll(BATCH_MAX, timeout_s=0.2)
            positions = reader.positions()
            if any(offset > ends[partition] for partition, offset in positions.items()):
                records = [record for record in records if record.offset() < ends[partition_of(record)]]
            if not records:
                waits_for([partition for partition, offset in positions.items() if offset < ends[partition]])
            yield records
    finally:
        reader.close()


def read_all(cluster: Log, partitions: Sequence[TopicPartition]) -> Iterator[Sequence[Record]]:
    """Batches of all committed records that ``partitions`` hold now."""
    return read_between(cluster, cluster.start_offsets(partitions), cluster.end_offsets(partitions))
