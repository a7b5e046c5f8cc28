"""``pause`` and ``resume``: keep a trigger from firing for a while."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.settings import AsJson, Settings, configured
from stream_triggers.cli.when import COMING, coming_ms
from stream_triggers.client import Change, Client
from stream_triggers.client.definitions import no_trigger
from stream_triggers.core.record import PauseMode
from stream_triggers.errors import Rejected
from stream_triggers.runtime.clock import SystemClock

CatchUp: TypeAlias = Literal["none", "latest", "all"]


@configured("cluster")
def pause(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger.")],
    *,
    mode: Annotated[
        PauseMode, typer.Option("--mode", help="Matches meanwhile: keep them, the latest of each key, or none.")
    ] = "hold",
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="WHEN", help=f"When it ends by itself. {COMING}"),
    ] = None,
    catchup: Annotated[
        CatchUp | None,
        typer.Option(
            "--catchup",
            help="What fires afterwards of what was kept, else all; of instants, else as the schedule says.",
        ),
    ] = None,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Kept with it, and told with what does not fire.")
    ] = "",
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Likewise.")] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a trigger from firing, until it is resumed. Applying other versions of it meanwhile resumes nothing.

    What its conditions remember goes on; a match does not fire. With --mode hold it is kept for later, up to 1000 for a
    key, with hold_latest the latest of each key is, and with drop none. No instant of a schedule is decided meanwhile:
    afterwards its own catchup says which of them fire, with hold_latest one at most, and with drop none.

    For example:
      stream-triggers pause ship-paid-order --why "the warehouse moves"
      stream-triggers pause ship-paid-order --mode drop --until 2h
      stream-triggers pause nightly-report --until 2026-12-24T08:00Z --catchup none
    """
    now_ms = SystemClock().now_ms()
    until_ms = None if until is None else coming_ms(until, now_ms, "--until")
    with cluster.client(settings.config) as client:
        change = client.pause_trigger(
            trigger_id, mode=mode, until_ms=until_ms, catchup=catchup or "", why=why, author=author
        )
        _require(change, client)
    end = "" if until_ms is None else f" until={terminal.instant(until_ms)}"
    document = {**change._asdict(), "mode": mode, "until_ms": until_ms}
    _print(document, f"paused {trigger_id} mode={mode}{end}", as_json=as_json)


@configured("cluster")
def resume(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger.")],
    *,
    catchup: Annotated[
        CatchUp | None,
        typer.Option("--catchup", help="What fires of what was kept; else as was said when it was paused."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused trigger fire again, and what was kept for it.

    For example:
      stream-triggers resume ship-paid-order
      stream-triggers resume ship-paid-order --catchup none
    """
    with cluster.client(settings.config) as client:
        change = client.resume_trigger(trigger_id, catchup=catchup)
        _require(change, client)
    if change.what == "unchanged":
        raise Rejected(f"trigger {trigger_id} is not paused", hint="stream-triggers list shows those that are")
    _print(change._asdict(), f"resumed {trigger_id}", as_json=as_json)


def _require(change: Change, client: Client) -> None:
    if change.what == "absent":
        raise no_trigger(change.id, [each.id for each in client.list_triggers()])


def _print(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        terminal.json_document(document)
    else:
        terminal.line(text)
