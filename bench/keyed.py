"""The work of the keyed stage: triggers with memory, and the events that they remember.

Every event is accepted by one trigger and makes one fact, so events and facts per second are the same number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.load import CODES, CURRENCY, EVENTS_PER_MS, TASK
from stream_triggers.core.message import Event
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Outgoing

KEYS = 100_000
"""Keys that are open at once."""

COUNTED = 10
"""Occurrences that make a count complete."""

WAIT_MS = 1000
"""How long after its event a timer is due, where lateness is measured."""

_KEY = "${event.payload.order}"
_FIRST, _SECOND = ({"event": code} for code in CODES)


def _trigger(name: str, when: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": name, "task": TASK, "key": _KEY, "when": when, "args": {"order": _KEY}}


AND = _trigger("and", {"all": [_FIRST, _SECOND], "within": "1h"})
COUNT = _trigger("count", {"count": _FIRST, "at_least": COUNTED, "within": "10m"})
PENDING = _trigger("pending", {"after": _SECOND, "wait": "7d"})
DUE = _trigger("due", {"after": _FIRST, "wait": f"{WAIT_MS}ms"})


def pairs(count: int, keys: int = KEYS) -> Iterator[Outgoing]:
    """The first code for every key, then the second for every key, and so on: all keys are open in between."""
    return _events(count, keys, lambda n: CODES[n // keys % 2])


def pairs_completed(count: int, keys: int = KEYS) -> int:
    """How often ``AND`` fires for the first ``count`` of ``pairs``."""
    rounds, rest = divmod(count, 2 * keys)
    return rounds * keys + max(0, rest - keys)


def repeats(count: int, keys: int) -> Iterator[Outgoing]:
    """The first code for one key after the other, again and again."""
    return _events(count, keys, lambda _: CODES[0])


def repeats_completed(count: int, keys: int) -> int:
    """How often ``COUNT`` fires for the first ``count`` of ``repeats``."""
    each, more = divmod(count, keys)
    return (keys - more) * (each // COUNTED) + more * ((each + 1) // COUNTED)


def singles(count: int) -> Iterator[Outgoing]:
    """The second code, each for a key of its own."""
    return _events(count, count, lambda _: CODES[1])


def _events(count: int, keys: int, code_of: Callable[[int], str]) -> Iterator[Outgoing]:
    start_ms = time.time_ns() // 1_000_000
    for n in range(count):
        order = f"order-{n % keys}"
        payload = {"order": order, "customer": f"customer-{n % 1000}", "currency": CURRENCY, "total": n % 500}
        event = Event(code_of(n), f"event-{n}", start_ms + n // EVENTS_PER_MS, order, payload)
        yield {"value": encode(event), "key": order.encode()}
