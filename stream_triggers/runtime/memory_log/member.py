"""Reading from the in-memory log: the member of a group, and the reader outside of any.

Rules:
1. Heartbeats ride on ``poll``: a member that does not poll for longer than the session timeout is out.
   ``MemoryMember.heartbeat`` stands for a real client's background thread where a test wants it busy, not away.
2. ``Member.poll`` takes no time: whoever drives the loop moves the clock. ``Member.committed`` and ``Reader.poll`` do
   when another's transaction is in their way: the clock goes on until it ends, at most for their timeout.
3. A rebalance is dealt with inside ``poll``: ``revoked``, join, and once all have joined ``assigned``, in one poll
   for the last to join. Both may be called with no partitions.
4. A member whose name was taken over hears of it by ``Fenced``, from every later ``poll``; ``close`` then calls
   ``lost``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stream_triggers.errors import Fenced, Unavailable
from stream_triggers.runtime.log import Listener, Member, Membership, Reader, TopicPartition
from stream_triggers.runtime.memory_log.client import Client, Process
from stream_triggers.runtime.memory_log.group import Credentials, Group, Seat, Standing
from stream_triggers.runtime.memory_log.topic import Entry, Partition


class MemoryMember(Client, Member):
    """A member of a consumer group; static under ``instance_id``, dynamic without."""

    def __init__(
        self,
        process: Process,
        group_id: str,
        instance_id: str | None,
        session_timeout_ms: int,
        poll_pause_max_ms: int,
    ) -> None:
        super().__init__(process)
        self._group_id = group_id
        self._instance_id = instance_id
        self._session_timeout_ms = session_timeout_ms
        self._poll_pause_max_ms = poll_pause_max_ms
        self._group: Group = process.cluster.group(group_id)
        self._listener: Listener | None = None
        self._topics: frozenset[str] = frozenset()
        self._member_id = ""
        self._generation = -1
        self._polled_ms = 0
        self._owned: tuple[TopicPartition, ...] | None = None
        """What was assigned last and not given back; None while there is no assignment."""
        self._positions: dict[Partition, int] = {}
        self._turn = 0
        process.keep_sessions.append(self._keep_session)

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._polled_ms = self._enter()
        assert self._listener is None, "subscribe is called once"
        self._topics = frozenset(topics)
        self._listener = listener

    def poll(self, records_max: int, timeout_s: float) -> list[Entry]:
        now_ms = self._ask("poll")
        assert self._listener is not None, "subscribe comes before poll"
        self._give_up_if_paused(now_ms)
        self._polled_ms = now_ms
        self._refuse_if_fenced()
        if self._standing() == "member":
            self._group.heartbeat(self._member_id, now_ms)
        else:
            self._member_id = ""
            self._lose(self._listener)
        self._follow_rebalance(self._listener)
        self._turn += 1
        return fetch(self._positions, records_max, self._turn)

    def heartbeat(self) -> None:
        """Keep the session without a poll, until the longest allowed pause between polls is over."""
        now_ms = self._enter()
        self._give_up_if_paused(now_ms)
        self._keep_session(now_ms)

    def membership(self) -> Membership:
        self._enter()
        return Membership(self._generation, self._member_id, self._credentials())

    def committed(self, partitions: Iterable[TopicPartition], timeout_s: float) -> Mapping[TopicPartition, int | None]:
        self._ask("committed")
        wanted = list(partitions)
        if not self._process.wait(lambda: not self._group.holds_pending(wanted), timeout_s):
            raise Unavailable("open transactions hold offsets of these partitions", hint="they end by their timeout")
        return {partition: self._group.offsets.get(partition) for partition in wanted}

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._enter()
        for name, next_offset in next_offsets.items():
            assert name in (self._owned or ()), f"{name} is started but not assigned"
            self._positions[self._cluster.partition(name)] = next_offset

    def known_ends(self) -> Mapping[TopicPartition, int]:
        return {partition.name: partition.end for partition in self._positions}

    def close(self) -> None:
        if self._process.crashed or self._closed:
            return
        now_ms = self._enter()
        if self._listener is not None:
            if self._standing() == "member":
                self._give_back(self._listener)
            else:
                self._lose(self._listener)
            if self._instance_id is None:
                self._group.leave(self._member_id, now_ms)
                self._cluster.schedule(self._group.deadline_ms)
        self._process.keep_sessions.remove(self._keep_session)
        self._closed = True

    def _standing(self) -> Standing:
        return self._group.standing(self._credentials()) if self._member_id else "unknown"

    def _refuse_if_fenced(self) -> None:
        """What the group answers to the first request after another member has taken the name."""
        if self._standing() == "fenced":
            raise Fenced(
                f"another member is {self._instance_id} now", hint="give every worker a slot of its own, then restart"
            )

    def _credentials(self) -> Credentials:
        return Credentials(self._group_id, self._member_id, self._instance_id, self._generation)

    def _keep_session(self, time_ms: int) -> None:
        if self._standing() == "member":
            self._group.heartbeat(self._member_id, time_ms)

    def _give_up_if_paused(self, now_ms: int) -> None:
        """Stop being a member after too long a pause between polls; a static one's seat then waits for its session."""
        if now_ms - self._polled_ms <= self._poll_pause_max_ms:
            return
        if self._instance_id is None:
            self._group.leave(self._member_id, now_ms)
            self._cluster.schedule(self._group.deadline_ms)
        self._member_id = ""

    def _follow_rebalance(self, listener: Listener) -> None:
        group = self._group
        seat = group.seats.get(self._member_id)
        if seat is None or (group.rebalancing and not seat.waits):
            self._give_back(listener)
            self._refuse_if_fenced()  # while the listener was busy, others were too
            wish = Seat(self._member_id, self._instance_id, self._session_timeout_ms, self._topics)
            self._member_id = group.join(wish, self._cluster.tick())
            self._cluster.schedule(group.deadline_ms)
        if self._owned is None and not group.rebalancing:
            self._generation = group.generation
            self._owned = tuple(group.seats[self._member_id].assignment)
            listener.assigned(self._owned)

    def _give_back(self, listener: Listener) -> None:
        if self._owned is None:
            return
        try:
            listener.revoked(self._owned)
        finally:
            self._drop_assignment()

    def _lose(self, listener: Listener) -> None:
        if self._owned is not None:
            owned = self._owned
            self._drop_assignment()
            listener.lost(owned)

    def _drop_assignment(self) -> None:
        self._owned = None
        self._positions.clear()


