"""One life of a worker process: the real worker, told to end or to stop at a named point of its protocol.

The points are those of the worker (``processed``, ``produced``, ``committed``, ``applied``), one between them that the
producer knows (``positioned``: positions sent, not committed), and ``restored``: a part of a changelog was written to
the store. A life ends at the given occurrence of its point, without any clean-up, or stops there as SIGSTOP does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn, get_args

import msgspec
from confluent_kafka import Consumer

from stream_triggers import telemetry
from stream_triggers.config import Config
from stream_triggers.errors import StreamTriggersError
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.kafka.producer import KafkaProducer
from stream_triggers.runtime.log import Membership, TopicPartition
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import Changes
from stream_triggers.runtime.worker import Worker
from stream_triggers.supervisor import exit_status
from tests.faults.next_release import Release, become

Point = Literal["processed", "produced", "positioned", "committed", "applied", "restored"]
POINTS: tuple[Point, ...] = get_args(Point)

ENDED_AT_POINT = 77
"""The exit status of a life that ended where it was told to."""

RAISED = 70
"""The exit status of a life that ended with an exception that no rule of the package explains."""


class Fault(msgspec.Struct, frozen=True):
    """What happens to a life, at the ``occurrence``-th time it comes to ``point``."""

    point: Point
    occurrence: int = 1
    action: Literal["exit", "stop"] = "exit"


Sabotage = Literal["", "unfenced", "reused"]
"""A rule of the protocol that a life breaks, to see that the tests notice: positions are sent as by somebody who is not
a member of the group (rule 5), a producer goes on after a commit that may have been sent twice (rule 8)."""


class Order(msgspec.Struct, frozen=True):
    """What a life needs to know; ``log`` is the file it writes to, ``settings`` are fields of ``Config``."""

    bootstrap_servers: str
    application: str
    slot: str
    state_dir: str
    log: str
    settings: dict[str, int | str]
    fault: Fault | None = None
    sabotage: Sabotage = ""
    release: Release = "this"

    def config(self) -> Config:
        return Config(
            bootstrap_servers=self.bootstrap_servers,
            application=self.application,
            slot=self.slot,
            state_dir=Path(self.state_dir),
            **self.settings,  # type: ignore[arg-type]
        )


Tell = Callable[[Literal["applied", "stopping"]], None]
"""Says something about this life to whoever started it: ``applied`` (a first commit is done), ``stopping``."""


def live(order: Order, tell: Tell) -> NoReturn:
    """Be the worker that ``order`` asks for; never returns. The process is this life's alone."""
    status = RAISED
    try:
        output = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115 - as long as the process
        status = _work(order, tell)
    except BaseException:  # noqa: BLE001 - whatever it is, the log has it and the status says so
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def worker_settings(config: Config) -> KafkaSettings:
    """How the worker of ``config``'s slot connects, as the command line does it."""
    name = f"{config.application}-{config.slot}"
    return KafkaSettings(
        bootstrap_servers=config.bootstrap_servers,
        group=config.application,
        instance=name,
        transactional_id=name,
        session_timeout_ms=config.session_timeout_ms,
        transaction_timeout_ms=config.transaction_timeout_ms,
        extra=config.kafka,
    )


def state_of(config: Config) -> Path:
    """Where the slot of ``config`` keeps its store."""
    return config.state_dir / config.application / config.slot


def _work(order: Order, tell: Tell) -> int:
    become(order.release)
    config = order.config()
    telemetry.set_up("text", "info", config.slot)
    sys.stderr.write(f"-- life {os.getpid()} of slot {config.slot}: {order.fault}\n")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reach = _Reached(order.fault, tell)
    signal.signal(signal.SIGCONT, lambda *_: reach.begin_anew())
    path = state_of(config)
    path.mkdir(parents=True, exist_ok=True)
    worker = Worker(
        _PointedLog(worker_settings(config), reach, order.sabotage),
        lambda: _PointedStore(path, reach),
        SystemClock(),
        config,
        AllowedFunctions(),
        fault=reach,
    )
    try:
        worker.run(stop)
    except StreamTriggersError as error:
        sys.stderr.write(f"-- ended: {type(error).__name__}: {error}\n")
        return exit_status(error)
    return 0


class _Reached:
    """Counts the times each point was reached, and ends or stops the process when it is time."""

    def __init__(self, fault: Fault | None, tell: Tell) -> None:
        self._fault = fault
        self._tell = tell
        self._times: Counter[str] = Counter()
        self._is_told = False
        self.last = ""

    def begin_anew(self) -> None:
        """Tell of the next commit as of the first: the process was stopped."""
        self._is_told = False

    def __call__(self, point: str) -> None:
        self.last = point
        self._times[point] += 1
        if point == "applied" and not self._is_told:
            self._is_told = True
            self._tell("applied")
        fault = self._fault
        if fault is None or (fault.point, fault.occurrence) != (point, self._times[point]):
            return
        if fault.action == "exit":
            os._exit(ENDED_AT_POINT)
        self._tell("stopping")
        os.kill(os.getpid(), signal.SIGSTOP)


class _PointedLog(KafkaLog):
    """The log, with a point after the positions of a transaction were sent."""

    def __init__(self, settings: KafkaSettings, reach: _Reached, sabotage: Sabotage) -> None:
        super().__init__(settings)
        self._reach = reach
        self._sabotage = sabotage

    def producer(self) -> KafkaProducer:
        return _PointedProducer(self._settings, self._clock, self._reach, self._sabotage)


class _PointedProducer(KafkaProducer):
    def __init__(self, settings: KafkaSettings, clock: Clock, reach: _Reached, sabotage: Sabotage) -> None:
        super().__init__(settings, clock)
        self._reach = reach
        self._sabotage = sabotage
        self._settings = settings

    def begin(self) -> None:
        if self._sabotage == "reused":
            self._in_doubt = False
        super().begin()

    def send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        if self._sabotage == "unfenced":
            stranger = Consumer(
                {"bootstrap.servers": self._settings.bootstrap_servers, "group.id": self._settings.group}
            )
            membership = replace(membership, token=stranger.consumer_group_metadata())
        super().send_offsets(next_offsets, membership)
        self._reach("positioned")


class _PointedStore(RocksStore):
    """The store, with a point after it was written to other than by a commit."""

    def __init__(self, path: Path, reach: _Reached) -> None:
        super().__init__(path)
        self._reach = reach

    def apply(self, changes: Changes) -> None:
        super().apply(changes)
        if self._reach.last != "committed":
            self._reach("restored")
