"""Notes about the definitions in force, in ``trigger-runs``: what a later check needs to judge what was fired.

One says for an input partition that from a position on the definitions before an offset are in force. It is written
with the first message that they are in force for: when that partition is taken over, when they change, and every
``NOTE_AGAIN_S`` where they stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Outgoing, Slice, TopicPartition
from stream_triggers.runtime.route_stage import RouteStage

NOTE_AGAIN_S = 3600.0
"""A note is gone when the retention of its topic, usually days, has passed, and a later check cannot do without."""


class Notes:
    """The notes that one worker has yet to write."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._missing: set[TopicPartition] = set()
        self._again_at_s = 0.0

    def need(self, partitions: Iterable[TopicPartition]) -> None:
        """What is in force in these input partitions is to be noted with their next message."""
        self._missing.update(partitions)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These are no longer ours."""
        self._missing.difference_update(partitions)

    def is_time(self) -> bool:
        """Whether everything is to be noted again; asked once, it is not for a while."""
        is_time = self._clock.monotonic_s() >= self._again_at_s
        if is_time:
            self._again_at_s = self._clock.monotonic_s() + NOTE_AGAIN_S
        return is_time

    def write(self, batch: Sequence[Slice], definitions: int, stage: RouteStage) -> list[Outgoing]:
        """The notes that go with ``batch``, for which the definitions before an offset are in force."""
        noted: list[Outgoing] = []
        for source, records in batch:
            if source in self._missing:
                self._missing.discard(source)
                now_ms, first = self._clock.now_ms(), records[0].offset()
                noted.append(stage.decide("definitions_changed", source, first, now_ms, str(definitions)))
        return noted
