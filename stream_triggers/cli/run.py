"""``run``: one worker in this process, or a supervisor of several."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from typing import Annotated

import typer

from stream_triggers.cli import cluster, lifetime, terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.worker import Worker
from stream_triggers.supervisor import Supervisor, stop_at_end_of_input
from stream_triggers.telemetry import Counters, Summary, log

logger = logging.getLogger(__name__)

SUMMARY_EVERY_S = 60.0
"""Often enough to see a rate change, rarely enough to read a day of it."""

COLLECT_EVERY = (50_000, 20, 100)
"""How seldom a worker looks for cycles among its objects: the states it keeps are many, and none makes a cycle.

With Python's own thresholds the search is a fifth of the CPU for triggers with memory (60 against 48 us an event).
"""


@configured("cluster", "topics", "worker", "log")
def run(
    settings: Settings,
    *,
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, metavar="N", help="Supervise N workers, slots 0 to N-1, one process each."),
    ] = None,
    stop_on_eof: lifetime.StopOnEof = False,
) -> None:
    """Run workers: read messages, match triggers, write invocations, each exactly once.

    One worker runs in this process, under the name that --slot gives it, or several under a supervisor with --slots.
    SIGTERM and Ctrl-C commit what is open and stop; a second one ends at once.

    Exit status: 0 stopped as asked, 1 failed, may be started again, 3 misconfigured, 4 another process runs under
    this slot, 5 local state unreadable. After 3, 4 and 5 a restart would not help.

    For example:
      stream-triggers run
      stream-triggers run --slots 4
      stream-triggers run --slot eu-1 --state-dir /var/lib/triggers --log-format json
    """
    if slots is not None and "slot" in settings.overrides:
        raise typer.BadParameter("give either --slots or --slot", param_hint="--slots")
    if stop_on_eof:
        stop_at_end_of_input(settings.config.shutdown_budget_ms / 1000)
    with lifetime.long_running(settings.config):
        if slots is None:
            _run_worker(settings)
        else:
            _supervise(settings, slots)


def collect_seldom() -> None:
    """Have the collector of this process look for cycles as seldom as suits a worker."""
    gc.set_threshold(*COLLECT_EVERY)


def _run_worker(settings: Settings) -> None:
    collect_seldom()
    config = settings.config
    stop = lifetime.stop_on_signals()
    clock, counters = SystemClock(), Counters()
    path = cluster.state_dir(config)
    with cluster.connected(cluster.worker(config)) as connection:
        cluster.require_topics(connection, config)
        worker = Worker(
            connection,
            lambda: RocksStore(path),
            clock,
            config,
            AllowedFunctions(config.allow_modules),
            counters=counters,
        )
        log(logger, "worker started", application=config.application, slot=config.slot)
        summaries = threading.Thread(target=_summarise, args=(counters, clock, stop), name="summary", daemon=True)
        summaries.start()
        worker.run(stop)
    summaries.join()
    log(logger, "worker stopped")


def _supervise(settings: Settings, slots: int) -> None:
    config = settings.config
    with cluster.connected(cluster.onlooker(config)) as connection:
        cluster.require_topics(connection, config)
    program = [sys.executable, "-m", "stream_triggers", "run", "--stop-on-eof", *settings.arguments("slot")]
    supervisor = Supervisor(
        lambda slot: [*program, "--slot", slot],
        [str(number) for number in range(slots)],
        budget_s=config.shutdown_budget_ms / 1000,
        output=_json_output if config.log_format == "json" else _text_output,
    )
    raise typer.Exit(supervisor.run(lifetime.stop_on_signals()))


def _text_output(slot: str, line: str) -> None:
    terminal.progress(f"{slot} | {line}")


def _json_output(slot: str, line: str) -> None:
    """Pass on a log line, which names its slot; make one of anything else that a process prints."""
    terminal.progress(line if line.startswith("{") else terminal.json_text({"slot": slot, "line": line}))


def _summarise(counters: Counters, clock: SystemClock, stop: threading.Event) -> None:
    summary = Summary(counters, clock.monotonic_s())
    while not stop.wait(SUMMARY_EVERY_S):
        summary.log(logger, clock.monotonic_s())
    summary.log(logger, clock.monotonic_s())