class MemoryReader(Client, Reader):
    """Reads partitions from given positions."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._positions: dict[Partition, int] = {}
        self._turn = 0

    def assign(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._enter()
        self._positions = {self._cluster.partition(name): offset for name, offset in next_offsets.items()}

    def poll(self, records_max: int, timeout_s: float) -> list[Entry]:
        self._ask("read")
        self._turn += 1
        records = fetch(self._positions, records_max, self._turn)
        if not records and any(partition.last_stable < partition.end for partition in self._positions):
            self._process.wait(self._readable, timeout_s)
            records = fetch(self._positions, records_max, self._turn)
        return records

    def positions(self) -> Mapping[TopicPartition, int]:
        self._enter()
        return {partition.name: position for partition, position in self._positions.items()}

    def close(self) -> None:
        self._closed = True

    def _readable(self) -> bool:
        return any(position < partition.last_stable for partition, position in self._positions.items())


def fetch(positions: dict[Partition, int], records_max: int, turn: int) -> list[Entry]:
    """Read on from ``positions``, which move, beginning with another partition each ``turn``."""
    records: list[Entry] = []
    partitions = list(positions)
    first = turn % len(partitions) if partitions else 0
    for partition in partitions[first:] + partitions[:first]:
        positions[partition] = partition.read(positions[partition], records_max, records)
    return records
