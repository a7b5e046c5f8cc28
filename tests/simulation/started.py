"""Triggers that start in the past: what simulated authors write who have one take messages from before it was applied.

An author never gives an epoch of a trigger another start, and raises the epoch to have it start again: all revisions
of one (trigger, epoch) share their start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_triggers.core.record import Pause, Start
from tests.simulation.chance import START_MS

_SINCE = {
    "id": "r-since",
    "task": "orders.ship",
    "key": "${event.payload.order}",
    "when": {"event": "paid"},
    "args": {"order": "${event.payload.order}"},
}
_ANY = {"id": "s-any", "task": "orders.note", "args": {"id": "${message.id}"}}
_BOTH = {
    "id": "t-both",
    "task": "orders.both",
    "key": "${event.payload.order}",
    "when": {"all": [{"event": "paid"}, {"event": "cancelled"}], "within": "30s"},
    "args": {"order": "${event.payload.order}"},
}
_MISSING = {
    "id": "u-missing",
    "task": "orders.chase",
    "key": "${event.payload.order}",
    "when": {"missing": {"event": "cancelled"}, "after": {"event": "paid"}, "within": "3s"},
    "args": {"order": "${event.payload.order}"},
}
_COUNT = {"id": "v-count", "task": "orders.alarm", "args": {"message": "${exception.message}"}}
_COUPON = {
    "id": "w-coupon",
    "task": "orders.coupon",
    "when": {"event": "paid"},
    "args": {"coupon": "${event.payload.coupon}"},
}
_HELD = {"id": "x-held", "task": "orders.held", "when": {"any": [{"event": "cancelled"}, {"result": "orders.ship"}]}}
_ONE = {
    "id": "y-one",
    "task": "orders.ship",
    "key": "${event.payload.order}",
    "when": {"event": "paid"},
    "overlap": {"policy": "buffer_all", "max": 2, "ttl": "20s"},
}

STARTING: Sequence[Mapping[str, Any]] = (
    _SINCE,
    {**_SINCE, "args": {"order": "no. ${event.payload.order}", "run": "${run.id}"}},
    {**_SINCE, "epoch": 1},
    {**_SINCE, "epoch": 1, "when": {"event": "paid", "filter": {"amount": {"gt": 2}}}},
    {**_SINCE, "epoch": 2},
    {**_ANY, "when": {"any": [{"event": "cancelled"}, {"status": "*", "is": ["failed"]}, {"result": "orders.ship"}]}},
    {**_ANY, "when": {"any": [{"event": "cancelled"}, {"event": "other"}]}},
    {**_ANY, "when": {"any": [{"event": "cancelled"}, {"exception": "*", "attempts": "every"}]}, "epoch": 1},
    _BOTH,
    {**_BOTH, "args": {"order": "no. ${event.payload.order}"}},
    {**_BOTH, "epoch": 1},
    {**_BOTH, "epoch": 2},
    _MISSING,
    {**_MISSING, "epoch": 1},
    {**_COUNT, "when": {"count": {"exception": "*", "attempts": "every"}, "at_least": 3, "within": "20s"}},
    {**_COUNT, "when": {"count": {"exception": "*", "attempts": "every"}, "at_least": 2, "within": "30s"}, "epoch": 1},
    _COUPON,
    _HELD,
    _ONE,
)
"""What an author writes who knows what he does."""

STARTING_PAUSED: Sequence[tuple[Mapping[str, Any], Pause]] = tuple(
    (source, pause)
    for source in (_HELD, _BOTH, _MISSING)
    for pause in (Pause("hold"), Pause("drop", START_MS + 12_000), Pause("hold", START_MS, "", 0, "over"))
)

STARTING_BROKEN: Sequence[Mapping[str, Any]] = tuple(
    {"id": each, "task": "x", "when": {"event": "paid", "filter": {"call": "elsewhere:function"}}}
    for each in ("r-since", "t-both")
)

_EARLIEST, _LATER_MS = 0, START_MS + 4000
_SINCE_MS: Mapping[str, Sequence[int]] = {
    "r-since": (_EARLIEST, _LATER_MS),
    "s-any": (_LATER_MS, _EARLIEST),
    "t-both": (_EARLIEST, _LATER_MS),
    "u-missing": (_EARLIEST, _LATER_MS),
    "v-count": (_LATER_MS, _EARLIEST),
    "w-coupon": (_EARLIEST,),
    "x-held": (START_MS + 1500,),
    "y-one": (_EARLIEST,),
}
"""For each epoch, where it starts; from an epoch that is not listed on a trigger takes what comes."""

STARTING_IDS = frozenset(_SINCE_MS)


def start_of(source: Mapping[str, Any]) -> Start | None:
    """Where a trigger starts under its epoch."""
    since_ms, epoch = _SINCE_MS.get(source["id"], ()), source.get("epoch", 0)
    return Start(since_ms[epoch], epoch) if epoch < len(since_ms) else None
