"""WHEN: how the commands are told an instant, by itself or by how far it is from now."""

from __future__ import annotations

from datetime import UTC
from typing import Literal

import typer

from stream_triggers.cli import terminal
from stream_triggers.core.duration import parse_duration
from stream_triggers.core.instant import parse_instant
from stream_triggers.errors import InvalidTrigger

_INSTANT = "an instant (2026-01-31, 2026-01-31T12:00, in UTC unless it says otherwise)"

AGO = f"WHEN is {_INSTANT}, or how long ago: 30m, 2h, 1d12h."
"""What ``range_ms`` reads, for the help."""

COMING = f"WHEN is {_INSTANT}, or in how long: 30m, 2h, 1d12h."
"""What ``coming_ms`` reads, for the help."""


def range_ms(since: str | None, until: str | None, now_ms: int) -> tuple[int | None, int | None]:
    """The range that ``--since`` and ``--until`` mean."""
    since_ms = None if since is None else instant_ms(since, now_ms, -1, "--since")
    until_ms = None if until is None else instant_ms(until, now_ms, -1, "--until")
    if until_ms == 0:
        raise typer.BadParameter("expected a time after 1970", param_hint="--until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise typer.BadParameter("expected a time before that of --until", param_hint="--since")
    return since_ms, until_ms


def coming_ms(text: str, now_ms: int, option: str) -> int:
    """The instant to come that the value of ``option`` means."""
    coming = instant_ms(text, now_ms, 1, option)
    if coming <= now_ms:
        raise typer.BadParameter("expected a time to come", param_hint=option)
    return coming


def instant_ms(text: str, now_ms: int, direction: Literal[-1, 1], option: str) -> int:
    """The instant that the value of ``option`` means; a duration leads from now into the past, or by 1 the future."""
    try:
        if "-" not in text:
            return now_ms + direction * parse_duration(text, "")
        return parse_instant(text if "T" in text.upper() else f"{text}T00:00", "", UTC)
    except InvalidTrigger:
        wrong = f"expected an instant or a duration such as 2h, got {terminal.short(text)!r}"
        raise typer.BadParameter(wrong, param_hint=option) from None
