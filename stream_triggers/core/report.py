"""What a task worker says about an invocation: its status, its result or its failure, each id derived from its cause.

Rules:
1. A status is identified by invocation, attempt and status; an outcome by invocation, attempt and whether it succeeded.
   A report that is sent again is therefore the same message.
2. A failure's text is always there and always encodable, whatever the exception does.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, TypeAlias

from stream_triggers.core.message import Failure

REPORT_ID_BYTES = 16
"""Size of a report's id before hexadecimal: that of a run id."""

FAILURE_CHARS_MAX = 8192
"""Longest text of a failure; the rest is cut, so that one exception cannot outgrow what the broker accepts."""


Outcome: TypeAlias = Literal["success", "failure"]
"""How an attempt ended."""


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
