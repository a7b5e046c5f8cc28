"""What triggers mean, written again from their rules: a slow evaluator that keeps every fact and tries everything.

It has the complete list of facts at every moment and forgets none; instead it marks them: taken, vetoed, superseded,
late or over. It looks for a match by trying every choice of one fact for each leaf, and takes the best by the
documented preference. It knows one node over leaves: enough for every rule about time, and nothing about trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations, pairwise, product
from typing import Literal

TTL = 7 * 86_400


@dataclass(frozen=True)
class Shape:
    """A trigger: one node over events ``a``, ``b``, ``c``; ``vetoes`` are events that must not happen. In seconds.

    ``repeats`` has how often each leaf is taken, at least and at most, or None where it is not repeated.
    """

    word: Literal["all", "at_least", "sequence", "count", "after"]
    leaves: tuple[str, ...]
    within: int | None = None
    number: int = 0
    vetoes: tuple[tuple[str, int | None], ...] = ()
    select: str = "each"
    grace: int = 0
    repeats: tuple[tuple[int, int | None] | None, ...] = ()
    strict: bool = False
    where: tuple[tuple[str, str, str], ...] = ()
    """Comparisons of the ``n`` of two of the leaves: a code, ``eq`` or ``lt``, another code."""

    def is_compared(self, code: str) -> bool:
        return any(code in (left, right) for left, _, right in self.where)

    def repeat(self, place: int) -> tuple[int, int | None] | None:
        return self.repeats[place] if self.repeats else None

    def is_repeated(self, code: str) -> bool:
        return self.repeat(self.leaves.index(code)) is not None

    def written(self) -> dict:
        """The trigger as a file has it."""
        select = {} if self.word in ("count", "after") or self.strict else {"select": self.select}
        leaves: list = [{"event": code, **select} for code in self.leaves]
        for place, repeat in enumerate(self.repeats):
            if repeat is not None:
                leaf = {"event": self.leaves[place], **({} if self.select != "each" or self.strict else select)}
                least, most = repeat
                leaves[place] = {"one_or_more": leaf} if most is None else {"times": [least, most], "of": leaf}
        window = {"within": f"{self.within}s"} if self.within is not None else {}
        vetoes = [{"not": {"event": code}, **({"last": f"{last}s"} if last else {})} for code, last in self.vetoes]
        when: dict = {
            "all": {"all": [*leaves, *vetoes], **window},
            "at_least": {"at_least": self.number, "of": leaves, **window},
            "sequence": {"sequence": leaves, **window, **({"strict": True} if self.strict else {})},
            "count": {"count": leaves[0], "at_least": max(self.number, 1), **window},
            "after": {"after": leaves[0], "wait": f"{self.within}s"},
        }[self.word]
        if self.where:
            for leaf in leaves:
                leaf["as"] = leaf["event"] * 2
            pairs = [
                (f"${{{left * 2}.payload.n}}", word, f"${{{right * 2}.payload.n}}") for left, word, right in self.where
            ]
            when["where"] = [{"left": left, word: right} for left, word, right in pairs]
        if self.word == "after" and self.vetoes:
            when["unless"] = {"event": self.vetoes[0][0]}
        return {"when": when, "grace": f"{self.grace}s"}


@dataclass
class Fact:
    code: str
    time: int
    at: int
    n: int = 0
    mark: str = ""

    @property
    def moment(self) -> tuple[int, int]:
        return self.time, self.at

    @property
    def name(self) -> str:
        return f"{self.code}{self.at}"


@dataclass
class Model:
    shape: Shape
    facts: list[Fact] = field(default_factory=list)
    runs: list[tuple[int, str]] = field(default_factory=list)
    watermark: int = 0

    @property
    def span(self) -> int:
        return TTL if self.shape.within is None else self.shape.within

    @property
    def guards(self) -> bool:
        return bool(self.shape.vetoes)

    def send(self, code: str, time: int, at: int, n: int = 0) -> None:
        if code not in self.shape.leaves and code not in [veto for veto, _ in self.shape.vetoes]:
            return  # no leaf accepts it, so there is no fact
        fact = Fact(code, time, at, n)
        self.facts.append(fact)
        if code in self.shape.leaves:
            if self.guards and self.is_over(fact):
                fact.mark = "late"
            elif self.shape.word in ("all", "at_least") and not self.shape.is_repeated(code):
                self.supersede(fact)
        self.decide()
        self.age()

    def tick(self, now: int) -> None:
        self.watermark = max(self.watermark, now)
        self.decide()
        self.age()

    def is_over(self, fact: Fact) -> bool:
        return fact.time + self.span + self.shape.grace < self.watermark

    def supersede(self, new: Fact) -> None:
        if self.shape.select not in ("latest", "first"):
            return
        if self.shape.select == "first" and self.shape.is_compared(new.code):
            return  # which is the first that fits, is only known when it takes part
        for old in self.alive(new.code):
            is_near = self.shape.within is None or abs(old.time - new.time) <= self.shape.within
            if old is not new and is_near:
                gone = min(old, new, key=lambda fact: fact.moment)
                stays = new if gone is old else old
                (gone if self.shape.select == "latest" else stays).mark = "superseded"

    def pass_later(self, first: Fact) -> None:
        for other in self.alive(first.code):
            is_near = self.shape.within is None or other.time - first.time <= self.shape.within
            if other.moment > first.moment and is_near:
                other.mark = "superseded"

    def age(self) -> None:
        for fact in self.facts:
            if not fact.mark and fact.code in self.shape.leaves and self.is_over(fact):
                fact.mark = "over"

    def alive(self, code: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.code == code and not fact.mark]

    def decide(self) -> None:
        while (choice := min(self.choices(), key=self.preference, default=None)) is not None:
            first, last = choice[0].time, max(choice, key=lambda fact: fact.moment)
            first = min(fact.time for fact in choice)
            at, vetoed, ready = self.judge(first, last)
            if vetoed:
                for fact in choice:
                    fact.mark = "vetoed"
            elif ready:
                for fact in choice:
                    fact.mark = "taken"
                    if self.shape.word == "all" and self.shape.select == "first" and self.shape.is_compared(fact.code):
                        self.pass_later(fact)
                self.runs.append((at, " ".join(fact.name for fact in sorted(choice, key=lambda fact: fact.moment))))
                if self.shape.word == "sequence" and (self.shape.select != "each" or self.shape.strict):
                    for fact in self.facts:
                        if fact.code in self.shape.leaves and not fact.mark and fact.moment <= last.moment:
                            fact.mark = "superseded"
            else:
                return

    def judge(self, first: int, last: Fact) -> tuple[int, bool, bool]:
        """When a choice comes to hold, whether it is vetoed, and whether it can be decided that it is not."""
        at, deadline = last.time, -TTL
        for code, look_back in self.shape.vetoes:
            there = [fact for fact in self.facts if fact.code == code]
            if self.shape.word == "after":
                if any(last.moment < fact.moment and fact.time <= last.time + self.span for fact in there):
                    return at, True, False
            elif look_back is not None:
                if any(last.time - look_back <= fact.time <= last.time for fact in there):
                    return at, True, False
            elif self.shape.within is None:
                if there:
                    return at, True, False
            else:
                if any(first <= fact.time <= first + self.shape.within for fact in there):
                    return at, True, False
                at = deadline = first + self.shape.within
        if self.shape.word == "after":
            at = deadline = last.time + self.span
        return at, False, self.watermark >= deadline + self.shape.grace

    def preference(self, choice: tuple[Fact, ...]) -> tuple:
        if self.shape.where:
            return self.preference_of_compared(choice)
        if self.shape.repeats:
            return self.preference_of_repeated(choice)
        return min(fact.time for fact in choice), -len(choice), [fact.moment for fact in choice]

    def preference_of_compared(self, choice: tuple[Fact, ...]) -> tuple:
        """The earliest window, then the first choice of the first leaf that has one, and so on."""
        moments = [fact.moment for fact in choice]
        if self.shape.word == "sequence":
            return tuple(moments)
        last = max(fact.time for fact in choice)
        starts = [fact.time for code in self.shape.leaves for fact in self.alive(code)]
        start = min(each for each in starts if self.shape.within is None or last - each <= self.shape.within)
        if self.shape.select == "latest":
            return start, [(-time, -at) for time, at in moments]
        return start, moments

    def preference_of_repeated(self, choice: tuple[Fact, ...]) -> tuple:
        """The earliest start, then the earliest that is enough, then as many more as may be, the earliest again."""
        steps = self.steps(choice)
        numbers = [-len(step) for step in steps]
        if self.shape.strict:
            return min(fact.moment for fact in choice), numbers
        core = [fact.moment for step, least in zip(steps, self.leasts(), strict=True) for fact in step[:least]]
        return min(fact.time for fact in choice), core, numbers, [fact.moment for fact in choice]

    def steps(self, choice: tuple[Fact, ...]) -> list[list[Fact]]:
        return [
            sorted((fact for fact in choice if fact.code == code), key=lambda fact: fact.moment)
            for code in self.shape.leaves
        ]

    def leasts(self) -> list[int]:
        return [(self.shape.repeat(place) or (1, 1))[0] for place in range(len(self.shape.leaves))]

    def choices(self) -> Iterator[tuple[Fact, ...]]:
        shape = self.shape
        if shape.word == "count":
            for start in self.alive(shape.leaves[0]):
                counted = [one for one in self.alive(shape.leaves[0]) if 0 <= one.time - start.time <= self.span]
                if len(counted) >= max(shape.number, 1):
                    yield tuple(sorted(counted, key=lambda fact: fact.moment))
            return
        if shape.repeats:
            groups = [list(self.subsets(place)) for place in range(len(shape.leaves))]
            for parts in product(*groups):
                choice = tuple(chain(*parts))
                if self.fits_repeated(parts, choice):
                    yield choice
            return
        options: list[list[Fact | None]] = [[*self.alive(code)] for code in shape.leaves]
        if shape.word == "at_least":
            options = [[*listed, None] for listed in options]
        for picked in product(*options):
            choice = tuple(fact for fact in picked if fact is not None)
            if choice and self.fits(choice):
                yield choice

    def subsets(self, place: int) -> Iterator[tuple[Fact, ...]]:
        least, most = self.shape.repeat(place) or (1, 1)
        there = sorted(self.alive(self.shape.leaves[place]), key=lambda fact: fact.moment)
        for number in range(least, (len(there) if most is None else most) + 1):
            yield from combinations(there, number)

    def fits_repeated(self, parts: tuple[tuple[Fact, ...], ...], choice: tuple[Fact, ...]) -> bool:
        times = [fact.time for fact in choice]
        if self.shape.within is not None and max(times) - min(times) > self.span:
            return False
        moments = sorted(fact.moment for fact in choice)
        if self.shape.word == "sequence":
            if not all(one[-1].moment < other[0].moment for one, other in pairwise(parts)):
                return False
            row = sorted(fact.moment for code in self.shape.leaves for fact in self.alive(code))
            if self.shape.strict:
                return [each for each in row if moments[0] <= each <= moments[-1]] == moments
            return len(parts[-1]) == self.leasts()[-1]  # nothing is waited for at the end
        is_awaited = self.shape.within is not None and any(back is None for _, back in self.shape.vetoes)
        core = [part[:least] for part, least in zip(parts, self.leasts(), strict=True)]
        return is_awaited or moments[-1] == max(fact.moment for fact in chain(*core))

    def fits(self, choice: tuple[Fact, ...]) -> bool:
        times = [fact.time for fact in choice]
        n = {fact.code: fact.n for fact in choice}
        if not all(
            n[left] < n[right] if word == "lt" else n[left] == n[right] for left, word, right in self.shape.where
        ):
            return False
        if self.shape.within is not None and max(times) - min(times) > self.span and self.shape.word != "after":
            return False
        if self.shape.word == "at_least":
            return len(choice) >= self.shape.number
        if self.shape.word == "sequence":
            return all(one.moment < other.moment for one, other in pairwise(choice))
        return True
