"""Flow control played through a script: matches, ticks and reports at instants, and what came of them.

A script is a row of ``instant:input``. An input is the name of a match, nothing (a tick), or ``name=news`` (news of the
invocation of the match ``name``). The outcome is a row of ``instant:name`` for what was released, ``a+b`` for a match
that was made of two, and ``instant:name!reason`` for what was refused. Between two inputs the memories are written and
read back, as they are when another process goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from stream_triggers.core.flow import Flow, parse_flow
from stream_triggers.core.keyed.gates import Chain, Flowed, compile_flow
from stream_triggers.core.keyed.state import Match, Occurrence
from stream_triggers.core.record import Pause


def a_match(name: str, at_ms: int = 0, *, order: int = 0, depth: int = 0, root: str | None = None) -> Match:
    """A match of one event whose id is ``name``."""
    occurrence = Occurrence(
        leaves=("leaf",),
        kind="event",
        id=name,
        topic="events",
        partition=0,
        offset=order,
        time_ms=at_ms,
        at=order,
        document={"id": name},
        depth=depth,
        root=root,
    )
    return Match((occurrence,), at_ms)


def name_of(match: Match) -> str:
    """The names of the matches that ``match`` was made of."""
    return "+".join(occurrence.id for occurrence in match.occurrences)


def ids_of(match: Match) -> tuple[str, ...]:
    """One invocation for a match, with its name; none for a match that is named ``none``."""
    return () if name_of(match) == "none" else (name_of(match),)


def chain_of(fields: Mapping[str, Any] | Flow) -> Chain:
    """The gates of a flow, given as a value or in the words of a trigger file."""
    flow = fields if isinstance(fields, Flow) else parse_flow(dict(fields), "")
    return Chain(compile_flow(flow, ids_of))


def written(memories: Mapping[str, Any]) -> dict[str, Any]:
    """``memories`` after a restart: plain values."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(memories))
    return plain


class Input(NamedTuple):
    """One word of a script."""

    now_ms: int
    name: str
    news: str


def inputs(script: str) -> list[Input]:
    """The words of a script."""
    words = []
    for word in script.split():
        now, _, rest = word.partition(":")
        name, _, news = rest.partition("=")
        words.append(Input(int(now), name, news))
    return words


class Player:
    """Plays a flow word by word; ``said`` is what came of it."""

    def __init__(self, chain: Chain, pauses: Mapping[int, Pause] | None = None) -> None:
        self.chain = chain
        self.said: list[str] = []
        self.memories: dict[str, Any] = {}
        self.wake_ms: int | None = None
        self.pauses = pauses or {}
        self._order = 0

    def play(self, script: str) -> str:
        """Play ``script`` and give what came of all that was played."""
        for each in inputs(script):
            self.step(each)
        return " ".join(self.said)

    def step(self, each: Input) -> Flowed:
        """Play one word."""
        pause = next(
            (value for since, value in sorted(self.pauses.items(), reverse=True) if since <= each.now_ms), None
        )
        if each.news:
            flowed = self.chain.on_report(self.memories, each.name, each.news, each.now_ms, pause)  # type: ignore[arg-type]
        elif each.name:
            self._order += 1
            match = a_match(each.name, each.now_ms, order=self._order, root="r")
            flowed = self.chain.on_matches(self.memories, [match], each.now_ms, pause)
        else:
            flowed = self.chain.on_time(self.memories, each.now_ms, pause)
        self.said += [f"{each.now_ms}:{name_of(match)}" for match in flowed.released]
        self.said += [
            f"{each.now_ms}:{name_of(refused.match) if refused.match else ''}!{refused.reason}"
            for refused in flowed.refused
        ]
        self.memories, self.wake_ms = written(flowed.memories), flowed.wake_ms
        return flowed
