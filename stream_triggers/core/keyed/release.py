"""From matches to runs: through flow control, and then made.

Rules:
1. Matches pass the gates of the trigger in order; what a gate refuses is a refusal with the run that was not made.
2. A run that flow control waits for and that is not made is reported to it as one that never begins, so nothing waits
   for it. It is no failed run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from stream_triggers.core.invocation import Reason
from stream_triggers.core.keyed.gates import Flowed, Refused
from stream_triggers.core.keyed.state import Firing, Match, Refusal
from stream_triggers.core.record import Pause
from stream_triggers.core.report import News
from stream_triggers.errors import EvaluationFailed

if TYPE_CHECKING:
    from stream_triggers.core.keyed.plan import KeyedPlan


class Released(msgspec.Struct, frozen=True, gc=False):
    """What goes out, and what the gates remember; ``wake_ms`` is on the wall clock."""

    firings: tuple[Firing, ...]
    refusals: tuple[Refusal, ...]
    gates: dict[str, Any]
    wake_ms: int | None


def release(
    plan: KeyedPlan,
    matches: Sequence[Match],
    gates: Mapping[str, Any],
    key: str | None,
    wall_ms: int,
    pause: Pause | None,
    report: tuple[str, News] | None,
) -> Released:
    """Let ``matches`` pass flow control, or news of an invocation, or only the time; and make the runs."""
    if not matches and not gates and report is None:
        return _NOTHING
    firings: list[Firing] = []
    refusals: list[Refusal] = []
    is_paused = pause is not None and pause.is_in_force(wall_ms)
    if not gates and report is None and not is_paused and plan.is_free(matches):
        _fire(plan, matches, key, wall_ms, firings, refusals)
        return Released(tuple(firings), tuple(refusals), {}, None)
    if report is not None:
        flowed = plan.chain.on_report(gates, *report, wall_ms, pause)
    else:
        flowed = plan.chain.on_matches(gates, matches, wall_ms, pause)
    while True:
        refusals += [_refusal(plan, each) for each in flowed.refused]
        unmade = _fire(plan, flowed.released, key, wall_ms, firings, refusals)
        if not unmade or not flowed.memories:
            return Released(tuple(firings), tuple(refusals), dict(flowed.memories), flowed.wake_ms)
        flowed = _ended(plan, flowed, unmade, wall_ms, pause)


def _fire(
    plan: KeyedPlan,
    matches: Sequence[Match],
    key: str | None,
    wall_ms: int,
    firings: list[Firing],
    refusals: list[Refusal],
) -> list[str]:
    """Make the runs of ``matches``; gives the ids of those that were not made."""
    unmade: list[str] = []
    for match in matches:
        fired = plan.firer.fire(match, key, wall_ms)
        firings += fired.firings
        if fired.refusal is not None:
            refusals.append(fired.refusal)
            unmade += [run_id.hex() for run_id in fired.run_ids]
    return unmade


def _ended(plan: KeyedPlan, flowed: Flowed, unmade: list[str], wall_ms: int, pause: Pause | None) -> Flowed:
    """Tell the gates that runs have ended; gives what they let go because of it."""
    released: list[Match] = []
    refused: list[Refused] = []
    for invocation_id in unmade:
        flowed = plan.chain.on_report(flowed.memories, invocation_id, "unstarted", wall_ms, pause)
        released += flowed.released
        refused += flowed.refused
    return flowed._replace(released=tuple(released), refused=tuple(refused))


def _refusal(plan: KeyedPlan, refused: Refused) -> Refusal:
    if refused.match is None:
        return Refusal(refused.reason, refused.detail)
    return refusal_of(plan, refused.reason, refused.detail, refused.match)


def refusal_of(plan: KeyedPlan, reason: Reason, detail: str, match: Match) -> Refusal:
    """Why nothing comes of a match, with the run that was not made."""
    try:
        run_ids = plan.firer.run_ids(match)
    except EvaluationFailed:
        run_ids = ()
    return plan.firer.refuse(reason, detail, match, run_ids[0] if run_ids else None)


def least(one: int | None, other: int | None) -> int | None:
    """The lesser of two instants, None being never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


_NOTHING = Released((), (), {}, None)
