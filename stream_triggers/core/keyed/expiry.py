"""The end of what is kept: what has outlived its window, what is said of it, and what is remembered too long.

See the rules of ``evaluate``, 4 and 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from stream_triggers.core.keyed.build import Term
from stream_triggers.core.keyed.lone import next_look_ms
from stream_triggers.core.keyed.pool import ALWAYS, START, Pool, in_order
from stream_triggers.core.keyed.release import least
from stream_triggers.core.keyed.state import FRESH, TOLD, Occurrence

if TYPE_CHECKING:
    from stream_triggers.core.keyed.evaluate import Step


def expire(step: Step) -> int | None:
    """Let go of what has outlived its window; gives the watermark at which the next will have."""
    over, next_ms = step.kept.expired()
    if not over:
        return next_ms
    told: set[int] = set()
    for leaf, occurrence, end_ms in sorted(over, key=_by_moment):
        if occurrence.fate == FRESH and occurrence.at not in told and _is_end(step, leaf, occurrence, over):
            told |= _tell(step, step.plan.terms[leaf], occurrence, end_ms)
    for leaf, occurrence, _ in over:
        step.kept.lose(leaf, occurrence)
    for at in told:
        left = step.kept.by_at.get(at)
        if left is not None and left.fate == FRESH:
            step.kept.forget(left, left.leaves, TOLD)
    return next_ms


def _is_end(step: Step, leaf: str, occurrence: Occurrence, over: list[tuple[str, Occurrence, int]]) -> bool:
    """Whether with ``leaf`` the last that takes part in runs lets go of an occurrence."""
    gone = {name for name, one, _ in over if one.at == occurrence.at}
    left = [name for name in occurrence.leaves if step.kept.is_part(name) and name not in gone]
    return step.kept.is_part(leaf) and not left


def _tell(step: Step, term: Term, occurrence: Occurrence, end_ms: int) -> set[int]:
    """Say what began with an occurrence and was not completed; gives all whose end that has told."""
    if occurrence.at == step.new_at:
        step.refuse("late", "it came after its window", occurrence, term.id)
        return {occurrence.at}
    there: dict[int, Occurrence] = {}
    for name, listed in step.kept.pool.by_leaf.items():
        other = step.plan.terms[name]
        if other.is_veto or other.group != term.group:
            continue
        for each in listed:
            if occurrence.time_ms <= each.time_ms <= end_ms:
                leaves = there[each.at].leaves if each.at in there else ()
                there[each.at] = replace(each, leaves=(*leaves, name))
    present = in_order(there.values())
    pool = Pool(present, step.clocks.watermark_ms)
    lacking = step.plan.groups[term.group].lacks(pool, START, ALWAYS)
    detail = "missing " + ", ".join(lacking) if lacking else "it was not completed in its window"
    step.refuse_all("partial_expired", detail, present)
    _time_out(step, present, end_ms)
    return set(there)


def _time_out(step: Step, present: tuple[Occurrence, ...], end_ms: int) -> None:
    trigger = step.plan.trigger
    if trigger.on_timeout is None:
        return
    if (pause := step.pause_in_force) is not None:
        step.refuse_all("paused", pause.words, present)
        return
    depth = max([each.depth for each in present]) + 1
    if depth > trigger.flow.max_depth:
        step.refuse_all("too_deep", f"this run would be {depth} deep in its chain of causes", present)
        return
    fired = step.plan.firer.fire_timeout(present, step.key, end_ms)
    step.timeouts += fired.firings
    step.refusals += () if fired.refusal is None else (fired.refusal,)


def forget_old(step: Step, next_ms: int | None) -> tuple[int | None, int | None]:
    """Drop what is remembered and older than the trigger allows; gives when more will be, and schedules are due."""
    trigger, watermark_ms = step.plan.trigger, step.clocks.watermark_ms
    wall_ms: int | None = None
    for lone in step.plan.lone:
        if lone.leaf in step.memory and (pause := step.pause_in_force) is not None:
            wall_ms = least(wall_ms, pause.until_ms)
        elif lone.leaf in step.memory:
            due_ms = next_look_ms(lone, step.memory[lone.leaf], trigger.id)
            if lone.vetoes:
                next_ms = least(next_ms, due_ms and due_ms + trigger.grace_ms)
            else:
                wall_ms = least(wall_ms, due_ms)
    for name in [name for name in step.plan.watches if name in step.memory]:
        gone_ms = step.plan.watches[name].last_ms(step.memory[name]) + trigger.ttl_ms + trigger.grace_ms + 1
        if gone_ms <= watermark_ms:
            del step.memory[name]
        else:
            next_ms = least(next_ms, gone_ms)
    if step.reset_ms is not None:
        gone_ms = step.reset_ms + trigger.ttl_ms + trigger.grace_ms + 1
        if gone_ms <= watermark_ms:
            step.reset_ms = None
        else:
            next_ms = least(next_ms, gone_ms)
    return wall_ms, next_ms


def _by_moment(over: tuple[str, Occurrence, int]) -> tuple[int, int]:
    return over[1].moment
