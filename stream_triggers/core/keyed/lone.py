"""Schedules that fire alone: which of their instants fire, with a veto or without one.

Rules:
1. What is remembered is the last instant that was decided, and how many have fired. The first look remembers the time
   of the look, so that no earlier instant ever fires.
2. An instant with a veto is decided when the watermark with the grace has come to it: what must not happen has not
   happened since the instant before, or as far back as the veto looks.
3. While a pause is in force nothing is decided. What came until its end is then caught up on as the pause says, else as
   the schedule does: ``hold_latest`` on the latest at most, ``drop`` on none, which is refused as ``paused``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from stream_triggers.core.duration import duration_text
from stream_triggers.core.flow.settings import HELD_MAX
from stream_triggers.core.invocation import Reason
from stream_triggers.core.keyed.build import Lone
from stream_triggers.core.keyed.pool import Pool
from stream_triggers.core.keyed.search import veto_between
from stream_triggers.core.keyed.state import Clocks, Occurrence, nominal_id, nominal_occurrence
from stream_triggers.core.record import Pause
from stream_triggers.core.schedule import (
    CatchUp,
    CatchUpAll,
    Skipped,
    after,
    before,
    due,
    effective_ms,
)
from stream_triggers.core.trigger import Trigger


class Looked(NamedTuple):
    """What a look at a schedule makes: memory, instants that fire, and those that do not, with the reason."""

    memory: list[int]
    fire: tuple[Occurrence, ...] = ()
    refused: tuple[tuple[Reason, str, tuple[Occurrence, ...]], ...] = ()


def look_at(lone: Lone, memory: Any, pool: Pool, trigger: Trigger, clocks: Clocks, pause: Pause | None) -> Looked:
    """Decide what is due of a schedule."""
    if memory is None:
        return Looked([clocks.wall_ms, 0])
    if pause is not None and pause.is_in_force(clocks.wall_ms):
        return Looked(memory)
    last_ms, runs = memory
    schedule = lone.schedule
    refused: list[tuple[Reason, str, tuple[Occurrence, ...]]] = []
    if pause is not None and pause.until_ms is not None and last_ms < pause.until_ms:
        schedule = msgspec.structs.replace(schedule, catchup=_caught_up(pause, schedule.catchup))
        if pause.mode == "drop":
            refused += _dropped(lone, last_ms, pause.until_ms, pause.words)
            last_ms = pause.until_ms - 1
    now_ms = min(clocks.wall_ms, clocks.watermark_ms - trigger.grace_ms) if lone.vetoes else clocks.wall_ms
    owed = due(schedule, trigger.id, last_ms=last_ms, now_ms=now_ms, runs=runs)
    fire: list[Occurrence] = []
    if owed.skipped is not None:
        instant = nominal_occurrence(lone.leaf, owed.skipped.last_ms)
        refused.append(("skipped", _skipped_text(owed.skipped), (instant,)))
    for nominal_ms in owed.fire:
        instant = nominal_occurrence(lone.leaf, nominal_ms)
        strike = veto_between(pool, lone.vetoes, lone.schedule, nominal_ms)
        if strike is None:
            fire.append(instant)
        else:
            refused.append(("vetoed", strike.detail, (instant, *[one for _, one in strike.others])))
    return Looked([owed.last_ms, runs + len(owed.fire)], tuple(fire), tuple(refused))


def _caught_up(pause: Pause, catchup: CatchUp) -> CatchUp:
    """The rule by which instants are caught up on that came in a pause."""
    if pause.catchup == "all":
        return CatchUpAll(HELD_MAX)
    if pause.catchup in ("none", "latest"):
        return pause.catchup
    return "latest" if pause.mode == "hold_latest" and catchup != "none" else catchup


def _dropped(lone: Lone, last_ms: int, until_ms: int, words: str) -> list[tuple[Reason, str, tuple[Occurrence, ...]]]:
    """The refusal of the instants after ``last_ms`` and before ``until_ms``, if there are any."""
    first_ms, final_ms = after(lone.schedule, last_ms), before(lone.schedule, until_ms)
    if first_ms is None or final_ms is None or first_ms > final_ms:
        return []
    text = f"{words}, and instants from {nominal_id(first_ms)} on were dropped"
    return [("paused", text, (nominal_occurrence(lone.leaf, final_ms),))]


def next_look_ms(lone: Lone, memory: Any, trigger_id: str) -> int | None:
    """When the next instant takes effect; None when there is none."""
    last_ms, runs = memory
    schedule = lone.schedule
    if schedule.max_runs is not None and runs >= schedule.max_runs:
        return None
    nominal_ms = after(schedule, last_ms)
    return None if nominal_ms is None else effective_ms(schedule, trigger_id, nominal_ms)


def _skipped_text(skipped: Skipped) -> str:
    if skipped.first_ms == skipped.last_ms:
        return "this instant was not caught up on"
    count = "many" if skipped.count is None else str(skipped.count)
    span = duration_text(skipped.last_ms - skipped.first_ms)
    return f"{count} instants from {nominal_id(skipped.first_ms)} on, in {span}, were not caught up on"
