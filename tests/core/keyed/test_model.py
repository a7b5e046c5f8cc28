"""Whole triggers against the slow evaluator that sees all facts, and laws that hold for any of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.keyed.machine import Machine
from tests.core.keyed.model import Model, Shape

Move: TypeAlias = tuple[str, int]
"""An event's code and how far its instant is from the clock; or "" and how far the clocks move on."""

MOVES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("aaabbcxxx"), st.integers(-7, 7)),
        st.tuples(st.just(""), st.integers(0, 4)),
    ),
    max_size=20,
)
WINDOWS = st.sampled_from([None, 3, 6])
GRACES = st.sampled_from([0, 2])
SHAPES = st.one_of(
    st.builds(
        Shape,
        st.just("all"),
        st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
        WINDOWS,
        vetoes=st.sampled_from([(), (("x", None),), (("x", 2),)]),
        select=st.sampled_from(["each", "latest", "first"]),
        grace=GRACES,
    ),
    st.builds(
        Shape,
        st.just("at_least"),
        st.just(("a", "b", "c")),
        WINDOWS,
        number=st.integers(1, 3),
        select=st.sampled_from(["each", "latest", "first"]),
        grace=GRACES,
    ),
    st.builds(
        Shape,
        st.just("sequence"),
        st.sampled_from([("a", "b"), ("a", "b", "c")]),
        WINDOWS,
        select=st.sampled_from(["each", "first"]),
        grace=GRACES,
    ),
    st.builds(Shape, st.just("count"), st.just(("a",)), WINDOWS, number=st.integers(1, 4), grace=GRACES),
    st.builds(
        Shape,
        st.just("after"),
        st.just(("a",)),
        st.sampled_from([3, 6]),
        vetoes=st.sampled_from([(), (("x", None),)]),
        grace=GRACES,
    ),
)


REPEATS = st.sampled_from([(1, None), (2, 2), (2, 3), (1, 2)])
MANY = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("aaaabbc"), st.integers(-2, 3)),
        st.tuples(st.sampled_from("aaaabbx"), st.integers(-2, 3)),
        st.tuples(st.just(""), st.integers(0, 3)),
    ),
    min_size=8,
    max_size=12,
)
REPEATING = st.one_of(
    st.builds(
        Shape,
        st.just("sequence"),
        st.sampled_from([("a", "b"), ("b", "a"), ("a", "b", "c")]),
        st.sampled_from([None, 6, 12]),
        select=st.sampled_from(["each", "first"]),
        grace=GRACES,
        repeats=st.tuples(REPEATS, st.none() | REPEATS),
        strict=st.booleans(),
    ),
    st.builds(
        Shape,
        st.just("all"),
        st.sampled_from([("a", "b"), ("a", "b", "c")]),
        st.sampled_from([None, 6, 12]),
        vetoes=st.sampled_from([(), (("x", None),), (("x", 2),)]),
        select=st.sampled_from(["each", "latest", "first"]),
        grace=GRACES,
        repeats=st.tuples(REPEATS, st.none() | REPEATS),
    ),
).map(lambda shape: replace(shape, repeats=(*shape.repeats, None)[: len(shape.leaves)]))


COMPARED = st.tuples(st.sampled_from("abc"), st.sampled_from(["eq", "lt"]), st.sampled_from("abc"))
COMPARING = st.builds(
    Shape,
    st.sampled_from(["all", "sequence"]),
    st.sampled_from([("a", "b"), ("a", "b", "c"), ("b", "a", "c")]),
    st.sampled_from([None, 6, 12]),
    vetoes=st.sampled_from([(), (("x", None),), (("x", 2),)]),
    select=st.sampled_from(["each", "each", "latest", "first"]),
    grace=GRACES,
    where=st.lists(COMPARED, min_size=1, max_size=3).map(tuple),
).map(lambda shape: replace(shape, **could_be(shape)))


def could_be(shape: Shape) -> dict[str, Any]:
    """What makes a shape one that a trigger can have."""
    where = tuple(each for each in shape.where if each[0] != each[2] and {each[0], each[2]} <= {*shape.leaves})
    is_all = shape.word == "all"
    return {
        "where": where or (("a", "eq", "b"),),
        "vetoes": shape.vetoes if is_all else (),
        "select": shape.select if is_all or shape.select != "latest" else "each",
    }


