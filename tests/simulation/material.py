"""What simulated authors and senders write: few triggers, few ids, so that repeats, edits and failures are common.

Whatever bytes are made, what they mean is remembered here: the oracle decodes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import RunIds
from stream_triggers.core.message import Event, Failure, Message, Success, TaskResult, TaskStatus
from stream_triggers.core.record import Definition, Pause, Start
from stream_triggers.core.route import Plan, Route, plan, route_of
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.errors import StreamTriggersError
from stream_triggers.runtime import definitions
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify import definitions as verified
from tests.mutants import replaced
from tests.simulation.chance import START_MS
from tests.simulation.started import STARTING, STARTING_BROKEN, STARTING_IDS, STARTING_PAUSED, start_of

MESSAGE_BYTES_MAX = 1024
FUNCTIONS: Functions = AllowedFunctions()

_SHIP = {"id": "a-ship", "task": "orders.ship", "key": "${event.payload.order}", "when": {"event": "paid"}}
_ORDER = {"order": "${event.payload.order}"}

_WORKING: Sequence[Mapping[str, Any]] = (
    {**_SHIP, "args": _ORDER},
    {**_SHIP, "args": {"order": "no. ${event.payload.order}", "run": "${run.id}"}},
    {**_SHIP, "args": _ORDER, "epoch": 1},
    {**_SHIP, "args": _ORDER, "when": {"event": "paid", "filter": {"amount": {"gt": 2}}}},
    {
        "id": "b-any",
        "task": "orders.note",
        "when": {
            "any": [
                {"event": "paid", "filter": {"amount": 3}},
                {"event": "cancelled"},
                {"status": "orders.ship", "is": ["failed"]},
                {"event": "paid", "filter": {"order": "o1"}},
            ]
        },
        "args": {"id": "${message.id}"},
    },
    {
        "id": "c-status",
        "task": "orders.track",
        "when": {"status": "*", "is": ["success", "failed"], "arguments": {"order": {"prefix": "o"}}},
        "key": "${status.task}",
        "args": {"task": "${status.task}", "attempt": "${status.attempt}"},
    },
    {
        "id": "d-result",
        "task": "orders.invoice",
        "when": {"result": "orders.ship", "filter": {"ok": True}},
        "args": {"value": "${result.value}"},
    },
    {
        "id": "e-exception",
        "task": "orders.alarm",
        "when": {"exception": "orders.ship", "types": ["TimeoutError"], "attempts": "every"},
        "args": {"attempt": "${exception.attempt}"},
    },
    {
        "id": "e-exception",
        "task": "orders.alarm",
        "when": {"exception": "*", "filter": {"message": {"prefix": "too"}}},
        "args": {"type": "${exception.type}"},
    },
    {
        "id": "f-optional",
        "task": "orders.coupon",
        "when": {"event": "paid"},
        "args": {"coupon": "${event.payload.coupon}"},
    },
)

_KEYED: Sequence[Mapping[str, Any]] = (
    {
        "id": "h-both",
        "task": "orders.both",
        "key": "${event.payload.order}",
        "when": {"all": [{"event": "paid"}, {"event": "cancelled"}], "within": "30s"},
        "args": {"order": "${event.payload.order}"},
    },
    {
        "id": "h-both",
        "task": "orders.both",
        "key": "${event.payload.order}",
        "when": {"all": [{"event": "paid"}, {"event": "cancelled"}, {"event": "other"}], "within": "1m"},
        "args": {"order": "no. ${event.payload.order}"},
    },
    {
        "id": "i-missing",
        "task": "orders.chase",
        "key": "${event.payload.order}",
        "when": {"missing": {"event": "cancelled"}, "after": {"event": "paid"}, "within": "3s"},
        "args": {"order": "${event.payload.order}"},
    },
    {
        "id": "j-count",
        "task": "orders.alarm",
        "when": {"count": {"exception": "*", "attempts": "every"}, "at_least": 3, "within": "20s"},
        "args": {"message": "${exception.message}"},
    },
    {"id": "k-every", "task": "orders.report", "when": {"every": "2s"}, "args": {}},
    {
        "id": "l-cooldown",
        "task": "orders.note",
        "key": "${event.payload.order}",
        "when": {"event": "paid"},
        "args": {"order": "${event.payload.order}"},
        "cooldown": {"for": "2s"},
    },
    {
        "id": "p-coupon",
        "task": "orders.coupon",
        "key": "${event.payload.order}",
        "when": {"event": "paid"},
        "args": {"coupon": "${event.payload.coupon}"},
        "rate_limit": {"max": 9, "per": "1s"},
    },
    {
        "id": "m-one",
        "task": "orders.ship",
        "key": "${event.payload.order}",
        "when": {"event": "paid"},
        "args": {"order": "${event.payload.order}"},
        "overlap": {"policy": "buffer_all", "max": 2, "ttl": "20s"},
        "expires": "30s",
    },
    {
        "id": "n-failing",
        "task": "orders.ship",
        "when": {"event": "paid"},
        "circuit_breaker": {"failures": {"max": 2, "per": "20s"}, "for": "4s"},
    },
    {
        "id": "q-again",
        "task": "orders.note",
        "key": "${event.payload.order}",
        "when": {"sequence": [{"times": 2, "of": {"event": "paid"}}, {"event": "cancelled"}], "within": "20s"},
    },
    {
        "id": "q-again",
        "task": "orders.note",
        "key": "${event.payload.order}",
        "when": {"one_or_more": {"event": "paid", "as": "paid"}, "until": {"event": "cancelled"}},
        "args": {"paid": "${all.paid}"},
    },
)

SETTLED_MS = 3000
"""What comes so long after a pause has nothing to do with it: less than a schedule lasts."""

_HOLD = {
    "id": "m-hold",
    "task": "orders.held",
    "key": "${event.payload.order}",
    "when": {"event": "paid"},
    "args": _ORDER,
}
_KEEP = {"id": "n-keep", "task": "orders.kept", "when": {"any": [{"event": "cancelled"}, {"result": "orders.ship"}]}}

_PAUSED: Sequence[tuple[Mapping[str, Any], Pause]] = (
    *[
        (source, pause)
        for source in (_HOLD, _KEEP, _KEYED[0], _KEYED[2], _KEYED[4], _KEYED[5])
        for pause in (
            Pause("hold"),
            Pause("drop", START_MS + 12_000),
            Pause("hold_latest", START_MS + 30_000, "all"),
            Pause("hold", START_MS, "", 0, "over"),
        )
    ],
    (_HOLD, Pause("hold", START_MS + 20_000)),
    (_KEEP, Pause("hold", START_MS + 25_000, "latest")),
)
"""Triggers that are paused, or have been."""

_BROKEN: Sequence[Mapping[str, Any]] = (
    {"id": "b-any", "task": "x", "when": {"event": "paid", "filter": {"call": "elsewhere:function"}}},
    {"id": "h-both", "task": "x", "when": {"event": "paid", "filter": {"call": "elsewhere:function"}}},
)


class Revision(NamedTuple):
    """Something an author writes under a trigger id; ``value`` is None for a deletion."""

    trigger_id: str
    value: bytes | None
    trigger: Mapping[str, Any] | None
    """What it means, None where workers cannot use it."""
    pause: Pause | None = None
    start: Start | None = None
    epoch: int = 0

    @property
    def can_fail(self) -> bool:
        """Whether its arguments fail for some messages."""
        return self.trigger_id in ("f-optional", "w-coupon")


class Sent(NamedTuple):
    """Something a sender writes; ``meaning`` is None where it is not a message of its topic.

    ``route`` is its routing part, None where that is broken: then it is rejected whether or not anybody listens.
    """

    topic: str
    key: bytes
    value: bytes | None
    meaning: Message | None
    route: Route | None


def _revision(source: Mapping[str, Any], *, usable: bool, pause: Pause | None = None) -> Revision:
    trigger, start = parse_trigger(source), start_of(source)
    definition = Definition(trigger.id, version(trigger), canonical(trigger), 0, pause=pause, start=start)
    return Revision(trigger.id, encode(definition), source if usable else None, pause, start, trigger.epoch)


USABLE: Sequence[Revision] = tuple(_revision(source, usable=True) for source in (*_WORKING, *_KEYED, _HOLD))
"""What an author writes who knows what he does."""

REVISIONS: Sequence[Revision] = (
    *USABLE,
    *(_revision(source, usable=True, pause=pause) for source, pause in _PAUSED),
    *(_revision(source, usable=False) for source in _BROKEN),
    Revision("a-ship", b"no definition", None),
    Revision("d-result", encode(Event("paid", "e0", 0, None, {})), None),
    Revision("b-any", encode(Definition("b-any", "v", b"{no json", 0)), None),
    Revision("a-ship", None, None),
    Revision("f-optional", None, None),
    *(Revision(each, None, None) for each in ("h-both", "i-missing", "k-every", "m-one")),
)

"""Everything that is written, deletions too, of triggers that take what comes."""

STARTING_USABLE: Sequence[Revision] = tuple(_revision(source, usable=True) for source in STARTING)
STARTING_REVISIONS: Sequence[Revision] = (
    *STARTING_USABLE,
    *(_revision(source, usable=True, pause=pause) for source, pause in STARTING_PAUSED),
    *(_revision(source, usable=False) for source in STARTING_BROKEN),
    *(Revision(each, None, None) for each in sorted(STARTING_IDS)),
)
"""The same of those that start in the past."""

PAUSED_IDS = frozenset(source["id"] for source in (_HOLD, _KEEP)) | {"x-held"}
"""The triggers that meet the keyed stage where they are paused, and fire directly elsewhere."""

KEYED_IDS = PAUSED_IDS | {"t-both", "u-missing", "v-count", "y-one"} | frozenset(source["id"] for source in _KEYED)
"""The triggers that meet the keyed stage, whatever their version, or where they are paused."""

_UNKEYED = ("j-count", "k-every", "n-failing", "n-keep", "v-count", "x-held")

RESETS = tuple(
    (trigger_id, key)
    for trigger_id in sorted(KEYED_IDS)
    for key in (("",) if trigger_id in _UNKEYED else ("o0", "o1", "o2"))
)
"""The triggers that can be reset, and keys of theirs."""

MEANINGS: Mapping[bytes, Revision] = {
    each.value: each
    for each in (*REVISIONS, *STARTING_REVISIONS)
    if each.value is not None and each.trigger is not None
}
"""What workers make of bytes that they can use."""

EPOCHS: Mapping[str, int] = {
    version(parse_trigger(each.trigger)): each.epoch for each in MEANINGS.values() if each.trigger
}
"""The epoch of each version."""


@lru_cache
def plan_of(value: bytes) -> Plan | None:
    """What workers make of a definition; None where they cannot use it."""
    if value not in MEANINGS:
        return None
    meaning = MEANINGS[value]
    assert meaning.trigger is not None
    return plan(parse_trigger(meaning.trigger), FUNCTIONS, meaning.pause, meaning.start)


@contextmanager
def remembered_definitions() -> Iterator[None]:
    """Read no definition twice: parsing the same few again in every process takes half of a schedule's time."""

    def read(trigger_id: str, value: bytes, functions: Functions) -> Plan:
        known = (trigger_id, value)
        if known not in _READ:
            try:
                _READ[known] = original(trigger_id, value, functions)
            except definitions.UNUSABLE as error:
                _READ[known] = error
        found = _READ[known]
        if isinstance(found, StreamTriggersError):
            raise found.with_traceback(None)
        return found

    original = definitions.read_definition
    with replaced(definitions, "read_definition", read), replaced(verified, "read_definition", read):
        yield


