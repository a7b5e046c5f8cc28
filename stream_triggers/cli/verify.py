"""``verify``: whether everything fired once that had to, and nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from stream_triggers import verify as judge
from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.core.message import Position
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions

PROGRESS_EVERY = 250_000
"""Records between two lines that tell how far it is."""

FINDINGS_SHOWN_MAX = 20
"""Findings that are printed for people; --json prints all that are kept."""

UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_WHEN = "An instant (2026-01-31T12:00, in UTC unless it says otherwise), or how long ago: 30m, 2h, 7d."


@configured("cluster", "worker")
def verify(
    settings: Settings,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help=f"Judge only messages from then on. {_WHEN}")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Judge only messages before. Likewise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare what fired with what had to fire, from the topics alone; exit status 1 when they differ.

    May run beside live workers: it judges what is committed, joins no group and moves nobody's position. Give it the
    settings that the workers have. It needs about 200 bytes in the directory for temporary files (TMPDIR) for each run,
    and little memory.

    Findings are lost, duplicated, wrong and unexpected invocations, those without a run record (unrecorded), and
    messages that nobody could handle or that came again, without the decision or dead letter that says so (unreported).

    For example:
      stream-triggers verify
      stream-triggers verify --since 2h --json
      stream-triggers verify --since 2026-01-31T00:00 --until 2026-02-01T00:00
      stream-triggers verify --allow-module shop.rules
    """
    config = settings.config
    now_ms = SystemClock().now_ms()
    since_ms = None if since is None else instant_ms(since, now_ms, "--since")
    until_ms = None if until is None else instant_ms(until, now_ms, "--until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise typer.BadParameter("expected a time before that of --until", param_hint="--since")
    with cluster.connected(replace(cluster.onlooker(config), group=config.application)) as log, _told() as progress:
        functions = AllowedFunctions(config.allow_modules)
        report = judge.verify(log, config, functions, since_ms=since_ms, until_ms=until_ms, progress=progress)
    if as_json:
        terminal.json_document(report.document())
    else:
        _print(report)
    if report.unjudged:
        terminal.progress(f"{report.unjudged:,} not judged: what would be needed for it is not kept any more")
    if report.is_faulty:
        raise typer.Exit(1)


def instant_ms(text: str, now_ms: int, option: str) -> int:
    """The instant that the value of ``option`` means."""
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago is not None:
        return now_ms - int(ago[1]) * UNIT_MS[ago[2]]
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"expected an instant or a duration such as 2h, got {text!r}", param_hint=option
        ) from None
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)


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


class Lines:
    """Tells in lines how far each phase is."""

    def __init__(self) -> None:
        self._phase, self._told = "", 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase, self._told = phase, 0
        if done - self._told >= PROGRESS_EVERY or (done == total and done > 0 and self._told < done):
            self._told = done
            terminal.progress(f"{phase}: {done:,} of {total:,}")


def _print(report: judge.Report) -> None:
    terminal.table(["", "count"], [[name, f"{count:,}"] for name, count in report.counts().items()])
    shown = report.findings[:FINDINGS_SHOWN_MAX]
    if shown:
        rows = [[each.fault, each.trigger_id, each.run_id, _place(each.cause), each.detail] for each in shown]
        terminal.line("")
        terminal.table(["fault", "trigger", "run", "cause", "detail"], rows)
    if (more := sum(report.faults.values()) - len(shown)) > 0:
        terminal.line(f"and {more:,} more")


def _place(position: Position | None) -> str:
    return "" if position is None else f"{position.topic}/{position.partition}@{position.offset}"
