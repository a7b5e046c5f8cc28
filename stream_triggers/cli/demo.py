"""``demo``: the main job on a real Kafka, checked."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_triggers import telemetry
from stream_triggers.cli import terminal
from stream_triggers.demo import run


def demo(
    *,
    events: Annotated[int, typer.Option("--events", min=1000, metavar="N", help="How many events to send.")] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and only that.")] = False,
) -> None:
    """Show the main job on a Kafka of its own: an order's triggers, with a worker killed in the middle.

    Starts a broker, two workers and a task worker, sends events, kills a worker with SIGKILL half way, and then checks
    every invocation against what the messages and the definitions ask for. Leaves nothing behind. Exit status 1 when
    anything was lost, duplicated or otherwise wrong.

    For example:
      stream-triggers demo
      stream-triggers demo --events 200000
    """
    telemetry.set_up("text", "warning")
    report = run(events, terminal.console(err=as_json))
    if as_json:
        terminal.json_document(report.counts())
    else:
        for finding in report.findings:
            terminal.line(f"{finding.fault}: run {finding.run_id} of {finding.trigger_id}: {finding.detail}")
        terminal.line(
            f"exactly once: events={events} expected={report.expected} invocations={report.invocations}"
            f" lost={report.count('lost')} duplicated={report.count('duplicated')}"
        )
    if report.findings:
        raise typer.Exit(1)
