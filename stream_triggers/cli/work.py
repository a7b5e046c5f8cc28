"""``work``: a task worker."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_triggers.cli import cluster, process
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.consumer import TaskWorker, Unknown, load_app
from stream_triggers.runtime.clock import SystemClock


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
) -> None:
    """Run the invoked tasks of an app, and report their statuses and results.

    For example:
      stream-triggers work shop.tasks:app
      stream-triggers work shop.tasks:app --slot eu-1 --group shop --unknown skip
    """
    config = settings.config
    name = group or f"{config.application}-tasks"
    with process.long_running(config), cluster.connected(cluster.task_worker(config, name)) as connection:
        tasks = load_app(app)
        cluster.require_topics(connection, config)
        TaskWorker(tasks, connection, SystemClock(), config, unknown=unknown).run(process.stop_on_signals())
