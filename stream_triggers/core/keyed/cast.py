"""References over the participants of a run: who is meant by a root, and what templates read from them.

Rules:
1. ``${event.payload.x}`` is the participant of that kind, of several the latest; ``${message.id}`` the latest of all.
2. ``${paid.payload.x}`` is the participant of the leaf that is named so, of several the latest; ``${paid}`` all that
   there is of it. ``${all.paid.payload.x}`` is the list of that value of each, in order, ``${all.paid}`` of all of
   them.
3. ``${each.value.sku}`` and ``${each.index}`` are the element of the list for which the run is made.
4. What is missing raises ``EvaluationFailed``; with a question mark it gives null. In a list each is on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from stream_triggers.core.arguments import Fields, Reference, Template, compile_template
from stream_triggers.core.filter import MISSING, Path, get_path
from stream_triggers.core.keyed.pool import Chosen
from stream_triggers.core.keyed.state import Occurrence
from stream_triggers.core.message import JsonValue
from stream_triggers.core.reference import ALL, EACH
from stream_triggers.errors import EvaluationFailed


class Cast(msgspec.Struct, frozen=True, gc=False):
    """Who takes part in a run, each for its leaf, in their own order; ``element`` is that of a fan-out."""

    chosen: Sequence[Chosen]
    element: Mapping[str, JsonValue] | None = None


CastTemplate: TypeAlias = Callable[[Cast, str, str], JsonValue]
"""A compiled template: from the cast, the trigger's id and the run's id."""

_CastReader: TypeAlias = Callable[[Cast, str, str, str], JsonValue]
"""The same for one reference, with a kind that says nothing in second place."""


def compile_cast(
    template: JsonValue, path: str, roots: Mapping[str, Fields], leaves: Mapping[str, str]
) -> CastTemplate:
    """Compile the ``template`` at ``path``; ``leaves`` are the ids of leaves by their names."""

    def reader(reference: Reference, where: str) -> Template:
        # The machinery of templates hands on what it is given, whatever that is.
        return cast(Template, _reader(reference, where, leaves))

    compiled = cast(Any, compile_template(template, path, roots, reader))
    return lambda who, trigger_id, run_id: compiled(who, "", trigger_id, run_id)


def _reader(reference: Reference, where: str, leaves: Mapping[str, str]) -> _CastReader:
    root = reference.root
    missing = f"{where}: {reference.text} is missing"
    if root == "trigger":
        return lambda who, kind, trigger_id, run_id: trigger_id
    if root == "run":
        return lambda who, kind, trigger_id, run_id: run_id
    if root.startswith(f"{ALL}."):
        return _list_reader(reference, leaves[root.partition(".")[2]], missing)
    path, optional = _path(reference), reference.optional
    if root == EACH:
        return lambda who, kind, trigger_id, run_id: _found(get_path(who.element, path), optional, missing)
    meant = _meant(reference, leaves)

    def read(who: Cast, kind: str, trigger_id: str, run_id: str) -> JsonValue:
        occurrence = meant(who)
        return _found(MISSING if occurrence is None else get_path(occurrence.document, path), optional, missing)

    return read


def _meant(reference: Reference, leaves: Mapping[str, str]) -> Callable[[Cast], Occurrence | None]:
    """Who is meant by the root of ``reference``."""
    leaf, kind = leaves.get(reference.root), reference.root

    def of_leaf(who: Cast) -> Occurrence | None:
        for name, occurrence in reversed(who.chosen):
            if name == leaf:
                return occurrence
        return None

    def of_kind(who: Cast) -> Occurrence | None:
        for _, occurrence in reversed(who.chosen):
            if occurrence.kind == kind or kind == "message":
                return occurrence
        return None

    return of_kind if leaf is None else of_leaf


def _list_reader(reference: Reference, leaf: str, missing: str) -> _CastReader:
    path = _path(reference)

    def read(who: Cast, kind: str, trigger_id: str, run_id: str) -> JsonValue:
        found = [each for name, each in who.chosen if name == leaf]
        return [_found(get_path(each.document, path), reference.optional, missing) for each in found]

    return read


def _path(reference: Reference) -> Path:
    """The path in a document of what a reference names."""
    return (reference.field, *reference.path) if reference.field else ()


def _found(value: JsonValue, optional: bool, missing: str) -> JsonValue:
    if value is not MISSING:
        return value
    if optional:
        return None
    raise EvaluationFailed(missing)
