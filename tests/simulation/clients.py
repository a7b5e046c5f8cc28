"""The in-memory log as a simulated process has it: at every request the process may be left where it is.

Rules:
1. ``breathe`` is called before each request, outside of what the in-memory cluster does, and while waiting.
2. Waiting never moves the clock: the others go on meanwhile.
3. Questions about topics may go unanswered, too: ``Unavailable``.
4. Partitions are read in the order of their names, whatever the order of a set of them is in this interpreter: a seed
   is the same schedule everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stream_triggers.errors import Unavailable
from stream_triggers.runtime.log import Listener, Membership, Outgoing, Record, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import MemoryLog, MemoryMember, MemoryProducer, MemoryReader
from tests.simulation.lanes import require_whole


class Breath(Protocol):
    """What a client needs of the process it runs in."""

    def breathe(self) -> None:
        """A place where others may go on first, or the process dies."""
        ...

    def idle(self) -> None:
        """Nothing to do here: let others go on."""
        ...

    def ask(self) -> None:
        """A place as above, at which the question may go unanswered."""
        ...

    def now_ms(self) -> int: ...


class SimulatedLog:
    """A ``Log`` whose every client breathes; reads at most ``read_max`` records at once."""

    def __init__(self, inner: MemoryLog, process: Breath, read_max: int) -> None:
        self.inner = inner
        self.members: list[SimulatedMember] = []
        self._process = process
        self._read_max = read_max

    def member(self) -> SimulatedMember:
        member = SimulatedMember(self.inner.member(), self._process)
        self.members.append(member)
        return member

    def producer(self) -> SimulatedProducer:
        return SimulatedProducer(self.inner.producer(), self._process)

    def reader(self) -> SimulatedReader:
        return SimulatedReader(self.inner.reader(), self._process, self._read_max)

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._process.ask()
        return self.inner.start_offsets(partitions)

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._process.ask()
        return self.inner.end_offsets(partitions)

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        self._process.ask()
        return self.inner.offsets_at(partitions, time_ms)

    def topic_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        self._process.ask()
        return self.inner.topic_ids(names)

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        self._process.ask()
        return self.inner.topics(names)

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        self.inner.create_topics(specs)

    def close(self) -> None:
        self.inner.close()


class SimulatedMember:
    """A member that breathes."""

    def __init__(self, inner: MemoryMember, process: Breath) -> None:
        self._inner = inner
        self._process = process
        self._is_open = True
        self._known_ends: Mapping[TopicPartition, int] = {}

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._inner.subscribe(topics, listener)

    def known_ends(self) -> Mapping[TopicPartition, int]:
        return self._known_ends

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        self._process.breathe()
        records = self._inner.poll(records_max, timeout_s)
        self._known_ends = self._inner.known_ends()
        if not records:
            self._process.idle()
        return records

    def membership(self) -> Membership:
        return self._inner.membership()

    def committed(self, partitions: Iterable[TopicPartition], timeout_s: float) -> Mapping[TopicPartition, int | None]:
        partitions = list(partitions)
        deadline_ms = self._process.now_ms() + int(timeout_s * 1000)
        self._process.breathe()
        while True:
            try:
                return self._inner.committed(partitions, 0)
            except Unavailable:
                if self._process.now_ms() >= deadline_ms:
                    raise
                self._process.idle()

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._inner.start(dict(sorted(next_offsets.items())))

    def close(self) -> None:
        self._inner.close()
        self._is_open = False

    def heartbeat(self) -> None:
        """What a client does in the background while its process is busy."""
        if self._is_open:
            self._inner.heartbeat()


class SimulatedProducer:
    """A producer that breathes, and sees what is committed together."""

    def __init__(self, inner: MemoryProducer, process: Breath) -> None:
        self._inner = inner
        self._process = process
        self._produced: list[Outgoing] = []
        self._positions: dict[TopicPartition, int] = {}

    def open(self) -> None:
        self._process.breathe()
        self._inner.open()

    def begin(self) -> None:
        self._inner.begin()
        self._produced.clear()
        self._positions.clear()

    def produce(self, topic: str, records: list[Outgoing]) -> None:
        self._process.breathe()
        self._inner.produce(topic, records)
        self._produced += records

    def send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        self._process.breathe()
        self._inner.send_offsets(next_offsets, membership)
        self._positions.update(next_offsets)

    def commit(self) -> None:
        self._process.breathe()
        require_whole(self._produced, self._positions)
        self._inner.commit()

    def abort(self) -> None:
        self._process.breathe()
        self._inner.abort()

    def serve(self) -> None:
        self._inner.serve()

    def close(self) -> None:
        self._inner.close()


class SimulatedReader:
    """A reader that breathes."""

    def __init__(self, inner: MemoryReader, process: Breath, read_max: int) -> None:
        self._inner = inner
        self._process = process
        self._read_max = read_max

    def assign(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._inner.assign(dict(sorted(next_offsets.items())))

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        self._process.breathe()
        records = self._inner.poll(min(records_max, self._read_max), 0)
        if not records:
            self._process.idle()
        return records

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._inner.positions()

    def close(self) -> None:
        self._inner.close()
