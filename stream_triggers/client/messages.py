"""The client: sends events and reports, stores triggers.

Rules:
1. Sending does not wait, but while the send buffer is full: until there is room, at most the 30 s after which Kafka's
   client gives messages up. ``flush``, and the end of the ``with`` block, wait for the answers and raise
   ``DeliveryFailed`` with the id of every message that Kafka did not take.
2. What is wrong with a message is told by the call that sends it, and then nothing of it was sent. That includes what
   would be sent and never fire: a code that no trigger can name, a number that JSON would turn into null or round.
3. An occurrence has one id. Status and result ids are derived from what they report, so a repeated report is the same
   message. An event's id is the caller's, or made here when there is none: a random prefix for each client, and a
   count. This is the one place where an id is not derived from its cause, for the client cannot know the cause. A
   sender that retries after a restart passes ``event_id``, or its retry is a second occurrence.
4. Records are keyed by the event's key, else its id; reports by their invocation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict, Unpack

from stream_triggers.client.definitions import Change, Definitions, PauseFields, StoredTrigger, TriggerSpec
from stream_triggers.client.resetting import Resets
from stream_triggers.client.unusable import Unusable
from stream_triggers.config import Config
from stream_triggers.core.builder import Task, TriggerBuilder
from stream_triggers.core.condition import parse_condition
from stream_triggers.core.fields import NULL, require_64_bits, require_finite, require_short
from stream_triggers.core.message import (
    TEXT_BYTES_MAX,
    Event,
    Failure,
    JsonValue,
    Message,
    Success,
    TaskResult,
    TaskStatus,
)
from stream_triggers.core.record import CaughtUp, Pause
from stream_triggers.core.report import Outcome, failure_of, result_id, status_id
from stream_triggers.core.words import counted
from stream_triggers.errors import DeliveryFailed, InvalidMessage, InvalidTrigger, StreamTriggersError
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.codec import decode, encode_event, encode_result, encode_status
from stream_triggers.runtime.kafka import Identify, KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Log, Outgoing
from stream_triggers.runtime.topics import Topics
from stream_triggers.trigger_file import load_triggers

EVENT_PREFIX_BYTES = 12
"""Randomness in the event ids of one client: at 10^9 clients the chance of any two meeting is below 10^-11."""

SEND_RECORDS = 500
"""Records handed over at a time by ``emit_events``; more gain nothing."""

FLUSH_TIMEOUT_S = 35.0
"""Longer than the 30 s after which Kafka's client gives a message up, so that a flush knows of every one."""

FAILURES_NAMED_MAX = 20
"""Failed messages that the text of an error names; its ``failures`` has all of them."""

CODES_KEPT_MAX = 10_000
"""Event codes remembered as fit for triggers; a program that makes codes up must not fill the memory."""


class EventFields(TypedDict, total=False):
    """What may be said about an event; see ``Client.event``."""

    key: str | None
    event_id: str | None
    time_ms: int | None
    source: str | None
    traceparent: str | None
    root: str | None
    depth: int


class ReportFields(TypedDict, total=False):
    """What may be said about a report: ``arguments`` are the call's keyword arguments, ``time_ms`` is now if not given.

    ``traceparent``, ``root`` and ``depth`` are those of the invocation that is reported on.
    """

    attempt: int
    arguments: JsonValue
    time_ms: int
    traceparent: str | None
    root: str | None
    depth: int


class StatusFields(ReportFields, total=False):
    """What may be said about a status: besides, the ``trigger_id`` and the ``key`` of the invocation.

    By them a trigger that follows its runs learns of it.
    """

    trigger_id: str | None
    trigger_key: str | None


class Sender(Protocol):
    """Writes records outside of transactions, as ``KafkaSender`` does."""

    def send(self, topic: str, records: list[Outgoing]) -> None: ...
    def flush(self, timeout_s: float) -> None: ...
    def close(self, timeout_s: float) -> None: ...


class Cluster(Log, Protocol):
    """A log that also makes senders."""

    def sender(self, identify: Identify) -> Sender: ...


_CLOSED = Unusable("the client is closed", "make another one, or use it within its with block")


