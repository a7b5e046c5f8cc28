"""``topics``: make the topics an application needs, and look at those that exist."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.runtime import topics

app = typer.Typer(no_args_is_help=True, help="Create and check the topics.")


@app.command()
@configured("cluster", "topics")
def create(
    settings: Settings,
    *,
    partitions: Annotated[
        int,
        typer.Option(
            "--partitions",
            min=1,
            max=topics.PARTITIONS_MAX,
            metavar="N",
            help=f"Partitions of inputs and outputs: so many workers can share them. Default: {topics.PARTITIONS}.",
            show_default=False,
        ),
    ] = topics.PARTITIONS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the created topics as JSON.")] = False,
) -> None:
    """Create the topics that do not exist; those that do are left as they are.

    For example:
      stream-triggers topics create
      stream-triggers topics create --partitions 16 --topic-prefix shop.
    """
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        wanted = cluster.wanted_topics(log, settings.config, partitions=partitions)
        existing = log.topics([spec.name for spec in wanted])
        missing = [spec for spec in wanted if spec.name not in existing]
        if missing:
            log.create_topics(missing)
        problems = cluster.topic_problems(log, settings.config)
    if as_json:
        terminal.json_document([{"topic": spec.name, "partitions": spec.partitions} for spec in missing])
    else:
        for spec in missing:
            terminal.line(f"created {spec.name} partitions={spec.partitions}")
        terminal.line(f"{len(missing)} created, {len(existing)} existed")
    for each in problems:
        terminal.progress(f"problem: {each.topic} {each.problem}; repair: {each.repair}")
    if problems:
        raise typer.Exit(1)


@app.command()
@configured("cluster", "topics")
def check(
    settings: Settings,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Look for what would keep workers from running; exit status 1 when there is something.

    For example:
      stream-triggers topics check
      stream-triggers topics check --json
    """
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        problems = cluster.topic_problems(log, settings.config)
    if as_json:
        terminal.json_document([asdict(each) for each in problems])
    elif problems:
        terminal.table(["topic", "problem", "repair"], [[each.topic, each.problem, each.repair] for each in problems])
    else:
        terminal.line("all topics are as they need to be")
    if problems:
        raise typer.Exit(1)
