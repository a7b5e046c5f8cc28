"""Triggers under test: the real engine in memory, on a clock that the test moves; no broker, no waiting.

    >>> from stream_triggers.testing import TriggerTester
    >>> remind = {
    ...     "id": "remind",
    ...     "when": {"missing": {"event": "order.shipped"}, "after": {"event": "order.paid"}, "within": "2h"},
    ...     "key": "${event.payload.order}",
    ...     "task": "orders.remind",
    ...     "args": {"order": "${event.payload.order}"},
    ... }
    >>> tester = TriggerTester(remind)
    >>> tester.send("order.paid", {"order": 7})
    'event-1'
    >>> tester.send("order.paid", {"order": 8})
    'event-2'
    >>> tester.advance("1h")
    >>> tester.send("order.shipped", {"order": 8})
    'event-3'
    >>> tester.advance("1h")
    >>> tester.runs
    [<remind ran orders.remind({"order":7}) key=7 at 2026-01-01T02:00Z because of event-1>]

Rules:
1. Every call returns when the engine has done all there is to do at that instant. Time moves by ``advance`` and
   ``advance_to`` only, and stops at each instant at which something is due.
2. What a worker would only log, raises here: a trigger it cannot run, a message it would refuse.
3. Asking for a trigger that was never applied raises: a misspelt id does not make a test pass.
4. A trigger that is applied later starts where its ``start`` says, also with what was sent before. Those with which a
   test begins are there before the first message, so to them it means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack, cast

from stream_triggers.client.messages import ReportFields
from stream_triggers.core.duration import parse_duration
from stream_triggers.core.fields import suggestion
from stream_triggers.core.instant import instant_text, parse_instant
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.message import JsonValue
from stream_triggers.core.record import CaughtUp, PauseMode
from stream_triggers.core.trigger import Trigger, parse_trigger
from stream_triggers.core.words import counted
from stream_triggers.errors import InvalidTrigger, Misconfigured
from stream_triggers.testing.engine import CrashPoint, Engine
from stream_triggers.testing.journal import Journal
from stream_triggers.testing.outcome import DeadLetter, Decision, Pending, Run
from stream_triggers.trigger_file import load_triggers

TriggerSource: TypeAlias = str | Path | Trigger | Mapping[str, JsonValue] | Iterable[Trigger | Mapping[str, JsonValue]]
"""The path of a trigger file, or one trigger or several, each as it is or in its JSON form."""


class Report(TypedDict, total=False):
    """What else a status, a result or a failure may say.

    ``of`` is the run that is reported on, which gives the arguments; or the id of an invocation. Without it there is
    a new invocation each time. ``at`` is the instant the report names, now if not given.
    """

    of: Run | str
    arguments: JsonValue
    attempt: int
    at: str


class TriggerTester:
    """Triggers on an engine of their own. See the module for an example."""

    def __init__(
        self,
        triggers: TriggerSource = (),
        *,
        allow_modules: Iterable[str] = (),
        partitions: int = 4,
        start: str = "2026-01-01T00:00Z",
    ) -> None:
        """``partitions`` are those of each topic; functions that triggers name are in one of ``allow_modules``."""
        start_ms = parse_instant(start, "start")
        self._engine = Engine(partitions=partitions, start_ms=start_ms, allow_modules=tuple(allow_modules))
        self._journal = Journal(self._engine.observer, self._engine.topics)
        self._engine.on_round = self._journal.catch_up
        self._triggers: dict[str, Trigger] = {}
        self._known: set[str] = set()
        self._events = count(1)
        self._calls = count(1)
        self.apply(triggers)

    # What happens

    def apply(self, triggers: TriggerSource) -> None:
        """Put these in force beside those that are; raises ``InvalidTrigger`` or ``Misconfigured`` for a wrong one."""
        for trigger in _triggers(triggers):
            self._engine.define(trigger)
            self._triggers[trigger.id] = trigger
            self._known.add(trigger.id)
        self._engine.settle()

    def delete(self, trigger_id: str) -> None:
        """Remove a trigger; what it had fired stays among the runs."""
        self._require(trigger_id)
        self._triggers.pop(trigger_id, None)
        self._engine.delete(trigger_id)
        self._engine.settle()

    def pause(
        self,
        trigger_id: str,
        *,
        mode: PauseMode = "hold",
        until: str | None = None,
        catchup: CaughtUp = "",
        why: str = "",
        author: str | None = None,
    ) -> None:
        """Keep a trigger from firing, until an instant such as "2026-01-02T03:00Z" or until it is resumed."""
        self._require(trigger_id)
        until_ms = None if until is None else parse_instant(until, "until")
        client = self._engine.client
        client.pause_trigger(trigger_id, mode=mode, until_ms=until_ms, catchup=catchup, why=why, author=author)
        self._engine.settle()

    def resume(self, trigger_id: str, *, catchup: CaughtUp | None = None) -> None:
        """Let a paused trigger fire again."""
        self._require(trigger_id)
        self._engine.client.resume_trigger(trigger_id, catchup=catchup)
        self._engine.settle()

    def reset(self, trigger_id: str, key: str | None = None, *, author: str = "", why: str = "") -> str:
        """Have a trigger forget everything of a key, by hand; returns the reset's id."""
        self._require(trigger_id)
        reset_id = self._engine.client.reset_trigger(trigger_id, key, author=author, why=why)
        self._engine.settle()
        return reset_id

    def send(
        self,
        event_code: str,
        payload: JsonValue = None,
        *,
        key: str | None = None,
        id: str | None = None,  # noqa: A002 - what an event calls it
        at: str | None = None,
    ) -> str:
        """Send an event and return its id; the same ``id`` again is a sender's retry. ``at`` is its instant, else now.

        Raises ``InvalidMessage`` for what a client would refuse.
        """
        event_id = f"event-{next(self._events)}" if id is None else id
        time_ms = self._now_ms if at is None else parse_instant(at, "at")
        self._engine.client.emit_event(event_code, payload, key=key, event_id=event_id, time_ms=time_ms)
        self._engine.settle()
        return event_id

    def status(self, task: str, status: str, *, previous: str | None = None, **report: Unpack[Report]) -> str:
        """Report that an invocation of ``task`` came to ``status``; returns the report's id.

        ``of`` a run, it is how a trigger learns that the run goes on or has ended: ``overlap`` and the ``failures`` of
        ``circuit_breaker`` wait for it.
        """
        invocation_id, fields = self._fields(report)
        of = report.get("of")
        trigger_id, trigger_key = (of.trigger, of.key) if isinstance(of, Run) else (None, None)
        sent = self._engine.client.report_task_status(
            task, invocation_id, status, previous, trigger_id=trigger_id, trigger_key=trigger_key, **fields
        )
        self._engine.settle()
        return sent

    def result(self, task: str, value: JsonValue = None, **report: Unpack[Report]) -> str:
        """Report what an invocation of ``task`` returned; returns the report's id."""
        invocation_id, fields = self._fields(report)
        sent = self._engine.client.report_invocation_result(task, invocation_id, value, **fields)
        self._engine.settle()
        return sent

    def failure(
        self,
        task: str,
        exception: type[BaseException] | BaseException | str,
        message: str = "",
        *,
        bases: Iterable[str] = (),
        final: bool = True,
        **report: Unpack[Report],
    ) -> str:
        """Report that an invocation of ``task`` raised; returns the report's id.

        ``exception`` is a class, an exception, or the name of a class with those of its ``bases``. ``final`` is false
        when another attempt follows.
        """
        if isinstance(exception, type):
            bases = [base.__name__ for base in exception.__mro__[1:] if base is not object]
            exception = exception.__name__
        invocation_id, fields = self._fields(report)
        sent = self._engine.client.report_invocation_failure(
            task, invocation_id, exception, message, bases=bases, final=final, **fields
        )
        self._engine.settle()
        return sent

    def advance(self, duration: str) -> None:
        """Let time pass, such as "2h" or "1d12h"; whatever comes due meanwhile is done at its instant, in order."""
        self._advance_to(self._now_ms + parse_duration(duration, "duration"))

    def advance_to(self, instant: str) -> None:
        """Let time pass until an instant, such as "2026-01-02T03:00Z"."""
        end_ms = parse_instant(instant, "instant")
        if end_ms < self._now_ms:
            raise Misconfigured(
                f"it is {self.now}, and time does not go back to {instant}", hint="name a later instant"
            )
        self._advance_to(end_ms)

    def crash(self, point: CrashPoint = "now", *, keep_state: bool = True) -> None:
        """Kill the workers now, or one at ``point`` of its next transaction; it starts again with what the log says.

        Without ``keep_state`` it starts with an empty disk.
        """
        self._engine.crash(point, keep_state=keep_state)
        self._engine.settle()

    def rebalance(self) -> int:
        """Let a second worker join and take half of the partitions, or leave if it is there; returns how many work."""
        workers = self._engine.rebalance()
        self._engine.settle()
        return workers

    # What came of it

    @property
    def now(self) -> str:
        """The time, in UTC."""
        return instant_text(self._now_ms)

    @property
    def crashes(self) -> int:
        """How many workers have been killed."""
        return self._engine.crashes

    @property
    def runs(self) -> list[Run]:
        """What has fired, in order."""
        return list(self._journal.runs)

    @property
    def decisions(self) -> list[Decision]:
        """What has not fired and why, in order."""
        return list(self._journal.decisions)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What could not be processed, in order."""
        return list(self._journal.dead_letters)

    def runs_of(self, trigger_id: str) -> list[Run]:
        """What one trigger has fired, in order."""
        self._require(trigger_id)
        return [run for run in self._journal.runs if run.trigger == trigger_id]

    def decisions_of(self, trigger_id: str) -> list[Decision]:
        """What one trigger has not fired and why, in order."""
        self._require(trigger_id)
        return [decision for decision in self._journal.decisions if decision.trigger == trigger_id]

    def pending(self, trigger_id: str, key: str | None = None) -> list[Pending]:
        """What waits for a trigger, under one key or all, by key."""
        self._require(trigger_id)
        trigger = self._triggers.get(trigger_id)
        if trigger is None:
            return []
        found = self._journal.pending(KeyedPlan(trigger, self._engine.functions), key)
        return sorted(found, key=lambda each: each.key)

    def assert_runs(self, trigger_id: str, times: int) -> list[Run]:
        """The runs of a trigger, which must be so many; else the ``AssertionError`` tells all that happened."""
        runs = self.runs_of(trigger_id)
        if len(runs) != times:
            raise AssertionError(f"expected {counted(times, 'run')} of {trigger_id}, found {len(runs)}\n{self.story()}")
        return runs

    def only_run_of(self, trigger_id: str) -> Run:
        """The one run of a trigger; else the ``AssertionError`` tells all that happened."""
        return self.assert_runs(trigger_id, 1)[0]

    def story(self) -> str:
        """All that has happened and what waits, as text."""
        waiting = [each for trigger_id in self._triggers for each in self.pending(trigger_id)]
        parts: dict[str, Sequence[object]] = {
            "runs": self.runs,
            "decisions": self.decisions,
            "dead letters": self.dead_letters,
            "pending": waiting,
        }
        lines = [f"it is {self.now}"]
        for name, listed in parts.items():
            lines += [f"{name}:", *[f"  {each}" for each in listed]] if listed else [f"{name}: none"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        journal = self._journal
        numbers = {
            "trigger": len(self._triggers),
            "run": len(journal.runs),
            "decision": len(journal.decisions),
            "dead letter": len(journal.dead_letters),
        }
        return f"<TriggerTester at {self.now}, {', '.join(counted(number, what) for what, number in numbers.items())}>"

    # Inside

    @property
    def _now_ms(self) -> int:
        return self._engine.clock.now_ms()

    def _advance_to(self, end_ms: int) -> None:
        while self._now_ms < end_ms:
            due_ms = self._journal.next_due_ms(self._now_ms)
            self._engine.clock.advance(min(end_ms, due_ms or end_ms) - self._now_ms)
            self._engine.settle()

    def _require(self, trigger_id: str) -> None:
        if trigger_id not in self._known:
            hint = suggestion(trigger_id, self._known) or f"there are {', '.join(sorted(self._known)) or 'none'}"
            raise Misconfigured(f"no trigger {trigger_id} was applied", hint=hint)

    def _fields(self, report: Report) -> tuple[str, ReportFields]:
        """The invocation that is reported on, and what the client says about it."""
        of = report.get("of")
        fields = ReportFields(time_ms=parse_instant(report["at"], "at") if "at" in report else self._now_ms)
        if isinstance(of, Run):
            fields |= ReportFields(arguments=of.arguments, root=of.root, depth=of.depth, traceparent=of.traceparent)
        if "arguments" in report:
            fields["arguments"] = report["arguments"]
        if "attempt" in report:
            fields["attempt"] = report["attempt"]
        if of is None:
            return f"call-{next(self._calls)}", fields
        return of if isinstance(of, str) else of.invocation_id, fields


def _triggers(source: TriggerSource) -> list[Trigger]:
    """The triggers of ``source``; their ids differ."""
    if isinstance(source, str | Path):
        return list(load_triggers(source))
    is_one = isinstance(source, Trigger | Mapping) or not isinstance(source, Iterable)
    listed: Iterable[Any] = [source] if is_one else cast("Iterable[Any]", source)
    found: dict[str, Trigger] = {}
    for each in listed:
        trigger = each if isinstance(each, Trigger) else parse_trigger(each)
        if trigger.id in found:
            raise InvalidTrigger("id", f'expected an id of its own, found "{trigger.id}" again')
        found[trigger.id] = trigger
    return list(found.values())
