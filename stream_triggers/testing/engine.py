"""The engine in memory: real workers on a log in memory, on a clock that stands still while they work.

Rules:
1. ``settle`` lets the workers take turns until nothing changes any more. The time of day stands still meanwhile, only
   what they measure pauses with goes on: so all that is due at an instant is done at that instant.
2. Nothing is random and nothing runs beside: the same calls make the same runs, in the same order.
3. A crash kills a process where it is: a successor under its slot takes over with what the log says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stream_triggers.client import Client
from stream_triggers.client.definitions import applied
from stream_triggers.config import Config
from stream_triggers.core.trigger import Trigger
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.definitions import read_definition
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import Identify
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.memory_log import Crashed, MemoryCluster, MemoryLog
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.topics import Topics, specs
from stream_triggers.runtime.worker import Worker

CrashPoint: TypeAlias = Literal["now", "before commit", "after commit"]
"""Where a worker is killed: at once, or in its next transaction just before or just after that is committed."""

_FAULT_POINTS = {"before commit": "produced", "after commit": "committed"}

SLOTS = ("0", "1")
"""The worker that is always there, and the one that joins."""

STEP_MS = 300
"""What the workers take for the time that has passed between two rounds."""

QUIET_ROUNDS = 5
"""Rounds without any change after which nothing more is to come: a second and a half, three times what they wait."""

ROUNDS_MAX = 10_000
"""An engine that is still busy after this many rounds never rests."""

_FOREVER_MS = 10**15
"""No session or transaction of a test ends by itself, however far it moves the clock."""


class StandingClock(ManualClock):
    """A clock on which, beside the time of day, time passes for work."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self._worked_ms = 0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._worked_ms / 1000

    def work(self, ms: int) -> None:
        """Let time pass that only pauses are measured by."""
        self._worked_ms += ms


class _Cluster(MemoryCluster):
    """A cluster on which waiting is work: nobody else does anything meanwhile, and nothing ends by itself."""

    def __init__(self, clock: StandingClock) -> None:
        super().__init__(clock)
        self._standing = clock

    def wait(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        if not reached():
            self._standing.work(int(timeout_s * 1000))
        return reached()


class _Sender:
    """Writes at once what a client sends."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def send(self, topic: str, records: list[Outgoing]) -> None:
        self._cluster.write(topic, records)

    def flush(self, timeout_s: float) -> None:
        """Nothing is on its way."""

    def close(self, timeout_s: float) -> None:
        """Nothing to release."""


class _SendingLog(MemoryLog):
    def sender(self, identify: Identify) -> _Sender:
        return _Sender(self.cluster)


@dataclass(slots=True)
class _Process:
    """A worker process: what dies with it, and its disk."""

    log: MemoryLog
    worker: Worker
    store: MemoryStore


class Engine:
    """A cluster, its topics and one or two workers."""

    def __init__(self, *, partitions: int, start_ms: int, allow_modules: tuple[str, ...]) -> None:
        self.clock = StandingClock(start_ms)
        self.cluster = _Cluster(self.clock)
        self.config = Config(allow_modules=allow_modules)
        self.topics = Topics.of(self.config)
        self.functions = AllowedFunctions(allow_modules)
        self.cluster.create_topics(
            specs(self.topics, {}, claim_retention_ms=self.config.claim_retention_ms, partitions=partitions)
        )
        self.client = Client(self.config, clock=self.clock, cluster=_SendingLog(self.cluster, "client"))
        self.crashes = 0
        self.on_round: Callable[[], None] = lambda: None
        """Called after each turn of a worker."""
        self._crash_point = ""
        self._crash_keeps_state = True
        self._processes = {SLOTS[0]: self._start(SLOTS[0], MemoryStore())}

    @property
    def observer(self) -> MemoryLog:
        """The cluster as nobody's worker has it."""
        return MemoryLog(self.cluster, "observer")

    def define(self, trigger: Trigger) -> None:
        """Store a trigger; raises what it would be refused for, or quarantined by a worker."""
        stored = next((each for each in self.client.list_triggers() if each.id == trigger.id), None)
        made = applied(trigger, stored, self.clock.now_ms())
        definition = encode(made)
        read_definition(trigger.id, definition, self.functions)
        self._write_definition(trigger.id, definition)

    def delete(self, trigger_id: str) -> None:
        """Remove a trigger."""
        self._write_definition(trigger_id, None)

    def settle(self) -> None:
        """Let the workers do all there is to do at this instant."""
        quiet = 0
        for _ in range(ROUNDS_MAX):
            before = self._done()
            for slot in tuple(self._processes):
                self._turn(slot)
            quiet = quiet + 1 if self._done() == before else 0
            if quiet == QUIET_ROUNDS:
                return
            self.clock.work(STEP_MS)
        raise AssertionError(f"the engine is still busy after {ROUNDS_MAX} rounds at one instant")

    def crash(self, point: CrashPoint, *, keep_state: bool) -> None:
        """Kill every worker now, or the next that comes to ``point``."""
        if point == "now":
            for slot in tuple(self._processes):
                self._restart(slot, keep_state=keep_state)
        else:
            self._crash_point = _FAULT_POINTS[point]
            self._crash_keeps_state = keep_state

    def rebalance(self) -> int:
        """Let the second worker join, or leave if it is there; returns how many there are then."""
        slot = SLOTS[1]
        if slot not in self._processes:
            self._processes[slot] = self._start(slot, MemoryStore())
        else:
            self._processes.pop(slot).worker.close()
            group = self.cluster.group(self.config.application)
            for seat in tuple(group.seats.values()):
                if seat.instance_id == f"{self.config.application}-{slot}":
                    group.leave(seat.member_id, self.clock.now_ms())
        return len(self._processes)

    def _turn(self, slot: str) -> None:
        try:
            self._processes[slot].worker.run_once(0.0)
        except Crashed:
            self._restart(slot, keep_state=self._crash_keeps_state)
        self.on_round()

    def _restart(self, slot: str, *, keep_state: bool) -> None:
        self.crashes += 1
        dead = self._processes[slot]
        dead.log.crash()
        self._processes[slot] = self._start(slot, dead.store if keep_state else MemoryStore())

    def _start(self, slot: str, store: MemoryStore) -> _Process:
        log = MemoryLog(
            self.cluster,
            slot,
            group_id=self.config.application,
            transaction_timeout_ms=_FOREVER_MS,
            session_timeout_ms=_FOREVER_MS,
            poll_pause_max_ms=_FOREVER_MS,
        )
        worker = Worker(log, lambda: store, self.clock, self.config, self.functions, fault=self._fault)
        worker.start()
        return _Process(log, worker, store)

    def _fault(self, point: str) -> None:
        if point == self._crash_point:
            self._crash_point = ""
            raise Crashed(point)

    def _write_definition(self, trigger_id: str, value: bytes | None) -> None:
        self.cluster.write(self.topics.trigger_definitions, [Outgoing(key=trigger_id.encode(), value=value)])

    def _done(self) -> tuple[int, ...]:
        """What grows whenever a worker gets anywhere."""
        names = (*self.topics.all, *self.topics.changelogs)
        ends = sum(partition.end for name in names for partition in self.cluster.topic(name).partitions)
        committed = sum(self.cluster.offsets(self.config.application).values())
        restored = sum(each.worker.counters.restores for each in self._processes.values())
        return ends, committed, restored, self.crashes
