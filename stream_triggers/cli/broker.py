"""``broker``: a real Kafka for this machine, without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_triggers import broker
from stream_triggers.broker import Broker
from stream_triggers.cli import terminal
from stream_triggers.cli.settings import AsJson
from stream_triggers.core.message import JsonValue

app = typer.Typer(no_args_is_help=True, help="Run a real Kafka on this machine, for development.")

DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Where its data is kept.")]


@app.command()
def start(
    *,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, metavar="N", help="Default: the one it had, at first a free one."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Start the broker in the background, or find the one that runs. Commands on this machine then use it by default.

    The first start downloads Apache Kafka, and needs no Java on the machine if stream-triggers[broker] is installed.

    For example:
      stream-triggers broker start
      stream-triggers broker start --port 9092
    """
    _print(broker.start(data_dir=data_dir, port=port), as_json=as_json)


@app.command()
def status(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Tell whether the broker runs, and where; exit status 1 when it does not.

    For example:
      stream-triggers broker status
      stream-triggers broker status --json
    """
    found = broker.status(data_dir)
    if found.broker is not None:
        _print(found.broker, as_json=as_json)
        return
    if as_json:
        terminal.json_document({"state": found.state, "data_dir": str(found.data_dir)})
    else:
        terminal.line("not running" if found.state == "stopped" else f"ended by itself, see {found.log_path}")
    raise typer.Exit(1)


@app.command()
def stop(*, data_dir: DataDir = None) -> None:
    """Stop the broker; its data stays.

    For example:
      stream-triggers broker stop
    """
    terminal.line("stopped" if broker.stop(data_dir) else "was not running")


@app.command()
def wipe(
    *,
    force: Annotated[bool, typer.Option("--force", help="Stop it first, if it runs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Delete the broker's data: every topic, and all that is in them.

    For example:
      stream-triggers broker wipe
      stream-triggers broker wipe --force
    """
    broker.wipe(data_dir, force=force)
    terminal.line("wiped")


def _print(found: Broker, *, as_json: bool) -> None:
    if as_json:
        value: JsonValue = {
            "state": "running",
            "bootstrap_servers": found.bootstrap_servers,
            "pid": found.pid,
            "version": found.version,
            "data_dir": str(found.data_dir),
            "log": str(found.log_path),
        }
        terminal.json_document(value)
    else:
        terminal.line(f"running at {found.bootstrap_servers}, Apache Kafka {found.version}, process {found.pid}")
