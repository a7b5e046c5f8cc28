"""Where a new trigger starts: with what comes from now on, or with messages that are there already.

Rules:
1. It is ``now``, which is the default and no start, ``earliest``, an instant, or ``{"lookback": "2h"}``.
2. A look back is resolved once, when the trigger is applied: until then it is no instant.
3. One start has one canonical form: ``earliest`` is the instant before which there is none.

The ``start`` of a schedule is another thing: no instant of it is before that.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from stream_triggers.core.duration import duration_text, parse_duration
from stream_triggers.core.fields import at, expected, only, required
from stream_triggers.core.instant import INSTANT_MIN_MS, instant_text, parse_instant
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import InvalidTrigger

NOW = "now"
EARLIEST = "earliest"


class Since(msgspec.Struct, frozen=True):
    """Start with what is not older than an instant."""

    instant_ms: int


class Lookback(msgspec.Struct, frozen=True):
    """Start with what is no older than this when the trigger is applied."""

    duration_ms: int


StartRule: TypeAlias = Since | Lookback
"""Where a trigger starts that takes what is there already; None stands for ``now``."""


def parse_start(value: JsonValue, path: str) -> StartRule | None:
    """Read a start from its JSON form; raises ``InvalidTrigger``."""
    if value == NOW:
        return None
    if value == EARLIEST:
        return Since(INSTANT_MIN_MS)
    if isinstance(value, dict):
        only(value, ("lookback",), path)
        written = required(value, "lookback", 'a duration such as "2h"', path)
        return Lookback(parse_duration(written, at(path, "lookback")))
    try:
        return Since(parse_instant(value, path))
    except InvalidTrigger as problem:
        what = f'{NOW}, {EARLIEST}, an instant such as "2026-03-01T08:00Z" or {{"lookback": "2h"}}'
        raise expected(what, value, path, hint=problem.hint) from None


def start_json(rule: StartRule | None) -> JsonValue:
    """The canonical JSON form of a start; None for ``now``, which is left out."""
    match rule:
        case None:
            return None
        case Since(instant_ms):
            return EARLIEST if instant_ms == INSTANT_MIN_MS else instant_text(instant_ms)
        case Lookback(duration_ms):
            return {"lookback": duration_text(duration_ms)}
        case _:
            assert_never(rule)


def since_ms(rule: StartRule | None, now_ms: int) -> int | None:
    """The instant since which a trigger that is applied now takes messages; None where that is from now on."""
    match rule:
        case None:
            return None
        case Since(instant_ms):
            return instant_ms
        case Lookback(duration_ms):
            return max(now_ms - duration_ms, INSTANT_MIN_MS)
        case _:
            assert_never(rule)
