"""For applications on Faust: our messages as Faust models, an agent for invocations, emitting events and reporting.

Rules:
1. At least once, both ways. What an agent does for a message may be done again after a crash or a rebalance; use
   ``Invocation.id`` to tell. Faust counts a message as processed when the agent's body is left, by an exception too:
   what an agent wants to try again, it catches.
2. Invocations are read committed. Faust itself reads what transactions have not committed, or have aborted, so the
   agent's application gets a consumer that does not; it holds for all topics of the application.
3. An event emitted from an agent has an id derived from the message that the agent is working on, so doing the work
   again emits the same event, and triggers fire once for it.
4. An agent for one task does not get what has expired: the status ``expired`` is reported instead.
5. A record that is no invocation goes to the dead letters and the agent goes on.

Faust's ``processing_guarantee="exactly_once"`` is refused: it writes an agent's output outside of the transaction that
commits the agent's input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, cast
from weakref import WeakKeyDictionary

import msgspec

from stream_triggers.core import invocation as core_invocation
from stream_triggers.core import message as core
from stream_triggers.core.fields import NULL, require_64_bits, require_finite, require_short
from stream_triggers.core.message import JsonValue
from stream_triggers.core.record import DeadLetter
from stream_triggers.core.report import EXPIRED, status_of
from stream_triggers.errors import InvalidMessage, Misconfigured
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.dead_letters import kept_headers
from stream_triggers.runtime.topics import Topics

try:
    import cramjam  # noqa: F401 - without it Faust's Kafka client cannot read compressed records, which all of ours are
    import faust
    from faust.exceptions import Skip
    from faust.serializers import codecs
    from faust.transport.drivers import aiokafka as driver
    from faust.types import AppT, EventT, StreamT, TopicT
    from faust.types.enums import ProcessingGuarantee
except ModuleNotFoundError as error:
    raise Misconfigured(
        f"faust cannot be imported: {error}", hint="install it: pip install 'stream-triggers[faust]'"
    ) from error

_APPLICATION = "faust"
"""Names no topic that is used here."""

EVENT_ID_BYTES = 16
"""Size of a derived event id before hexadecimal: that of a run id."""


class Invocation(faust.Record, serializer="stream-triggers-invocation", include_metadata=False):
    """The instruction to run a task, as ``stream_triggers.core.invocation.Invocation``."""

    task: str
    trigger_id: str
    trigger_version: str
    id: str
    run_id: str
    time_ms: int
    key: str | None
    arguments: Any
    causes: list[str]
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    expires_ms: int | None = None


class Event(faust.Record, serializer="stream-triggers-event", include_metadata=False):
    """Something that happened, as ``stream_triggers.core.message.Event``."""

    code: str
    id: str
    time_ms: int
    key: str | None
    payload: Any
    source: str | None = None
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0


class TaskStatus(faust.Record, serializer="stream-triggers-task-status", include_metadata=False):
    """An invocation changed its status, as ``stream_triggers.core.message.TaskStatus``."""

    task: str
    status: str
    id: str
    invocation_id: str
    time_ms: int
    previous: str | None = None
    attempt: int = 1
    arguments: Any = {}  # noqa: RUF012 - a model's default, which Faust does not share
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    trigger_id: str | None = None
    trigger_key: str | None = None


class TaskResult(faust.Record, serializer="stream-triggers-task-result", include_metadata=False):
    """An invocation ended, as ``stream_triggers.core.message.TaskResult``.

    ``failure`` is None for a success; else it is a mapping of ``type``, ``bases``, ``message`` and ``final``.
    """

    task: str
    id: str
    invocation_id: str
    time_ms: int
    value: Any = None
    failure: Any = None
    attempt: int = 1
    arguments: Any = {}  # noqa: RUF012 - a model's default, which Faust does not share
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0


class MessageCodec(codecs.Codec):
    """Faust's way to the bytes of one kind of message: Avro's single-object encoding, as everybody else writes it."""

    def __init__(self, children: Any = None, *, kind: type[msgspec.Struct]) -> None:
        super().__init__(children, kind=kind)
        self._kind = kind

    def _loads(self, s: bytes) -> dict[str, Any]:
        fields = msgspec.structs.asdict(decode(s, (self._kind,)))
        match fields.pop("outcome", None):
            case core.Success(value=value):
                fields["value"] = value
            case core.Failure() as failure:
                fields["failure"] = msgspec.structs.asdict(failure)
        return fields

    def _dumps(self, s: Any) -> bytes:
        fields = dict(s)
        if self._kind is core.TaskResult:
            value, failure = fields.pop("value"), fields.pop("failure")
            fields["outcome"] = core.Success(value) if failure is None else core.Failure(**failure)
        return encode(cast(Any, self._kind(**fields)))


CODECS = {
    "stream-triggers-invocation": MessageCodec(kind=core_invocation.Invocation),
    "stream-triggers-event": MessageCodec(kind=core.Event),
    "stream-triggers-task-status": MessageCodec(kind=core.TaskStatus),
    "stream-triggers-task-result": MessageCodec(kind=core.TaskResult),
}
"""The codecs by the names under which Faust knows them."""

for _name, _codec in CODECS.items():
    codecs.register(_name, _codec)


def invocations_agent(
    app: AppT, *, task: str | None = None, topic_prefix: str = "", **options: Any
) -> Callable[[Callable[[Any], Any]], Any]:
    """Decorate an agent that gets the invocations of ``task``, or all; ``options`` are those of ``app.agent``.

    Invocations of other tasks are passed over: the group of this application consumes the whole topic. So are those of
    ``task`` that have expired, which is reported. Raises ``Misconfigured`` for an application that asks Faust for
    exactly-once.
    """
    read_committed(app)
    topics = Topics(_APPLICATION, topic_prefix)
    topic = _raw_topic(app, topics.invocations)

    def decorate(function: Callable[[Any], Any]) -> Any:
        def agent(stream: Any) -> Any:
            stream.add_processor(partial(_invocation, app, topics, stream, task))
            return function(stream.filter(lambda each: task is None or each.task == task))

        agent.__name__, agent.__module__, agent.__doc__ = function.__name__, function.__module__, function.__doc__
        return app.agent(topic, **options)(agent)

    return decorate


def read_committed(app: AppT) -> None:
    """Have ``app`` consume committed records only, of all its topics; before it starts. May be called again."""
    guarantee: Any = app.conf.processing_guarantee
    if guarantee == ProcessingGuarantee.EXACTLY_ONCE:
        raise Misconfigured(
            "Faust's exactly_once writes outputs outside of its transactions",
            hint="use processing_guarantee='at_least_once' and tell repeats by their ids",
        )
    transport = app.transport
    if not issubclass(transport.Consumer, driver.Consumer):
        raise Misconfigured(
            f"{type(transport).__name__} cannot read committed records only", hint="use broker kafka://"
        )
    cast(Any, transport).Consumer = _CommittedConsumer


async def emit_event(
    app: AppT,
    code: str,
    payload: JsonValue = None,
    *,
    key: str | None = None,
    event_id: str | None = None,
    source: str | None = None,
    topic_prefix: str = "",
) -> str:
    """Send an event, wait until Kafka has it, and return its id.

    In an agent, id, instant and causal chain come from the message that is being processed. The id is derived from
    agent, message, code, and how many events of that code the agent has emitted for the message. So an agent that takes
    many messages at a time, or emits in an order that changes, passes ``event_id``, as does code outside of agents.
    """
    cause = faust.current_event()
    if event_id is None:
        if cause is None:
            raise Misconfigured("an event that is emitted outside of an agent has no id", hint="pass event_id")
        event_id = _derived_id(app, cause, code)
    time_ms = SystemClock().now_ms() if cause is None else round(cause.message.timestamp * 1000)
    event = core.Event(code, event_id, time_ms, key, payload, source or app.conf.id, *_chain(cause))
    try:
        value = encode(event)
    except InvalidMessage:
        require_64_bits(payload, "payload")
        raise
    if NULL in value:
        require_finite(payload, "payload")
    require_short(event)
    topic = _raw_topic(app, Topics(_APPLICATION, topic_prefix).events)
    await (await topic.send(key=(key or event_id).encode(), value=value))
    return event_id


async def report_status(
    app: AppT,
    invocation: Invocation,
    status: str,
    *,
    attempt: int = 1,
    previous: str | None = None,
    topic_prefix: str = "",
) -> str:
    """Report that an invocation came to ``status``, wait until Kafka has it, and return the report's id.

    A trigger that lets one run go on at a time, or stops when too many fail, learns from it how the run goes.
    """
    given = core_invocation.Invocation(**{**invocation.asdict(), "causes": tuple(invocation.causes)})
    time_ms = SystemClock().now_ms()
    report = status_of(given, status.lower(), time_ms, attempt=attempt, previous=previous.lower() if previous else None)
    await _send_status(app, Topics(_APPLICATION, topic_prefix), report)
    return report.id


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer, but for the isolation level, which Faust does not let an application choose."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        assert hasattr(consumer, "_isolation_level"), "this aiokafka keeps its isolation level elsewhere"
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - read by the consumer when it starts
        return consumer


class _CommittedConsumer(driver.Consumer):
    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


def _raw_topic(app: AppT, name: str) -> TopicT:
    return app.topic(name, key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw")


async def _invocation(
    app: AppT, topics: Topics, stream: StreamT[Any], task: str | None, value: bytes | None
) -> Invocation:
    """The invocation in a record that was just read; one that is none goes to the dead letters."""
    try:
        invocation = decode(value, (core_invocation.Invocation,))
    except InvalidMessage as error:
        letters = _raw_topic(app, topics.dead_letters)
        assert stream.current_event is not None, "the record that is being read"
        message = stream.current_event.message
        await (await letters.send(key=message.key, value=encode(_dead_letter(message, error))))
        raise Skip from error
    now_ms = SystemClock().now_ms()
    if invocation.task == task and invocation.is_expired(now_ms):
        await _send_status(app, topics, status_of(invocation, EXPIRED, now_ms))
        raise Skip
    return Invocation(**msgspec.structs.asdict(invocation))


async def _send_status(app: AppT, topics: Topics, report: core.TaskStatus) -> None:
    topic = _raw_topic(app, topics.task_status)
    await (await topic.send(key=report.invocation_id.encode(), value=encode(report)))


def _dead_letter(message: Any, error: InvalidMessage) -> DeadLetter:
    headers = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    return DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=round(message.timestamp * 1000),
        key=message.key,
        value=message.value,
        stage="decode",
        error=error.message,
        headers=kept_headers(headers),
    )


_emitted: WeakKeyDictionary[Any, Counter[tuple[str, str]]] = WeakKeyDictionary()
"""How many events of each code each agent has emitted for a message that is being processed."""


def _derived_id(app: AppT, cause: EventT[Any], code: str) -> str:
    agent = faust.agents.current_agent()
    name = "" if agent is None else agent.name
    counts = _emitted.setdefault(cause.message, Counter())
    count = counts[name, code]
    counts[name, code] += 1
    at = cause.message
    parts = (app.conf.id, name, at.topic, str(at.partition), str(at.offset), code, str(count))
    digest = blake2b(digest_size=EVENT_ID_BYTES, person=b"faust-event-v1")
    for part in parts:
        text = part.encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return digest.hexdigest()


def _chain(cause: EventT[Any] | None) -> tuple[str | None, str | None, int]:
    """Trace, root and depth of a message that is sent because of ``cause``, where that is one of ours."""
    if cause is None:
        return (None, None, 0)
    try:
        message = decode(cause.message.value)
    except InvalidMessage:  # a topic of the application's own
        return (None, None, 0)
    match message:
        case core_invocation.Invocation() | core.Event() | core.TaskStatus() | core.TaskResult():
            return (message.traceparent, message.root or message.id, message.depth)
        case _:
            return (None, None, 0)