class Client:
    """Sends messages and stores triggers; safe to use from several threads.

    >>> with Client(bootstrap_servers="127.0.0.1:9092", source="shop") as client:  # doctest: +SKIP
    ...     client.emit_event("order.paid", {"order_id": 7}, key="7", event_id="payment-4711")
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        source: str | None = None,
        clock: Clock | None = None,
        cluster: Cluster | None = None,
        **settings: Any,
    ) -> None:
        """``settings`` are fields of ``Config`` and win over ``config``; ``source`` is who sends, on every event."""
        self._config = replace(config or Config(), **settings)
        self._clock = clock or SystemClock()
        self._source = source
        self._topics = Topics.of(self._config)
        cluster = cluster or KafkaLog(_settings(self._config, self._topics))
        self._sender: Sender | Unusable = cluster.sender(_message_id)
        definitions = Definitions(
            cluster, self._topics.trigger_definitions, self._clock, self._config.payload_bytes_max
        )
        self._definitions: Definitions | Unusable = definitions
        self._resets: Resets | Unusable = Resets(cluster, self._topics.trigger_facts, definitions)
        self._event_prefix = os.urandom(EVENT_PREFIX_BYTES).hex()
        self._event_count = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StreamTriggersError as failure:
            if error is None:
                raise
            error.add_note(f"moreover, closing the client: {failure}")

    def event(
        self,
        code: str,
        payload: JsonValue = None,
        *,
        key: str | None = None,
        event_id: str | None = None,
        time_ms: int | None = None,
        source: str | None = None,
        traceparent: str | None = None,
        root: str | None = None,
        depth: int = 0,
    ) -> Event:
        """An event with what is not given filled in: its id, this instant, the client's source.

        ``root`` and ``depth`` are those of the invocation on whose behalf the event is sent.
        """
        if event_id is None:
            event_id = f"{self._event_prefix}-{next(self._event_count)}"
        if time_ms is None:
            time_ms = self._clock.now_ms()
        return Event(code, event_id, time_ms, key, payload, source or self._source, traceparent, root, depth)

    def emit_event(self, code: str, payload: JsonValue = None, **fields: Unpack[EventFields]) -> str:
        """Send an event and return its id; ``fields`` are those of ``event``.

        Raises ``InvalidMessage`` when no trigger could name the code, when the payload is no JSON, when the message is
        larger than ``payload_bytes_max``, and when a text beside the payload has more than 64 KiB.
        """
        event = self.event(code, payload, **fields)
        self._sender.send(self._topics.events, [self._outgoing(event)])
        return event.id

    def emit_events(self, events: Iterable[Event]) -> int:
        """Send many events, made by ``event``, and return how many; cheaper than one by one.

        Raises ``InvalidMessage`` as ``emit_event`` does; of the events before the wrong one, some are sent.
        """
        sent = 0
        remaining = map(self._outgoing, events)
        while batch := list(islice(remaining, SEND_RECORDS)):
            sent += len(batch)
            self._sender.send(self._topics.events, batch)
        return sent

    def report_task_status(
        self, task: str, invocation_id: str, status: str, previous: str | None = None, **fields: Unpack[StatusFields]
    ) -> str:
        """Report that an invocation came to ``status``, which is written in lower case; returns the report's id."""
        status = status.lower()
        report = TaskStatus(
            task=task,
            status=status,
            id=status_id(invocation_id, fields.get("attempt", 1), status),
            invocation_id=invocation_id,
            previous=previous.lower() if previous else None,
            **self._filled(fields),
        )
        return self._report(self._topics.task_status, report, _encoded(encode_status, report))

    def report_invocation_result(
        self, task: str, invocation_id: str, result: JsonValue, **fields: Unpack[ReportFields]
    ) -> str:
        """Report what an invocation returned; returns the report's id."""
        return self._report_outcome(task, invocation_id, Success(result), fields)

    def report_invocation_failure(
        self,
        task: str,
        invocation_id: str,
        exception: BaseException | str,
        message: str = "",
        *,
        bases: Iterable[str] = (),
        final: bool = True,
        **fields: Unpack[ReportFields],
    ) -> str:
        """Report the exception that ended an attempt; returns the report's id.

        It is given itself, or as its class's name with a ``message`` and the names of its ``bases``, nearest first.
        ``final`` is false when another attempt follows.
        """
        if isinstance(exception, BaseException):
            failure = failure_of(exception, final=final)
        else:
            failure = Failure(type=exception, bases=tuple(bases), message=message, final=final)
        return self._report_outcome(task, invocation_id, failure, fields)

    def apply(self, triggers: str | Path | Iterable[TriggerSpec], *, author: str | None = None) -> tuple[Change, ...]:
        """Store the triggers of a file, or these, all or none, and tell what became of each; others stay as they are.

        Waits until it is done. Raises ``InvalidTrigger`` before anything is written.
        """
        specs = load_triggers(triggers) if isinstance(triggers, str | Path) else triggers
        return self._definitions.apply(specs, author)

    def register_trigger(
        self, trigger: TriggerSpec | TriggerBuilder, trigger_id: str = "", task: Task = "", *, author: str | None = None
    ) -> Change:
        """Store one trigger, as ``apply`` does; a builder is built as ``trigger_id`` for ``task``."""
        spec = trigger.build(trigger_id, task) if isinstance(trigger, TriggerBuilder) else trigger
        return self._definitions.apply([spec], author)[0]

    def delete_trigger(self, trigger_id: str) -> Change:
        """Remove a trigger; it fires no more once workers have read that. Waits until it is done."""
        return self._definitions.delete(trigger_id)

    def pause_trigger(self, trigger_id: str, **pause: Unpack[PauseFields]) -> Change:
        """Keep a trigger from firing, until an instant or until it is resumed; paused again, it is paused so.

        Applying another version resumes nothing. Waits until it is done.
        """
        return self._definitions.pause(trigger_id, Pause(**pause))

    def resume_trigger(self, trigger_id: str, *, catchup: CaughtUp | None = None) -> Change:
        """Let a paused trigger fire again; one that is not paused is told as unchanged. Waits until it is done.

        ``catchup`` takes the place of what was said when it was paused.
        """
        return self._definitions.resume(trigger_id, catchup)

    def reset_trigger(self, trigger_id: str, key: str | None = None, *, author: str = "", why: str = "") -> str:
        """Have a trigger forget everything of ``key``, a breaker that has tripped too; returns the reset's id.

        Schedules go on. Waits until it is written; raises ``Rejected`` when there is nothing that can be reset.
        """
        reset_id = f"{self._event_prefix}-{next(self._event_count)}"
        return self._resets.write(trigger_id, key, reset_id, ": ".join(filter(None, (author, why))))

    def list_triggers(self) -> tuple[StoredTrigger, ...]:
        """Every stored trigger, by id."""
        return tuple(stored for _, stored in sorted(self._definitions.stored().items()))

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Wait until Kafka has taken everything sent.

        Raises ``DeliveryFailed`` for messages it did not take since the last flush, ``Unavailable`` when some are still
        on their way after ``timeout_s``.
        """
        _named(lambda: self._sender.flush(timeout_s))

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Flush, raising what ``flush`` raises, and disconnect; a second time does nothing."""
        sender, self._sender, self._definitions, self._resets = self._sender, _CLOSED, _CLOSED, _CLOSED
        if sender is not _CLOSED:
            _named(lambda: sender.close(timeout_s))

    def _outgoing(self, event: Event) -> Outgoing:
        value = _encoded(encode_event, event)
        _require_code(event.code)
        if value.find(NULL) >= 0:  # half the time of ``in``
            require_finite(event.payload, "payload")
        self._check(value, event)
        return {"value": value, "key": (event.key or event.id).encode()}

    def _report_outcome(self, task: str, invocation_id: str, outcome: Success | Failure, fields: ReportFields) -> str:
        what: Outcome = "success" if isinstance(outcome, Success) else "failure"
        report = TaskResult(
            task=task,
            outcome=outcome,
            id=result_id(invocation_id, fields.get("attempt", 1), what),
            invocation_id=invocation_id,
            **self._filled(fields),
        )
        return self._report(self._topics.task_results, report, _encoded(encode_result, report))

    def _filled(self, fields: ReportFields) -> ReportFields:
        return {"time_ms": self._clock.now_ms(), **fields}

    def _report(self, topic: str, report: TaskStatus | TaskResult, value: bytes) -> str:
        if NULL in value:
            require_finite(report.arguments, "arguments")
            if isinstance(report, TaskResult) and isinstance(report.outcome, Success):
                require_finite(report.outcome.value, "result")
        self._check(value, report)
        self._sender.send(topic, [{"value": value, "key": report.invocation_id.encode()}])
        return report.id

    def _check(self, value: bytes, message: Message) -> None:
        if len(value) > TEXT_BYTES_MAX:  # in a smaller one, no text is longer
            require_short(message)
        if len(value) > self._config.payload_bytes_max:
            raise InvalidMessage(
                f"message {message.id} has {len(value)} bytes, the limit is {self._config.payload_bytes_max}",
                hint="send a reference to the data, or raise payload_bytes_max here and for the workers",
            )


