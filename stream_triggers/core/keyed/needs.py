"""What of a message a trigger needs to remember, so that no more than that is written and kept.

Rules:
1. Needed is what a reference, a comparison, a watched or a counted value names. A function needs the whole message.
2. What is needed inside a list is the whole list: a position in it means nothing without the others.
3. A document has the fields of a message by their names in templates; what the message lacks, the document lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeAlias

from stream_triggers.core.arguments import MESSAGE_FIELDS
from stream_triggers.core.filter import Path
from stream_triggers.core.message import JsonValue, Kind, Message

Need: TypeAlias = dict[str, Any]
"""Names of fields, each with what is needed below it; ``EVERYTHING_BELOW`` is all of it."""

EVERYTHING_BELOW: Final[Need] = {}
"""Nothing is named below, so all of it is needed."""


def need_of(paths: Iterable[Path], kind: Kind) -> Need:
    """What ``paths`` name in a message of ``kind``, an empty path all of it."""
    need: Need = {}
    for path in paths:
        if not path:
            return dict.fromkeys(MESSAGE_FIELDS[kind], EVERYTHING_BELOW)
        if path[0] in MESSAGE_FIELDS[kind]:
            _add(need, path)
    return need


def merged_need(needs: Iterable[Need]) -> Need:
    """What several needs name together."""
    merged: Need = {}
    for need in needs:
        for path in _paths(need):
            _add(merged, path)
    return merged


def compile_document(need: Need, kind: Kind) -> Callable[[Message], dict[str, JsonValue]]:
    """What makes the document of a message of ``kind``."""
    parts = tuple([(field, _getter(kind, field), below) for field, below in sorted(need.items())])

    def document(message: Message) -> dict[str, JsonValue]:
        return {field: _pruned(get(message), below) for field, get, below in parts}

    return document


def _getter(kind: Kind, field: str) -> Callable[[Any], Any]:
    get = attrgetter(MESSAGE_FIELDS[kind][field])
    return (lambda message: list(get(message))) if field == "bases" else get


def _add(need: Need, path: Path) -> None:
    for position, name in enumerate(path):
        is_last = position == len(path) - 1
        below = need.get(name)
        if below == EVERYTHING_BELOW and below is not None:
            return  # all of it is needed already
        if is_last or below is None:
            need[name] = below = {}
        if is_last:
            return
        need = below


def _paths(need: Need, before: Path = ()) -> Iterable[Path]:
    for name, below in need.items():
        path = (*before, name)
        yield from _paths(below, path) if below else (path,)


def _pruned(value: JsonValue, need: Mapping[str, Any]) -> JsonValue:
    if not need or not isinstance(value, dict):
        return value
    return {name: _pruned(value[name], below) for name, below in need.items() if name in value}
