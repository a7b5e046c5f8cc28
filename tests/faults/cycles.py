"""Does one thing a thousand times in a process of its own, and prints the memory it holds after each hundred.

python -m tests.faults.cycles ownership <order as JSON> 1000
python -m tests.faults.cycles store <directory> 1000
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
from confluent_kafka import TopicPartition as Position

from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import Changes
from stream_triggers.runtime.worker import Worker
from tests.faults.crew import until
from tests.faults.life import Order, state_of, worker_settings

EVERY = 100


def ownership(argument: str) -> Callable[[], None]:
    """A worker that is assigned all partitions, restores them, and has them revoked.

    It joins its group once; the changes after that are what the client library would call, without the group.
    """
    config = msgspec.json.decode(argument, type=Order).config()
    state_of(config).mkdir(parents=True)
    worker = Worker(
        KafkaLog(worker_settings(config)),
        lambda: RocksStore(state_of(config)),
        SystemClock(),
        config,
        AllowedFunctions(),
    )
    worker.start()
    inputs = {Position(*each) for each in _joined(worker)}
    member = worker._member

    def cycle() -> None:
        member._on_revoke(member._consumer, list(inputs))
        member._on_assign(member._consumer, list(inputs))
        goal = worker.counters.restores + len(inputs)
        until(lambda: (worker.run_once(0.0), worker.counters.restores >= goal)[1], "restored")

    return cycle


def _joined(worker: Worker) -> set[tuple[str, int]]:
    until(
        lambda: (worker.run_once(0.02), bool(worker._owned) and worker.counters.restores >= len(worker._owned))[1],
        "joined",
    )
    return set(worker._owned)


def store(argument: str) -> Callable[[], None]:
    """A store that is opened, written to and closed."""

    def cycle() -> None:
        opened = RocksStore(Path(argument))
        opened.apply(Changes(puts=[("claims-1", b"key", b""), ("positions", b"key", b"value")]))
        opened.close()

    return cycle


def main() -> None:
    what, argument, count = sys.argv[1:]
    cycle = {"ownership": ownership, "store": store}[what](argument)
    held: list[int] = []
    for number in range(1, int(count) + 1):
        cycle()
        if number % EVERY == 0:
            held.append(psutil.Process().memory_info().rss)
    sys.stdout.write(msgspec.json.encode(held).decode())


if __name__ == "__main__":
    main()