def played(written: dict[str, Any], moves: list[Move]) -> Machine:
    machine, clock = Machine(written), 0
    for number, (code, by) in enumerate(moves):
        if code:
            machine.send(code, clock + by, f"{code}{machine.at}", n=value_of(number, by))
        else:
            clock += by
            machine.tick(clock)
    return machine


def value_of(number: int, by: int) -> int:
    """A small number for a move, which has nothing to do with its instant."""
    return (number * 7 + by * 5) % 3


def modelled(shape: Shape, moves: list[Move]) -> Model:
    model, clock = Model(shape), 0
    for number, (code, by) in enumerate(moves):
        if code:
            model.send(code, clock + by, len(model.facts), value_of(number, by))
        else:
            clock += by
            model.tick(clock)
    return model


@given(SHAPES, MOVES)
@settings(max_examples=1000, deadline=None)
def test_a_trigger_fires_as_the_evaluator_that_sees_everything_says(shape, moves):
    assert played(shape.written(), moves).ran == modelled(shape, moves).runs


@given(REPEATING, MANY)
@settings(max_examples=500, deadline=None)
def test_what_is_repeated_is_taken_as_that_evaluator_says(shape, moves):
    assert played(shape.written(), moves).ran == modelled(shape, moves).runs


@given(COMPARING, MANY)
@settings(max_examples=500, deadline=None)
def test_what_is_compared_is_chosen_as_that_evaluator_says(shape, moves):
    assert played(shape.written(), moves).ran == modelled(shape, moves).runs


@given(SHAPES, MOVES)
@settings(deadline=None)
def test_every_event_ends_in_a_run_or_a_refusal_or_is_still_kept(shape, moves):
    machine = played(shape.written(), moves)
    state = machine.state()
    kept = [occurrence.id for occurrence in state.occurrences if not occurrence.fate] if state else []
    in_runs = [each.id for firing in machine.firings for each in firing.participants]
    refused = {each.id for refusal in machine.refusals for each in refusal.participants}
    events = [code for code, _ in moves if code in shape.leaves or (code == "x" and shape.vetoes)]
    sent = {f"{code}{number}" for number, code in enumerate(events) if code in shape.leaves}
    assert len(in_runs) == len(set(in_runs)), "an occurrence takes part once"
    assert sent - {*kept, *in_runs, *refused} == set()
    assert not set(kept) & set(in_runs)


@given(SHAPES, MOVES)
@settings(deadline=None)
def test_a_late_tick_does_what_earlier_ones_would_have_done(shape, moves):
    often = [one for move in moves for one in ([("", 1)] * move[1] if not move[0] else [move])]
    assert sorted(played(shape.written(), often).ran) == sorted(played(shape.written(), moves).ran)


@given(SHAPES, MOVES)
@settings(deadline=None)
def test_a_tick_that_brings_nothing_new_changes_nothing(shape, moves):
    machine = played(shape.written(), moves)
    before = (dict(machine.states), list(machine.firings), list(machine.refusals))
    for key in list(machine.states):
        machine._take(key, machine.plan.on_time(machine.state(key), key, machine.clocks))
    assert (machine.states, machine.firings, machine.refusals) == before


@given(SHAPES, MOVES)
@settings(deadline=None)
def test_nothing_is_left_when_every_window_is_over(shape, moves):
    machine = played(shape.written(), moves)
    machine.tick(30 * 86_400)
    assert machine.states == {}


@given(MOVES, WINDOWS)
@settings(deadline=None)
def test_the_order_of_members_does_not_matter_to_all(moves, within):
    one = played(Shape("all", ("a", "b"), within).written(), moves)
    other = played(Shape("all", ("b", "a"), within).written(), moves)
    assert [run for _, run in one.ran] == [run for _, run in other.ran]


@given(MOVES)
@settings(deadline=None)
def test_the_order_of_members_does_not_matter_to_any(moves):
    members = [{"all": [{"event": "a"}, {"event": "b"}], "within": "5s"}, {"event": "c"}]
    runs = [sorted(played({"when": {"any": listed}}, moves).ran) for listed in (members, members[::-1])]
    assert runs[0] == runs[1]
