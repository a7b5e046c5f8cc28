"""The lanes of started triggers, as what was committed tells of them: where each has read, with which definition.

1. A lane never goes back, ends once, and stays where it has joined.
2. It begins with the first message that is not older than its start, and reads without gaps.
3. A transaction with what a lane has come to has the position of its partition, too, and that is not before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from stream_triggers.core.invocation import Decision
from stream_triggers.runtime.keyed.progress import Lane, read_lane
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import Entry
from stream_triggers.runtime.memory_log.topic import COMMITTED
from tests.simulation.oracle import Definitions
from tests.simulation.tail import Tail

if TYPE_CHECKING:
    from tests.simulation.world import World

Name: TypeAlias = tuple[TopicPartition, str, int]
"""Input partition, trigger id and epoch."""


class Read(NamedTuple):
    """What a lane has read: from the first position in ``noted`` to before ``end``, with the definitions noted."""

    noted: Mapping[int, int]
    end: int


class Lanes:
    """All lanes of one world, as far as they are committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tail = Tail(world, TopicPartition(world.topics.progress, 0))
        self._newest: dict[Name, Lane] = {}

    def after_turn(self) -> None:
        """Take in what was committed."""
        for entry in self._tail.settled():
            lane = read_lane(entry)
            if lane is not None:
                name = (lane.partition, lane.trigger_id, lane.epoch)
                before = self._newest.get(name)
                if before is not None:
                    assert lane.next_offset >= before.next_offset, f"{lane} has gone back, it was {before}"
                    assert not before.joined or lane[3::2] == before[3::2], f"{lane} was opened again: {before}"
                self._newest[name] = lane

    def has_joined(self, partition: TopicPartition, trigger_id: str, epoch: int, offset: int) -> bool:
        """Whether a trigger takes what is read at a position of a partition."""
        lane = self._newest.get((partition, trigger_id, epoch))
        return lane is not None and lane.joined and lane.next_offset <= offset

    def open(self) -> int:
        """How many there are of triggers in force that have not joined."""
        written = self._world.definitions()
        in_force = Definitions(written).plans(len(written))
        starts = [(trigger_id, plan.start.epoch) for trigger_id, plan in in_force.items() if plan.start is not None]
        names = [(tp, *start) for start in starts for tp in self._world.sent]
        return sum(name not in self._newest or not self._newest[name].joined for name in names)

    def read(self, decisions: Iterable[Decision], definitions: Definitions) -> Mapping[Name, Read]:
        """What each has read, by the notes among ``decisions``."""
        noted: dict[Name, dict[int, int]] = defaultdict(dict)
        for each in decisions:
            if each.reason == "catching_up" and each.trigger_id is not None:
                at, tp = int(each.detail), TopicPartition(each.topic, each.partition)
                used = definitions.plans(at).get(each.trigger_id)
                assert used is not None, f"{each} is of a trigger that was not there"
                assert used.start is not None, f"{each} is of a trigger that takes what comes"
                assert each.trigger_version == used.version, f"{each} is of another version than {used}"
                lane = noted[tp, each.trigger_id, used.start.epoch]
                lane[each.offset] = max(at, lane.get(each.offset, 0))
        return {name: self._read(name, each, definitions) for name, each in noted.items()}

    def _read(self, name: Name, noted: Mapping[int, int], definitions: Definitions) -> Read:
        tp, trigger_id, _ = name
        lane, first, [used, *_] = self._newest.get(name), min(noted), noted.values()
        assert lane is not None, f"the lane {name} has notes and no position"
        start = definitions.plans(used)[trigger_id].start
        assert start is not None
        entries = self._world.cluster.partition(tp).entries
        since = next((each.offset() for each in entries if each.timestamp()[1] >= start.since_ms), len(entries))
        assert first == since, f"the lane {name} begins at {first}, its start is at {since}"
        return Read(noted, lane.next_offset)


def require_whole(produced: Iterable[Outgoing], positions: Mapping[TopicPartition, int]) -> None:
    """What a transaction that is about to be committed says of lanes goes with the positions it sends."""
    for each in produced:
        lane = read_lane(Entry("", 0, 0, each["key"], each["value"], 0, COMMITTED))
        if lane is not None:
            assert lane.partition in positions, f"{lane} without the position of its partition"
            at = positions[lane.partition]
            assert lane.next_offset <= at, f"{lane} is ahead of its partition, which is at {at}"
