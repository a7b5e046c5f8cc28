"""Durations as text: ``90s``, ``2h``, ``1d12h``.

Rules:
1. A duration is a whole number of milliseconds, longer than nothing and at most ``DURATION_MAX_MS``.
2. Units stand in falling order, each at most once: d, h, m, s, ms. A day is 24 hours.
3. One duration has one canonical text: ``90m`` is written ``1h30m``.
"""

from __future__ import annotations

import re

from stream_triggers.core.fields import expected
from stream_triggers.core.message import JsonValue

DURATION_MAX_MS = 3650 * 86_400_000
"""Longest duration, some ten years: what is longer is a mistake more often than it is meant."""

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_TEXT = re.compile("".join(rf"(?:(\d{{1,12}}){name})?" for name, _ in _UNITS), re.ASCII)


def parse_duration(value: JsonValue, path: str) -> int:
    """Read a duration, in milliseconds; raises ``InvalidTrigger``."""
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    counts = match.groups(default="0") if match else ()
    duration_ms = sum(int(count) * unit_ms for count, (_, unit_ms) in zip(counts, _UNITS, strict=False))
    if not 0 < duration_ms <= DURATION_MAX_MS:
        raise expected('a duration such as "90s", "2h" or "1d12h", at most "3650d"', value, path)
    return duration_ms


def duration_text(duration_ms: int) -> str:
    """The canonical text of a duration."""
    text = ""
    for name, unit_ms in _UNITS:
        count, duration_ms = divmod(duration_ms, unit_ms)
        text += f"{count}{name}" if count else ""
    return text
