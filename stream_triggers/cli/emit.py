"""``emit``: send events by hand."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated

import orjson
import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.core.fields import require_64_bits
from stream_triggers.core.message import JsonValue

_LONG = re.compile("[0-9]{19}")


@configured("cluster")
def emit(
    settings: Settings,
    code: Annotated[str, typer.Argument(metavar="CODE", help="What happened, such as order.paid.")],
    payload: Annotated[str, typer.Argument(metavar="PAYLOAD", help="JSON; - reads it from standard input.")] = "null",
    *,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="What it is about: events of one key keep their order."),
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Its identity: a second event of this id fires nothing. Default: new."),
    ] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Who sends it.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Send it so many times.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ids as JSON.")] = False,
) -> None:
    """Send an event, and print its id once Kafka has it.

    For example:
      stream-triggers emit order.paid '{"order_id": 7, "total": 120}' --key 7
      stream-triggers emit order.paid '{"order_id": 7}' --id payment-4711 --count 2
      cat order.json | stream-triggers emit order.created -
    """
    value = _parsed(sys.stdin.read() if payload == "-" else payload)
    with cluster.client(settings.config, source=source) as client:
        ids = [client.emit_event(code, value, key=key, event_id=event_id) for _ in range(count)]
    if as_json:
        terminal.json_document(ids)
    else:
        for each in ids:
            terminal.line(each)


def _parsed(payload: str) -> JsonValue:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="PAYLOAD") from error
    if _LONG.search(payload):  # of an integer beyond 64 bits it makes a float
        require_64_bits(json.loads(payload), "payload")
    return value
