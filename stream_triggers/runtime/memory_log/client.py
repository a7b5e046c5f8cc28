"""A simulated process, and what the clients in it have in common.

Rules:
1. A process dies as a whole: after a crash none of its clients answers, and the cluster is told nothing.
2. A fault is looked up once per call, before anything else is done.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from stream_triggers.errors import StreamTriggersError
from stream_triggers.runtime.memory_log.cluster import MemoryCluster
from stream_triggers.runtime.memory_log.fault import Crashed, Fault, Point, seen_error

T = TypeVar("T")


class Process:
    """A process, alive or crashed, under the name of its slot."""

    def __init__(self, cluster: MemoryCluster, slot: str) -> None:
        self.cluster = cluster
        self.slot = slot
        self.crashed = False
        self.keep_sessions: list[Callable[[int], None]] = []
        """Each prolongs the session of one member in this process, as if it were heard of at the given instant."""

    def wait(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Let time pass until ``reached``, in which this process stays in its groups; whether it was in time."""
        self._keep(self.cluster.tick() + int(timeout_s * 1000))
        in_time = self.cluster.wait(reached, timeout_s)
        self._keep(self.cluster.tick())
        return in_time

    def _keep(self, time_ms: int) -> None:
        for keep_session in self.keep_sessions:
            keep_session(time_ms)


class Client:
    """What the clients of a process share: they end with it, and meet the faults that are planned for it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._cluster = process.cluster
        self._closed = False

    def _enter(self) -> int:
        """Begin a call; returns the time."""
        if self._process.crashed:
            raise Crashed(f"process {self._process.slot} has crashed")
        assert not self._closed, "this client is closed"
        return self._cluster.tick()

    def _ask(self, point: Point) -> int:
        """Begin a call that changes nothing on the cluster, so that a fault only keeps its answer; returns the time."""
        now_ms = self._enter()
        fault = self._cluster.faults.take(point, self._process.slot)
        if fault is not None:
            raise self._error_of(point, fault)
        return now_ms

    def _request(self, point: Point, request: Callable[[int], T]) -> T:
        """Have the cluster do ``request``, which is given the time of its arrival."""
        now_ms = self._enter()
        fault = self._cluster.faults.take(point, self._process.slot)
        if fault is None:
            return request(now_ms)
        if fault.applied:
            with suppress(StreamTriggersError):  # a refusal is a response too, and is lost with it
                request(now_ms)
        elif fault is Fault.REQUEST_LATE and point in ("commit", "abort"):
            self._cluster.delay(request)
        raise self._error_of(point, fault)

    def _error_of(self, point: Point, fault: Fault) -> BaseException:
        if fault.crashes:
            self._process.crashed = True
            return Crashed(f"process {self._process.slot} has crashed in {point}")
        return seen_error(point, fault)
