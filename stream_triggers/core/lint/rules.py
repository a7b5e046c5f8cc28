"""The doubts there are about a trigger, one function for each question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

from stream_triggers.core.arguments import Reference, references
from stream_triggers.core.condition import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Condition,
    Count,
    EventLeaf,
    ExceptionLeaf,
    Leaf,
    Not,
    Pick,
    ResultLeaf,
    Sequence,
    StatusLeaf,
    Times,
    leaf_kind,
    members,
    nodes,
)
from stream_triggers.core.condition.leaf import EVERY_TASK
from stream_triggers.core.duration import duration_text
from stream_triggers.core.filter import Filter
from stream_triggers.core.filter.tree import conjuncts
from stream_triggers.core.keyed.places import Place, leaf_places
from stream_triggers.core.lint.possible import EITHER, NEVER, Keys, Possible
from stream_triggers.core.message import JsonValue
from stream_triggers.core.reference import ALL, EACH, participants, roots_in
from stream_triggers.core.start import Since
from stream_triggers.core.trigger import TTL_MS, Trigger

STATUSES = ("registered", "pending", "running", "retry", "success", "failed", "expired")
"""The statuses that have a meaning to this package; a sender may have others."""

_ALIKE = 0.75
"""How near a name must be to a status to be taken for a misspelling: "killed" is not, "failure" is."""

_STEM_CHARS = 4


class Doubt(NamedTuple):
    """What is doubtful: where in the trigger, why, and what to do about it."""

    path: str
    problem: str
    hint: str = ""


def doubts(trigger: Trigger, now_ms: int) -> tuple[Doubt, ...]:
    """All doubts about one trigger, in the order of its fields."""
    return tuple(dict.fromkeys(_Rules(trigger, now_ms).all()))


def repeated(triggers: Iterable[Trigger]) -> tuple[int, ...]:
    """The places of triggers whose id is that of one before."""
    seen: set[str] = set()
    found: list[int] = []
    for place, trigger in enumerate(triggers):
        if trigger.id in seen:
            found.append(place)
        seen.add(trigger.id)
    return tuple(found)


class _Rules:
    """The questions, put to one trigger."""

    def __init__(self, trigger: Trigger, now_ms: int) -> None:
        self.trigger = trigger
        self.now_ms = now_ms
        listed = enumerate(trigger.reset)
        self.resets = tuple([(f"reset[{index}]", each) for index, each in listed if not isinstance(each, str)])
        self.places: dict[str, Place] = {place.path: place for place in leaf_places(trigger.when, self.resets)}
        self.possible = Possible(self.places, trigger.key, now_ms)

    def all(self) -> Iterator[Doubt]:
        for path, root in (("when", self.trigger.when), *self.resets):
            for where, node in nodes(root, path):
                fault = self.possible.fault(node, where)
                if fault is not None:
                    yield Doubt(where + fault.end, fault.problem, fault.hint)
                yield from _statuses(node, where)
                yield from self._windows(node, where)
        yield from self._meetings(self.trigger.when, "when", EITHER)
        yield from self._vetoes()
        yield from _redundant(self.trigger.when)
        yield from _unawaited(self.trigger.when, "when")
        failing = list(self._failing_ways())
        yield from failing
        if not self._can_fire({each.path for each in failing}):
            yield Doubt("when", "this trigger can never fire", "see what else is said of it")
        yield from self._resets()
        yield from self._timeout()
        yield from self._expiry()
        yield from self._start()

    def _can_fire(self, failing: set[str]) -> bool:
        ways = _ways(self.trigger.when)
        return any(path not in failing and self.possible.keys(way, path) for path, way in ways)

    def _windows(self, node: Condition, path: str) -> Iterator[Doubt]:
        if not isinstance(node, AllOf | AtLeast | Sequence | Count | Aggregate):
            return
        within_ms, ttl_ms = node.within_ms, self.trigger.ttl_ms
        if within_ms is None or within_ms <= ttl_ms:
            return
        within, ttl = duration_text(within_ms), duration_text(ttl_ms)
        if isinstance(node, Aggregate):
            problem = f"its values are forgotten {ttl} after the last one, before {within} are over"
            yield Doubt(f"{path}.within", problem, f"set the ttl of the trigger to {within}")
        elif ttl_ms != TTL_MS:
            problem = f"{within} is longer than the ttl of {ttl}, which does not bound what has a window"
            yield Doubt(f"{path}.within", problem, "shorten the window, or leave out the ttl")

    def _meetings(self, node: Condition, path: str, around: Keys) -> Iterator[Doubt]:
        """What is joined and never meets, because some of it has a key and some has none."""
        own = self.possible.keys(node, path) if not isinstance(node, Not) else around
        inner = [(path + end, member, self.possible.keys(member, path + end)) for end, member in members(node)]
        is_join = not isinstance(node, AnyOf)
        if is_join and not own and len(inner) > 1 and all(keys for _, _, keys in inner):
            if not isinstance(node, After):
                yield Doubt(path, "its members never meet: some have a key and some have none", _KEY_FOR_ALL)
            return
        allowed = (own & around or own) if is_join else around
        for where, member, keys in inner:
            if keys and allowed and not keys & allowed:
                has = "a key, which what it is joined with has not" if True in keys else "no key, unlike the rest"
                yield Doubt(where, f"it never meets what it is joined with: it has {has}", _KEY_FOR_ALL)
            else:
                yield from self._meetings(member, where, allowed)

    def _vetoes(self) -> Iterator[Doubt]:
        """What vetoes itself: every occurrence that takes part is one that must not be there."""
        for path, node in nodes(self.trigger.when):
            if not isinstance(node, AllOf):
                continue
            happening = [(path + end, each) for end, each in members(node) if not isinstance(each, Not)]
            needed = [(where, each) for where, each in happening if isinstance(each, Leaf | Pick | Times)]
            for end, each in members(node):
                if not isinstance(each, Not) or (each.last_ms is not None and len(happening) > 1):
                    continue
                listed = each.condition.conditions if isinstance(each.condition, AnyOf) else (each.condition,)
                for where, leaf in needed:
                    if any(_forbids(veto, leaf) for veto in listed):
                        yield Doubt(path + end, f"it forbids what {where} needs, so this never holds")

    def _failing_ways(self) -> Iterator[Doubt]:
        """Ways to fire whose runs never have arguments: a reference names what takes no part in them."""
        trigger = self.trigger
        roots = roots_in(trigger.when, has_elements=trigger.flow.for_each is not None)
        named: tuple[JsonValue, ...] = (trigger.args, trigger.flow.for_each)
        required = [
            (where, each)
            for template, field in zip(named, ("args", "for_each"), strict=True)
            for where, each in references(template, field, roots)
            if not each.optional
        ]
        for path, way in _ways(trigger.when):
            parts = [pick for _, pick in participants(way, path)]
            for where, each in required:
                if not _resolves(each, parts):
                    problem = f"its runs always fail: {where} needs ${{{each.text}}}, which takes no part in them"
                    yield Doubt(path, problem, f"write ${{{each.text}?}}, or make a trigger of each")
                    break

    def _resets(self) -> Iterator[Doubt]:
        parts = NEVER.union(*(self.possible.keys(pick, path) for path, pick in participants(self.trigger.when)))
        for path, reset in self.resets:
            keys = self.possible.keys(reset, path)
            if keys and parts and not keys & parts:
                has, have = ("a key", "none") if True in keys else ("no key", "one")
                yield Doubt(path, f"it resets nothing: it has {has}, and what is kept has {have}", _KEY_FOR_ALL)

    def _timeout(self) -> Iterator[Doubt]:
        if self.trigger.on_timeout is None:
            return
        if all(_is_decided_at_once(way) for _, way in _ways(self.trigger.when)):
            yield Doubt("on_timeout", "it never runs: nothing of this condition waits for anything else")

    def _expiry(self) -> Iterator[Doubt]:
        flow = self.trigger.flow
        held_ms = (flow.delay_ms or 0) + (flow.debounce.wait_ms if flow.debounce else 0)
        if flow.expires_ms is not None and held_ms >= flow.expires_ms:
            problem = f"no run is ever started: each is held back for {duration_text(held_ms)}, and has expired then"
            yield Doubt("expires", problem, "let runs expire later, or shorten delay and debounce")

    def _start(self) -> Iterator[Doubt]:
        start = self.trigger.start
        if isinstance(start, Since) and start.instant_ms > self.now_ms:
            yield Doubt(
                "start", "it is yet to come: until then a new trigger is refused", "apply it then, or leave it out"
            )


_KEY_FOR_ALL = "give the trigger a key, or each of its leaves"


def _ways(condition: Condition) -> tuple[tuple[str, Condition], ...]:
    """The members of the outermost ``any``, or the whole, with their paths."""
    if isinstance(condition, AnyOf):
        return tuple([("when" + end, member) for end, member in members(condition)])
    return (("when", condition),)


def _statuses(node: Condition, path: str) -> Iterator[Doubt]:
    leaf = node.leaf if isinstance(node, Pick) else node
    for status in leaf.statuses if isinstance(leaf, StatusLeaf) else ():
        meant = _meant(status)
        if meant:
            problem = f'no worker of this package reports the status "{status}"'
            yield Doubt(f"{path}.is", problem, f"did you mean {meant}?")


def _meant(status: str) -> str:
    """The status for which ``status`` is a misspelling; empty when it is one, or the sender's own."""
    if status in STATUSES:
        return ""
    near = get_close_matches(status, STATUSES, n=1, cutoff=_ALIKE)
    stems = [each for each in STATUSES if each[:_STEM_CHARS] == status[:_STEM_CHARS]]
    return next(iter((*near, *stems)), "")


