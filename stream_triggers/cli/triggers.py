"""``apply``, ``list``, ``describe``, ``delete``, ``reset``: the stored triggers, and what they remember."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, assert_never

import msgspec
import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.catching_up import Place, behind_text, places
from stream_triggers.cli.settings import AsJson, Settings, configured
from stream_triggers.client import Change, StoredTrigger
from stream_triggers.client.definitions import applied, compared, no_trigger, validated
from stream_triggers.core.condition import EventLeaf, ExceptionLeaf, Leaf, ResultLeaf, ScheduleLeaf, StatusLeaf, leaves
from stream_triggers.core.instant import INSTANT_MIN_MS
from stream_triggers.core.message import JsonValue
from stream_triggers.core.record import Pause, Start
from stream_triggers.core.schedule import in_words
from stream_triggers.core.start import EARLIEST
from stream_triggers.core.trigger import Trigger
from stream_triggers.errors import InvalidTrigger
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.topics import Topics
from stream_triggers.trigger_file import dump_triggers, load_triggers


@configured("cluster")
def apply(
    settings: Settings,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of triggers, YAML or JSON.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and write nothing.")] = False,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Kept with what changes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Store the triggers of files: all of them, or none when one is wrong. Others stay as they are.

    A trigger that is new, or has a higher epoch than before, starts where its file says: "start: now" (need not be
    said), "start: earliest", "start: 2026-03-01T08:00Z" or "start: {lookback: 2h}", which is before it is applied.

    For example:
      stream-triggers apply triggers.yaml
      stream-triggers apply triggers/*.yaml --dry-run
    """
    loaded = (trigger for file in files for trigger in load_triggers(file))
    triggers = validated(loaded, settings.config.payload_bytes_max)
    with cluster.client(settings.config) as client:
        changes = _compared(triggers, client.list_triggers()) if dry_run else client.apply(triggers, author=author)
    if as_json:
        terminal.json_document([change._asdict() for change in changes])
        return
    for change in changes:
        terminal.line(f"{change.what} {change.id} version={change.version}")
    if dry_run:
        terminal.progress("nothing was written: --dry-run")


@configured("cluster")
def list_triggers(settings: Settings, *, as_json: AsJson = False) -> None:
    """List the stored triggers.

    For example:
      stream-triggers list
      stream-triggers list --json
    """
    with cluster.client(settings.config) as client:
        stored = client.list_triggers()
    if as_json:
        terminal.json_document([_document(each) for each in stored])
    else:
        columns = ["id", "when", "task", "version", "stored", "author", "start", "paused"]
        terminal.table(columns, [_row(each) for each in stored])


