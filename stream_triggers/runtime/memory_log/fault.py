"""Faults of the in-memory log: which calls go wrong, and how.

Rules:
1. Nothing here is random. A fault happens where a script plans it, or where a subclass of ``Faults`` decides; a test
   that wants chance draws it from its own seed.
2. A lost request and a lost response look the same to the caller.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from stream_triggers.errors import Aborted, Fenced, StreamTriggersError, Unavailable, Unsettled

Point: TypeAlias = Literal["open", "produce", "send_offsets", "commit", "abort", "committed", "poll", "read"]
"""The calls that consult the script: those of a producer, ``Member.committed``, ``Member.poll``, ``Reader.poll``."""

_SETTLING = frozenset[Point]({"send_offsets", "commit", "abort"})


class Fault(Enum):
    """What goes wrong with one call."""

    REQUEST_LOST = auto()
    """It never reaches the cluster."""
    RESPONSE_LOST = auto()
    """It reaches the cluster, the answer does not come back."""
    REQUEST_LATE = auto()
    """A commit or an abort that reaches the cluster at ``MemoryCluster.deliver_late``; another request is lost."""
    RETRIABLE = auto()
    """The cluster is away: nothing happens, the call may be made again."""
    ABORTABLE = auto()
    """The cluster refuses the call: the transaction can only be aborted."""
    FATAL = auto()
    """The cluster refuses the client for good, as if a successor had taken its name."""
    CRASH_BEFORE = auto()
    """The process dies, and the request with it."""
    CRASH_AFTER = auto()
    """The process dies when the cluster has done what was asked."""

    @property
    def applied(self) -> bool:
        """Whether the cluster does what was asked."""
        return self in (Fault.RESPONSE_LOST, Fault.CRASH_AFTER)

    @property
    def crashes(self) -> bool:
        """Whether the process that called dies."""
        return self in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


class Crashed(BaseException):
    """The process that made this call is dead: not an error it could act on, so nothing of it may catch this."""


@dataclass(slots=True)
class _Plan:
    point: Point
    fault: Fault
    calls_left: int
    slot: str | None


class Faults:
    """The script of what goes wrong. Override ``take`` to decide otherwise, call by call."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[Point, str]] = Counter()
        """How often each slot has made each call: a run without faults counts the places where one can be put."""
        self._plans: list[_Plan] = []

    def plan(self, point: Point, fault: Fault, *, nth: int = 1, slot: str | None = None) -> None:
        """Let the ``nth`` call of ``point`` from now on go wrong, of one slot or counted over all slots."""
        assert nth >= 1, "calls are counted from 1"
        self._plans.append(_Plan(point, fault, nth, slot))

    def take(self, point: Point, slot: str) -> Fault | None:
        """What goes wrong with the call that ``slot`` makes now; each plan is used once."""
        self.calls[point, slot] += 1
        if not self._plans:
            return None
        hits = [plan for plan in self._plans if plan.point == point and plan.slot in (None, slot)]
        for plan in hits:
            plan.calls_left -= 1
        due = next((plan for plan in hits if plan.calls_left <= 0), None)
        if due is None:
            return None
        self._plans.remove(due)
        return due.fault


def seen_error(point: Point, fault: Fault) -> StreamTriggersError:
    """What the caller of ``point`` sees of ``fault``, as the protocol sorts errors: by what to do next."""
    said = f"{point}: {fault.name.lower().replace('_', ' ')}"
    if fault is Fault.FATAL:
        return Fenced(said)
    if point == "produce":
        return Aborted(said)
    if fault is Fault.RETRIABLE or point not in _SETTLING:
        return Unavailable(said)
    if fault is Fault.ABORTABLE and point != "abort":
        return Aborted(said)
    return Unsettled(said)
