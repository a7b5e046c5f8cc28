"""The leaves of a trigger by name: ids that outlive an edit, and what each leaf is there for.

Rules:
1. The id of a leaf is a hash of its canonical form without what a ``Pick`` adds, so that a new version of a trigger
   knows what was kept for the leaves that it still has. Of equal leaves the second is ``ID.1``, and so on, in order.
2. Nodes that watch a value have ids as well, made of their own form: what they remember is of no use to any other.
3. A leaf takes part in runs, stands in a ``not`` or an ``unless`` and is a veto, or resets the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeAlias

import orjson

from stream_triggers.core.condition import (
    After,
    Aggregate,
    Changed,
    Condition,
    Leaf,
    Not,
    Pick,
    condition_json,
    leaf_json,
    members,
)
from stream_triggers.core.message import JsonValue

ID_BYTES = 6
"""Size of the id of a leaf before hexadecimal: it tells at most some hundred leaves of one trigger apart."""

Role: TypeAlias = Literal["part", "veto", "reset"]
"""What a leaf is there for."""


class Place(NamedTuple):
    """A leaf at its place in a trigger."""

    id: str
    path: str
    pick: Pick
    role: Role


def leaf_places(when: Condition, resets: tuple[tuple[str, Condition], ...] = ()) -> tuple[Place, ...]:
    """The leaves of a condition in order, and those of what resets it, given with their paths."""
    found = [*_walk(when, "when", "part")]
    for path, reset in resets:
        found += _walk(reset, path, "reset")
    seen: Counter[str] = Counter()
    return tuple([Place(_unique(_hash(leaf_json(pick.leaf)), seen), path, pick, role) for path, pick, role in found])


def watcher_ids(watchers: list[Aggregate | Changed]) -> list[str]:
    """The ids of nodes that watch a value, in the same order."""
    seen: Counter[str] = Counter()
    return [_unique("w" + _hash(condition_json(watcher)), seen) for watcher in watchers]


def _walk(condition: Condition, path: str, role: Role) -> Iterator[tuple[str, Pick, Role]]:
    if isinstance(condition, Pick):
        yield path, condition, role
    elif isinstance(condition, Leaf):
        yield path, Pick(condition), role
    for end, member in members(condition):
        is_veto = isinstance(condition, Not) or (isinstance(condition, After) and end == ".unless")
        yield from _walk(member, path + end, "veto" if is_veto else role)


def _hash(form: JsonValue) -> str:
    written = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    return blake2b(written, digest_size=ID_BYTES, person=b"trigger-leaf-v1").hexdigest()


def _unique(name: str, seen: Counter[str]) -> str:
    number = seen[name]
    seen[name] += 1
    return f"{name}.{number}" if number else name
