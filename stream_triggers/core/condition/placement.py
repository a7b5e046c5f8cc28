"""Where in a trigger a node can stand: what a tree may say that can be evaluated.

Rules:
1. ``not`` stands in ``all``, beside at least one member that is not a ``not``. Of what must not happen a leaf, ``any``,
   ``all``, ``at_least``, ``sequence``, ``count``, ``times`` and ``one_or_more`` can be said, here and in ``unless``.
2. A schedule is the whole condition, or stands in an ``any`` that is the whole condition, or is the only one in an
   ``all`` that stands there.
3. What is counted or repeated, and each step of a strict sequence, is a leaf or an ``any`` of leaves; such a step can
   be repeated as well.
4. ``as`` names one leaf; it stands where an occurrence takes part in the run, as ``select`` and ``reuse`` do. What is
   counted, aggregated or watched for changes is not selected; a sequence takes one occurrence for a step. Of what is
   repeated can only be said that it is passed over by nothing (``each``) or reused.
"""

from __future__ import annotations

from collections.abc import Collection

from stream_triggers.core.condition.leaf import Leaf, ScheduleLeaf
from stream_triggers.core.condition.tree import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    Changed,
    Condition,
    Count,
    Not,
    Pick,
    Sequence,
    Times,
    members,
    nodes,
)
from stream_triggers.errors import InvalidTrigger


def check_placement(condition: Condition, path: str, reserved: Collection[str] = ()) -> None:
    """Refuse a condition that says what cannot be evaluated; ``reserved`` are no names. Raises ``InvalidTrigger``."""
    if isinstance(condition, Not):
        raise InvalidTrigger(path, "expected something that happens, found only what does not", hint=_IN_ALL)
    for where, node in nodes(condition, path):
        if isinstance(node, ScheduleLeaf) and not _is_free(condition, path, where):
            hint = "let it be the whole condition, or a member of an any or all that is"
            raise InvalidTrigger(where, "a schedule cannot stand here", hint=hint)
        _check_node(node, where)
    _check_names(condition, path, reserved)


_IN_ALL = "put it into an all, beside what does happen"


def _check_node(node: Condition, path: str) -> None:
    match node:
        case AllOf():
            _check_all(node, path)
        case Not():
            _check_negative(node.condition, path + ".not")
        case After():
            if node.unless is not None:
                _check_negative(node.unless, path + ".unless")
        case Count() | Times() | Sequence(strict=True):
            _check_members_are_leaves(node, path)
        case Aggregate(leaf=Pick(select=select, reuse=reuse)) | Changed(leaf=Pick(select=select, reuse=reuse)):
            if select or reuse:
                raise InvalidTrigger(path + ".of", "nothing is selected here", hint="leave out select and reuse")
        case _:
            pass
    _check_members(node, path)


def _check_members_are_leaves(node: Count | Times | Sequence, path: str) -> None:
    for end, member in members(node):
        if isinstance(node, Times):
            _check_repeated(member, path + end)
        elif isinstance(node, Count):
            _check_leaves(member, path + end, "what is counted")
        elif not isinstance(member, Times):
            _check_leaves(member, path + end, "a step of a strict sequence")


def _check_repeated(condition: Condition, path: str) -> None:
    for leaf in _leaves(condition, path, "what is repeated"):
        if isinstance(leaf, Pick) and leaf.select not in (None, "each"):
            problem = f"nothing is selected of what is repeated, found {leaf.select}"
            raise InvalidTrigger(path, problem, hint="leave out select, or let it be each")


def _check_members(node: Condition, path: str) -> None:
    if not isinstance(node, AllOf):
        for end, member in members(node):
            if isinstance(member, Not):
                raise InvalidTrigger(path + end, "not cannot stand here", hint=_IN_ALL)
    if isinstance(node, Sequence):
        for end, step in members(node):
            if isinstance(step, Pick) and step.select == "all":
                raise InvalidTrigger(
                    path + end, "a step takes one occurrence, found select all", hint="use one_or_more"
                )


def _check_all(node: AllOf, path: str) -> None:
    if all(isinstance(member, Not) for member in node.conditions):
        raise InvalidTrigger(path, "expected something that happens, found only what does not", hint=_IN_ALL)
    schedules = [member for member in node.conditions if isinstance(member, ScheduleLeaf)]
    if len(schedules) > 1:
        raise InvalidTrigger(path, "expected one schedule, found several", hint="two instants are never the same")


def _check_negative(condition: Condition, path: str) -> None:
    for where, node in nodes(condition, path):
        if isinstance(node, Not | After | Aggregate | Changed):
            raise InvalidTrigger(where, "what must not happen cannot be this", hint="name what must not happen itself")
        if isinstance(node, Pick) and (node.name or node.select or node.reuse):
            raise InvalidTrigger(where, "what must not happen takes no part: no as, select or reuse here")


def _check_leaves(condition: Condition, path: str, what: str) -> None:
    for member in _leaves(condition, path, what):
        if isinstance(member, Pick) and (member.select or member.reuse):
            raise InvalidTrigger(path, f"nothing is selected as {what}", hint="leave out select and reuse")


def _leaves(condition: Condition, path: str, what: str) -> tuple[Condition, ...]:
    listed = condition.conditions if isinstance(condition, AnyOf) else (condition,)
    if not all(isinstance(_bare(member), Leaf) for member in listed):
        raise InvalidTrigger(path, f"expected a leaf or an any of leaves as {what}")
    return listed


def _check_names(condition: Condition, path: str, reserved: Collection[str]) -> None:
    seen: set[str] = set()
    for where, node in nodes(condition, path):
        if isinstance(node, Pick) and node.name:
            if node.name in reserved:
                raise InvalidTrigger(f"{where}.as", f"{node.name} is a word of references", hint="choose another name")
            if node.name in seen:
                raise InvalidTrigger(f"{where}.as", f"the name {node.name} is given twice")
            seen.add(node.name)


def _is_free(condition: Condition, path: str, where: str) -> bool:
    """Whether the schedule at ``where`` is the condition, or a member of any or all, or of all in any."""
    tops = [(path, condition)]
    if isinstance(condition, AnyOf):
        tops += [(path + end, member) for end, member in members(condition)]
    for top, node in tops:
        if where == top or (isinstance(node, AllOf) and where in [top + end for end, _ in members(node)]):
            return True
    return False


def _bare(condition: Condition) -> Condition:
    return condition.leaf if isinstance(condition, Pick) else condition
