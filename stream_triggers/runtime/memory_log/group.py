"""The group coordinator of the in-memory log: the classic protocol with the eager ``range`` assignor.

Rules:
1. A new member, a member that leaves and a session that ends start a rebalance. It is over when every member has
   joined again: then the generation goes up and the partitions are shared out anew.
2. A static member that comes back while the group is stable takes its predecessor's seat and assignment under a new
   member id, without a rebalance (even if it subscribes to other topics: they are shared out at the next rebalance).
   The old member id is fenced.
3. Offsets of a transaction are checked as Apache Kafka does: the instance's member id, the member id, the generation;
   never the ownership of the partition. Without a generation and a member id they are accepted unchecked.
4. Who has joined and waits for the others keeps its seat; its session starts when the rebalance is over.
5. A rebalance waits for members that have not joined until their sessions end; it has no time limit of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cmp_to_key
from itertools import count
from typing import Literal, TypeAlias

from stream_triggers.errors import Aborted
from stream_triggers.runtime.log import TopicPartition

NEVER_MS = 1 << 62
"""A deadline that is not reached."""

Standing: TypeAlias = Literal["member", "unknown", "fenced"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a member sends with its requests; also the token of its ``Membership``."""

    group_id: str
    member_id: str
    instance_id: str | None
    generation: int


@dataclass(slots=True)
class Seat:
    """One member, as the coordinator sees it."""

    member_id: str
    instance_id: str | None
    session_timeout_ms: int
    topics: frozenset[str]
    deadline_ms: int = 0
    waits: bool = False
    assignment: list[TopicPartition] = field(default_factory=list)


class Group:
    """One consumer group: its members, and the offsets it has committed."""

    def __init__(self, partition_count: Callable[[str], int]) -> None:
        """``partition_count`` is 0 for a topic that does not exist."""
        self._partition_count = partition_count
        self._numbers = count(1)
        self.generation = 0
        self.rebalancing = False
        self.seats: dict[str, Seat] = {}
        """Members by member id."""
        self._static: dict[str, str] = {}
        self.offsets: dict[TopicPartition, int] = {}
        """Next offsets that were committed."""
        self.pending: dict[object, dict[TopicPartition, int]] = {}
        """Next offsets by the open transaction that holds them."""

    def holds_pending(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether an open transaction holds offsets of any of ``partitions``."""
        return any(partition in held for partition in partitions for held in self.pending.values())

    def standing(self, who: Credentials) -> Standing:
        """Whether ``who`` is a member, was one, or has had its instance id taken over."""
        if who.instance_id is not None and self._static.get(who.instance_id, who.member_id) != who.member_id:
            return "fenced"
        return "member" if who.member_id in self.seats else "unknown"

    def check_offsets(self, who: Credentials) -> None:
        """Accept or refuse transactional offsets: ``Aborted``."""
        if who.generation < 0 and (not self.seats or (not who.member_id and who.instance_id is None)):
            return
        standing = self.standing(who)
        if standing == "fenced":
            raise Aborted(f"FENCED_INSTANCE_ID: another member is {who.instance_id} now")
        if standing == "unknown":
            raise Aborted(f"UNKNOWN_MEMBER_ID: the group has no member {who.member_id!r}")
        if who.generation != self.generation:
            raise Aborted(
                f"ILLEGAL_GENERATION: the group is at {self.generation}, the offsets came with {who.generation}"
            )

    def heartbeat(self, member_id: str, time_ms: int) -> None:
        """Prolong a member's session."""
        seat = self.seats[member_id]
        seat.deadline_ms = time_ms + seat.session_timeout_ms

    def join(self, seat: Seat, time_ms: int) -> str:
        """Join, or join again in a rebalance; returns the member id, a new one unless ``seat`` has a current one."""
        current = self.seats.get(seat.member_id)
        if current is None:
            current = self._take_seat(seat)
        current.topics = seat.topics
        current.deadline_ms = time_ms + current.session_timeout_ms
        if self.rebalancing:
            current.waits = True
            self._complete(time_ms)
        return current.member_id

    def leave(self, member_id: str, time_ms: int) -> None:
        """Give up a seat; nothing happens if it is gone."""
        seat = self.seats.pop(member_id, None)
        if seat is None:
            return
        if seat.instance_id is not None:
            del self._static[seat.instance_id]
        self.rebalance()
        self._complete(time_ms)

    def rebalance(self) -> None:
        """Ask every member to join again."""
        if not self.rebalancing:
            self.rebalancing = True
            for seat in self.seats.values():
                seat.waits = False

    @property
    def deadline_ms(self) -> int:
        """When the next session ends."""
        return min((seat.deadline_ms for seat in self.seats.values() if not seat.waits), default=NEVER_MS)

    def expire(self, time_ms: int) -> None:
        """Remove the members whose sessions have ended."""
        for seat in list(self.seats.values()):
            if not seat.waits and seat.deadline_ms <= time_ms:
                self.leave(seat.member_id, time_ms)

    def _take_seat(self, seat: Seat) -> Seat:
        instance_id = seat.instance_id
        member_id = f"{instance_id or 'member'}-{next(self._numbers):08d}"
        predecessor = self.seats.pop(self._static.get(instance_id, ""), None) if instance_id is not None else None
        taken = Seat(member_id, instance_id, seat.session_timeout_ms, seat.topics)
        if predecessor is not None:
            taken.assignment = predecessor.assignment
        else:
            self.rebalance()
        self.seats[member_id] = taken
        if instance_id is not None:
            self._static[instance_id] = member_id
        return taken

    def _complete(self, time_ms: int) -> None:
        if not all(seat.waits for seat in self.seats.values()):
            return
        self.generation += 1
        self.rebalancing = False
        subscriptions = {}
        for seat in self.seats.values():
            seat.waits = False
            seat.deadline_ms = time_ms + seat.session_timeout_ms
            seat.assignment = []
            subscriptions[seat.member_id] = (seat.instance_id, seat.topics)
        topics = {topic for seat in self.seats.values() for topic in seat.topics}
        counts = {topic: self._partition_count(topic) for topic in sorted(topics)}
        for member_id, partitions in assign_range(subscriptions, counts).items():
            self.seats[member_id].assignment = partitions


def assign_range(
    subscriptions: Mapping[str, tuple[str | None, frozenset[str]]], counts: Mapping[str, int]
) -> dict[str, list[TopicPartition]]:
    """Share out topics, each on its own, as the ``range`` assignor does.

    ``subscriptions`` are instance id and topics by member id; ``counts`` the partitions of each subscribed topic.
    Where they do not divide evenly, the first members get one more; so topics of one size are shared out alike.
    """
    ordered = sorted(
        ((instance_id or "", member_id) for member_id, (instance_id, _) in subscriptions.items()), key=_ORDER
    )
    shares: dict[str, list[TopicPartition]] = {member_id: [] for member_id in subscriptions}
    for topic, partitions in counts.items():
        members = [member_id for _, member_id in ordered if topic in subscriptions[member_id][1]]
        each, more = divmod(partitions, len(members))
        start = 0
        for place, member_id in enumerate(members):
            end = start + each + (place < more)
            shares[member_id] += [TopicPartition(topic, number) for number in range(start, end)]
            start = end
    return shares


def _compare(left: tuple[str, str], right: tuple[str, str]) -> int:
    """Two static members by instance id, any other two by member id, as librdkafka does."""
    first, second = (left, right) if left[0] and right[0] else (left[1:], right[1:])
    return (first > second) - (first < second)


_ORDER = cmp_to_key(_compare)
