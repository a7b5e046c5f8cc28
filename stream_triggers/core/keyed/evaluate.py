"""One step over the state of a key: take what comes, find what matches, forget what is of no use any more.

Rules:
1. A fact is first checked against resets, then looked at by the nodes that watch values, then kept for its leaves; then
   everything that matches fires, one match after the other; then what has outlived its window goes.
2. An occurrence takes part in one run, and is gone with it. What is reused, or counted without being consumed, stays
   and takes part again where something new comes to it.
3. Every occurrence that takes part in nothing has one refusal that says why, except vetoes, which ask for nothing, and
   what was only remembered as a value. ``superseded``: another of its leaf took its place, or a sequence passed it
   over.
4. When the window of an occurrence is over, the match that it began has expired: ``partial_expired`` names what had
   come and what was missing. What had come and can still be of use stays, but its own end is not told again.
   ``on_timeout`` makes a run for it. When it came only after its window, it is ``late`` instead, and there is no such
   run.
5. A match, an absence or a wait is decided on the watermark with the grace. What comes late is taken as long as it can
   take part, so a late veto counts until the run is made. But where something must not happen, what comes only when its
   window is over is ``late``: what spoke against it may be forgotten. So is what comes for an instant of a schedule
   that has been decided: no instant makes two runs because something was late.
6. A leaf that resets forgets everything until its instant, included; what comes later from before that instant is
   refused as ``reset``. Its message takes no other part. A schedule that resets lets nothing take part with what lies
   on the other side of one of its instants. A firing that resets forgets everything there is. What watched values
   remember is forgotten by leaves and firings that reset. A reset by hand forgets all that and what flow control does,
   and is told itself, before what it has forgotten.
7. A leaf keeps at most ``OCCURRENCES_MAX`` occurrences; beyond, the oldest is lost: ``hot_key``.
8. An instant of a schedule that fires alone is decided by ``core.schedule.due`` on the wall clock, with a veto beside
   it on the watermark with the grace. The first look at a schedule only notes the time.
9. While the trigger is paused everything is remembered and forgotten as ever, but nothing fires: matches meet the gate
   of the pause, no instant of a schedule is decided, and what ``on_timeout`` would do is refused as ``paused``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from stream_triggers.core.filter import MISSING, get_path
from stream_triggers.core.invocation import Reason
from stream_triggers.core.keyed.build import Term
from stream_triggers.core.keyed.expiry import expire, forget_old
from stream_triggers.core.keyed.gates import held_in
from stream_triggers.core.keyed.kept import Kept
from stream_triggers.core.keyed.lone import look_at
from stream_triggers.core.keyed.pool import ALWAYS, START, Chosen, Found, in_order
from stream_triggers.core.keyed.release import least, refusal_of, release
from stream_triggers.core.keyed.state import (
    FRESH,
    USED,
    Clocks,
    Firing,
    KeyState,
    Match,
    Occurrence,
    Outcome,
    Refusal,
    Wake,
)
from stream_triggers.core.message import Participant
from stream_triggers.core.record import Fact, Pause
from stream_triggers.core.report import News
from stream_triggers.core.schedule import after
from stream_triggers.errors import EvaluationFailed

if TYPE_CHECKING:
    from stream_triggers.core.keyed.plan import KeyedPlan


class Step:
    """One step; made for one input and used up by ``outcome``."""

    __slots__ = (
        "clocks",
        "gates",
        "kept",
        "key",
        "matches",
        "memory",
        "new_at",
        "pause",
        "plan",
        "refusals",
        "reset_ms",
        "timeouts",
    )

    def __init__(
        self, plan: KeyedPlan, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None = None
    ) -> None:
        self.plan = plan
        self.clocks = clocks
        self.pause = pause
        self.key = key if plan.has_key else None
        self.refusals: list[Refusal] = []
        self.timeouts: list[Firing] = []
        self.matches: list[Match] = []
        self.new_at: int | None = None
        self.memory: dict[str, Any] = {}
        self.gates: dict[str, Any] = {}
        self.reset_ms: int | None = None
        occurrences: tuple[Occurrence, ...] = ()
        if state is not None:
            occurrences, self.memory, self.gates = state.occurrences, dict(state.memory), state.gates
            self.reset_ms = state.reset_ms
        self.kept = Kept(occurrences, plan.terms, clocks.watermark_ms, plan.trigger.grace_ms)
        if state is not None and state.version != plan.version:
            self._migrate()

    def take(self, fact: Fact, at: int) -> None:
        """Take a fact."""
        who = fact.participant
        occurrence = Occurrence(
            fact.leaves,
            who.kind,
            who.id,
            who.topic,
            who.partition,
            who.offset,
            who.time_ms,
            at,
            fact.fields,
            fact.traceparent,
            fact.root,
            fact.depth,
        )
        plan = self.plan
        if plan.reset_leaves and not plan.reset_leaves.isdisjoint(fact.leaves):
            self._reset_until(who.time_ms)
            return
        if self.reset_ms is not None and who.time_ms <= self.reset_ms:
            self.refuse("reset", "it lies before the last reset", occurrence)
            return
        leaves = self._looked_at(occurrence) if plan.watched else fact.leaves
        known = tuple([leaf for leaf in leaves if leaf in plan.terms])
        if known != fact.leaves:
            if not known:
                if not any(leaf in plan.watched for leaf in fact.leaves):
                    self.refuse("leaf_gone", "the trigger has no such leaf any more", occurrence)
                return
            occurrence = replace(occurrence, leaves=known)
        self.new_at = at
        self._keep(occurrence)

    def reset(self, who: Participant, reason: str) -> None:
        """Forget everything, because somebody said so."""
        self.refusals.append(Refusal("reset", reason, (who,)))
        self.reset_ms = max(who.time_ms, self.reset_ms or 0)
        self._forget_all("the trigger was reset")
        for name, matches in held_in(self.gates).items():
            self.refusals += [refusal_of(self.plan, "reset", f"{name} held it", match) for match in matches]
        self.gates = {}

    def schedule(self) -> None:
        """Look at the schedules that fire alone."""
        for lone in self.plan.lone:
            memory, pool = self.memory.get(lone.leaf), self.kept.pool
            looked = look_at(lone, memory, pool, self.plan.trigger, self.clocks, self.pause)
            self.memory[lone.leaf] = looked.memory
            self.matches += [Match((instant,), instant.time_ms, instant.time_ms) for instant in looked.fire]
            for reason, detail, occurrences in looked.refused:
                self.refuse_all(reason, detail, occurrences)

    @property
    def pause_in_force(self) -> Pause | None:
        """The pause for which nothing may fire now."""
        return self.pause if self.pause is not None and self.pause.is_in_force(self.clocks.wall_ms) else None

    def outcome(self, report: tuple[str, News] | None = None) -> Outcome:
        """What has come of the step."""
        next_ms: int | None = None
        if self.kept.by_at:
            if self.plan.search is not None:
                self._match()
            next_ms = expire(self)
        released = release(self.plan, self.matches, self.gates, self.key, self.clocks.wall_ms, self.pause, report)
        wall_ms, watermark_ms = forget_old(self, next_ms)
        wake = Wake(least(wall_ms, released.wake_ms), least(watermark_ms, self.kept.pool.wake_ms))
        state: KeyState | None = None
        occurrences = self.kept.occurrences()
        if occurrences or self.memory or released.gates or self.reset_ms is not None:
            state = KeyState(self.plan.version, occurrences, self.memory, released.gates, self.reset_ms)
        firings = (*released.firings, *self.timeouts)
        return Outcome(state, firings, (*self.refusals, *released.refusals), wake)

    def _migrate(self) -> None:
        """Keep what this version knows of, of what another has kept."""
        plan = self.plan
        keeps = plan.trigger.state == "keep"
        known = {*plan.watches, *(lone.leaf for lone in plan.lone)}
        self.memory = {name: value for name, value in self.memory.items() if keeps and name in known}
        detail = "the leaf is gone in the new version" if keeps else "the new version forgets"
        occurrences: list[Occurrence] = []
        for occurrence in self.kept.occurrences():
            left = tuple([leaf for leaf in occurrence.leaves if keeps and leaf in plan.terms])
            if left:
                occurrences.append(replace(occurrence, leaves=left))
            elif occurrence.fate == FRESH:
                self.refuse("leaf_gone", detail, occurrence)
        self.kept = Kept(occurrences, plan.terms, self.clocks.watermark_ms, plan.trigger.grace_ms)

    def _looked_at(self, occurrence: Occurrence) -> list[str]:
        """The leaves of a fact, with the watchers for which it is an occurrence in the place of those they watch."""
        leaves: list[str] = []
        for leaf in occurrence.leaves:
            if leaf not in self.plan.watched:
                leaves.append(leaf)
                continue
            for name, _ in self.plan.watched[leaf]:
                if self._watch(name, occurrence):
                    leaves.append(name)
        return leaves

    def _watch(self, name: str, occurrence: Occurrence) -> bool:
        try:
            watched = self.plan.watches[name].look(self.memory.get(name), occurrence.document, occurrence.moment)
        except EvaluationFailed as failure:
            self.refuse("filter_failed", failure.message, occurrence)
            return False
        self.memory[name] = watched.memory
        if watched.reason is not None:
            self.refuse(watched.reason, watched.detail, occurrence)
        if watched.verdict == "ends":
            for waiting in tuple(self.kept.pool.by_leaf.get(name, ())):
                for gone in self.kept.lose(name, waiting):
                    self.refuse("vetoed", "the value did not last", gone)
        return watched.verdict == "occurs"

    def _keep(self, occurrence: Occurrence) -> None:
        missing = [leaf for leaf in occurrence.leaves if not _counts(self.plan.terms[leaf], occurrence)]
        if missing:
            occurrence = replace(occurrence, leaves=tuple([each for each in occurrence.leaves if each not in missing]))
            if not occurrence.leaves:
                self.refuse("filter_failed", "there is nothing in the message to tell it by", occurrence, missing[0])
                return
        late = [leaf for leaf in occurrence.leaves if self.kept.is_late(self.plan.terms[leaf], occurrence)]
        if late:
            occurrence = replace(occurrence, leaves=tuple([each for each in occurrence.leaves if each not in late]))
            if not any(self.kept.is_part(leaf) for leaf in occurrence.leaves):
                self.refuse("late", "it came after its window", occurrence, late[0])
            if not occurrence.leaves:
                return
        superseded, lost = self.kept.add(occurrence)
        for gone in superseded:
            self.refuse("superseded", "another one took its place", gone)
        for gone in lost:
            self.refuse("hot_key", "more are kept for this key than can be", gone)

    def _reset_until(self, instant_ms: int) -> None:
        if self.reset_ms is None or instant_ms > self.reset_ms:
            self.reset_ms = instant_ms
        self._forget_all("the trigger was reset", instant_ms)

    def _forget_all(self, detail: str, until_ms: int = ALWAYS) -> None:
        lone = {each.leaf for each in self.plan.lone}
        self.memory = {name: value for name, value in self.memory.items() if name in lone}
        for occurrence in self.kept.occurrences():
            if occurrence.time_ms <= until_ms:
                told = [gone for leaf in occurrence.leaves for gone in self.kept.lose(leaf, occurrence)]
                for gone in told:
                    self.refuse("reset", detail, gone)

    def _match(self) -> None:
        pool = self.kept.pool
        while self.kept.by_at:
            pool.begin()
            found = self._find()
            if pool.struck:
                self._strike()
            elif found is None or not found.is_fresh:
                return
            else:
                self._consume(found)

    def _find(self) -> Found | None:
        search, pool = self.plan.search, self.kept.pool
        assert search is not None, "there is something to look for"
        if not self.plan.reset_schedules:
            return search.find(pool, START, ALWAYS)
        end_ms: int | None = None
        for start_ms in pool.starts([leaf for leaf in pool.by_leaf if self.kept.is_part(leaf)], START, ALWAYS):
            if end_ms is not None and start_ms <= end_ms:
                continue
            ends = [after(schedule, start_ms - 1) for schedule in self.plan.reset_schedules]
            end_ms = min([each for each in ends if each is not None], default=ALWAYS)
            found = search.find(pool, (start_ms, -1), end_ms)
            if pool.struck or (found is not None and found.is_fresh):
                return found
        return None

    def _strike(self) -> None:
        pool = self.kept.pool
        struck, pool.struck = pool.struck, []
        for strike in struck:
            gone = [each for leaf, one in strike.chosen for each in self.kept.lose(leaf, one)]
            if gone:
                others = _once(strike.others)
                self.refuse_all(strike.reason, strike.detail, (*in_order(gone), *others))

    def _consume(self, found: Found) -> None:
        """Make a match of what was found, and let go of it."""
        terms = self.plan.terms
        leaves: dict[int, tuple[str, ...]] = {}
        for leaf, occurrence in found.chosen:
            if occurrence.at >= 0 and leaf not in leaves.get(occurrence.at, ()):
                leaves[occurrence.at] = (*leaves.get(occurrence.at, ()), leaf)
        taken: list[Occurrence] = []
        for at, chosen in leaves.items():
            occurrence = self.kept.by_at[at]
            is_as_it_was = occurrence.leaves == chosen and occurrence.fate == FRESH
            taken.append(occurrence if is_as_it_was else replace(occurrence, leaves=chosen, fate=FRESH))
            left = [leaf for leaf in occurrence.leaves if terms[leaf].is_veto]
            left += [leaf for leaf in chosen if terms[leaf].is_kept_for_more]
            self.kept.forget(occurrence, tuple(left), USED)
        for leaf, occurrence in found.chosen if self.plan.has_first_to_fit else ():
            if leaf in terms and terms[leaf].is_first_to_fit:
                for gone in self.kept.pass_later(leaf, occurrence):
                    self.refuse("superseded", "another one took its place", gone)
        if self.plan.lines:
            self._pass_over(found)
        if found.nominal_ms is not None:
            taken.append(next(one for _, one in found.chosen if one.at < 0))
        self.matches.append(Match(in_order(taken), found.last[0], found.nominal_ms))
        if self.plan.resets_on_fire:
            self._forget_all("the trigger has fired")

    def _pass_over(self, found: Found) -> None:
        """Let go of what a sequence has passed over."""
        for leaves in self.plan.lines.values():
            last = max([one.moment for leaf, one in found.chosen if leaf in leaves], default=None)
            for leaf in leaves if last is not None else ():
                for one in tuple(self.kept.pool.by_leaf.get(leaf, ())):
                    if last is not None and one.moment <= last and one.fate != USED:
                        for gone in self.kept.lose(leaf, one):
                            self.refuse("superseded", "a sequence passed it over", gone)

    def refuse(self, reason: Reason, detail: str, occurrence: Occurrence, leaf: str | None = None) -> None:
        """Note why nothing comes of an occurrence, for a leaf of it or the first."""
        if leaf is not None:
            occurrence = replace(occurrence, leaves=(leaf,))
        self.refuse_all(reason, detail, (occurrence,))

    def refuse_all(self, reason: Reason, detail: str, occurrences: tuple[Occurrence, ...]) -> None:
        """Note why nothing comes of occurrences together."""
        self.refusals.append(Refusal(reason, detail, self.plan.firer.participants(occurrences)))


def _once(chosen: Iterable[Chosen]) -> tuple[Occurrence, ...]:
    """Each occurrence once, for the leaf that it was first chosen for."""
    once: dict[int, Occurrence] = {}
    for leaf, occurrence in chosen:
        once.setdefault(occurrence.at, replace(occurrence, leaves=(leaf,)))
    return tuple(once.values())


def _counts(term: Term, occurrence: Occurrence) -> bool:
    return term.counted_by is None or get_path(occurrence.document, term.counted_by) is not MISSING