def _redundant(condition: Condition) -> Iterator[Doubt]:
    """Members of an ``any`` that accept nothing that a member before them does not."""
    for path, node in nodes(condition):
        if not isinstance(node, AnyOf):
            continue
        listed = members(node)
        for index, (end, later) in enumerate(listed):
            covering = next((path + other for other, earlier in listed[:index] if _covers(earlier, later)), None)
            if covering is not None:
                yield Doubt(path + end, f"it adds nothing: {covering} accepts all that it does", "leave it out")


def _unawaited(node: Condition, path: str, *, has_end: bool = False) -> Iterator[Doubt]:
    """What may be repeated more often than it must, where nothing says until when."""
    if isinstance(node, Times) and node.most != node.least and not has_end:
        problem = f"no more than {node.least} of it are waited for: nothing comes after it"
        yield Doubt(path, problem, "say until what, or let another step follow it")
    listed = members(node)
    for end, member in listed:
        is_last = isinstance(node, Sequence) and end == listed[-1][0]
        ends = isinstance(node, AllOf | AtLeast | Sequence) and not is_last
        yield from _unawaited(member, path + end, has_end=has_end if isinstance(node, AnyOf) else ends)


def _forbids(veto: Condition, needed: Condition) -> bool:
    """Whether a veto holds as soon as something else does."""
    (forbidden, enough), (wanted, least) = _repetition(veto), _repetition(needed)
    return enough <= least and _covers(forbidden, wanted)


