"""The route stage: a batch of messages in, the records of everything that fires out.

The unit of work is the batch. It passes through four steps, each over the whole batch:

    prefixes -> listeners     slice out the routing part, look up who listens (nothing else is decoded of the others)
    decode   -> matches       decode the rest of what somebody listens to, ask the filters
    claims   -> new or taken  one lookup for all run ids
    encode   -> outputs       arguments, invocation, run record; facts of keyed triggers; decisions and dead letters

Rules:
1. Every message ends in a run, a fact, a decision, a dead letter, or the count of those no trigger listens to.
2. A trigger's failure on a message is its own: the others still fire, the batch goes on.
3. Arguments are complete before a run id is claimed: there is no half-built run.
4. Nothing here writes: the caller produces the outputs and commits the claims.
5. What a trigger catches up with goes the same way, past nobody but that trigger, and is not counted again. What has no
   routing part was told when it was read for all; where only the rest cannot be decoded, the trigger is told, for when
   it was read for all, perhaps nobody listened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from msgspec.structs import replace

from stream_triggers.core.invocation import Decision, Reason
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.message import Kind, Message, Position
from stream_triggers.core.route import LeafGroup, Match, MatchFailure, Plan, Route, RouteIndex
from stream_triggers.core.step import key_and_arguments, told_key, too_deep
from stream_triggers.errors import EvaluationFailed, InvalidMessage
from stream_triggers.runtime.claims import Claims, claim_prefix
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.codec.hot import (
    Arrival,
    EncodeFiring,
    arrival_decoder,
    decode_event,
    decode_result,
    decode_status,
    event_prefixes,
    firing_encoder,
    parse_prefix,
    result_prefixes,
    status_prefixes,
)
from stream_triggers.runtime.dead_letters import dead_letter
from stream_triggers.runtime.keyed.facts import Defined, FactWriter
from stream_triggers.runtime.log import Outgoing, Record, Slice, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import Counters, Stage, log

logger = logging.getLogger(__name__)

T = TypeVar("T", Match, MatchFailure)

PREFIXES_KEPT_MAX = 100_000
"""Routing parts remembered at most; a sender that makes up event codes must not fill the memory."""

LINES_FIRST, LINE_EVERY = 100, 1000
"""Of the dead letters of a stage the first hundred are told in the log, then one in a thousand."""


class _Listeners(NamedTuple):
    """Who listens to messages with one routing part, nobody if there is no group; and how such messages are decoded."""

    kind: Kind
    group: LeafGroup | None
    decode: Callable[[bytes], Arrival]


class _View:
    """Some triggers as listeners; ``is_lane``, when they are those that catch up and the messages are not new."""

    def __init__(self, index: RouteIndex, *, is_lane: bool = False) -> None:
        self.index = index
        self.is_lane = is_lane
        self.listeners: dict[bytes, _Listeners] = {}


class _Source(NamedTuple):
    """One input partition: what is derived from its name once, and the encoders of what fires for its messages."""

    partition: TopicPartition
    claim_prefix: bytes
    encoders: dict[Match, EncodeFiring]


_Firing: TypeAlias = tuple[bytes, bytes, Match, Kind, Arrival, Record, _Source]
"""A match that becomes a run unless its run id is taken: claim, run id, and what they came from. A plain tuple, since
one is made for every match."""


class _Input(NamedTuple):
    """How the messages of one input topic are read."""

    prefixes: Callable[[Sequence[bytes]], list[bytes]]
    decode: Callable[[bytes], Message]


class RouteStage:
    """Routes messages of all input partitions of a worker, with the triggers in force."""

    def __init__(
        self,
        topics: Topics,
        runs_partition: int,
        claims: Claims,
        facts: FactWriter,
        counters: Counters,
        message_bytes_max: int,
    ) -> None:
        """Run records and decisions go to ``runs_partition``."""
        self._inputs = {
            topics.events: _Input(event_prefixes, decode_event),
            topics.task_status: _Input(status_prefixes, decode_status),
            topics.task_results: _Input(result_prefixes, decode_result),
        }
        self._runs_partition = runs_partition
        self._claims = claims
        self._facts = facts
        self._counters = counters
        self._message_bytes_max = message_bytes_max
        self._sources: dict[tuple[str, int], _Source] = {}
        self._left_out: Mapping[TopicPartition, Collection[str]] = {}
        self.use(RouteIndex(()), {}, {})

    def use(self, index: RouteIndex, keyed: Mapping[str, Defined], started: Mapping[str, Plan]) -> None:
        """From the next batch on, these triggers are in force.

        ``keyed`` has the definitions of those with facts, ``started`` those that have a start, which may catch up.
        """
        self._live = _View(index)
        self._started = started
        self._lanes: dict[frozenset[str], _View] = {}
        self._keyed = keyed
        self._sources.clear()

    def leave_out(self, triggers: Mapping[TopicPartition, Collection[str]]) -> None:
        """Whatever triggers are in here for a partition have no part in what ``process`` is given of it."""
        self._left_out = triggers

    def process_lanes(self, slice_: Slice, triggers: frozenset[str], ahead: Collection[str]) -> Outputs:
        """What ``process`` would make of messages if there were no other than these triggers, which have a start.

        Those that are ``ahead`` have no part in it either. An index is made for all together: it takes as long, and as
        much room, as there are triggers.
        """
        view = self._lanes.get(triggers)
        if view is None:
            index = RouteIndex(self._started[each] for each in triggers)
            view = self._lanes[triggers] = _View(index, is_lane=True)
        outputs = Outputs()
        firings = self._match(view, self._source(*slice_.partition), slice_.records, ahead, outputs)
        if firings:
            self._fire(firings, outputs)
        return outputs

    def process(self, batch: Sequence[Slice]) -> Outputs:
        """What ``batch`` makes; run ids are claimed in the overlay, positions and writing are the caller's."""
        outputs = Outputs()
        firings: list[_Firing] = []
        for partition, records in batch:
            left_out = self._left_out.get(partition, ())
            firings += self._match(self._live, self._source(*partition), records, left_out, outputs)
        if firings:
            self._fire(firings, outputs)
        return outputs

    def decide(
        self,
        reason: Reason,
        partition: TopicPartition,
        offset: int,
        time_ms: int,
        detail: str,
        plan: Plan | None = None,
    ) -> Outgoing:
        """The record of a decision about a position of an input partition, and no message in particular."""
        decision = Decision(reason, *partition, offset, time_ms, detail=detail)
        if plan is not None:
            decision = replace(decision, trigger_id=plan.trigger.id, trigger_version=plan.version)
        return Outgoing(value=encode(decision), key=None, partition=self._runs_partition)

    def _match(
        self,
        view: _View,
        source: _Source,
        records: Sequence[Record],
        left_out: Collection[str],
        outputs: Outputs,
    ) -> list[_Firing]:
        input_ = self._inputs[source.partition.topic]
        values = [record.value() or b"" for record in records]
        prefixes = input_.prefixes(values)
        if max(map(len, values)) > self._message_bytes_max:
            prefixes = [b"" if len(v) > self._message_bytes_max else p for v, p in zip(values, prefixes, strict=True)]
        known, prefix_of_claims = view.listeners, source.claim_prefix
        unmatched = 0
        firings: list[_Firing] = []
        for record, value, prefix in zip(records, values, prefixes, strict=True):
            try:
                kind, group, decode = known.get(prefix) or self._listen(view, input_, prefix, value)
                if group is None:
                    unmatched += 1
                    continue
                arrival = decode(value)
            except InvalidMessage as error:
                self._reject(record, error, _told(view, prefix, left_out), outputs)
                continue
            message = arrival[0]
            matches, failures = group.match(message)
            if left_out:
                matches, failures = _without(left_out, matches), _without(left_out, failures)
            for match in matches:
                run_id = match.plan.run_ids.of_one(kind, message.id)
                firings.append((prefix_of_claims + run_id, run_id, match, kind, arrival, record, source))
            if not matches and not failures:
                unmatched += 1
            for failure in failures:
                self._failed("filter_failed", failure, kind, message, record, outputs)
        if view.is_lane:
            self._counters.caught_up += len(records)
        else:
            self._counters.messages += len(records)
            self._counters.unmatched += unmatched
        self._counters.matched += len(firings)
        return firings

    def _listen(self, view: _View, input_: _Input, prefix: bytes, value: bytes) -> _Listeners:
        """Who listens to ``prefix``, looked up once for each; raises what is wrong with a value that has none."""
        if len(value) > self._message_bytes_max:
            raise InvalidMessage(f"message has {len(value)} bytes, the limit is {self._message_bytes_max}")
        if not prefix:
            input_.decode(value)
            raise InvalidMessage("message has no routing part")
        route: Route = parse_prefix(prefix)
        group = view.index.group(route)
        if len(view.listeners) >= PREFIXES_KEPT_MAX:
            view.listeners.clear()
        kind: Kind = route[0]  # type: ignore[assignment]
        listeners = view.listeners[prefix] = _Listeners(kind, group, arrival_decoder(prefix))
        return listeners

    def _reject(self, record: Record, error: InvalidMessage, told: Iterable[str | None], outputs: Outputs) -> None:
        for trigger_id in told:
            self._dead_letter(record, "decode", error.message, trigger_id, outputs)

    def _fire(self, firings: list[_Firing], outputs: Outputs) -> None:
        claims, bytes_max, runs_partition = self._claims, self._message_bytes_max, self._runs_partition
        for firing, is_taken in zip(firings, claims.taken([firing[0] for firing in firings]), strict=True):
            claim, run_id, match, kind, (message, id_bytes, time_bytes), record, source = firing
            plan = match.plan
            if is_taken or claims.is_pending(claim):  # the second: taken by this batch, since the lookup
                # Of what fires directly the run says the key; what has made several facts may have as many keys.
                key = told_key(plan, match.leaf, message, kind) if plan.keyed is not None and not match.more else None
                decision = _decision("duplicate", plan, kind, message, record, run_id.hex(), key)
                self._decide(decision, outputs)
                continue
            if plan.keyed is not None:
                match = match.settled(record.timestamp()[1])
                if match.plan is plan:
                    self._write_facts(plan.keyed, firing, outputs)
                    continue
                plan = match.plan
            if (problem := too_deep(message)) is not None:
                key = told_key(plan, match.leaf, message, kind)
                self._decide(_decision("too_deep", plan, kind, message, record, run_id.hex(), key, problem), outputs)
                continue
            try:
                key, arguments = key_and_arguments(plan, message, kind, run_id.hex(), bytes_max)
            except EvaluationFailed as failure:
                failed = MatchFailure(plan, match.leaf, failure.message)
                self._failed("arguments_failed", failed, kind, message, record, outputs)
                continue
            claims.take(claim, source.partition)
            encode_firing = source.encoders.get(match) or self._encoder(match, kind, source)
            root = message.root.encode() if message.root else id_bytes
            invocation, run, run_hex = encode_firing(
                run_id, key, arguments, id_bytes, time_bytes,
                message.traceparent, root, message.depth + 1, record.offset(),
            )  # fmt: skip
            outputs.invocations.append({"value": invocation, "key": key.encode() if key else run_hex})
            outputs.runs.append({"value": run, "key": run_hex, "partition": runs_partition})

    def _write_facts(self, keyed: KeyedPlan, firing: _Firing, outputs: Outputs) -> None:
        """What the keyed stage is to know of a match; one that it is told nothing of is not claimed."""
        claim, _, match, kind, (message, *_), record, source = firing
        position = Position(*source.partition, record.offset())
        try:
            routed = keyed.routing.facts(message, (match.leaf, *match.more), position)
            self._facts.write(self._keyed[match.plan.trigger.id], routed.facts, outputs.facts)
        except (EvaluationFailed, InvalidMessage) as failure:
            failed = MatchFailure(match.plan, match.leaf, failure.message)
            self._failed("arguments_failed", failed, kind, message, record, outputs)
            return
        for refusal in routed.refusals:
            decision = _decision(refusal.reason, match.plan, kind, message, record, detail=refusal.detail)
            self._decide(decision, outputs)
        if routed.facts:
            self._claims.take(claim, source.partition)

    def _encoder(self, match: Match, kind: Kind, source: _Source) -> EncodeFiring:
        trigger, (topic, partition) = match.plan.trigger, source.partition
        made = source.encoders[match] = firing_encoder(
            trigger.task, trigger.id, match.plan.version, trigger.epoch, match.leaf, kind, topic, partition
        )
        return made

    def _failed(
        self, reason: Reason, failure: MatchFailure, kind: Kind, message: Message, record: Record, outputs: Outputs
    ) -> None:
        """A trigger could not handle a message: a decision says so, a dead letter keeps the message."""
        detail = f"{failure.leaf}: {failure.error}"
        key = told_key(failure.plan, failure.leaf, message, kind)
        decision = _decision(reason, failure.plan, kind, message, record, None, key, detail)
        self._decide(decision, outputs)
        stage: Stage = "filter" if reason == "filter_failed" else "arguments"
        self._dead_letter(record, stage, detail, failure.plan.trigger.id, outputs)

    def _decide(self, decision: Decision, outputs: Outputs) -> None:
        self._counters.decisions[decision.reason] += 1
        key = (decision.run_id or decision.id).encode()
        outputs.runs.append(Outgoing(value=encode(decision), key=key, partition=self._runs_partition))

    def _dead_letter(self, record: Record, stage: Stage, error: str, trigger_id: str | None, outputs: Outputs) -> None:
        self._counters.dead_letters[stage] += 1
        where = {"topic": record.topic(), "partition": record.partition(), "offset": record.offset(), "error": error}
        if not _is_worth_a_line(self._counters.dead_letters[stage]):
            pass
        elif trigger_id is None:
            log(logger, "message rejected", **where)
        else:
            log(logger, "evaluation failed", trigger=trigger_id, stage=stage, **where)
        outputs.dead_letters.append(dead_letter(record, stage, error, trigger_id))

    def _source(self, topic: str, partition: int) -> _Source:
        source = self._sources.get((topic, partition))
        if source is None:
            owned = TopicPartition(topic, partition)
            source = _Source(owned, claim_prefix(owned), {})
            self._sources[owned] = source
        return source


def _is_worth_a_line(count: int) -> bool:
    """Whether the next one is told: a flood of bad messages must not become a flood of log."""
    return count <= LINES_FIRST or count % LINE_EVERY == 0


def _told(view: _View, prefix: bytes, left_out: Collection[str]) -> Iterable[str | None]:
    """Who is told of a message that cannot be decoded: nobody in particular, but by a lane its trigger."""
    if not view.is_lane:
        return (None,)
    found = view.listeners.get(prefix)
    owners = () if found is None or found.group is None else found.group.owners
    return [each for each in owners if each not in left_out]


def _without(triggers: Collection[str], found: Sequence[T]) -> Sequence[T]:
    return [each for each in found if each.plan.trigger.id not in triggers]


def _decision(
    reason: Reason,
    plan: Plan,
    kind: Kind,
    message: Message,
    record: Record,
    run_id: str | None = None,
    key: str | None = None,
    detail: str = "",
) -> Decision:
    return Decision(
        reason=reason,
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        time_ms=message.time_ms,
        trigger_id=plan.trigger.id,
        trigger_version=plan.version,
        detail=detail,
        run_id=run_id,
        kind=kind,
        id=message.id,
        key=key,
    )
