"""What arrives: the closed set of messages, as immutable values.

Rules:
1. A message has an id (a sender's retry carries the same one), an instant, and its place in a causal chain.
2. JSON parts (``payload``, ``arguments``, ``value``) are parsed values here: nothing behind this module sees bytes.
   They are shared by every trigger that looks at the message, so nobody may change them.
3. ``Message`` is closed: a match over it has no arm for the rest, so the type checker names the kind it misses.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from stream_triggers.errors import EvaluationFailed

TEXT_BYTES_MAX = 64 * 1024
"""Longest id, key, or other text beside the JSON parts of a message, in UTF-8. A run repeats some several times,
and must fit where its message did."""

TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, the end of what ``datetime`` and its like can show."""

_SHORT = TEXT_BYTES_MAX // 4
"""Texts of so many characters in all are within the limit, whatever they are."""

Kind: TypeAlias = Literal["event", "status", "result", "exception", "schedule"]
"""The kinds of leaf a message (or, for ``schedule``, a nominal instant) can satisfy."""

JsonValue: TypeAlias = Any
"""A parsed JSON value: None, bool, int, float, str, list or dict with str keys."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened in an application."""

    code: str
    id: str
    time_ms: int
    key: str | None
    payload: JsonValue
    source: str | None = None
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0


class TaskStatus(msgspec.Struct, frozen=True):
    """A task invocation changed its status; ``trigger_id`` and ``trigger_key`` are the invocation's, if known."""

    task: str
    status: str
    id: str
    invocation_id: str
    time_ms: int
    previous: str | None = None
    attempt: int = 1
    arguments: JsonValue = {}
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    trigger_id: str | None = None
    trigger_key: str | None = None


class Success(msgspec.Struct, frozen=True):
    """The task returned ``value``."""

    value: JsonValue


class Failure(msgspec.Struct, frozen=True):
    """The task raised; ``bases`` are the names of the base classes, nearest first."""

    type: str
    bases: tuple[str, ...]
    message: str
    final: bool = True


class TaskResult(msgspec.Struct, frozen=True):
    """A task invocation ended: with its result, or with the exception that ended it."""

    task: str
    outcome: Success | Failure
    id: str
    invocation_id: str
    time_ms: int
    attempt: int = 1
    arguments: JsonValue = {}
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0


Message: TypeAlias = Event | TaskStatus | TaskResult


def kind_of(message: Message) -> Kind:
    """The kind of leaf that can accept ``message``."""
    match message:
        case Event():
            return "event"
        case TaskStatus():
            return "status"
        case TaskResult(outcome=Success()):
            return "result"
        case TaskResult():
            return "exception"


def require_short(message: Message, key: str | None) -> None:
    """Raise ``EvaluationFailed`` if ``key``, or a text that a run repeats of ``message``, is too long."""
    root, traceparent = message.root or "", message.traceparent or ""
    if len(key or "") + len(message.id) + len(root) + len(traceparent) <= _SHORT:
        return
    for name, text in (("key", key or ""), ("id", message.id), ("root", root), ("traceparent", traceparent)):
        size_bytes = len(text.encode())
        if size_bytes > TEXT_BYTES_MAX:
            raise EvaluationFailed(f"{name} has {size_bytes} bytes, the limit is {TEXT_BYTES_MAX}")


class Position(msgspec.Struct, frozen=True):
    """Where a record stands in the log; ``offset`` is its own."""

    topic: str
    partition: int
    offset: int


class Participant(msgspec.Struct, frozen=True, gc=False):
    """One message (or nominal instant) that caused a run, the leaf that accepted it, and where it stands."""

    leaf: str
    kind: Kind
    id: str
    topic: str
    partition: int
    offset: int
    time_ms: int