def _encoded(encode: Callable[[Any], bytes], message: Message) -> bytes:
    """``message`` as bytes; an integer that JSON cannot say is named by its path."""
    try:
        return encode(message)
    except InvalidMessage:
        require_64_bits(getattr(message, "payload", None), "payload")
        require_64_bits(getattr(message, "arguments", None), "arguments")
        if isinstance(message, TaskResult) and isinstance(message.outcome, Success):
            require_64_bits(message.outcome.value, "result")
        raise


@lru_cache(CODES_KEPT_MAX)
def _require_code(code: str) -> None:
    """Refuse a code that no trigger can name, in the words in which a trigger with it would be refused."""
    try:
        parse_condition({"event": code}, "")
    except InvalidTrigger as error:
        raise InvalidMessage(f"code: {error.problem}", hint=error.hint) from error


def _settings(config: Config, topics: Topics) -> KafkaSettings:
    """Programs that change the same definitions share a transactional id: one at a time."""
    return KafkaSettings(
        bootstrap_servers=config.bootstrap_servers,
        transactional_id=f"{topics.trigger_definitions}-writer",
        extra=config.kafka,
    )


def _message_id(topic: str, _key: bytes | None, value: bytes | None) -> str:
    """The id of a message that was not delivered, from its bytes."""
    return f"{topic}/{getattr(decode(value), 'id', '')}"


def _named(step: Callable[[], None]) -> None:
    """Do ``step``; when messages failed, say which."""
    try:
        step()
    except DeliveryFailed as error:
        names = [f"{name} ({why})" for name, why in error.failures[:FAILURES_NAMED_MAX]]
        if more := len(error.failures) - len(names):
            names.append(f"and {more} more")
        message = f"not accepted: {counted(len(error.failures), 'message')}: {', '.join(names)}"
        raise DeliveryFailed(message, error.failures, hint=error.hint) from error
