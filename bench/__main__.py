"""Measure the engine on this machine, beside the client's floor and Kafka Streams, in one run on one broker."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import report
from bench.broker import broker
from bench.programs import Failed, build_kafka_streams
from bench.scenarios import SCENARIOS, Bench
from stream_triggers.errors import StreamTriggersError

EVENTS, EVENTS_QUICK = 2_000_000, 200_000
ROUNDS, ROUNDS_QUICK = 3, 1
LATENCY_S, LATENCY_S_QUICK = 20.0, 6.0
ASIDE = 4
"""The other scenarios take a fourth of the events."""

TRIAL = report.LATEST.with_name("trial.json")

EXAMPLES = """
Examples:

  python -m bench                        everything; writes bench/results/latest.json (about 15 minutes)

  python -m bench --quick                everything, small: an impression in three minutes

  python -m bench --only latency         one scenario, or several: --only latency --only workers

  python -m bench --quick --json | jq .engine_events_per_s

A run with --quick, --only or --events goes to bench/results/trial.json unless --output says otherwise.
"""

progress_console = Console(stderr=True)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(help=f"{__doc__}\n{EXAMPLES}")
def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few events, one round.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"A scenario: {', '.join(SCENARIOS)}.")] = None,
    events: Annotated[int | None, typer.Option(min=1000, help="Events of the comparison with others.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each comparison is repeated.")] = None,
    bootstrap_servers: Annotated[str | None, typer.Option(help="A broker to use instead of one of its own.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the results go.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run the scenarios, show and keep what they measured."""
    unknown = set(only or ()) - SCENARIOS.keys()
    if unknown:
        raise typer.BadParameter(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    count = events or (EVENTS_QUICK if quick else EVENTS)
    results = report.environment(shlex.join(["python", "-m", "bench", *sys.argv[1:]]))
    with broker(bootstrap_servers) as servers, _progress() as tell:
        tell("building the Kafka Streams program")
        bench = Bench(
            bootstrap_servers=servers,
            name=f"bench-{time.time_ns() // 1_000_000}",
            events=count,
            events_aside=max(1000, count // ASIDE),
            rounds=rounds or (ROUNDS_QUICK if quick else ROUNDS),
            latency_s=LATENCY_S_QUICK if quick else LATENCY_S,
            streams=build_kafka_streams(),
            tell=tell,
        )
        scenarios, failed = _run(bench, [name for name in SCENARIOS if not only or name in only])
    results |= report.collected(scenarios) | {"events": count, "rounds": bench.rounds, "scenarios": scenarios}
    partial = quick or only or events or rounds
    path = output or (TRIAL if partial else report.LATEST)
    report.write(results, path)
    if as_json:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")
    else:
        _show(results, path)
    for name, reason in failed.items():
        progress_console.print(f"{name} failed: {reason}")
    if failed:
        raise typer.Exit(1)


def _run(bench: Bench, names: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Results by scenario, and what kept the others from having any: one that fails does not stop the rest."""
    results, failed = {}, {}
    for name in names:
        try:
            results[name] = SCENARIOS[name](bench)
        except (Failed, StreamTriggersError) as error:
            failed[name] = str(error)
    return results, failed


@contextmanager
def _progress() -> Iterator[Any]:
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=progress_console, transient=True) as progress:
        task = progress.add_task("")

        def tell(doing: str) -> None:
            progress.update(task, description=doing)
            if not progress_console.is_terminal:
                progress_console.print(doing)

        yield tell


def _show(results: dict[str, Any], path: Path) -> None:
    console = Console()
    for title, (head, *rows) in report.tables(results):
        table = Table(title=title, title_justify="left")
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"written to {path}")


if __name__ == "__main__":
    app()
