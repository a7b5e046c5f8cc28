"""Any tree of conditions: a step never raises, accounts for every event, and the same log gives the same bytes."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream_triggers.core.condition import EventLeaf
from stream_triggers.core.keyed.pending import pending
from stream_triggers.core.trigger import canonical, parse_trigger
from stream_triggers.errors import InvalidTrigger
from tests.core.keyed.machine import Machine

CODES = st.sampled_from("abcd")
WITHIN = st.sampled_from([{}, {"within": "3s"}, {"within": "9s"}])
LEAVES = st.builds(
    lambda code, select, reuse: {"event": code, **select, **reuse},
    CODES,
    st.sampled_from([{}, {}, {"select": "first"}, {"select": "each"}, {"select": "all"}]),
    st.sampled_from([{}, {}, {}, {"reuse": True}]),
)
PLAIN = st.builds(lambda code: {"event": code}, CODES)
WATCHERS = st.sampled_from(
    [
        {"changed": "payload.n", "of": {"event": "a"}, "to": {"gte": 3}},
        {"changed": "payload.n", "of": {"event": "b"}, "initial": True},
        {"aggregate": "sum", "value": "payload.n", "of": {"event": "a"}, "is": {"gt": 5}, "within": "4s"},
        {
            "aggregate": "max",
            "value": "payload.n",
            "of": {"event": "c"},
            "is": {"gt": 2},
            "for": "2s",
            "clear": {"lt": 2},
        },
    ]
)
COUNTS = st.builds(
    lambda leaf, number, within, consume: {"count": leaf, "at_least": number, **within, **consume},
    PLAIN,
    st.integers(1, 3),
    WITHIN,
    st.sampled_from([{}, {"consume": "none"}, {"distinct": "payload.n"}]),
)


def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=2, max_size=3)
    nots = st.builds(
        lambda negative, last: {"not": negative, **last},
        PLAIN | st.builds(lambda leaf: {"times": 2, "of": leaf}, PLAIN),
        st.sampled_from([{}, {"last": "2s"}]),
    )
    return st.one_of(
        st.builds(
            lambda members, negative, within: {"all": [*members, *negative], **within},
            several,
            st.lists(nots, max_size=1),
            WITHIN,
        ),
        st.builds(lambda members: {"any": members}, several),
        st.builds(lambda members, within: {"at_least": 2, "of": members, **within}, several, WITHIN),
        st.builds(lambda members, within: {"sequence": members, **within}, several, WITHIN),
        st.builds(
            lambda listed, within: {"sequence": listed, "strict": True, **within},
            st.lists(PLAIN | st.builds(lambda leaf: {"times": [1, 2], "of": leaf}, PLAIN), min_size=2, max_size=3),
            WITHIN,
        ),
        st.builds(
            lambda member, unless: {"after": member, "wait": "3s", **unless},
            inner,
            st.sampled_from([{}, {"unless": {"event": "d"}}]),
        ),
    )


REPEATED = st.one_of(
    st.builds(lambda leaf, number: {"times": number, "of": leaf}, PLAIN, st.sampled_from([1, 2, [1, 2], [2, 9]])),
    st.builds(lambda leaf: {"one_or_more": {**leaf, "select": "each", "reuse": True}}, PLAIN),
    st.builds(lambda leaf, other: {"one_or_more": leaf, "until": other}, PLAIN, PLAIN),
)
TREES = st.recursive(LEAVES | COUNTS | WATCHERS | REPEATED, joined, max_leaves=6)
WHENS = st.one_of(
    TREES,
    st.builds(lambda tree: {"any": [{"cron": "* * * * *"}, tree]}, TREES),
    st.builds(
        lambda tree, negative: {"all": [{"every": "20s"}, tree, *negative]},
        TREES,
        st.sampled_from([[], [{"not": {"event": "d"}}]]),
    ),
)
MORE = st.sampled_from(
    [
        {},
        {"grace": "2s"},
        {"ttl": "10s"},
        {"reset": "fire"},
        {"reset": [{"event": "d"}]},
        {"reset": [{"every": "10s"}]},
        {"on_timeout": {"task": "x.y", "args": {"v": "${event.id?}"}}},
        {"cooldown": {"for": "5s"}},
        {"debounce": {"wait": "2s"}},
        {"overlap": "buffer_one"},
    ]
)
MOVES = st.lists(
    st.one_of(
        st.tuples(CODES, st.integers(-6, 6), st.integers(0, 4) | st.just("text")),
        st.tuples(st.just(""), st.integers(0, 6), st.just(0)),
    ),
    max_size=25,
)


def machine_of(when: Any, more: Any) -> Machine:
    try:
        parse_trigger({"id": "t", "task": "do.it", "when": when, **more})
    except InvalidTrigger:
        assume(False)
    return Machine({"when": when, **more})


def play(machine: Machine, moves: Any) -> list[str]:
    """Play the moves; gives the ids of the events that became facts."""
    clock, names = 0, []
    for number, (code, by, value) in enumerate(moves):
        if code:
            before = machine.at
            machine.send(code, clock + by, f"{code}{number}", n=value)
            names += [f"{code}{number}"] if machine.at > before else []
        else:
            clock += by
            machine.tick(clock)
    return names


def only_parts(machine: Machine) -> set[str]:
    """The codes of events that take part in runs and do nothing else."""
    events = [place for place in machine.plan.places if isinstance(place.pick.leaf, EventLeaf)]
    others = {each.pick.leaf.code for each in events if each.role != "part" or each.id in machine.plan.watched}
    return {each.pick.leaf.code for each in events} - others


@given(WHENS, MORE, MOVES)
@settings(max_examples=300, deadline=None)
def test_every_event_is_accounted_for(when, more, moves):
    machine = machine_of(when, more)
    names = play(machine, moves)
    state = machine.state()
    kept = {occurrence.id for occurrence in state.occurrences} if state else set()
    held = repr(state.gates) if state else ""
    in_runs = {each.id for firing in machine.firings for each in firing.participants}
    refused = {each.id for refusal in machine.refusals for each in refusal.participants}
    lost = [name for name in names if name not in kept | in_runs | refused and f"'{name}'" not in held]
    assert [name for name in lost if name[0] in only_parts(machine)] == []


@given(WHENS, MORE, MOVES)
@settings(deadline=None)
def test_the_same_log_gives_the_same_bytes(when, more, moves):
    one, other = machine_of(when, more), machine_of(when, more)
    play(one, moves)
    play(other, moves)
    assert (one.states, one.firings, one.refusals) == (other.states, other.firings, other.refusals)


@given(WHENS, MORE, MOVES)
@settings(deadline=None)
def test_what_is_pending_can_always_be_said(when, more, moves):
    machine = machine_of(when, more)
    play(machine, moves)
    assert pending(machine.state(), machine.plan, machine.clocks).state_bytes >= 0


@given(TREES, MOVES)
@settings(deadline=None)
def test_the_canonical_form_of_a_trigger_does_the_same(when, moves):
    one = machine_of(when, {})
    other = Machine({"when": parse_again(one)})
    play(one, moves)
    play(other, moves)
    assert one.ran == other.ran


def parse_again(machine: Machine) -> Any:
    return orjson.loads(canonical(machine.plan.trigger))["when"]