@configured("cluster")
def describe(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="ID", help="The trigger.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a stored trigger, as a file that apply takes; of one that starts in the past, how far it has come, too.

    For example:
      stream-triggers describe ship-paid-order
      stream-triggers describe ship-paid-order > ship-paid-order.yaml
    """
    with cluster.client(settings.config) as client:
        listed = client.list_triggers()
        stored = next((each for each in listed if each.id == trigger_id), None)
        known = [each.id for each in listed]
    if stored is None:
        raise no_trigger(trigger_id, known)
    behind = _behind(settings, stored)
    if as_json:
        more = {} if behind is None else {"catching_up": [each._asdict() for each in behind]}
        terminal.json_document({**_document(stored), **more})
        return
    text = dump_triggers([stored.trigger()]).rstrip()
    by = f" by {stored.author}" if stored.author else ""
    terminal.line(f"# version {stored.version}, stored {_instant(stored)}{by}")
    if stored.start is not None:
        terminal.line(f"# start: {start_text(stored.start)}, epoch {stored.start.epoch}; {behind_text(behind or [])}")
    if paused := _paused(stored):
        terminal.line(f"# paused: {paused}")
    terminal.line(text)


@configured("cluster")
def delete(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="ID", help="The trigger.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove a stored trigger: it fires no more.

    What it remembers, and what a pause or flow control holds of it, is forgotten and does not fire.

    For example:
      stream-triggers delete ship-paid-order
    """
    with cluster.client(settings.config) as client:
        change = client.delete_trigger(trigger_id)
        if change.what == "absent":
            raise no_trigger(trigger_id, [each.id for each in client.list_triggers()])
    if as_json:
        terminal.json_document(change._asdict())
    else:
        terminal.line(f"{change.what} {change.id}")


@configured("cluster")
def reset(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger.")],
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="The key, of a trigger that remembers by one.")
    ] = None,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Told with the decision.")] = "",
    author: Annotated[str, typer.Option("--author", metavar="NAME", help="Told with the decision.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a trigger forget everything of a key: what it waits for, holds and counts, also a breaker that has tripped.

    Schedules go on. Workers come to it in its turn; what it has made them forget is in the decisions, reason reset.

    For example:
      stream-triggers reset remind-unshipped order-7
      stream-triggers reset alarm --author ada --why "the outage is over" --yes
    """
    of_key = "" if key is None else f" of key {key}"
    with cluster.client(settings.config) as client:
        known = [each.id for each in client.list_triggers()]
        if trigger_id not in known:
            raise no_trigger(trigger_id, known)
        if not yes:
            typer.confirm(f"Have {trigger_id} forget everything{of_key}?", abort=True)
        reset_id = client.reset_trigger(trigger_id, key, author=author, why=why)
    if as_json:
        terminal.json_document({"trigger": trigger_id, "key": key, "id": reset_id})
    else:
        terminal.line(f"reset {trigger_id}{of_key} id={reset_id}")


def _behind(settings: Settings, stored: StoredTrigger) -> list[Place] | None:
    """Where a trigger has yet to catch up; None for one that has nothing to catch up with."""
    if stored.start is None:
        return None
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        return places(log, Topics.of(settings.config), stored.id, stored.start.epoch)


def _compared(triggers: Sequence[Trigger], stored: Iterable[StoredTrigger]) -> tuple[Change, ...]:
    """What applying ``triggers`` would do."""
    before = {each.id: each for each in stored}
    now_ms = SystemClock().now_ms()
    wanted = ((each.id, applied(each, before.get(each.id), now_ms)) for each in triggers)
    return tuple(compared(name, definition, before.get(name)) for name, definition in wanted)


def _row(stored: StoredTrigger) -> list[str]:
    when, task = _when_and_task(stored)
    return [
        stored.id,
        when,
        task,
        stored.version,
        _instant(stored),
        stored.author or "",
        start_text(stored.start),
        _paused(stored),
    ]


def start_text(start: Start | None) -> str:
    """Since when a trigger has taken messages, in words; empty for one that took what came after it was applied."""
    if start is None:
        return ""
    return EARLIEST if start.since_ms == INSTANT_MIN_MS else terminal.instant(start.since_ms)


def _paused(stored: StoredTrigger) -> str:
    """The pause that is in force, in words; empty where none is."""
    pause = stored.pause
    return pause_text(pause) if pause is not None and pause.is_in_force(SystemClock().now_ms()) else ""


def pause_text(pause: Pause) -> str:
    """A pause in words."""
    until = "" if pause.until_ms is None else f" until {terminal.instant(pause.until_ms)}"
    by = f" by {pause.author}" if pause.author else ""
    text = f"{pause.mode} since {terminal.instant(pause.since_ms)}{until}{by}" + (f": {pause.why}" if pause.why else "")
    return " ".join(text.split())  # one line, whatever was written


def _document(stored: StoredTrigger) -> JsonValue:
    return {
        **stored._asdict(),
        "pause": msgspec.to_builtins(stored.pause),
        "start": msgspec.to_builtins(stored.start),
    }


def _instant(stored: StoredTrigger) -> str:
    return "unknown" if stored.time_ms is None else terminal.instant(stored.time_ms)


def _when_and_task(stored: StoredTrigger) -> tuple[str, str]:
    try:
        trigger = stored.trigger()
    except InvalidTrigger:
        return "(this release cannot read it)", ""
    return ", ".join(_in_words(leaf) for _, leaf in leaves(trigger.when)), trigger.task


def _in_words(leaf: Leaf) -> str:
    match leaf:
        case EventLeaf():
            return f"event {leaf.code}"
        case StatusLeaf():
            return f"status {leaf.task} is {' or '.join(leaf.statuses)}"
        case ResultLeaf():
            return f"result {leaf.task}"
        case ExceptionLeaf():
            return f"exception {leaf.task} {' or '.join(leaf.types)}".rstrip()
        case ScheduleLeaf():
            return in_words(leaf.schedule)
        case _:
            assert_never(leaf)
