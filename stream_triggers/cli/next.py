"""``next``: when schedules will be due, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import typer

from stream_triggers.cli import terminal
from stream_triggers.cli.settings import AsJson
from stream_triggers.core.condition import ScheduleLeaf, leaves
from stream_triggers.core.instant import INSTANT_END_MS, instant_text, local_text, parse_instant
from stream_triggers.core.message import JsonValue
from stream_triggers.core.schedule import (
    Adjustment,
    Fold,
    Gap,
    Instant,
    Schedule,
    between,
    effective_ms,
    explained,
    in_words,
    parse_schedule,
    parse_zone,
)
from stream_triggers.errors import InvalidTrigger
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.trigger_file import load_triggers

SHOWN = 10
"""Instants that are shown of each schedule unless another number is asked for."""

SKIPPED_MAX = 100
"""Most instants left out that are shown before one that is not."""

FILES = (".yaml", ".yml", ".json")


def next_instants(
    source: Annotated[str, typer.Argument(metavar="FILE|EXPRESSION", help="A trigger file, or a cron expression.")],
    *,
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Instants of each schedule.")] = SHOWN,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="INSTANT",
            help="After when. Without Z or an offset it is a local time of --zone.",
        ),
    ] = None,
    zone: Annotated[str | None, typer.Option("--zone", metavar="ZONE", help="The expression's time zone.")] = None,
    gap: Annotated[Gap | None, typer.Option("--gap", help="For local times that a clock leaves out.")] = None,
    fold: Annotated[Fold | None, typer.Option("--fold", help="For local times that come twice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the next instants of a cron expression, or of every schedule in a trigger file; needs no broker.

    An instant that is not simply the local time that the schedule names is marked with the reason: a clock put forward
    or back, or a date that does not count. Those that are left out before it because of their dates are shown as well.
    It takes effect later than at its nominal time when the schedule has jitter.

    For example:
      stream-triggers next "30 2 * * mon-fri" --zone Europe/Berlin
      stream-triggers next "30 2 * * *" --zone Europe/Berlin --from 2026-03-28T00:00 -n 3
      stream-triggers next "15 * * * *" --zone Europe/Berlin --fold first --from 2026-10-24T22:00Z
      stream-triggers next triggers.yaml --json
    """
    options = {name: value for name, value in (("zone", zone), ("gap", gap), ("fold", fold)) if value is not None}
    from_ms = SystemClock().now_ms() if from_ is None else _instant_ms(from_, zone)
    schedules = list(_of_file(source, options) if source.endswith(FILES) else _of_expression(source, options))
    documents: list[JsonValue] = []
    for place, (trigger_id, leaf, schedule) in enumerate(schedules):
        rows = list(islice(_rows(trigger_id, schedule, from_ms), count))
        if as_json:
            documents += [_document(trigger_id, leaf, schedule, row) for row in rows]
        else:
            _print(place, f"{trigger_id}: {leaf}: " if trigger_id else "", schedule, rows, from_ms)
    if as_json:
        terminal.json_document(documents)
    if not schedules:
        terminal.progress(f"{source} has no schedules")


_Found = tuple[str, str, Schedule]


class _Row(NamedTuple):
    """An instant, when it takes effect, and those before it that are left out, each on the clock and in UTC."""

    instant: Instant
    effective_ms: int
    skipped: list[Instant]


def _rows(trigger_id: str, schedule: Schedule, from_ms: int) -> Iterator[_Row]:
    named = msgspec.structs.replace(schedule, exclude=(), exclude_weekdays=(), only=(), on_excluded="skip")
    shows_skipped = schedule.has_calendar and schedule.on_excluded == "skip"
    for at_ms in between(schedule, from_ms, INSTANT_END_MS):
        skipped = islice(between(named, from_ms, at_ms - 1), SKIPPED_MAX) if shows_skipped else ()
        left_out = [explained(named, each_ms) for each_ms in skipped]
        yield _Row(explained(schedule, at_ms), effective_ms(schedule, trigger_id, at_ms), left_out)
        from_ms = at_ms


