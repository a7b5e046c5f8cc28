"""``work``: a task worker."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_triggers.cli import cluster, lifetime
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.consumer import Unknown, load_app, task_worker
from stream_triggers.supervisor import stop_at_end_of_input


@configured("cluster", "worker", "log")
def work(
    settings: Settings,
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the task app is, such as shop.tasks:app.")],
    *,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="NAME",
            help="Consumer group: every group runs each invocation. Default: the application's name and -tasks.",
        ),
    ] = None,
    unknown: Annotated[
        Unknown,
        typer.Option("--unknown", help="At an invocation of a task the app lacks. Default: stop.", show_default=False),
    ] = "stop",
    stop_on_eof: lifetime.StopOnEof = False,
) -> None:
    """Run the invoked tasks of an app, and report their statuses and results. Stops as run does.

    For example:
      stream-triggers work shop.tasks:app
      stream-triggers work shop.tasks:app --slot eu-1 --group shop --unknown skip
    """
    config = settings.config
    if stop_on_eof:
        stop_at_end_of_input(config.shutdown_budget_ms / 1000)
    with lifetime.long_running(config):
        tasks = load_app(app)
        with cluster.connected(cluster.onlooker(config)) as log:
            cluster.require_topics(log, config)
        task_worker(tasks, config, group=group, unknown=unknown).run(lifetime.stop_on_signals())
