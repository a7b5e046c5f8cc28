"""A reset by hand: somebody has a key of a trigger forget everything.

Rules:
1. It is a fact that no message has made, so it stands in the log of the key: whoever reads the partition again forgets
   at the same place.
2. It has ``RESET`` in place of a leaf, takes no part in a run, and is told in a decision with who asked for it and why.
"""

from __future__ import annotations

from stream_triggers.core.keyed.state import NO_POSITION
from stream_triggers.core.message import Participant
from stream_triggers.core.record import Fact

RESET = "reset"
"""What a reset by hand stands for; the id of no leaf, for those are hexadecimal."""


def reset_fact(
    trigger_id: str, version: str, key: str, participant_id: str, place: tuple[str, int], time_ms: int, reason: str
) -> Fact:
    """The fact of a reset; ``place`` is the topic and partition it goes to, ``reason`` says by whom and why."""
    return Fact(
        trigger_id=trigger_id,
        trigger_version=version,
        key=key,
        participant=Participant(RESET, "event", participant_id, *place, NO_POSITION, time_ms),
        fields={"reason": reason},
        leaves=(RESET,),
    )


def reset_in(fact: Fact) -> str | None:
    """By whom and why a fact resets its key; None where it does not."""
    if fact.leaves != (RESET,):
        return None
    reason: str = fact.fields.get("reason", "")
    return reason
