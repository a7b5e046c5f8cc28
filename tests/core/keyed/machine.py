"""A trigger driven by hand through the pure core: messages and the passing of time in, runs and refusals out.

It does what the stages around the core do, no more: it finds the leaves that accept a message, makes facts of it, gives
each to the state of its key, and looks at the states that are due. Between any two steps states are written and read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import yaml

from stream_triggers.core.condition import ScheduleLeaf, compile_leaf
from stream_triggers.core.keyed.follow import RUN
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.state import (
    Clocks,
    Firing,
    KeyState,
    Outcome,
    Refusal,
    Wake,
    decode_state,
    encode_state,
)
from stream_triggers.core.message import Event, Message, Position, TaskStatus
from stream_triggers.core.route import _routes, route_of
from stream_triggers.core.trigger import parse_trigger

START_MS = 1_700_000_000_000
"""Instant 0 of the tests: 2023-11-14T22:13:20Z."""


def functions(name: str) -> Any:
    return {"m:one": lambda message: {"one": message.id}, "m:bad": lambda message: 1 / 0}[name]


def plan_of(trigger: str | dict[str, Any]) -> KeyedPlan:
    """The plan of a trigger that is written as YAML, of which only what matters to the test needs to be there."""
    fields = yaml.safe_load(trigger) if isinstance(trigger, str) else trigger
    return KeyedPlan(parse_trigger({"id": "t", "task": "do.it", **fields}), functions)


class Machine:
    """One trigger at work. Instants are seconds since ``START_MS``; the clocks stand still unless they are moved."""

    def __init__(self, trigger: str | dict[str, Any]) -> None:
        self.plan = plan_of(trigger)
        self.leaves = [
            (place.id, _routes(place.pick.leaf), compile_leaf(place.pick.leaf, functions))
            for place in self.plan.places
            if not isinstance(place.pick.leaf, ScheduleLeaf)
        ]
        self.clocks = Clocks(START_MS, START_MS)
        self.states: dict[str, bytes] = {}
        self.wakes: dict[str, Wake] = {}
        self.at = 0
        self.firings: list[Firing] = []
        self.refusals: list[Refusal] = []
        if self.plan.is_scheduled:
            self._take("", self.plan.on_time(None, "", self.clocks))

    def send(self, code: str, at: float, name: str = "", **payload: Any) -> None:
        """Take an event; its id is its code and instant unless it is given."""
        self.take(Event(code, name or f"{code}{at:g}", START_MS + round(at * 1000), None, payload))

    def take(self, message: Message) -> None:
        """Take a message as route and evaluate would."""
        route = route_of(message)
        accepted = [
            name for name, routes, accepts in self.leaves if route in routes and (not accepts or accepts(message))
        ]
        self._route(message, tuple(accepted))

    def hear(self, status: TaskStatus) -> None:
        """Take a status of one of its runs."""
        self._route(status, (RUN,))

    def _route(self, message: Message, accepted: tuple[str, ...]) -> None:
        routed = self.plan.routing.facts(message, accepted, Position("events", 0, self.at))
        self.refusals += routed.refusals
        for fact in routed.facts:
            self.at += 1
            self._take(fact.key, self.plan.on_fact(self.state(fact.key), fact.key, fact, self.at, self.clocks))

    def tick(self, at: float, wall: float | None = None) -> None:
        """Move the clocks on, the wall clock as far unless it is given, and look at every state that is due."""
        watermark_ms = max(self.clocks.watermark_ms, START_MS + round(at * 1000))
        wall_ms = max(self.clocks.wall_ms, START_MS + round((at if wall is None else wall) * 1000))
        self.clocks = Clocks(wall_ms, watermark_ms)
        while due := [key for key, wake in self.wakes.items() if is_due(wake, self.clocks)]:
            for key in due:
                self._take(key, self.plan.on_time(self.state(key), key, self.clocks))

    def state(self, key: str = "") -> KeyState | None:
        """The state of a key, read back from what was written."""
        return decode_state(self.states[key])[0] if key in self.states else None

    @property
    def ran(self) -> list[tuple[float, str]]:
        """The runs so far: when, and the ids of the participants."""
        return [
            ((firing.time_ms - START_MS) / 1000, " ".join(each.id for each in firing.participants))
            for firing in self.firings
        ]

    @property
    def arguments(self) -> list[Any]:
        """The arguments of the runs so far."""
        return [orjson.loads(firing.arguments) for firing in self.firings]

    @property
    def refused(self) -> list[tuple[str, str]]:
        """The refusals so far: why, and the ids of the participants."""
        return [(refusal.reason, " ".join(each.id for each in refusal.participants)) for refusal in self.refusals]

    def _take(self, key: str, outcome: Outcome) -> None:
        self.firings += outcome.firings
        self.refusals += outcome.refusals
        if outcome.state is None:
            self.states.pop(key, None)
            self.wakes.pop(key, None)
            return
        self.states[key] = encode_state(outcome.state, outcome.wake)
        assert decode_state(self.states[key]) == (outcome.state, outcome.wake) or outcome.state.gates
        self.wakes[key] = outcome.wake


def is_due(wake: Wake, clocks: Clocks) -> bool:
    pairs = ((wake.wall_ms, clocks.wall_ms), (wake.watermark_ms, clocks.watermark_ms))
    return any(due_ms is not None and due_ms <= now_ms for due_ms, now_ms in pairs)


class Told(NamedTuple):
    """What came of a script."""

    runs: str
    refusals: str


def play(trigger: str | dict[str, Any], script: str) -> Machine:
    """Play a row of ``CODE@INSTANT{PAYLOAD}`` (an event) and ``=INSTANT`` (the clocks move there)."""
    machine = Machine(trigger)
    for move in script.split():
        if move.startswith("="):
            machine.tick(float(move[1:]))
        else:
            head, brace, payload = move.partition("{")
            code, _, at = head.partition("@")
            machine.send(code, float(at), **yaml.safe_load(brace + payload.replace(":", ": ")) if brace else {})
    return machine


def told(machine: Machine) -> Told:
    """What came of it as text: ``INSTANT:a0+b5`` for a run, ``reason:a0+b5`` for a refusal, in order."""
    runs = [f"{at:g}:{names.replace(' ', '+')}" for at, names in machine.ran]
    return Told(" ".join(runs), " ".join(f"{reason}:{names.replace(' ', '+')}" for reason, names in machine.refused))
