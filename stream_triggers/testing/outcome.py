"""What came of the messages of a test, as plain values with a readable form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from stream_triggers.core.message import JsonValue

ID_CHARS_MAX = 30
"""Longest id that is shown in full."""


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One firing of a trigger, with its invocation; ``participants`` are the ids of the messages that caused it.

    For an instant of a schedule the participant is its text. ``time`` is when the engine fired, in UTC.
    """

    trigger: str
    task: str
    arguments: JsonValue
    key: str | None
    participants: tuple[str, ...]
    time: str
    invocation_id: str = field(compare=False)
    run_id: str = field(compare=False)
    root: str | None = field(default=None, compare=False)
    depth: int = field(default=0, compare=False)
    traceparent: str | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        key = "" if self.key is None else f" key={self.key}"
        causes = _ids(self.participants)
        return f"<{self.trigger} ran {self.task}({_text(self.arguments)}){key} at {self.time} because of {causes}>"


@dataclass(frozen=True, slots=True, repr=False)
class Decision:
    """Something that a trigger did not fire, and why; ``message`` is the id of the message it is about.

    ``key`` is the one of the trigger, None also where the engine does not know it.
    """

    trigger: str
    reason: str
    detail: str
    message: str
    key: str | None
    time: str = field(compare=False)

    def __repr__(self) -> str:
        about = f" {_short(self.message)}" if self.message else ""
        key = "" if self.key is None else f" key={self.key}"
        detail = f": {self.detail}" if self.detail else ""
        return f"<{self.trigger} {self.reason}{about}{key} at {self.time}{detail}>"


@dataclass(frozen=True, slots=True, repr=False)
class DeadLetter:
    """A message that could not be processed, for one ``trigger`` or, where that is empty, at all."""

    trigger: str
    stage: str
    error: str
    topic: str
    value: bytes | None = field(compare=False)
    time: str = field(compare=False)

    def __repr__(self) -> str:
        of = f" of {self.trigger}" if self.trigger else ""
        return f"<dead letter{of} from {self.topic} at {self.time}, {self.stage}: {self.error}>"


@dataclass(frozen=True, slots=True, repr=False)
class Pending:
    """What waits under one key of a trigger.

    ``present`` are the ids of the messages of a match that has begun, ``missing`` the paths of the conditions it lacks,
    ``until`` when the first of them is let go. ``held`` counts, by the word of the flow control, whole matches that
    it keeps back. ``running`` are the invocations that are to end first.
    """

    trigger: str
    key: str
    present: tuple[str, ...]
    missing: tuple[str, ...]
    until: str
    held: Mapping[str, int]
    running: tuple[str, ...]

    def __repr__(self) -> str:
        said = [f"has {_ids(self.present)}"] if self.present else []
        said += [f"lacks {', '.join(self.missing)}"] if self.missing else []
        said += [f"until {self.until}"] if self.until else []
        said += [f"{name} holds {count}" for name, count in self.held.items()]
        said += [f"waits for the end of {_ids(self.running)}"] if self.running else []
        return f"<{self.trigger} key={self.key} {', '.join(said)}>"


def _ids(ids: tuple[str, ...]) -> str:
    return ", ".join(map(_short, ids))


def _short(name: str) -> str:
    """The start of an id that nobody reads to its end: those of reports are hashes."""
    return name if len(name) <= ID_CHARS_MAX else f"{name[: ID_CHARS_MAX // 3]}…"


def _text(value: JsonValue) -> str:
    return orjson.dumps(value).decode()
