"""How far a trigger has come that starts in the past: the places where it has yet to catch up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stream_triggers.core.words import counted
from stream_triggers.runtime.keyed.progress import Lane, read_lane
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log, TopicPartition
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics

SHOWN_MAX = 5
"""Places that are named in a line; there may be hundreds."""


class Place(NamedTuple):
    """An input partition, how far the trigger has read it, and where it ends; None where no worker has begun."""

    partition: str
    next_offset: int | None
    end: int


def places(log: Log, topics: Topics, trigger_id: str, epoch: int) -> list[Place]:
    """Where a trigger has yet to catch up from the start of an epoch; waits for changes that are being written."""
    lanes: dict[TopicPartition, Lane] = {}
    for records in read_all(log, [TopicPartition(topics.progress, 0)]):
        for lane in filter(None, map(read_lane, records)):
            if (lane.trigger_id, lane.epoch) == (trigger_id, epoch):
                lanes[lane.partition] = lane
    ends = log.end_offsets(partitions_of(log, topics.inputs))
    return [
        Place(str(each), lanes[each].next_offset if each in lanes else None, end)
        for each, end in sorted(ends.items())
        if each not in lanes or not lanes[each].joined
    ]


def behind_text(behind: Sequence[Place]) -> str:
    """The places in one line."""
    if not behind:
        return "has caught up"
    if all(each.next_offset is None for each in behind):
        return f"no worker has begun in {counted(len(behind), 'partition')}"
    shown = [f"{each.partition} {_reached(each)} of {each.end}" for each in behind[:SHOWN_MAX]]
    if len(behind) > SHOWN_MAX:
        shown.append(f"and {len(behind) - SHOWN_MAX} more")
    return "is catching up: " + ", ".join(shown)


def _reached(place: Place) -> str:
    return "not begun" if place.next_offset is None else f"at {place.next_offset}"