def _repetition(node: Condition) -> tuple[Condition, int]:
    """What is repeated, and how often at least."""
    return (node.condition, node.least) if isinstance(node, Times) else (node, 1)


def _covers(wide: Condition, narrow: Condition) -> bool:
    """Whether a leaf accepts, under the same key, everything that another does."""
    one, other = _pick(wide), _pick(narrow)
    return one is not None and other is not None and one.key == other.key and _accepts_all(one.leaf, other.leaf)


def _pick(node: Condition) -> Pick | None:
    return node if isinstance(node, Pick) else Pick(node) if isinstance(node, Leaf) else None


def _accepts_all(wide: Leaf, narrow: Leaf) -> bool:
    match wide, narrow:
        case EventLeaf(), EventLeaf():
            return wide.code == narrow.code and _weaker(wide.filter, narrow.filter)
        case StatusLeaf(), StatusLeaf():
            return (
                _is_task(wide.task, narrow.task)
                and set(narrow.statuses) <= set(wide.statuses)
                and _weaker(wide.arguments, narrow.arguments)
            )
        case ResultLeaf(), ResultLeaf():
            return (
                _is_task(wide.task, narrow.task)
                and _weaker(wide.filter, narrow.filter)
                and _weaker(wide.arguments, narrow.arguments)
            )
        case ExceptionLeaf(), ExceptionLeaf():
            return (
                _is_task(wide.task, narrow.task)
                and (not wide.types or (bool(narrow.types) and set(narrow.types) <= set(wide.types)))
                and (wide.attempts == "every" or narrow.attempts == "final")
                and _weaker(wide.filter, narrow.filter)
                and _weaker(wide.arguments, narrow.arguments)
            )
        case _:
            return wide == narrow


def _weaker(wide: Filter, narrow: Filter) -> bool:
    """Whether every test of one filter is one of the other's."""
    return set(conjuncts(wide)) <= set(conjuncts(narrow))


def _is_task(wide: str, narrow: str) -> bool:
    return wide in (EVERY_TASK, narrow)


def _resolves(reference: Reference, parts: list[Pick]) -> bool:
    """Whether a reference can name a message that takes part; a list of them can be empty."""
    if reference.kinds is not None:
        return not reference.kinds.isdisjoint({leaf_kind(pick.leaf) for pick in parts})
    names = {pick.name for pick in parts}
    return reference.root in (*names, "trigger", "run", EACH) or reference.root.startswith(f"{ALL}.")


def _is_decided_at_once(way: Condition) -> bool:
    if isinstance(way, Times):
        return way.least == 1
    return isinstance(way, Leaf | Pick | Changed) or (isinstance(way, Aggregate) and way.hold_ms is None)
