"""What a match makes: the run with its arguments, or one run for each element of a list.

Rules:
1. The run id is made of the trigger, its epoch and the participants, a nominal instant among them. A run for what did
   not come in time has an id of its own.
2. A run is one deeper than the deepest of its participants, and has the root and the trace of the latest. What only a
   schedule caused is its own root.
3. The arguments are what functions return for the latest participant of their kind, overridden by ``args``. The
   function ``any`` gets the latest of all, where that is of a kind without a function of its own.
4. A template or a function that fails makes no run: ``arguments_failed``. Of a list, all runs are made or none.
5. A run expires so long after its own instant as the trigger says. One that comes out of flow control only then is not
   made: ``expired``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from stream_triggers.core.arguments import ANY_KIND, Fields, compile_source
from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import RunIds
from stream_triggers.core.keyed.cast import Cast, compile_cast
from stream_triggers.core.keyed.gates.fan_out import Element, compile_fan_out
from stream_triggers.core.keyed.gates.gate import TOO_LATE, has_expired
from stream_triggers.core.keyed.state import Firing, Match, Occurrence, Refusal
from stream_triggers.core.message import (
    Event,
    Failure,
    JsonValue,
    Kind,
    Message,
    Participant,
    Success,
    TaskResult,
    TaskStatus,
)
from stream_triggers.core.trigger import Trigger
from stream_triggers.errors import EvaluationFailed

ARGUMENTS_BYTES_MAX = 1024 * 1024
"""Most bytes of a run's arguments and key together, unless the engine says otherwise."""

DEPTH_MAX = 2**31 - 1
"""The largest depth a message can say; a chain that is longer stays there."""

TIMEOUT = "timeout"
"""The purpose of a run for what did not come in time."""

_KINDS: tuple[Kind, ...] = ("event", "status", "result", "exception", "schedule")


class Nominal(msgspec.Struct, frozen=True):
    """A nominal instant, as a function gets it."""

    id: str
    time_ms: int


class Fired(msgspec.Struct, frozen=True, gc=False):
    """What a match made: runs, or the reason why not. ``run_ids`` are those of all runs that it stands for."""

    firings: tuple[Firing, ...]
    refusal: Refusal | None
    run_ids: tuple[bytes, ...]


