"""The command line; here a worker gets its Kafka, its store and its clock.

One module for each command or group of commands; ``settings`` makes their options, ``cluster`` connects them to Kafka,
``terminal`` prints for them, ``group`` turns errors into exit statuses: 0 done, 1 failed, 2 wrongly called. Processes
that run for long, see ``lifetime``, have more: ``supervisor.GIVE_UP``. With ``verify``, 1 is that something is
not as it must be, and 3 that it failed.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from stream_triggers.cli import broker, configuration, demo, emit, run, topics, triggers, verify, watch, work
from stream_triggers.cli.check import check
from stream_triggers.cli.group import Commands
from stream_triggers.cli.history import history
from stream_triggers.cli.next import next_instants
from stream_triggers.cli.pause import pause, resume
from stream_triggers.cli.pending import show_pending

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("stream-triggers"))
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Triggers on Kafka: when these things happen, run this task with these arguments, exactly once."""


_TRY, _TRIGGERS, _RUN = "A broker of this machine, and its topics", "Triggers and events", "Workers"

app.add_typer(broker.app, name="broker", cls=Commands, rich_help_panel=_TRY)
app.add_typer(topics.app, name="topics", cls=Commands, rich_help_panel=_TRY)
for _name, _command, _panel in (
    ("demo", demo.demo, _TRY),
    ("check", check, _TRIGGERS),
    ("apply", triggers.apply, _TRIGGERS),
    ("list", triggers.list_triggers, _TRIGGERS),
    ("describe", triggers.describe, _TRIGGERS),
    ("pause", pause, _TRIGGERS),
    ("resume", resume, _TRIGGERS),
    ("delete", triggers.delete, _TRIGGERS),
    ("reset", triggers.reset, _TRIGGERS),
    ("emit", emit.emit, _TRIGGERS),
    ("next", next_instants, _TRIGGERS),
    ("pending", show_pending, _TRIGGERS),
    ("history", history, _TRIGGERS),
    ("watch", watch.watch, _TRIGGERS),
    ("run", run.run, _RUN),
    ("work", work.work, _RUN),
    ("verify", verify.verify, _RUN),
    ("config", configuration.show, _RUN),
):
    app.command(_name, rich_help_panel=_panel)(_command)


def main() -> None:
    """Run the program ``stream-triggers``."""
    app(prog_name="stream-triggers")
