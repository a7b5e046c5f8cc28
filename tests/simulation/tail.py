"""The end of a partition, as it becomes settled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import Entry

if TYPE_CHECKING:
    from tests.simulation.world import World


class Tail:
    """The committed entries of a partition, each given once, when nothing before it is open any more."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._partition = world.cluster.partition(partition)
        self._next = 0

    def settled(self) -> Iterator[Entry]:
        """Those that have become settled since the last time."""
        entries, stop = self._partition.entries, self._partition.last_stable
        while self._next < stop:
            entry = entries[self._next]
            self._next += 1
            if entry.outcome == "committed":
                yield entry
