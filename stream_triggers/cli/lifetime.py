"""What every process that runs for long has: a log, an orderly end, an exit status that says why it ended."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from stream_triggers import telemetry
from stream_triggers.cli import terminal
from stream_triggers.cli.settings import complete, unanswered
from stream_triggers.config import Config
from stream_triggers.errors import Fenced, StreamTriggersError, Unavailable
from stream_triggers.supervisor import exit_status

logger = logging.getLogger(__name__)

StopOnEof = Annotated[
    bool, typer.Option("--stop-on-eof", help="Stop when standard input ends: for programs that start workers.")
]
"""The option with which a supervisor starts its processes: none of them outlives it."""


@contextmanager
def long_running(config: Config) -> Iterator[None]:
    """Set up the log and the path of imports; an error ends the process with its status.

    User code is imported from the working directory too, however this program was started.
    """
    telemetry.set_up(config.log_format, config.log_level, config.slot)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        yield
    except StreamTriggersError as problem:
        error = unanswered(problem, config) if isinstance(problem, Unavailable) else problem
        complete(error, config)
        if config.log_format == "json":
            event: telemetry.LogEvent = "worker fenced" if isinstance(error, Fenced) else "worker failed"
            telemetry.log(logger, event, error=error.message, hint=error.hint)
        else:
            terminal.tell(error)
        raise typer.Exit(exit_status(error)) from None


def stop_on_signals() -> threading.Event:
    """Set when SIGTERM or Ctrl-C asks to stop; from then on either of them ends the process at once."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def ask(_number: int, _frame: object) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, ask)
    return stop
