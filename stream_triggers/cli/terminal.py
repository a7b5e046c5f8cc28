"""What the commands print, and how: results on standard output, everything else on standard error.

Rules:
1. What a script would read goes to standard output, as text for people or as one JSON value or line with ``--json``.
2. Progress, errors and hints go to standard error.
3. Colours and line lengths depend on the terminal; without one there are no colours, and nothing is cut or wrapped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import typer
from rich.console import Console
from rich.table import Table

from stream_triggers.core.message import JsonValue
from stream_triggers.errors import StreamTriggersError

UNWRAPPED = 10_000
"""Columns of an output that is not a terminal: more than any line needs."""

SHOWN_MAX = 64
"""Characters of an id that are printed for people: twice what a run id has."""


def console(*, err: bool = False) -> Console:
    """Where to print: standard output or standard error, as they are now."""
    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else UNWRAPPED, highlight=False, emoji=False)


def line(text: str) -> None:
    """Print one line of a result."""
    typer.echo(text)


def json_text(value: JsonValue) -> str:
    """``value`` as one line of JSON."""
    return orjson.dumps(value).decode()


def json_document(value: JsonValue) -> None:
    """Print ``value`` as JSON that people can read too."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def instant(time_ms: int) -> str:
    """``time_ms`` in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}Z"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` under ``columns``."""
    found = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        found.add_row(*(_plain(cell) for cell in row))
    out = console()
    with out.capture() as captured:
        out.print(found)
    for text in captured.get().splitlines():
        line(text.rstrip())


def progress(text: str) -> None:
    """Tell what is going on."""
    typer.echo(text, err=True)


def tell(error: StreamTriggersError) -> None:
    """Print ``error`` and what to do about it."""
    _remark(typer.style("error:", fg="red", bold=True), error)


def warn(warning: StreamTriggersError) -> None:
    """Print what is doubtful and what to do about it."""
    _remark(typer.style("warning:", fg="yellow", bold=True), warning)


def short(text: str, length_max: int = SHOWN_MAX) -> str:
    """``text`` as a terminal can take it: foreign records may name anything, of any length."""
    shown = text if len(text) <= length_max else f"{text[:length_max]}..."
    return shown if shown.isprintable() else repr(shown)


def _remark(label: str, remark: StreamTriggersError) -> None:
    typer.echo(f"{label} {remark.message}", err=True)
    if remark.hint:
        typer.echo(f"{typer.style('hint:', bold=True)} {remark.hint}", err=True)


def _plain(cell: str) -> str:
    """``cell`` with nothing in it that rich would take for markup."""
    return cell.replace("[", r"\[")