_READ: dict[tuple[str, bytes], Plan | StreamTriggersError] = {}


def some_message(random: Random, topics: Topics, now_ms: int) -> Sent:
    """A message as one of the senders may write it."""
    topic, make = random.choice(
        (
            (topics.events, _event),
            (topics.events, _event),
            (topics.task_status, _status),
            (topics.task_results, _result),
        )
    )
    message = make(random, now_ms - random.choice((0, 0, 0, 10, 1000, 5000, 40_000)))
    key = b"k%d" % random.randrange(3)
    value = encode(message)
    if len(value) > MESSAGE_BYTES_MAX:
        return Sent(topic, key, value, None, None)
    if random.random() < 0.9:
        return Sent(topic, key, value, message, route_of(message))
    if random.random() < 0.3:
        return Sent(topic, key, value[:-1], None, route_of(message))
    return Sent(topic, key, random.choice((b"", b"garbage", value[:12], None, _FOREIGN[topic])), None, None)


def _event(random: Random, time_ms: int) -> Event:
    payload: dict[str, Any] = {"order": f"o{random.randrange(3)}", "amount": random.choice((1, 3, 9, "much"))}
    if random.random() < 0.5:
        payload["coupon"] = random.choice((None, "c"))
    if random.random() < 0.03:
        payload["note"] = "x" * MESSAGE_BYTES_MAX
    code = random.choice(("paid", "paid", "cancelled", "other"))
    return Event(code, f"e{random.randrange(6)}", time_ms, None, payload)


