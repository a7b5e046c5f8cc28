"""What waits in the state of a key, for people: what has come, what is missing, until when.

Rules:
1. An open match is what a member of the outermost ``any``, or the whole condition, has to begin with; there is at most
   one for each. What is missing is named by path, as in a refusal ``partial_expired``.
2. Nothing of it is decided here: what the next tick would make of it, it makes then.
"""

from __future__ import annotations

from typing import NamedTuple

from stream_triggers.core.keyed.gates import held_in, running_in
from stream_triggers.core.keyed.kept import Kept
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.pool import ALWAYS, START, Pool, in_order
from stream_triggers.core.keyed.release import least
from stream_triggers.core.keyed.state import Clocks, KeyState, Wake, encode_state
from stream_triggers.core.message import Participant


class Open(NamedTuple):
    """A match that has begun; ``until_ms`` is the watermark at which the first of what is there is let go."""

    present: tuple[Participant, ...]
    missing: tuple[str, ...]
    until_ms: int


class Pending(NamedTuple):
    """What a key has open, the matches that flow control holds by the name of the gate, and the size of it all.

    ``running`` are the invocations of the key that go on, where the trigger follows them.
    """

    open: tuple[Open, ...]
    held: dict[str, int]
    running: tuple[str, ...]
    state_bytes: int


def pending(state: KeyState | None, plan: KeyedPlan, clocks: Clocks) -> Pending:
    """What waits in ``state``, seen with the definition in force."""
    if state is None:
        return Pending((), {}, (), 0)
    kept = Kept(state.occurrences, plan.terms, clocks.watermark_ms, plan.trigger.grace_ms)
    found = [one for group in range(len(plan.groups)) if (one := _open(kept, plan, group, clocks)) is not None]
    held = {name: len(matches) for name, matches in held_in(state.gates).items()}
    return Pending(tuple(found), held, running_in(state.gates), len(encode_state(state, Wake())))


def _open(kept: Kept, plan: KeyedPlan, group: int, clocks: Clocks) -> Open | None:
    leaves = [leaf for leaf, term in plan.terms.items() if term.group == group and not term.is_veto]
    there = {each.at: each for leaf in leaves for each in kept.pool.by_leaf.get(leaf, ())}
    if not there:
        return None
    until_ms: int | None = None
    for each in there.values():
        for leaf in each.leaves:
            if leaf in leaves:
                until_ms = least(until_ms, kept.end_ms(plan.terms[leaf], each) + plan.trigger.grace_ms)
    present = in_order(there.values())
    missing = plan.groups[group].lacks(Pool(present, clocks.watermark_ms), START, ALWAYS)
    assert until_ms is not None, "something is there"
    return Open(plan.firer.participants(present), missing, until_ms)
