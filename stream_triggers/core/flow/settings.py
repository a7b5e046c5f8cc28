"""The flow control of a trigger as a value: what its author may set, and what is assumed where nothing is set.

Rules:
1. Durations are milliseconds and at least one; counts are at least one.
2. A setting that is absent lets every match pass; only ``max_depth`` has a value of its own.
3. ``HELD_MAX`` bounds what one gate holds for one key, so that no setting can make the state of a key unbounded.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from stream_triggers.core.message import TIME_MS_MAX

HELD_MAX = 1000
"""Most matches that one gate holds for one key, and most elements of one fan-out."""

COUNT_MAX = 1_000_000
"""Largest count that is only counted, not held."""

DEPTH_DEFAULT = 32
"""Longest chain of triggers that cause each other, unless the trigger says otherwise."""

DEPTH_MAX = 1000
"""Longest chain that a trigger can allow."""

OVERLAP_TTL_MS = 3_600_000
"""How long a run whose end was never reported keeps others waiting, unless the trigger says otherwise: an hour."""

CollectWord: TypeAlias = Literal["latest", "first", "all"]
"""Which of several matches that become one run take part in it."""

CooldownMode: TypeAlias = Literal["drop", "trailing"]
"""What becomes of a match during a cooldown: refused, or fired at its end."""

OverlapPolicy: TypeAlias = Literal["allow", "skip", "buffer_one", "buffer_all"]
"""What becomes of a match while a run of the key goes on."""


class Rate(msgspec.Struct, frozen=True):
    """At most ``max`` in ``per_ms``."""

    max: int
    per_ms: int


class Collect(msgspec.Struct, frozen=True):
    """Which matches take part: the latest, the first ``max``, or all up to ``max``."""

    which: CollectWord = "latest"
    max: int = 1


class Debounce(msgspec.Struct, frozen=True):
    """Fire when no match came for ``wait_ms``, at the latest ``max_wait_ms`` after the first."""

    wait_ms: int
    max_wait_ms: int | None = None
    collect: Collect = Collect()


class Batch(msgspec.Struct, frozen=True):
    """Fire once for ``max_size`` matches, or for what there is ``max_wait_ms`` after the first."""

    max_size: int
    max_wait_ms: int


class Cooldown(msgspec.Struct, frozen=True):
    """After a match passed, none passes for ``for_ms``; ``collect`` is for the mode ``trailing``."""

    for_ms: int
    mode: CooldownMode = "drop"
    collect: Collect = Collect()


class Throttle(msgspec.Struct, frozen=True):
    """Pass ``rate`` on average and ``burst`` at once; up to ``max_queue`` wait, none longer than ``max_age_ms``."""

    rate: Rate
    burst: int
    max_queue: int = HELD_MAX
    max_age_ms: int | None = None


class CircuitBreaker(msgspec.Struct, frozen=True):
    """Stop at too many fires or at too many failed runs; for ``for_ms``, None means until it is reset."""

    fires: Rate | None = None
    failures: Rate | None = None
    for_ms: int | None = None


class Overlap(msgspec.Struct, frozen=True):
    """What to do while a run goes on; ``max`` bounds what waits, ``ttl_ms`` the wait for news of the run."""

    policy: OverlapPolicy = "allow"
    max: int = 1
    ttl_ms: int = OVERLAP_TTL_MS


def expiry_ms(time_ms: int, expires_ms: int) -> int:
    """The instant at which a run of ``time_ms`` is too late that ``expires_ms`` is given for."""
    return min(time_ms + expires_ms, TIME_MS_MAX)


class Flow(msgspec.Struct, frozen=True):
    """Everything between a match of a trigger and its run; ``for_each`` is a template that gives a list.

    A run is not to be started ``expires_ms`` after its own instant, or later.
    """

    max_depth: int = DEPTH_DEFAULT
    root_budget: Rate | None = None
    rate_limit: Rate | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    delay_ms: int | None = None
    cooldown: Cooldown | None = None
    throttle: Throttle | None = None
    circuit_breaker: CircuitBreaker | None = None
    overlap: Overlap = Overlap()
    for_each: str | None = None
    for_each_key: str | None = None
    expires_ms: int | None = None

    def expires_at(self, time_ms: int) -> int | None:
        """The instant from which on a run of ``time_ms`` is not to be started any more."""
        return None if self.expires_ms is None else expiry_ms(time_ms, self.expires_ms)


FREE = Flow()
"""The flow control of a trigger that sets none."""