class Firer:
    """Makes the runs of one trigger."""

    def __init__(
        self,
        trigger: Trigger,
        functions: Functions,
        roots: Mapping[str, Fields],
        names: Mapping[str, str],
        paths: Mapping[str, str],
        bytes_max: int,
    ) -> None:
        """``names`` are the ids of leaves by name, ``paths`` their paths by id."""
        self._trigger = trigger
        self._paths = paths
        self._bytes_max = bytes_max
        self._ids = RunIds(trigger.id, trigger.epoch)
        self._args = compile_cast(trigger.args, "args", roots, names)
        self._sources = {
            kind: compile_source(name, f"args_from.{kind}", functions) for kind, name in trigger.args_from.items()
        }
        self._fan_out = compile_fan_out(trigger.flow)
        self._listed = None
        if trigger.flow.for_each is not None:
            self._listed = compile_cast(trigger.flow.for_each, "for_each", roots, names)
        timeout = trigger.on_timeout
        self._timeout_args = compile_cast(timeout.args, "on_timeout.args", roots, names) if timeout else None

    def run_ids(self, match: Match) -> tuple[bytes, ...]:
        """The ids of the runs that a match stands for, raises ``EvaluationFailed`` where there is no telling."""
        run_id = self._run_id(match.occurrences)
        elements = self._elements(match, run_id)
        return (run_id,) if elements is None else tuple([each.run_id(run_id) for each in elements])

    def fire(self, match: Match, key: str | None, wall_ms: int) -> Fired:
        """Make the runs of a match that flow control has let go at ``wall_ms``."""
        run_id = self._run_id(match.occurrences)
        run_ids: tuple[bytes, ...] = (run_id,)
        try:
            elements = self._elements(match, run_id)
            if elements is not None:
                run_ids = tuple([each.run_id(run_id) for each in elements])
            if has_expired(match, self._trigger.flow.expires_ms, wall_ms):
                return Fired((), self.refuse("expired", TOO_LATE, match, run_id), run_ids)
            if elements is None:
                return Fired((self._firing(match, key, run_id, None),), None, run_ids)
            if not elements:
                return Fired((), self.refuse("empty_list", "the list of for_each is empty", match, run_id), ())
            each_firing = [self._firing(match, key, each.run_id(run_id), each) for each in elements]
            return Fired(tuple(each_firing), None, run_ids)
        except EvaluationFailed as failure:
            return Fired((), self.refuse("arguments_failed", failure.message, match, run_id), run_ids)

    def fire_timeout(self, occurrences: tuple[Occurrence, ...], key: str | None, time_ms: int) -> Fired:
        """Make the run for what began but was not completed by ``time_ms``."""
        timeout = self._trigger.on_timeout
        assert timeout is not None, "asked only where there is such a task"
        assert self._timeout_args is not None, "it was compiled with the task"
        match = Match(occurrences, time_ms)
        run_id = self._run_id(occurrences, TIMEOUT)
        who = Cast(_chosen(occurrences))
        try:
            arguments = self._written(self._timeout_args(who, self._trigger.id, run_id.hex()), key)
        except EvaluationFailed as failure:
            return Fired((), self.refuse("arguments_failed", failure.message, match, run_id), (run_id,))
        return Fired((self._made(match, key, run_id, timeout.task, arguments),), None, (run_id,))

    def refuse(self, reason: Any, detail: str, match: Match, run_id: bytes | None = None) -> Refusal:
        """The refusal of a whole match."""
        if run_id is None:
            run_id = self._run_id(match.occurrences)
        return Refusal(reason, detail, self.participants(match.occurrences), run_id)

    def participants(self, occurrences: tuple[Occurrence, ...]) -> tuple[Participant, ...]:
        """The occurrences as they are named in runs and decisions."""
        return tuple([self.participant(each) for each in occurrences])

    def participant(self, occurrence: Occurrence) -> Participant:
        """One occurrence, for the first of its leaves."""
        return Participant(
            self._paths.get(occurrence.leaves[0], "") if occurrence.leaves else "",
            occurrence.kind,
            occurrence.id,
            occurrence.topic,
            occurrence.partition,
            occurrence.offset,
            occurrence.time_ms,
        )

    def _run_id(self, occurrences: tuple[Occurrence, ...], purpose: str = "") -> bytes:
        return self._ids.of([(each.kind, each.id) for each in occurrences], purpose)

    def _elements(self, match: Match, run_id: bytes) -> tuple[Element, ...] | None:
        if self._fan_out is None or self._listed is None:
            return None
        who = Cast(_chosen(match.occurrences))
        return self._fan_out.elements(self._listed(who, self._trigger.id, run_id.hex()))

    def _firing(self, match: Match, key: str | None, run_id: bytes, element: Element | None) -> Firing:
        each = None if element is None else {"index": element.index, "value": element.value}
        who = Cast(_chosen(match.occurrences), each)
        arguments = self._args(who, self._trigger.id, run_id.hex())
        if self._sources:
            arguments = {**self._from_functions(match.occurrences), **arguments}
        firing = self._made(match, key, run_id, self._trigger.task, self._written(arguments, key))
        expires_ms = self._trigger.flow.expires_at(match.time_ms)
        return firing if expires_ms is None else msgspec.structs.replace(firing, expires_ms=expires_ms)

    def _made(self, match: Match, key: str | None, run_id: bytes, task: str, arguments: bytes) -> Firing:
        cause = match.occurrences[-1]
        if cause.kind == "schedule":
            cause = next((each for each in reversed(match.occurrences) if each.kind != "schedule"), cause)
        return Firing(
            run_id=run_id,
            task=task,
            time_ms=match.time_ms,
            key=key,
            arguments=arguments,
            participants=self.participants(match.occurrences),
            traceparent=cause.traceparent,
            root=run_id.hex() if cause.kind == "schedule" else cause.root or cause.id,
            depth=min(max([each.depth for each in match.occurrences]) + 1, DEPTH_MAX),
        )

    def _from_functions(self, occurrences: tuple[Occurrence, ...]) -> dict[str, JsonValue]:
        arguments: dict[str, JsonValue] = {}
        is_answered = False
        last = occurrences[-1]
        for kind in _KINDS:
            source = self._sources.get(kind)
            of_kind = [each for each in occurrences if each.kind == kind]
            if source is None and kind == last.kind:
                source = self._sources.get(ANY_KIND)
            if source is not None and of_kind:
                arguments |= source(message_of(of_kind[-1]))
                is_answered = True
        if not is_answered:
            raise EvaluationFailed(f"args_from: no function for a message of kind {last.kind}")
        return arguments

    def _written(self, arguments: JsonValue, key: str | None) -> bytes:
        try:
            written = orjson.dumps(arguments)
        except TypeError as error:  # nested more deeply than can be written, though it could be read
            raise EvaluationFailed(f"arguments cannot be written as JSON: {error}") from error
        size = len(written) + len(key or "")
        if size > self._bytes_max:
            raise EvaluationFailed(f"arguments and key have {size} bytes, the limit is {self._bytes_max}")
        return written


def message_of(occurrence: Occurrence) -> Message | Nominal:
    """The message that an occurrence was, as far as its document goes, or the nominal instant."""
    fields: dict[str, Any] = dict(occurrence.document)
    chain: dict[str, Any] = {"traceparent": occurrence.traceparent, "root": occurrence.root, "depth": occurrence.depth}
    make: Callable[..., Message | Nominal]
    match occurrence.kind:
        case "schedule":
            return Nominal(occurrence.id, occurrence.time_ms)
        case "event":
            make = Event
        case "status":
            make = TaskStatus
        case "result":
            make, fields["outcome"] = TaskResult, Success(fields.pop("value"))
        case "exception":
            parts = {name: fields.pop(name) for name in ("type", "bases", "message", "final")}
            make, fields["outcome"] = TaskResult, Failure(**{**parts, "bases": tuple(parts["bases"])})
    return make(**fields, **chain)


def _chosen(occurrences: tuple[Occurrence, ...]) -> list[tuple[str, Occurrence]]:
    return [(leaf, each) for each in occurrences for leaf in each.leaves]
