"""What holds for flow control whatever is set, whatever comes and whenever it is looked at."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.flow import Flow
from stream_triggers.core.flow.settings import (
    Batch,
    CircuitBreaker,
    Collect,
    Cooldown,
    Debounce,
    Overlap,
    Rate,
    Throttle,
)
from stream_triggers.core.keyed.gates import held_in
from stream_triggers.core.record import Pause
from tests.core.keyed.gates_bundle import Input, Player, chain_of, inputs, name_of

END_MS = 10_000
"""Long after everything in a play has come to its end."""

spans = st.integers(1, 20)
counts = st.integers(1, 4)
rates = st.builds(Rate, counts, spans)
collects = st.sampled_from([Collect(), Collect("first", 2), Collect("all", 1000)])
debounces = st.builds(Debounce, st.integers(1, 8), st.none() | st.integers(8, 20), collects)
batches = st.builds(Batch, counts, spans)
cooldowns = st.builds(Cooldown, spans, st.sampled_from(["drop", "trailing"]), collects)
throttles = st.builds(Throttle, rates, counts, counts, st.none() | spans)
breakers = st.builds(CircuitBreaker, rates, rates, spans)
overlaps = st.builds(Overlap, st.sampled_from(["skip", "buffer_one"]), st.just(1), spans) | st.builds(
    Overlap, st.just("buffer_all"), counts, spans
)

GATES: dict[str, st.SearchStrategy[Any]] = {
    "root_budget": rates,
    "rate_limit": rates,
    "debounce": debounces,
    "batch": batches,
    "delay_ms": spans,
    "cooldown": cooldowns,
    "throttle": throttles,
    "circuit_breaker": breakers,
    "overlap": overlaps,
    "expires_ms": spans,
}

single_flows = st.sampled_from(sorted(GATES)).flatmap(lambda name: st.builds(Flow, **{name: GATES[name]}))
flows = single_flows | st.fixed_dictionaries({}, optional=GATES).map(lambda fields: Flow(**fields))

catchups = st.sampled_from(["", "none", "latest", "all"])
pauses = st.dictionaries(
    st.integers(0, 60),
    st.builds(Pause, st.sampled_from(["drop", "hold", "hold_latest"]), st.integers(0, 100), catchups),
    max_size=2,
)


@st.composite
def plays(draw: st.DrawFn, news: bool = True) -> list[Input]:
    """Up to twenty matches named m0, m1, …, news of them, and ticks, at instants that never go back."""
    now_ms, names, words = 0, 0, []
    kinds = ["match", "match", "match", "tick", *(["news"] if news else [])]
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=20)):
        now_ms += draw(st.integers(0, 9))
        if kind == "match":
            words.append(Input(now_ms, f"m{names:02}", ""))
            names += 1
        elif kind == "news" and names:
            told = draw(st.integers(0, names - 1))
            words.append(
                Input(now_ms, f"m{told:02}", draw(st.sampled_from(["running", "succeeded", "failed", "unstarted"])))
            )
        else:
            words.append(Input(now_ms, "", ""))
    return words


def prompt(player: Player, words: list[Input], until_ms: int = 0) -> list[str]:
    """Play ``words`` and on until ``until_ms``, looking whenever flow control wants to be woken or a pause changes."""
    looked_ms = -1
    for word in [*words, *([Input(until_ms, "", "")] if until_ms else [])]:
        while True:
            changes = [since_ms for since_ms in player.pauses if looked_ms < since_ms]
            due = [*changes, *([] if player.wake_ms is None else [player.wake_ms])]
            if min(due, default=word.now_ms) >= word.now_ms:
                break
            looked_ms = min(due)
            player.step(Input(looked_ms, "", ""))
        player.step(word)
        looked_ms = word.now_ms
    return player.said


def names_in(said: list[str], *, refused: bool) -> list[str]:
    """The names of the matches that were refused or released, in order."""
    words = [word.partition(":")[2] for word in said if ("!" in word) is refused]
    return [name for word in words for name in word.partition("!")[0].split("+") if name]


def released_at(said: list[str]) -> list[int]:
    return [int(word.partition(":")[0]) for word in said if "!" not in word]


@given(flows, plays(), pauses)
def test_every_match_is_released_once_or_held_or_refused(flow: Flow, words: list[Input], paused: dict[int, Pause]):
    player = Player(chain_of(flow), paused)
    for word in words:
        player.step(word)
    held = [
        name for matches in held_in(player.memories).values() for each in matches for name in name_of(each).split("+")
    ]
    ended = names_in(player.said, refused=False) + names_in(player.said, refused=True)
    assert sorted(ended + held) == [word.name for word in words if word.name and not word.news]


@given(flows, plays(), pauses)
def test_matches_are_released_in_the_order_in_which_they_came(flow: Flow, words: list[Input], paused: dict[int, Pause]):
    player = Player(chain_of(flow), paused)
    for word in [*words, Input(END_MS, "", "")]:
        player.step(word)
    released = names_in(player.said, refused=False)
    assert released == sorted(released)


@given(flows, plays(), pauses)
def test_in_the_end_nothing_is_held_and_nothing_remembered(flow: Flow, words: list[Input], paused: dict[int, Pause]):
    player = Player(chain_of(flow), paused)
    prompt(player, words, END_MS)
    assert (player.memories, player.wake_ms) == ({}, None)


@given(flows, plays(), pauses)
def test_looking_only_when_woken_is_as_good_as_looking_all_the_time(
    flow: Flow, words: list[Input], paused: dict[int, Pause]
):
    seldom, often = Player(chain_of(flow), paused), Player(chain_of(flow), paused)
    prompt(seldom, words, 200)
    now_ms = 0
    for word in [*words, Input(200, "", "")]:
        for instant_ms in range(now_ms, word.now_ms):
            often.step(Input(instant_ms, "", ""))
        now_ms = word.now_ms
        often.step(word)
    assert seldom.said == often.said


@given(flows, plays(), pauses)
def test_a_tick_that_comes_twice_or_late_changes_nothing(flow: Flow, words: list[Input], paused: dict[int, Pause]):
    player = Player(chain_of(flow), paused)
    for word in words:
        flowed = player.step(word)
        pause = next((paused[since] for since in sorted(paused, reverse=True) if since <= word.now_ms), None)
        for stale_ms in (word.now_ms, max(0, word.now_ms - 5), 0):
            again = player.chain.on_time(flowed.memories, stale_ms, pause)
            assert (again.memories, again.released, again.refused) == (flowed.memories, (), ())


@given(flows, plays())
def test_nothing_is_due_at_the_instant_that_was_looked_at(flow: Flow, words: list[Input]):
    player = Player(chain_of(flow))
    for word in words:
        player.step(word)
        assert player.wake_ms is None or player.wake_ms > word.now_ms


@given(flows, plays(), pauses)
def test_a_match_finds_what_a_tick_at_its_instant_would_leave(flow: Flow, words: list[Input], paused: dict[int, Pause]):
    plain, ticked = Player(chain_of(flow), paused), Player(chain_of(flow), paused)
    for word in words:
        plain.step(word)
        ticked.step(Input(word.now_ms, "", ""))
        ticked.step(word)
    # At one instant what is let go is told before what is refused, so a step's words are compared without their order.
    assert (sorted(plain.said), plain.memories) == (sorted(ticked.said), ticked.memories)


tick_free = st.one_of(
    *(
        st.builds(Flow, **{name: GATES[name]})
        for name in ("root_budget", "rate_limit", "debounce", "batch", "delay_ms", "circuit_breaker")
    ),
    st.builds(Flow, cooldown=st.builds(Cooldown, spans)),
)


@given(tick_free, plays())
def test_one_late_tick_is_as_good_as_many_for_gates_whose_instants_are_given_by_matches(flow: Flow, words: list[Input]):
    prompted, late = Player(chain_of(flow)), Player(chain_of(flow))
    prompt(prompted, words, 500)
    for word in [*(word for word in words if word.name), Input(500, "", "")]:
        late.step(word)
    for refused in (False, True):
        assert names_in(late.said, refused=refused) == names_in(prompted.said, refused=refused)
    assert late.memories == prompted.memories


@given(throttles, plays(news=False))
def test_a_throttle_passes_no_more_than_its_bucket_had(throttle: Throttle, words: list[Input]):
    player = Player(chain_of(Flow(throttle=throttle)))
    for word in words:
        player.step(word)
    instants = released_at(player.said)
    for first, last in combinations(range(len(instants)), 2):
        span_ms = instants[last] - instants[first]
        assert last - first + 1 <= throttle.burst + span_ms * throttle.rate.max / throttle.rate.per_ms


@given(throttles, plays(news=False))
def test_a_throttle_queues_no_more_and_no_longer_than_it_may(throttle: Throttle, words: list[Input]):
    player = Player(chain_of(Flow(throttle=throttle)))
    came = {word.name: word.now_ms for word in words}
    for word in words:
        player.step(word)
        assert len(held_in(player.memories).get("throttle", ())) <= throttle.max_queue
    ages = [
        now_ms - came[name]
        for now_ms, name in zip(released_at(player.said), names_in(player.said, refused=False), strict=True)
    ]
    assert throttle.max_age_ms is None or max(ages, default=0) <= throttle.max_age_ms


@given(rates, plays(news=False))
def test_a_rate_limit_passes_at_most_twice_its_number_in_any_span(rate: Rate, words: list[Input]):
    player = Player(chain_of(Flow(rate_limit=rate)))
    for word in words:
        player.step(word)
    instants = released_at(player.said)
    for start_ms in instants:
        assert sum(start_ms <= instant < start_ms + rate.per_ms for instant in instants) <= 2 * rate.max


@given(cooldowns, plays(news=False))
def test_two_runs_are_never_closer_than_a_cooldown(cooldown: Cooldown, words: list[Input]):
    player = Player(chain_of(Flow(cooldown=cooldown)))
    for word in [*words, Input(END_MS, "", "")]:
        player.step(word)
    instants = released_at(player.said)
    assert all(later - earlier >= cooldown.for_ms for earlier, later in pairwise(instants))


@given(batches, plays(news=False))
def test_a_batch_is_neither_too_large_nor_too_late(batch: Batch, words: list[Input]):
    player = Player(chain_of(Flow(batch=batch)))
    came = {word.name: word.now_ms for word in words}
    for said in prompt(player, words, 200):
        now, _, names = said.partition(":")
        members = names.split("+")
        assert len(members) <= batch.max_size
        assert int(now) - came[members[0]] <= batch.max_wait_ms


@given(debounces, plays(news=False))
def test_debounce_fires_as_its_definition_says(debounce: Debounce, words: list[Input]):
    came = [word.now_ms for word in words if word.name]
    expected: list[int] = []
    while came:
        first_ms = latest_ms = came[0]
        ceiling_ms = first_ms + debounce.max_wait_ms if debounce.max_wait_ms else END_MS
        while came and came[0] < min(latest_ms + debounce.wait_ms, ceiling_ms):
            latest_ms = came.pop(0)
        expected.append(min(latest_ms + debounce.wait_ms, ceiling_ms))
    assert released_at(prompt(Player(chain_of(Flow(debounce=debounce))), words, 500)) == expected


@given(overlaps, plays())
def test_one_run_goes_on_at_a_time(overlap: Overlap, words: list[Input]):
    player = Player(chain_of(Flow(overlap=overlap)))
    running, news_ms = "", 0
    for word in words:
        if running and news_ms + overlap.ttl_ms <= word.now_ms:
            running = ""
        if word.news and word.name == running:
            running, news_ms = ("" if word.news != "running" else running), word.now_ms
        for match in player.step(word).released:
            assert not running
            ended = word.name == name_of(match) and word.news not in ("", "running")
            running, news_ms = ("" if ended else name_of(match)), word.now_ms


def test_what_is_played_is_what_was_written():
    assert inputs("0:a 5: 7:a=failed") == [Input(0, "a", ""), Input(5, "", ""), Input(7, "a", "failed")]


@pytest.mark.parametrize("flow", [Flow(throttle=Throttle(Rate(3, 7), 2)), Flow(root_budget=Rate(1, 5))])
def test_the_same_matches_give_the_same_outcome(flow: Flow):
    script = "0:a 0:b 1:c 5:d 9:e 20:"
    assert Player(chain_of(flow)).play(script) == Player(chain_of(flow)).play(script)
