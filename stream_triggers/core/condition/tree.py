"""A condition as a value: leaves, how their occurrences are chosen, and the nodes that join them.

Rules:
1. A path names a node in the canonical form: ``when``, ``when.any[1]``, ``when.after``. A leaf that is picked in a
   certain way is at the path of its ``Pick``.
2. A ``Pick`` says something that its leaf alone does not; one that does not is never made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from stream_triggers.core.condition.leaf import Leaf
from stream_triggers.core.filter import Filter
from stream_triggers.core.message import JsonValue

Select: TypeAlias = Literal["latest", "first", "each", "all"]
"""Which of several occurrences of a leaf take part in a run."""

Consume: TypeAlias = Literal["all", "none"]
"""Whether what was counted in a run counts again."""

Function: TypeAlias = Literal["sum", "avg", "min", "max", "distinct"]
"""What is made of the values of an aggregate; ``distinct`` counts those that differ."""

Operator: TypeAlias = Literal["eq", "ne", "lt", "lte", "gt", "gte"]
"""How two values are compared."""


class Pick(msgspec.Struct, frozen=True):
    """A leaf with a ``name`` for references, a ``key`` of its own, or a rule for which occurrences take part.

    With ``reuse`` an occurrence takes part in any number of runs, each with something new in it.
    """

    leaf: Leaf
    name: str = ""
    key: str | None = None
    select: Select | None = None
    reuse: bool = False


class Comparison(msgspec.Struct, frozen=True):
    """Two templates, texts with references or literals, whose values compare as the operator says."""

    left: JsonValue
    operator: Operator
    right: JsonValue


class AnyOf(msgspec.Struct, frozen=True):
    """One of the conditions holds."""

    conditions: tuple[Condition, ...]


class AllOf(msgspec.Struct, frozen=True):
    """Every one of the conditions holds; from the first to the last participant is at most ``within_ms``."""

    conditions: tuple[Condition, ...]
    within_ms: int | None = None
    where: tuple[Comparison, ...] = ()


class Not(msgspec.Struct, frozen=True):
    """The condition does not hold: in the window of its group, or ``last_ms`` back from what else happened."""

    condition: Condition
    last_ms: int | None = None


class AtLeast(msgspec.Struct, frozen=True):
    """So many of the conditions hold."""

    count: int
    conditions: tuple[Condition, ...]
    within_ms: int | None = None


class Sequence(msgspec.Struct, frozen=True):
    """The steps hold one after the other; when ``strict``, with nothing of the trigger between them."""

    steps: tuple[Condition, ...]
    within_ms: int | None = None
    strict: bool = False
    where: tuple[Comparison, ...] = ()


class Count(msgspec.Struct, frozen=True):
    """So many occurrences, counted by the different values at the path ``distinct`` where there is one."""

    condition: Condition
    at_least: int
    within_ms: int | None = None
    distinct: str | None = None
    consume: Consume = "all"


class Times(msgspec.Struct, frozen=True):
    """So many occurrences, one after the other: ``least``, and as many more as there are, up to ``most``.

    Without ``most`` there is no bound, and ``least`` is 1.
    """

    condition: Condition
    least: int
    most: int | None


class Aggregate(msgspec.Struct, frozen=True):
    """What ``function`` makes of the values at a path comes to be what ``test`` accepts, and is that for ``hold_ms``.

    It fires once, and again only after what ``clear`` accepts, by default what ``test`` does not.
    """

    function: Function
    value: str
    leaf: Leaf | Pick
    test: Filter
    within_ms: int | None = None
    hold_ms: int | None = None
    clear: Filter | None = None


class Changed(msgspec.Struct, frozen=True):
    """The value at a path is another than the last one, from what ``before`` accepts to what ``after`` accepts.

    The first value of all is a change only if ``initial``.
    """

    value: str
    leaf: Leaf | Pick
    before: Filter | None = None
    after: Filter | None = None
    initial: bool = False


class After(msgspec.Struct, frozen=True):
    """``wait_ms`` have gone by since the condition came to hold, and ``unless`` did not come to hold meanwhile."""

    condition: Condition
    wait_ms: int
    unless: Condition | None = None


Condition: TypeAlias = (
    Leaf | Pick | AnyOf | AllOf | Not | AtLeast | Sequence | Count | Times | Aggregate | Changed | After
)
"""A leaf, or a node over conditions."""


def members(condition: Condition) -> tuple[tuple[str, Condition], ...]:
    """What a node is made of, each with the end of its path; nothing for a leaf."""
    match condition:
        case AnyOf(members):
            return _listed(".any", members)
        case AllOf(members):
            return _listed(".all", members)
        case AtLeast(_, members):
            return _listed(".of", members)
        case Sequence(members):
            return _listed(".sequence", members)
        case Not(member):
            return ((".not", member),)
        case Count(member):
            return ((".count", member),)
        case Times(member, _, most):
            return ((".one_or_more" if most is None else ".of", member),)
        case Aggregate(leaf=member) | Changed(leaf=member):
            return ((".of", member),)
        case After(member, _, unless):
            return ((".after", member), *(((".unless", unless),) if unless is not None else ()))
        case _:
            return ()


def nodes(condition: Condition, path: str = "when") -> Iterator[tuple[str, Condition]]:
    """The condition itself and everything in it, in order, each with its path in the canonical form."""
    yield path, condition
    for end, member in members(condition):
        yield from nodes(member, path + end)


def picks(condition: Condition, path: str = "when") -> tuple[tuple[str, Pick], ...]:
    """The leaves in order, each as a ``Pick``, with its path in the canonical form."""
    found: list[tuple[str, Pick]] = []
    for where, node in nodes(condition, path):
        if isinstance(node, Pick):
            found.append((where, node))
        elif isinstance(node, Leaf):
            found.append((where, Pick(node)))
    return tuple(found)


def leaves(condition: Condition, path: str = "when") -> tuple[tuple[str, Leaf], ...]:
    """The leaves in order, each with its path in the canonical form: ``when``, ``when.any[1]``."""
    return tuple((where, pick.leaf) for where, pick in picks(condition, path))


def _listed(word: str, conditions: tuple[Condition, ...]) -> tuple[tuple[str, Condition], ...]:
    return tuple((f"{word}[{index}]", condition) for index, condition in enumerate(conditions))
