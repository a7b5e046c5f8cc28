"""``check``: what is wrong with trigger files, and what is doubtful, without a broker.

Rules:
1. An error is what ``apply`` refuses with the same settings; where modules are allowed, also what a worker refuses that
   allows these. A warning can be applied, and surely does not mean what it says.
2. Every file is read, whatever is wrong with those before it. Errors and warnings go to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import orjson
import typer

from stream_triggers.cli import terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.client.definitions import require_size
from stream_triggers.config import Config
from stream_triggers.core.fields import at
from stream_triggers.core.lint import doubts, repeated
from stream_triggers.core.route import plan
from stream_triggers.core.trigger import Trigger, canonical, version
from stream_triggers.core.words import counted
from stream_triggers.errors import InvalidTrigger, Misconfigured
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.trigger_file import Examined, examine_triggers


class _Found(NamedTuple):
    """A trigger of a file, and its path there."""

    file: Path
    path: str
    trigger: Trigger
    examined: Examined


@configured(also=("payload_bytes_max", "allow_modules"))
def check(
    settings: Settings,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of triggers, YAML or JSON.")],
    *,
    show_canonical: Annotated[
        bool, typer.Option("--canonical", help="Print the canonical form of each trigger, one a line.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print triggers, errors and warnings as JSON.")] = False,
) -> None:
    """Explain what is wrong with trigger files, and warn of what is doubtful; needs no broker.

    Errors are what apply refuses too: exit status 1. With --allow-module, so are functions that workers could not call:
    those modules are imported. Warnings leave the status alone: triggers that can never fire, filters that nothing
    passes, leaves that never meet, schedules that are over, and other things that surely do not mean what they say.

    For example:
      stream-triggers check triggers.yaml
      stream-triggers check triggers.yaml --allow-module shop.filters
      stream-triggers check triggers/*.yaml --json
      stream-triggers check triggers.yaml --canonical
    """
    found: list[_Found] = []
    errors: list[InvalidTrigger] = []
    for file in files:
        try:
            examined = examine_triggers(file)
        except InvalidTrigger as error:
            errors.append(error)
            continue
        errors += examined.problems
        found += [_Found(file, path, trigger, examined) for path, trigger in examined.triggers]
    errors += _repeated(found)
    errors += [error for each in found for error in _unusable(each, settings.config)]
    warnings = [warning for each in found for warning in _doubted(each, SystemClock().now_ms())]
    if as_json:
        terminal.json_document(_document(found, errors, warnings, show_canonical=show_canonical))
    else:
        _print(found, errors, warnings, show_canonical=show_canonical)
    if errors:
        raise typer.Exit(1)


def _repeated(found: list[_Found]) -> Iterator[InvalidTrigger]:
    for place in repeated(each.trigger for each in found):
        each = found[place]
        problem = f'expected an id of its own, found "{each.trigger.id}" again'
        yield each.examined.located(InvalidTrigger(at(each.path, "id"), problem))


def _unusable(found: _Found, config: Config) -> Iterator[InvalidTrigger]:
    """What is wrong with a trigger only where it is to be stored and to run."""
    try:
        require_size(found.trigger, found.path, config.payload_bytes_max)
        if config.allow_modules:
            plan(found.trigger, AllowedFunctions(config.allow_modules))
    except InvalidTrigger as error:
        yield found.examined.located(error)
    except Misconfigured as error:
        yield found.examined.located(InvalidTrigger(found.path, error.message, hint=error.hint))


def _doubted(found: _Found, now_ms: int) -> Iterator[InvalidTrigger]:
    for doubt in doubts(found.trigger, now_ms):
        yield found.examined.located(InvalidTrigger(at(found.path, doubt.path), doubt.problem, hint=doubt.hint))


def _print(
    found: list[_Found], errors: list[InvalidTrigger], warnings: list[InvalidTrigger], *, show_canonical: bool
) -> None:
    for error in errors:
        terminal.tell(error)
    for warning in warnings:
        terminal.warn(warning)
    if show_canonical:
        for each in found:
            terminal.line(canonical(each.trigger).decode())
    tell = terminal.progress if show_canonical else terminal.line
    tell(f"{counted(len(found), 'trigger')}, {counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}")


def _document(
    found: list[_Found], errors: list[InvalidTrigger], warnings: list[InvalidTrigger], *, show_canonical: bool
) -> dict[str, Any]:
    triggers = []
    for each in found:
        row: dict[str, Any] = {"file": str(each.file), "id": each.trigger.id, "version": version(each.trigger)}
        if show_canonical:
            row["canonical"] = orjson.loads(canonical(each.trigger))
        triggers.append(row)
    return {"triggers": triggers, "errors": list(map(_remark, errors)), "warnings": list(map(_remark, warnings))}


def _remark(remark: InvalidTrigger) -> dict[str, str]:
    return {"source": remark.source, "path": remark.path, "problem": remark.problem, "hint": remark.hint}
