"""What must come out of a set of inputs, by the core alone: no batches, no codec, no claims store, no transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_triggers.core.invocation import Decision, Invocation, Reason, TriggerRun
from stream_triggers.core.message import Message, Participant, Position, kind_of
from stream_triggers.core.record import Fact
from stream_triggers.core.route import LeafGroup, Match, MatchFailure, Plan, Route, RouteIndex
from stream_triggers.core.step import invoke, told_key
from stream_triggers.errors import EvaluationFailed
from stream_triggers.runtime.log import TopicPartition
from tests.simulation.material import MESSAGE_BYTES_MAX, Sent, plan_of


class Input(NamedTuple):
    """One message at its place in a partition."""

    offset: int
    sent: Sent
    definitions: int
    """Where the definitions topic ended that is in force for it."""
    takers: frozenset[str]
    """The triggers that take it here."""
    in_lane: bool = False
    """Whether it is read by a lane, for one trigger."""
    again: frozenset[str] = frozenset()
    """The run ids that had been forgotten when it came."""
    time_ms: int = 0
    """Kafka's timestamp of it."""


class Letter(NamedTuple):
    """What is compared of a dead letter: everything but the words and the instant."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    stage: str
    trigger_id: str | None


@dataclass(slots=True)
class Expected:
    """What one input partition must lead to, in the order of its messages."""

    invocations: list[Invocation] = field(default_factory=list)
    in_lanes: list[bool] = field(default_factory=list)
    """Of each invocation, whether a lane has made it."""
    runs: list[TriggerRun] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    claims: set[str] = field(default_factory=set)


class Definitions:
    """The triggers in force when the definitions topic ended at an offset."""

    def __init__(self, written: Sequence[tuple[str, bytes | None]]) -> None:
        self._written = written
        self._plans: dict[int, Mapping[str, Plan]] = {}
        self._indexes: dict[tuple[int, frozenset[str]], RouteIndex] = {}
        self._groups: dict[tuple[int, frozenset[str], Route], LeafGroup | None] = {}

    def plans(self, definitions: int) -> Mapping[str, Plan]:
        """Those that can be used, by id."""
        if definitions not in self._plans:
            newest = dict(self._written[:definitions])
            made = {each: plan_of(value) for each, value in newest.items() if value is not None}
            self._plans[definitions] = {each: plan for each, plan in made.items() if plan is not None}
        return self._plans[definitions]

    def listeners(self, route: Route, definitions: int, takers: frozenset[str]) -> LeafGroup | None:
        """Who of the ``takers`` could accept a message with this routing part."""
        known = (definitions, takers, route)
        if known not in self._groups:
            self._groups[known] = self._index(definitions, takers).group(route)
        return self._groups[known]

    def has_listeners(self, route: Route | None, definitions: int) -> bool:
        """Whether anybody could accept a message with this routing part, also one who does not take it yet."""
        return route is None or self.listeners(route, definitions, frozenset(self.plans(definitions))) is not None

    def _index(self, definitions: int, takers: frozenset[str]) -> RouteIndex:
        known = (definitions, takers)
        if known not in self._indexes:
            self._indexes[known] = RouteIndex(
                [plan for trigger_id, plan in self.plans(definitions).items() if trigger_id in takers]
            )
        return self._indexes[known]


def expect(partition: TopicPartition, inputs: Iterable[Input], definitions: Definitions) -> Expected:
    """Judge the messages of one partition, one after the other: those of its lanes before those that all take."""
    expected = Expected()
    for each in inputs:
        _judge(_Place(partition, each), definitions, expected)
    return expected


class _Place(NamedTuple):
    partition: TopicPartition
    input: Input

    def letter(self, stage: str, trigger_id: str | None) -> Letter:
        sent = self.input.sent
        return Letter(*self.partition, self.input.offset, sent.key, sent.value, stage, trigger_id)

    def decision(
        self, reason: Reason, plan: Plan, message: Message, run_id: str | None, detail: str, key: str | None = None
    ) -> Decision:
        return Decision(
            reason=reason,
            topic=self.partition.topic,
            partition=self.partition.partition,
            offset=self.input.offset,
            time_ms=message.time_ms,
            trigger_id=plan.trigger.id,
            trigger_version=plan.version,
            detail=detail,
            run_id=run_id,
            kind=kind_of(message),
            id=message.id,
            key=key,
        )


def _judge(place: _Place, definitions: Definitions, expected: Expected) -> None:
    sent, message = place.input.sent, place.input.sent.meaning
    if message is None:
        _reject(place, definitions, expected)
        return
    assert sent.route is not None, "what has a meaning has a routing part"
    group = definitions.listeners(sent.route, place.input.definitions, place.input.takers)
    if group is None:
        return
    matches, failures = group.match(message)
    for failure in failures:
        _fail(place, "filter_failed", "filter", failure, message, expected)
    for match in matches:
        _fire(place, match, message, expected)


def _reject(place: _Place, definitions: Definitions, expected: Expected) -> None:
    """What cannot be decoded is told by who reads for all if anybody listens, and by a lane for its trigger."""
    sent, at, takers = place.input.sent, place.input.definitions, place.input.takers
    if not place.input.in_lane and definitions.has_listeners(sent.route, at):
        expected.letters.append(place.letter("decode", None))
    if place.input.in_lane and sent.route is not None and definitions.listeners(sent.route, at, takers) is not None:
        [trigger_id] = takers
        expected.letters.append(place.letter("decode", trigger_id))


def _fire(place: _Place, match: Match, message: Message, expected: Expected) -> None:
    owner, leaf, more = match.settled(place.input.time_ms)
    run_id = owner.run_ids.of_one(kind_of(message), message.id).hex()
    if run_id in expected.claims and run_id not in place.input.again:
        is_direct = match.plan.keyed is None
        key = None if is_direct or more else told_key(match.plan, match.leaf, message, kind_of(message))
        expected.decisions.append(place.decision("duplicate", owner, message, run_id, "", key))
        return
    if owner.keyed is not None:
        position = Position(*place.partition, place.input.offset)
        routed = owner.keyed.routing.facts(message, (leaf, *more), position)
        for refusal in routed.refusals:
            expected.decisions.append(place.decision(refusal.reason, owner, message, None, refusal.detail))
        if routed.facts:
            expected.claims.add(run_id)
            expected.facts += routed.facts
        return
    try:
        invocation = invoke(owner, message, MESSAGE_BYTES_MAX)
    except EvaluationFailed as error:
        failure = MatchFailure(owner, leaf, error.message)
        _fail(place, "arguments_failed", "arguments", failure, message, expected)
        return
    expected.claims.add(run_id)
    expected.invocations.append(invocation)
    expected.in_lanes.append(place.input.in_lane)
    expected.runs.append(_run(place, owner, leaf, message, invocation))


def _run(place: _Place, owner: Plan, leaf: str, message: Message, invocation: Invocation) -> TriggerRun:
    return TriggerRun(
        trigger_id=owner.trigger.id,
        trigger_version=owner.version,
        epoch=owner.trigger.epoch,
        task=owner.trigger.task,
        run_id=invocation.run_id,
        invocation_id=invocation.id,
        time_ms=message.time_ms,
        key=invocation.key,
        participants=(
            Participant(leaf, kind_of(message), message.id, *place.partition, place.input.offset, message.time_ms),
        ),
        root=invocation.root,
        depth=invocation.depth,
    )


def _fail(
    place: _Place, reason: Reason, stage: str, failure: MatchFailure, message: Message, expected: Expected
) -> None:
    detail = f"{failure.leaf}: {failure.error}"
    key = told_key(failure.plan, failure.leaf, message, kind_of(message))
    expected.decisions.append(place.decision(reason, failure.plan, message, None, detail, key))
    expected.letters.append(place.letter(stage, failure.plan.trigger.id))


def in_force(noted: Mapping[int, int], offsets: Iterable[int]) -> Iterator[tuple[int, int | None]]:
    """For each of the rising ``offsets``, the definitions noted last at or before it; None where there is no note."""
    notes, current = iter(sorted(noted.items())), None
    following = next(notes, None)
    for offset in offsets:
        while following is not None and following[0] <= offset:
            current, following = following[1], next(notes, None)
        yield offset, current