def _of_file(source: str, options: dict[str, str]) -> Iterator[_Found]:
    """The trigger, the leaf's path and the schedule of every schedule in a file."""
    for name in options:
        raise typer.BadParameter("a trigger file says this itself", param_hint=f"--{name}")
    for trigger in load_triggers(Path(source)):
        for path, leaf in leaves(trigger.when):
            if isinstance(leaf, ScheduleLeaf):
                yield trigger.id, path, leaf.schedule


def _of_expression(source: str, options: dict[str, str]) -> Iterator[_Found]:
    try:
        yield "", "", parse_schedule({"cron": source, **options}, "")
    except InvalidTrigger as error:
        is_option = error.path in options
        raise _wrong(error, f"--{error.path}" if is_option else "FILE|EXPRESSION") from None


def _instant_ms(text: str, zone: str | None) -> int:
    try:
        return parse_instant(text, "", ZoneInfo(parse_zone(zone, "")) if zone is not None else None)
    except InvalidTrigger as error:
        raise _wrong(error, "--from") from None


def _wrong(error: InvalidTrigger, hint: str) -> typer.BadParameter:
    return typer.BadParameter(". ".join(filter(None, (error.problem, error.hint))), param_hint=hint)


def _print(place: int, title: str, schedule: Schedule, rows: list[_Row], from_ms: int) -> None:
    if place:
        terminal.line("")
    terminal.line(f"{title}{in_words(schedule)}")
    if not rows:
        terminal.line(f"no instant comes after {instant_text(from_ms)}")
        return
    columns = ["local", "UTC", *(["effective"] if schedule.jitter_ms else []), ""]
    terminal.table(columns, [line for row in rows for line in _lines(schedule, row)])


def _lines(schedule: Schedule, row: _Row) -> Iterator[list[str]]:
    has_more = len(row.skipped) == SKIPPED_MAX
    for index, left_out in enumerate(row.skipped, start=1):
        more = ", as those after it may be" if has_more and index == SKIPPED_MAX else ""
        late = [""] if schedule.jitter_ms else []
        yield [*_times(left_out), *late, f"* skipped, a date that does not count (on_excluded: skip){more}"]
    late = [instant_text(row.effective_ms)] if schedule.jitter_ms else []
    reasons = "; ".join(_reason(schedule, each) for each in row.instant.adjusted)
    yield [*_times(row.instant), *late, f"* {reasons}" if reasons else ""]


def _times(instant: Instant) -> list[str]:
    return [local_text(instant.local_ms), instant_text(instant.nominal_ms)]


def _reason(schedule: Schedule, adjustment: Adjustment) -> str:
    local = local_text(adjustment.from_ms)
    match adjustment.by:
        case "gap":
            return f"{local} does not exist: the clock is put forward (gap: {schedule.gap})"
        case "calendar":
            return f"moved from {local}, a date that does not count (on_excluded: {schedule.on_excluded})"
        case "first" | "second":
            return f"the {adjustment.by} of two: the clock is put back (fold: {schedule.fold})"


def _document(trigger_id: str, leaf: str, schedule: Schedule, row: _Row) -> JsonValue:
    instant = row.instant
    document: dict[str, Any] = {"trigger": trigger_id, "leaf": leaf} if trigger_id else {}
    return document | {
        "schedule": in_words(schedule),
        "local": local_text(instant.local_ms),
        "utc": instant_text(instant.nominal_ms),
        "effective": instant_text(row.effective_ms),
        "nominal_ms": instant.nominal_ms,
        "skipped": [local_text(each.local_ms) for each in row.skipped],
        "adjusted": [{"by": each.by, "from": local_text(each.from_ms)} for each in instant.adjusted],
    }