def _status(random: Random, time_ms: int) -> TaskStatus:
    return TaskStatus(
        task=random.choice(("orders.ship", "orders.pack")),
        status=random.choice(("running", "success", "failed")),
        id=f"s{random.randrange(9)}",
        invocation_id=random.choice(_INVOCATIONS),
        time_ms=time_ms,
        attempt=random.randrange(1, 3),
        arguments={"order": random.choice(("o1", "x1"))},
        trigger_id=random.choice((None, "b-any", "m-one", "m-one", "n-failing", "y-one")),
        trigger_key=random.choice((None, "o0", "o1", "o2")),
    )


def _result(random: Random, time_ms: int) -> TaskResult:
    kind, text = random.choice(("TimeoutError", "ValueError")), random.choice(("too late", "no"))
    failure = Failure(kind, ("Exception",), text, final=random.random() < 0.7)
    return TaskResult(
        task=random.choice(("orders.ship", "orders.pack")),
        outcome=random.choice((Success({"ok": True}), Success({"ok": False}), Success(None), failure, failure)),
        id=f"r{random.randrange(6)}",
        invocation_id="i",
        time_ms=time_ms,
        root="root",
        depth=random.randrange(3),
    )


_INVOCATIONS = tuple(
    RunIds(each, 0).of_one("event", f"e{number}").hex() for each in ("m-one", "m-one", "y-one") for number in range(6)
)
"""Those of the triggers that let one run go on at a time, whatever came of the events."""

_TOPICS = Topics("triggers")
_FOREIGN: Mapping[str, bytes] = {
    _TOPICS.events: encode(TaskStatus("orders.ship", "failed", "s0", "i", 0)),
    _TOPICS.task_status: encode(Event("paid", "e0", 0, None, {"order": "o1", "amount": 3})),
    _TOPICS.task_results: encode(TaskStatus("orders.ship", "success", "s0", "i", 0)),
}
