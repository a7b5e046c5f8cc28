"""What the keyed stage needs of a trigger that is made ready to run; ``core.keyed`` makes them."""

from __future__ import annotations

from typing import Protocol

from stream_triggers.core.keyed.state import Clocks, KeyState, Outcome
from stream_triggers.core.record import Fact, Pause
from stream_triggers.core.trigger import Trigger


class Plan(Protocol):
    """One version of a trigger: a pure step for each thing that can happen to the state of a key."""

    @property
    def trigger(self) -> Trigger: ...

    @property
    def version(self) -> str: ...

    @property
    def is_scheduled(self) -> bool:
        """Whether it has a state under the key "" from its activation on, in one partition."""
        ...

    def on_fact(
        self, state: KeyState | None, key: str, fact: Fact, at: int, clocks: Clocks, pause: Pause | None
    ) -> Outcome:
        """What a fact at position ``at`` makes of the state of its key."""
        ...

    def on_time(self, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None) -> Outcome:
        """What the clocks make of a state; also the first look at that of a scheduled trigger."""
        ...
