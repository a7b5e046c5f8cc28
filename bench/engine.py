"""One worker of the engine as a process, set up as the command line sets it up.

``count`` processes that many messages, or evaluates that many facts, and prints a measurement; ``serve`` works until
its standard input ends.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from bench.load import Work
from bench.meter import Meter
from stream_triggers.cli.run import collect_seldom
from stream_triggers.core.record import Start
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.worker import Worker

WAIT_S = 0.01
"""How long a round waits for input; before the first message this is what the measurement may be wrong by."""

IDLE_S = 3.0
"""A worker that shares the input with others stops when nothing has come for so long."""

JOIN_S = 60.0
"""So long it waits for its first message."""

app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def count(
    bootstrap_servers: str, name: str, application: str, messages: int, slot: str = "0", facts: bool = False
) -> None:
    """Process up to ``messages`` messages, or evaluate so many facts with ``--facts``; print a measurement of them."""
    meter = Meter()
    with worker(Work(bootstrap_servers, name, application), slot) as engine:
        engine.start()
        last_s, has_begun = time.monotonic(), False
        while meter.messages < messages and time.monotonic() - last_s < (IDLE_S if has_begun else JOIN_S):
            if not has_begun:
                meter.start()
            taken = engine.run_once(WAIT_S)
            if taken:
                has_begun = True
                meter.count(engine.counters.facts - meter.messages if facts else taken)
                last_s = time.monotonic()
        engine.commit()
        measured = meter.result() | {
            "fired": engine.counters.fired,
            "transactions": engine.counters.transactions,
            "aborts": engine.counters.aborts,
        }
        engine.close()
    print(json.dumps(measured))


@app.command()
def catch_up(bootstrap_servers: str, name: str, application: str, messages: int) -> None:
    """Pass ``messages`` that no trigger listens to; then apply one, and measure how it catches up with them."""
    meter, work = Meter(), Work(bootstrap_servers, name, application)
    with worker(work, "0") as engine:
        engine.start()
        while engine.counters.messages < messages:
            engine.run_once(WAIT_S)
        engine.commit()
        work.apply_triggers(1, start=Start(0, 0))
        meter.start()
        while meter.messages < messages:
            engine.run_once(WAIT_S)
            meter.count(engine.counters.caught_up - meter.messages)
        engine.commit()
        measured = meter.result() | {"fired": engine.counters.fired, "aborts": engine.counters.aborts}
        engine.close()
    print(json.dumps(measured))


@app.command()
def serve(bootstrap_servers: str, name: str, application: str) -> None:
    """Work until standard input ends."""
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    with worker(Work(bootstrap_servers, name, application), "0") as engine:
        engine.run(stop)


@contextmanager
def worker(work: Work, slot: str) -> Iterator[Worker]:
    """A worker that has not started; its store is gone afterwards."""
    collect_seldom()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:  # RocksDB still deletes files, too
        yield Worker(
            KafkaLog(work.settings(slot)),
            lambda: RocksStore(Path(state) / "store"),
            SystemClock(),
            work.config,
            AllowedFunctions(),
        )


if __name__ == "__main__":
    app()
