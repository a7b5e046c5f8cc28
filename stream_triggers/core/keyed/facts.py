"""From a message to facts: the key of each leaf that accepted it, and what of the message is to be kept.

Rules:
1. A leaf has its own key or the trigger's; without either the key is "". Where a key's template finds nothing, or no
   text, number or boolean, the leaf has no fact but a refusal ``no_key``: there is no shared state for what has no key.
2. One message makes one fact for each key that it has for the leaves that accepted it, in the order of the leaves.
3. A fact has what the leaves named in it need of the message, and no more.
4. A key, an id or another text of the message that a run could not repeat makes no fact at all: ``EvaluationFailed``.
5. What a trigger takes as news of its runs has the key that the message says, and needs none of the trigger's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from stream_triggers.core.arguments import ANY_KIND, KeyFunction, Reference, compile_key, references
from stream_triggers.core.condition import AllOf, Count, leaf_kind, nodes
from stream_triggers.core.condition import Sequence as SequenceNode
from stream_triggers.core.filter import Path, parse_path
from stream_triggers.core.keyed.follow import RUN, run_fact
from stream_triggers.core.keyed.needs import Need, compile_document, merged_need, need_of
from stream_triggers.core.keyed.places import Place
from stream_triggers.core.keyed.state import Refusal
from stream_triggers.core.message import (
    JsonValue,
    Kind,
    Message,
    Participant,
    Position,
    TaskStatus,
    kind_of,
    require_short,
)
from stream_triggers.core.record import Fact
from stream_triggers.core.reference import ALL, roots_in
from stream_triggers.core.trigger import Trigger
from stream_triggers.errors import EvaluationFailed


class Routed(NamedTuple):
    """What a message that leaves of a trigger accepted is to the keyed stage."""

    facts: tuple[Fact, ...]
    refusals: tuple[Refusal, ...]


class Routing:
    """Makes the facts of one version of a trigger."""

    def __init__(
        self,
        trigger: Trigger,
        version: str,
        places: tuple[Place, ...],
        watched: Mapping[str, tuple[tuple[str, str], ...]],
    ) -> None:
        """``watched`` has, by leaf, the watchers of it with the path of their value."""
        self._trigger = trigger
        self._version = version
        self._places = {place.id: place for place in places}
        self._keys: dict[str, KeyFunction | None] = {}
        for place in places:
            template = place.pick.key if place.pick.key is not None else trigger.key
            self._keys[place.id] = None if template is None else compile_key(template)
        self._needs = _needs(trigger, places, watched)
        self._documents: dict[tuple[str, ...], Callable[[Message], JsonValue]] = {}

    def facts(self, message: Message, leaves: Sequence[str], position: Position) -> Routed:
        """The facts of a message that ``leaves``, ids in the order of the trigger or ``RUN``, have accepted.

        Raises ``EvaluationFailed`` for texts that are too long.
        """
        if isinstance(message, TaskStatus) and leaves == (RUN,):
            require_short(message, message.trigger_key)
            return Routed((run_fact(self._trigger.id, self._version, message, position),), ())
        kind = kind_of(message)
        by_key: dict[str, list[str]] = {}
        refusals: list[Refusal] = []
        for leaf in leaves:
            key_of = self._keys[leaf]
            try:
                by_key.setdefault("" if key_of is None else key_of(message, kind, self._trigger.id), []).append(leaf)
            except EvaluationFailed as failure:
                refusals.append(Refusal("no_key", failure.message, (self._participant(leaf, message, kind, position),)))
        for key in by_key:
            require_short(message, key)
        facts = [self._fact(key, tuple(named), message, kind, position) for key, named in by_key.items()]
        return Routed(tuple(facts), tuple(refusals))

    def key_of(self, leaf: str) -> KeyFunction | None:
        """What makes the key of a leaf; None where it has none, and for ``RUN``."""
        return self._keys.get(leaf)

    def _fact(self, key: str, leaves: tuple[str, ...], message: Message, kind: Kind, position: Position) -> Fact:
        document = self._documents.get(leaves)
        if document is None:
            need = merged_need(self._needs[leaf] for leaf in leaves)
            document = self._documents[leaves] = compile_document(need, kind)
        return Fact(
            trigger_id=self._trigger.id,
            trigger_version=self._version,
            key=key,
            participant=self._participant(leaves[0], message, kind, position),
            fields=document(message),
            traceparent=message.traceparent,
            root=message.root,
            depth=message.depth,
            leaves=leaves,
        )

    def _participant(self, leaf: str, message: Message, kind: Kind, position: Position) -> Participant:
        return Participant(
            leaf=self._places[leaf].path,
            kind=kind,
            id=message.id,
            topic=position.topic,
            partition=position.partition,
            offset=position.offset,
            time_ms=message.time_ms,
        )


def _needs(
    trigger: Trigger, places: tuple[Place, ...], watched: Mapping[str, tuple[tuple[str, str], ...]]
) -> dict[str, Need]:
    """What is needed of the messages of each leaf."""
    paths: dict[str, list[Path]] = {place.id: [] for place in places}
    parts = [place for place in places if place.role == "part"]
    for reference in _references(trigger):
        for place in parts:
            if _is_meant(reference, place):
                paths[place.id].append((reference.field, *reference.path) if reference.field else ())
    for place in parts:
        kind = leaf_kind(place.pick.leaf)
        if kind in trigger.args_from or ANY_KIND in trigger.args_from:
            paths[place.id].append(())
    for leaf, watchers in watched.items():
        paths[leaf] += [parse_path(value, "value") for _, value in watchers]
    for where, distinct in _distinct(trigger):
        for place in places:
            if place.path.startswith(where):
                paths[place.id].append(distinct)
    return {place.id: need_of(paths[place.id], leaf_kind(place.pick.leaf)) for place in places}


def _distinct(trigger: Trigger) -> Iterable[tuple[str, Path]]:
    """Where occurrences are counted by a value, and the path of that."""
    for where, node in nodes(trigger.when):
        if isinstance(node, Count) and node.distinct is not None:
            yield f"{where}.count", parse_path(node.distinct, "distinct")


def _references(trigger: Trigger) -> Iterable[Reference]:
    """Every reference to participants."""
    timeout: Any = trigger.on_timeout.args if trigger.on_timeout is not None else None
    roots = roots_in(trigger.when, has_elements=True)
    for template in (trigger.args, timeout, trigger.flow.for_each):
        yield from [reference for _, reference in references(template, "", roots)]
    for _, node in nodes(trigger.when):
        if isinstance(node, AllOf | SequenceNode):
            for comparison in node.where:
                for side in (comparison.left, comparison.right):
                    yield from [reference for _, reference in references(side, "", roots)]


def _is_meant(reference: Reference, place: Place) -> bool:
    root = reference.root
    if place.pick.name and root in (place.pick.name, f"{ALL}.{place.pick.name}"):
        return True
    return root == "message" or root == leaf_kind(place.pick.leaf)
