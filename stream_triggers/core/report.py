"""What a task worker says about an invocation: its status, its result or its failure, each id derived from its cause.

Rules:
1. A status is identified by invocation, attempt and status; an outcome by invocation, attempt and whether it succeeded.
   A report that is sent again is therefore the same message.
2. A trigger follows the runs it has made by their statuses: the word says whether a run goes on, or how it ended.
3. A failure's text is always there and always encodable, whatever the exception does.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal, TypeAlias, TypedDict

from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Failure, JsonValue, Success, TaskResult, TaskStatus

REPORT_ID_BYTES = 16
"""Size of a report's id before hexadecimal: that of a run id."""

FAILURE_CHARS_MAX = 8192
"""Longest text of a failure; the rest is cut, so that one exception cannot outgrow what the broker accepts."""


Outcome: TypeAlias = Literal["success", "failure"]
"""How an attempt ended."""


EXPIRED = "expired"
"""The status of an invocation that was not started because it was too late."""

News: TypeAlias = Literal["running", "succeeded", "failed", "unstarted"]
"""What is known of an invocation: that it goes on, or how it ended; ``unstarted``, that it never will begin."""

_ENDS: Mapping[str, News] = {"success": "succeeded", "failed": "failed", "killed": "failed", EXPIRED: "unstarted"}


class Links(TypedDict):
    """How a report hangs together with its invocation."""

    invocation_id: str
    arguments: dict[str, JsonValue]
    traceparent: str | None
    root: str
    depth: int


def news_of(status: str) -> News:
    """What a status says of its invocation; one that is not known as an end says that it goes on."""
    return _ENDS.get(status, "running")


def status_of(
    invocation: Invocation, status: str, time_ms: int, *, attempt: int = 1, previous: str | None = None
) -> TaskStatus:
    """The report that ``invocation`` came to ``status`` at ``time_ms``, which carries on its causal chain."""
    return TaskStatus(
        task=invocation.task,
        status=status,
        id=status_id(invocation.id, attempt, status),
        time_ms=time_ms,
        previous=previous,
        attempt=attempt,
        trigger_id=invocation.trigger_id,
        trigger_key=invocation.key,
        **_links(invocation),
    )


def result_of(invocation: Invocation, outcome: Success | Failure, time_ms: int, *, attempt: int = 1) -> TaskResult:
    """The report that ``attempt`` of ``invocation`` ended with ``outcome``, on its causal chain like ``status_of``."""
    return TaskResult(
        task=invocation.task,
        outcome=outcome,
        id=result_id(invocation.id, attempt, "success" if isinstance(outcome, Success) else "failure"),
        time_ms=time_ms,
        attempt=attempt,
        **_links(invocation),
    )


def _links(invocation: Invocation) -> Links:
    """What a report repeats of its invocation, and that it is a link further in the causal chain."""
    return Links(
        invocation_id=invocation.id,
        arguments=invocation.arguments,
        traceparent=invocation.traceparent,
        root=invocation.root or invocation.id,
        depth=invocation.depth,
    )


def status_id(invocation_id: str, attempt: int, status: str) -> str:
    """The id of the report that ``invocation_id`` came to ``status`` in its ``attempt``."""
    return _digest(b"task-status-v1", invocation_id, attempt, status)


def result_id(invocation_id: str, attempt: int, outcome: Outcome) -> str:
    """The id of the report that the ``attempt`` of ``invocation_id`` ended with ``outcome``."""
    return _digest(b"task-result-v1", invocation_id, attempt, outcome)


def failure_of(exception: BaseException, *, final: bool) -> Failure:
    """``exception`` as it is reported: its class, the classes it derives from without ``object``, and its text."""
    kind = type(exception)
    bases = tuple(base.__name__ for base in kind.__mro__[1:] if base is not object)
    return Failure(type=kind.__name__, bases=bases, message=_text(exception), final=final)


def _text(exception: BaseException) -> str:
    try:
        text = str(exception)
    except Exception as error:  # noqa: BLE001 - a user's __str__ may raise anything, and the failure must still be told
        text = f"its text cannot be made: {type(error).__name__}"
    return text[:FAILURE_CHARS_MAX].encode(errors="backslashreplace").decode()


def _digest(person: bytes, invocation_id: str, attempt: int, what: str) -> str:
    """Hash of the parts, the first behind its length and the second of fixed size, so that no two sets run together."""
    name = invocation_id.encode()
    parts = len(name).to_bytes(4, "big") + name + attempt.to_bytes(4, "big") + what.encode()
    return blake2b(parts, digest_size=REPORT_ID_BYTES, person=person).hexdigest()
