"""``verify``: whether everything fired once that had to, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Annotated

import typer

from stream_triggers import verify as judge
from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.runtime.functions import AllowedFunctions

PROGRESS_EVERY = 100_000
"""Records between two lines that tell how far it is."""

FINDINGS_SHOWN_MAX = 20
"""Findings that are printed for people; --json prints all."""


@configured("cluster", "worker")
def verify(
    settings: Settings,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare what fired with what had to fire, from the topics alone; exit status 1 when they differ.

    May run beside live workers: it judges what is committed, joins no group and moves nobody's position.

    For example:
      stream-triggers verify
      stream-triggers verify --allow-module shop.rules --json
    """
    config = settings.config
    with cluster.connected(replace(cluster.onlooker(config), group=config.application)) as log:
        report = judge.verify(log, config, AllowedFunctions(config.allow_modules), _Progress())
    if as_json:
        terminal.json_document(asdict(report))
    else:
        _print(report)
    if report.findings:
        raise typer.Exit(1)


class _Progress:
    """Tells how many records of each topic have been read, now and then."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __call__(self, topic: str, count: int) -> None:
        before, self._counts[topic] = self._counts[topic], self._counts[topic] + count
        if before // PROGRESS_EVERY < self._counts[topic] // PROGRESS_EVERY:
            terminal.progress(f"read {self._counts[topic]:,} records of {topic}")


def _print(report: judge.Report) -> None:
    terminal.table(["", "count"], [[name, f"{count:,}"] for name, count in report.counts().items()])
    for each in report.findings[:FINDINGS_SHOWN_MAX]:
        terminal.line(f"{each.fault}: run {each.run_id} of {each.trigger_id}: {each.detail}")
    if len(report.findings) > FINDINGS_SHOWN_MAX:
        terminal.line(f"and {len(report.findings) - FINDINGS_SHOWN_MAX} more")
