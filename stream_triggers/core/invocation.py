"""What leaves: invocations, run records and decisions, their ids derived from their cause.

Rules:
1. ``run_id`` is a hash of trigger id, epoch and participants. Editing arguments or a task's name does not change it;
   raising ``epoch`` does, on purpose.
2. The order in which participants came does not matter; their kinds do: event 7 and result 7 are two messages.
3. No id is random, none depends on a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec

from stream_triggers.core.message import JsonValue, Kind, Participant

RUN_ID_BYTES = 16
"""Size of a run id before hexadecimal: at 10^12 runs the chance of any two meeting is below 10^-14."""

FlowReason: TypeAlias = Literal[
    "too_deep",
    "over_budget",
    "rate_limited",
    "debounced",
    "cooling_down",
    "expired",
    "tripped",
    "overlapping",
    "paused",
    "queue_full",
    "empty_list",
]
"""Why flow control refused a match.

``queue_full`` is for every gate that holds matches and was given more than it may hold; ``expired`` waited too long.
"""

Reason: TypeAlias = Literal[
    "duplicate",
    "filter_failed",
    "arguments_failed",
    "step_failed",
    "definitions_changed",
    "catching_up",
    "no_key",
    "trigger_deleted",
    "trigger_unusable",
    "late",
    "partial_expired",
    "superseded",
    "vetoed",
    "reset",
    "hot_key",
    "leaf_gone",
    "skipped",
    FlowReason,
]
"""Why a match did not fire: a closed set, each also a metric label.

``no_key``: the message has nothing at the place of the trigger's key. ``trigger_deleted`` and ``trigger_unusable``:
there was no such trigger any more when the keyed stage came to the match, or the worker there cannot run it.
``definitions_changed`` instead notes that from this position on the definitions before the offset in ``detail`` are in
force; ``catching_up`` notes the same of one trigger, which reads from this position on what was there before it.

``step_failed``: what a key remembers of the trigger cannot be read, or its step over it failed.

Of what the keyed stage keeps: ``late`` came after its window, ``partial_expired`` waited in vain for the rest, another
took the place of what is ``superseded``, ``vetoed`` says that something happened that should not have, ``reset`` that
all was forgotten, ``hot_key`` that there was too much of it, ``leaf_gone`` that a new version of the trigger has no use
for it, ``skipped`` that instants were not caught up on. From ``too_deep`` on the words are those of flow control.
"""

NOTES: frozenset[Reason] = frozenset({"definitions_changed", "catching_up"})
"""The reasons that are no decision about a match: they say which definitions are used from a position on."""


class Invocation(msgspec.Struct, frozen=True):
    """The instruction to run a task; not to be started any more from ``expires_ms`` on."""

    task: str
    trigger_id: str
    trigger_version: str
    id: str
    run_id: str
    time_ms: int
    key: str | None
    arguments: JsonValue
    causes: tuple[str, ...]
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    expires_ms: int | None = None

    def is_expired(self, now_ms: int) -> bool:
        """Whether it is too late to start the task."""
        return self.expires_ms is not None and now_ms >= self.expires_ms


class TriggerRun(msgspec.Struct, frozen=True):
    """One firing of a trigger: what caused it."""

    trigger_id: str
    trigger_version: str
    epoch: int
    task: str
    run_id: str
    invocation_id: str
    time_ms: int
    key: str | None
    participants: tuple[Participant, ...]
    root: str | None = None
    depth: int = 0


class Decision(msgspec.Struct, frozen=True):
    """Something that was not fired, and why.

    ``key`` is what the trigger remembers or orders by; None where there is none, or where it is not known or too long.
    """

    reason: Reason
    topic: str
    partition: int
    offset: int
    time_ms: int
    trigger_id: str | None = None
    trigger_version: str | None = None
    detail: str = ""
    run_id: str | None = None
    kind: Kind | Literal[""] = ""
    id: str = ""
    key: str | None = None


class RunIds:
    """Makes the run ids of one trigger; hashing its identity once, not per run."""

    def __init__(self, trigger_id: str, epoch: int, purpose: str = "") -> None:
        """``purpose`` tells what is made for something else than a run from the run of the same participants."""
        self._identity = blake2b(digest_size=RUN_ID_BYTES, person=b"trigger-run-v1")
        self._identity.update(_field(trigger_id) + epoch.to_bytes(8, "big"))
        if purpose:
            self._identity.update(_field("purpose/" + purpose))

    def of_one(self, kind: Kind, message_id: str) -> bytes:
        """The run id, as raw bytes, of a run caused by one participant."""
        digest = self._identity.copy()
        digest.update(_field(f"{kind}/{message_id}"))
        return digest.digest()

    def of(self, participants: Iterable[tuple[Kind, str]], purpose: str = "") -> bytes:
        """The run id, as raw bytes, of a run caused by several ``(kind, id)`` participants, in any order.

        ``purpose`` tells a run from another of the same participants.
        """
        digest = self._identity.copy()
        names = [_field(name) for name in sorted({f"{kind}/{message_id}" for kind, message_id in participants})]
        if purpose:
            names.append(_field("purpose/" + purpose))
        digest.update(b"".join(names))
        return digest.digest()


def _field(text: str) -> bytes:
    """``text`` behind its length, so that no two sequences of fields run together into the same bytes."""
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded
