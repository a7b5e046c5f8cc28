"""Where a worker's time goes: `python -m bench.stages` prints microseconds per event for the stages of the hot path.

Rules:
1. A stage is a function that is called once a batch or once a transaction, so that timing it costs next to nothing.
2. Two clocks: what the worker's thread computed, and how long it took with waiting. The difference is the broker and,
   on a busy machine, other programs.
3. A stage's time includes that of the stages it calls, which are indented below it.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import report
from bench.broker import broker
from bench.engine import WAIT_S, worker
from bench.load import Work
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.definitions import DefinitionTable
from stream_triggers.runtime.kafka.member import KafkaMember
from stream_triggers.runtime.kafka.producer import KafkaProducer
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.worker import Worker

STAGES: tuple[tuple[int, type, str, str], ...] = (
    (0, Worker, "run_once", "a round"),
    (1, KafkaMember, "poll", "take a batch from the client"),
    (1, Worker, "_accept", "check offsets, note positions"),
    (1, Worker, "_process", "make and hand over outputs"),
    (2, DefinitionTable, "catch_up", "look for new definitions"),
    (2, RouteStage, "process", "the route stage"),
    (3, RouteStage, "_match", "prefixes, decode, filters, run ids"),
    (3, RouteStage, "_fire", "arguments, encode"),
    (4, Claims, "taken", "look up claims"),
    (2, KafkaProducer, "produce", "hand over to the client"),
    (1, Worker, "_commit", "commit"),
    (2, KafkaProducer, "send_offsets", "positions: what was produced is on its way"),
    (2, KafkaProducer, "commit", "the rest of it, and the end of the transaction"),
    (2, Claims, "settle", "claims as changes of the store"),
    (2, RocksStore, "apply", "write them"),
)
"""Depth, whose method, which, and what it does."""


@dataclass
class Spent:
    """Seconds of one stage."""

    computed_s: float = 0.0
    passed_s: float = 0.0
    calls: int = 0


def timed(function: Callable[..., Any], spent: Spent) -> Callable[..., Any]:
    """``function``, adding up what it takes."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        computed_s, passed_s = time.thread_time(), time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent.computed_s += time.thread_time() - computed_s
            spent.passed_s += time.perf_counter() - passed_s
            spent.calls += 1

    return call


@contextmanager
def all_timed() -> Iterator[list[Spent]]:
    """Time the methods in ``STAGES``, in their order."""
    spents = [Spent() for _ in STAGES]
    originals = [getattr(owner, name) for _, owner, name, _ in STAGES]
    for (_, owner, name, _), original, spent in zip(STAGES, originals, spents, strict=True):
        setattr(owner, name, timed(original, spent))
    try:
        yield spents
    finally:
        for (_, owner, name, _), original in zip(STAGES, originals, strict=True):
            setattr(owner, name, original)


def spent_on(work: Work, messages: int) -> list[Spent]:
    """Let a worker process ``messages``; what each stage took after the first batch."""
    with all_timed() as spents, worker(work, "0") as engine:
        engine.start()
        while not (done := engine.run_once(WAIT_S)):
            pass
        first = [Spent(each.computed_s, each.passed_s, each.calls) for each in spents]
        while done < messages:
            done += engine.run_once(WAIT_S)
        engine.commit()
        engine.close()
    return [
        Spent(last.computed_s - start.computed_s, last.passed_s - start.passed_s, last.calls - start.calls)
        for start, last in zip(first, spents, strict=True)
    ]


def main(
    events: Annotated[int, typer.Option(min=10_000)] = 500_000,
    triggers: Annotated[int, typer.Option(min=1)] = 1,
    bootstrap_servers: Annotated[str | None, typer.Option(help="A broker to use instead of one of its own.")] = None,
    output: Annotated[Path, typer.Option(help="Where the results go.")] = report.STAGES,
) -> None:
    """Microseconds per event, half of which fire, for every stage of a worker's hot path."""
    with broker(bootstrap_servers) as servers:
        work = Work(servers, f"stages-{time.time_ns() // 1_000_000}")
        work.create_topics()
        work.apply_triggers(triggers)
        work.send_events(events)
        spents = spent_on(work, events)
    rows = [
        (
            depth,
            f"{owner.__name__}.{name}",
            does,
            spent.computed_s / events * 1e6,
            spent.passed_s / events * 1e6,
            spent.calls,
        )
        for (depth, owner, name, does), spent in zip(STAGES, spents, strict=True)
    ]
    report.write(
        report.environment(shlex.join(["python", "-m", "bench.stages", *sys.argv[1:]])) | {"stages": rows}, output
    )
    table = Table("stage", "computed µs", "passed µs", "calls")
    for depth, name, does, computed_us, passed_us, calls in rows:
        table.add_row(f"{'  ' * depth}{name}: {does}", f"{computed_us:.2f}", f"{passed_us:.2f}", str(calls))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
