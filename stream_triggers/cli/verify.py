"""``verify``: whether everything fired once that had to, and nothing else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import click
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from stream_triggers import verify as judge
from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.reading import Lines
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.cli.when import AGO, range_ms
from stream_triggers.core.message import Position
from stream_triggers.core.words import counted
from stream_triggers.errors import Misconfigured, StreamTriggersError
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.log import TopicPartition

WAITING_S = 5.0
"""How long nothing comes before it is told what is waited for."""

FINDINGS_SHOWN_MAX = 20
"""Findings that are printed for people; --json prints all that are kept."""

DIFFERS, NOT_JUDGED = 1, 3
"""Exit statuses: something is not as it must be; nothing is known of it. The second is that of ``run``, too."""


@configured("cluster", "topics", "worker")
def verify(
    settings: Settings,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help=f"Judge only messages from then on. {AGO}")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Judge only messages before. Likewise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare what fired with what had to fire, from the topics alone.

    May run beside live workers: it judges what is committed, joins no group and moves nobody's position. Give it the
    settings that the workers have: it depends on the modules that are allowed, on how long claims are kept and on how
    large a payload may be. It needs about 200 bytes in the directory for temporary files (TMPDIR) for each run, and
    little memory.

    Findings are lost, duplicated, wrong and unexpected invocations, those without a run record (unrecorded), and
    messages that nobody could handle or that came again, without the decision or dead letter that says so (unreported).

    Exit status: 0 everything that could be judged is as it must be, 1 something is not, 2 wrongly called, 3 it could
    not run, or there are messages and none of them could be judged.

    For example:
      stream-triggers verify
      stream-triggers verify --since 2h --json
      stream-triggers verify --since 2026-01-31T00:00 --until 2026-02-01T00:00
      stream-triggers verify --allow-module shop.rules
    """
    config = settings.config
    since_ms, until_ms = range_ms(since, until, SystemClock().now_ms())
    connection = replace(cluster.onlooker(config), group=config.application)
    with _not_judged_on_failure(), cluster.connected(connection) as log:
        functions = AllowedFunctions(config.allow_modules)
        with _told() as progress:
            report = judge.verify(
                log,
                config,
                functions,
                since_ms=since_ms,
                until_ms=until_ms,
                progress=progress,
                waits_for=Waiting(SystemClock()),
            )
    if as_json:
        terminal.json_document(report.document())
    else:
        print_report(report)
    conclude(report)


def conclude(report: judge.Report) -> None:
    """Say what the numbers do not, and end with the status."""
    if report.is_doubled:
        terminal.progress("everything fired once more: do workers of two applications use the same topic_prefix?")
    if report.is_blind and not report.is_faulty:
        raise Misconfigured(
            f"of {counted(report.unjudged, 'message')} none could be judged: what would be needed for it is not kept",
            hint="keep trigger-runs, invocations and dead-letters as long as messages, see retention.ms of the topics;"
            " messages that come after this release's workers have started can be judged",
        )
    if report.unevaluated:
        terminal.progress(
            f"looked through for repeats only: {counted(report.unevaluated, 'invocation')} of triggers with memory or"
            " time; to evaluate them again, all facts must be kept, and no range be given"
        )
    if (others := report.unjudged - report.unevaluated) > 0:
        terminal.progress(f"{others:,} not judged: what would be needed for it is not kept any more")
    if report.is_faulty:
        raise typer.Exit(DIFFERS)


@contextmanager
def _not_judged_on_failure() -> Iterator[None]:
    """End with that status also where this program errs: Python's own would say that something was found."""
    try:
        yield
    except (StreamTriggersError, click.ClickException):
        raise
    except Exception:  # noqa: BLE001 - whatever it is, it is shown, and the status says that nothing is known
        traceback.print_exc()
        raise typer.Exit(NOT_JUDGED) from None


@contextmanager
def _told() -> Iterator[judge.Progress]:
    """Progress on standard error: bars on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bars(*columns, console=terminal.console(err=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        yield tell


class Waiting:
    """Tells what is waited for, once it has been the same for a while, and again after each such while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._partitions: Sequence[TopicPartition] = ()
        self._since_s = 0.0

    def __call__(self, partitions: Sequence[TopicPartition]) -> None:
        now_s = self._clock.monotonic_s()
        if partitions != self._partitions:
            self._partitions, self._since_s = partitions, now_s
        elif partitions and now_s - self._since_s >= WAITING_S:
            self._since_s = now_s
            names = ", ".join(map(str, partitions))
            terminal.progress(f"waiting for {names}: a transaction is open there, or the brokers are away")


def print_report(report: judge.Report) -> None:
    """Print a report for people: all numbers, and the first findings."""
    terminal.table(["", "count"], [[name, f"{count:,}"] for name, count in report.counts().items()])
    shown = report.findings[:FINDINGS_SHOWN_MAX]
    if shown:
        rows = [_row(each) for each in shown]
        terminal.line("")
        terminal.table(["fault", "trigger", "run", "cause", "found", "detail"], rows)
    if (more := sum(report.faults.values()) - len(shown)) > 0:
        terminal.line(f"and {more:,} more")


def _row(found: judge.Finding) -> list[str]:
    places = [_place(found.cause), _place(found.found)]
    return [
        found.fault,
        terminal.short(found.trigger_id),
        terminal.short(found.run_id),
        *places,
        terminal.short(found.detail, 200),
    ]


def _place(position: Position | None) -> str:
    return "" if position is None else f"{position.topic}/{position.partition}@{position.offset}"
