"""Everything that is left to chance, drawn from one seed: the profile of a schedule, and its faults.

A schedule is not a little of everything: each seed switches whole kinds of trouble off or makes them common, so that
every combination comes up unmixed somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias, get_args

from stream_triggers.runtime.memory_log import Fault, Faults, Point

Turn: TypeAlias = Literal[
    "run", "write", "define", "away", "kill", "stop", "start", "late", "wait", "wait long", "machine away"
]
"""What can happen in a turn."""

START_MS = 1_700_000_000_000
"""When every schedule begins."""

SHORT_RETENTION_MS = 60_000
"""So short that claims are forgotten within a schedule."""

_RARE: tuple[Turn, ...] = tuple(turn for turn in get_args(Turn) if turn not in ("run", "write"))

_FAULTS: dict[Point, tuple[Fault, ...]] = {
    "open": (Fault.REQUEST_LOST, Fault.RESPONSE_LOST, Fault.CRASH_BEFORE, Fault.CRASH_AFTER),
    "produce": (Fault.REQUEST_LOST, Fault.ABORTABLE, Fault.FATAL, Fault.CRASH_BEFORE, Fault.CRASH_AFTER),
    "send_offsets": tuple(Fault),
    "commit": (*Fault, Fault.RESPONSE_LOST, Fault.REQUEST_LATE, Fault.CRASH_AFTER),
    "abort": tuple(fault for fault in Fault if fault is not Fault.ABORTABLE),
    "committed": (Fault.RETRIABLE, Fault.CRASH_BEFORE),
    "poll": (Fault.RETRIABLE, Fault.CRASH_BEFORE),
    "read": (Fault.RETRIABLE, Fault.CRASH_BEFORE),
}
"""What can go wrong with each request. A member or reader that is refused for good needs somebody to cause it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one schedule is made of."""

    turns: int
    slots: int
    partitions: int
    are_static: bool
    session_timeout_ms: int
    transaction_timeout_ms: int
    commit_interval_ms: int
    batch_records_max: int
    read_max: int
    interrupt_chance: float
    fault_chance: float
    crash_chance: float
    unanswered_chance: float
    disk_lost_chance: float
    claim_retention_ms: int
    starting_chance: float
    """That what an author writes is a trigger that starts in the past."""
    weights: dict[Turn, float]


def draw_profile(random: Random) -> Profile:
    """What the schedule of this seed is made of."""
    weights: dict[Turn, float] = {"run": 10, "write": random.choice((0.5, 2.0, 4.0))}
    weights |= {turn: random.choice((0.0, 0.3, 1.0)) for turn in _RARE}
    return Profile(
        turns=random.randrange(30, 80),
        slots=random.choice((1, 2, 2, 3)),
        partitions=random.choice((1, 2, 2, 3)),
        are_static=random.random() < 0.8,
        session_timeout_ms=random.choice((1000, 3000, 6000)),
        transaction_timeout_ms=random.choice((1000, 3000, 10_000)),
        commit_interval_ms=random.choice((1, 100, 500)),
        batch_records_max=random.choice((1, 2, 5, 1000)),
        read_max=random.choice((1, 2, 1000)),
        interrupt_chance=random.choice((0.0, 0.1, 0.3, 0.6)),
        fault_chance=random.choice((0.0, 0.02, 0.05, 0.15)),
        crash_chance=random.choice((0.0, 0.03, 0.1)),
        unanswered_chance=random.choice((0.0, 0.0, 0.05)),
        disk_lost_chance=random.choice((0.0, 0.3, 1.0)),
        claim_retention_ms=random.choice((86_400_000, 86_400_000, 86_400_000, SHORT_RETENTION_MS)),
        starting_chance=random.choice((0.0, 0.3, 0.6)),
        weights=weights,
    )


class RandomFaults(Faults):
    """Faults by chance; none once ``chance`` is 0."""

    def __init__(self, random: Random, chance: float) -> None:
        super().__init__()
        self.chance = chance
        self._random = random

    def take(self, point: Point, slot: str) -> Fault | None:
        if self.chance and self._random.random() < self.chance:
            return self._random.choice(_FAULTS[point])
        return None
