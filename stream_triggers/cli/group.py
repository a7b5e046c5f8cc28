"""How commands are grouped: errors become lines on standard error and an exit status, docstrings become help."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperArgument, TyperGroup, TyperOption

from stream_triggers.cli import terminal
from stream_triggers.errors import StreamTriggersError
from stream_triggers.supervisor import exit_status

_EXAMPLES = "For example:"
_NOT_WRAPPED = "\b\n"


_PROCESSES = ("run", "work")
"""Commands that something may start again, and that therefore say with their status whether that would help."""

_JUDGES = ("verify",)
"""Commands that say with status 1 that they have found something; that they could not look is status 3."""


class Commands(TyperGroup):
    """A group of commands. An error of this package ends the program without a traceback, with the command's status.

    Help texts are plain: what stands in brackets is shown, not taken for markup.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.commands.values():
            command.help = escape(_wrapped_by_terminal(command.help or ""))
            for option in command.params:
                if isinstance(option, TyperOption | TyperArgument) and option.help:
                    option.help = escape(option.help)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StreamTriggersError as error:
            terminal.tell(error)
            raise typer.Exit(_status(ctx.invoked_subcommand, error)) from None


def _status(command: str, error: StreamTriggersError) -> int:
    if command in _JUDGES:
        return 3
    return exit_status(error) if command in _PROCESSES else 1


def _wrapped_by_terminal(text: str) -> str:
    """``text`` with each paragraph on one line, but for examples, which stay as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        _NOT_WRAPPED + each if each.startswith(_EXAMPLES) else each.replace("\n", " ") for each in paragraphs
    )
