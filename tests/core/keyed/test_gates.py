"""Every gate by a table: its setting, what goes in, what comes of it. See ``gates_bundle`` for the scripts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from stream_triggers.core.flow.settings import HELD_MAX, CircuitBreaker, Rate
from stream_triggers.core.keyed.gates.breaker import CircuitBreakerGate, Load
from stream_triggers.core.keyed.gates.gate import (
    OCCURRENCES_HELD_MAX,
    QUEUED_BYTES_MAX,
    Queue,
    Waiting,
    has_expired,
    merged,
)
from stream_triggers.core.keyed.gates.limit import ROOTS_MAX, Roots
from stream_triggers.core.keyed.gates.pause import PauseGate
from stream_triggers.core.keyed.state import Match
from stream_triggers.core.record import Pause
from tests.core.keyed.gates_bundle import Player, a_match, chain_of, inputs, name_of, written

RATE = {"rate_limit": {"max": 2, "per": "10ms"}}
DEBOUNCE = {"debounce": {"wait": "5ms"}}
CEILING = {"debounce": {"wait": "5ms", "max_wait": "8ms"}}
DEBOUNCE_ALL = {"debounce": {"wait": "5ms", "collect": "all"}}
DEBOUNCE_FIRST = {"debounce": {"wait": "5ms", "collect": {"first": 2}}}
BATCH = {"batch": {"max_size": 3, "max_wait": "10ms"}}
DELAY = {"delay": "7ms"}
COOLDOWN = {"cooldown": {"for": "10ms"}}
TRAILING = {"cooldown": {"for": "10ms", "mode": "trailing"}}
TRAILING_ALL = {"cooldown": {"for": "10ms", "mode": "trailing", "collect": "all"}}
TRAILING_FIRST = {"cooldown": {"for": "10ms", "mode": "trailing", "collect": {"first": 1}}}
THROTTLE = {"throttle": {"max": 1, "per": "10ms"}}
BURST = {"throttle": {"max": 2, "per": "10ms", "burst": 3}}
QUEUE_OF_ONE = {"throttle": {"max": 1, "per": "10ms", "max_queue": 1}}
AGED = {"throttle": {"max": 1, "per": "10ms", "max_age": "4ms"}}
FIRES = {"circuit_breaker": {"fires": {"max": 2, "per": "10ms"}, "for": "20ms"}}
FIRES_FOR_EVER = {"circuit_breaker": {"fires": {"max": 1, "per": "10ms"}}}
FAILURES = {"circuit_breaker": {"failures": {"max": 2, "per": "10ms"}, "for": "20ms"}}
FIRES_OR_FAILURES = {
    "circuit_breaker": {"fires": {"max": 9, "per": "10ms"}, "failures": {"max": 9, "per": "10ms"}, "for": "20ms"}
}
EXPIRES = {"expires": "10ms"}
SKIP = {"overlap": "skip"}
SKIP_TTL = {"overlap": {"policy": "skip", "ttl": "10ms"}}
BUFFER_ONE = {"overlap": "buffer_one"}
BUFFER_TWO = {"overlap": {"policy": "buffer_all", "max": 2}}


def play(fields: dict[str, Any], script: str, pauses: dict[int, Pause] | None = None) -> str:
    return Player(chain_of(fields), pauses).play(script)


@pytest.mark.parametrize(
    ("fields", "script", "outcome"),
    [
        pytest.param({}, "0:a 0:b 5:c", "0:a 0:b 5:c", id="without gates everything passes"),
        # limit, rule 4
        pytest.param(RATE, "0:a 3:b 9:c", "0:a 3:b 9:c!rate_limited", id="the first of a window pass"),
        pytest.param(
            RATE, "0:a 3:b 10:c 11:d 12:e", "0:a 3:b 10:c 11:d 12:e!rate_limited", id="a window ends before per"
        ),
        pytest.param(RATE, "0:a 15:b 24:c 25:d", "0:a 15:b 24:c 25:d", id="a match opens the next window"),
        # gather, rules 1 to 3
        pytest.param(DEBOUNCE, "0:a 4: 5:", "5:a", id="debounce fires after the wait"),
        pytest.param(DEBOUNCE, "0:a 3:b 5: 7: 8:", "3:a!debounced 8:b", id="each match puts debounce off"),
        pytest.param(DEBOUNCE, "0:a 5:b 10:", "5:a 10:b", id="a match at the due instant comes after the firing"),
        pytest.param(DEBOUNCE, "0:a 30:b 35:", "30:a 35:b", id="a late instant lets go first"),
        pytest.param(
            CEILING,
            "0:a 4:b 7:c 8: 12:",
            "4:a!debounced 7:b!debounced 8:c",
            id="max_wait is the longest from the first",
        ),
        pytest.param(CEILING, "0:a 4:b 8:c 13:", "4:a!debounced 8:b 13:c", id="the ceiling starts afresh"),
        pytest.param(DEBOUNCE_ALL, "0:a 3:b 6:c 11:", "11:a+b+c", id="debounce collects all"),
        pytest.param(DEBOUNCE_FIRST, "0:a 3:b 6:c 10: 11:", "6:c!debounced 11:a+b", id="one too many still puts off"),
        # gather, rule 4
        pytest.param(BATCH, "0:a 1:b 2:c 3:d 13:", "2:a+b+c 13:d", id="a batch fires when it is full"),
        pytest.param(BATCH, "0:a 9:b 10: 19:", "10:a+b", id="a batch fires some time after its first"),
        pytest.param(BATCH, "0:a 1:b 30:c 40:", "30:a+b 40:c", id="a late match belongs to the next batch"),
        # gather, rules 5 to 7
        pytest.param(COOLDOWN, "0:a 5:b 9:c 10:d", "0:a 5:b!cooling_down 9:c!cooling_down 10:d", id="cooldown drops"),
        pytest.param(
            COOLDOWN, "0:a 5:b 10: 12:c 15:d", "0:a 5:b!cooling_down 12:c 15:d!cooling_down", id="it is over then"
        ),
        pytest.param(
            TRAILING, "0:a 2:b 5:c 9: 10: 19: 20: 21:d", "0:a 5:b!cooling_down 10:c 21:d", id="one at the end"
        ),
        pytest.param(TRAILING, "0:a 2:b 10: 15:c 20:", "0:a 10:b 20:c", id="a trailing run begins a cooldown"),
        pytest.param(TRAILING, "0:a 2:b 14: 15:c 20: 24:", "0:a 14:b 24:c", id="a cooldown begins when it was late"),
        pytest.param(TRAILING_ALL, "0:a 2:b 5:c 10:", "0:a 10:b+c", id="trailing collects all"),
        pytest.param(TRAILING_FIRST, "0:a 2:b 5:c 10:", "0:a 5:c!cooling_down 10:b", id="trailing collects the first"),
        # pace, rules 1 to 4
        pytest.param(THROTTLE, "0:a 1:b 2:c 9: 10: 15: 20:", "0:a 10:b 20:c", id="throttle spreads"),
        pytest.param(
            THROTTLE | EXPIRES, "0:a 1:b 2:c 10: 11: 12: 20:d", "0:a 10:b 12:c!expired 20:d", id="throttled expire"
        ),
        pytest.param(
            {"delay": "20ms"} | THROTTLE | EXPIRES,
            "0:a 20: 15:",
            "20:a!expired",
            id="what has expired takes no token",
        ),
        pytest.param(THROTTLE, "0:a 1:b 2:c 50:", "0:a 50:b", id="a late tick is no burst"),
        pytest.param(THROTTLE, "0:a 1:b 2:c 50: 60:", "0:a 50:b 60:c", id="after a late tick it goes on at its pace"),
        pytest.param(THROTTLE, "0:a 1:b 10:c 20:", "0:a 10:b 20:c", id="those that wait go first"),
        pytest.param(BURST, "0:a 0:b 0:c 0:d 4: 5: 9:e 10:", "0:a 0:b 0:c 5:d 10:e", id="a burst, then the rate"),
        pytest.param(QUEUE_OF_ONE, "0:a 1:b 2:c 10:", "0:a 2:c!queue_full 10:b", id="a full queue refuses"),
        pytest.param(AGED, "0:a 6:b 10:", "0:a 10:b", id="at max_age it may still pass"),
        pytest.param(AGED, "0:a 5:b 10:", "0:a 10:b!expired", id="what waited longer than max_age is refused"),
        pytest.param(AGED, "0:a 6:b 30:", "0:a 30:b!expired", id="a token that nobody saw does not count"),
        # pace, rule 5
        pytest.param(DELAY, "0:a 3:b 6: 7: 10:", "7:a 10:b", id="delay holds each as long"),
        pytest.param(DELAY, "0:a 3:b 20:", "20:a 20:b", id="what is due together goes in order"),
        # breaker, rules 1, 3 and 5
        pytest.param(
            FIRES, "0:a 1:b 2:c 9:d 21:e 22:f", "0:a 1:b 2:c!tripped 9:d!tripped 21:e!tripped 22:f", id="it trips"
        ),
        pytest.param(FIRES, "0:a 1:b 10:c 11:d", "0:a 1:b 10:c 11:d", id="fires of another window do not trip"),
        pytest.param(
            FIRES_FOR_EVER, "0:a 1:b 90000:c", "0:a 1:b!tripped 90000:c!tripped", id="without for it stays open"
        ),
        # breaker, rules 2 and 4
        pytest.param(
            FAILURES, "0:a 1:x=failed 10:x=failed 11:b 30:c", "0:a 10:!tripped 11:b!tripped 30:c", id="failures"
        ),
        pytest.param(FAILURES, "0:x=failed 10:x=failed 11:b", "11:b", id="failures that lie apart do not trip"),
        pytest.param(FAILURES, "0:x=failed 1:x=succeeded 2:x=running 3:b", "3:b", id="only failures count"),
        pytest.param(
            FAILURES,
            "0:x=failed 1:x=failed 2:x=failed 21:b 22:x=failed 23:c",
            "1:!tripped 21:b 23:c",
            id="none while open",
        ),
        # overlap, rules 1 to 6
        pytest.param(SKIP, "0:a 5:b 6:a=succeeded 7:c", "0:a 5:b!overlapping 7:c", id="overlap skips"),
        pytest.param(SKIP, "0:a 5:a=failed 6:b", "0:a 6:b", id="a failed run has ended"),
        pytest.param(SKIP, "0:a 5:z=succeeded 6:b", "0:a 6:b!overlapping", id="another run's end changes nothing"),
        pytest.param(BUFFER_ONE | EXPIRES, "0:a 1:b 9: 10: 11:", "0:a 11:b!expired", id="what waits expires"),
        pytest.param(
            BUFFER_ONE | EXPIRES, "0:a 1:b 12:c 13:a=succeeded", "0:a 12:b!expired 13:c", id="what expires makes room"
        ),
        pytest.param({"delay": "20ms"} | SKIP | EXPIRES, "0:a 20:", "20:a!expired", id="overlap takes nothing expired"),
        pytest.param(SKIP_TTL, "0:a 9:b 10:c", "0:a 9:b!overlapping 10:c", id="a run without news counts as ended"),
        pytest.param(SKIP_TTL, "0:a 9:a=running 18:b 19:c", "0:a 18:b!overlapping 19:c", id="news keeps a run alive"),
        pytest.param(SKIP, "0:none 1:a", "0:none 1:a", id="nothing waits for a match without invocations"),
        pytest.param(BUFFER_ONE, "0:a 1:b 2:c 3:a=succeeded", "0:a 2:c!overlapping 3:b", id="one waits, the first"),
        pytest.param(
            BUFFER_TWO,
            "0:a 1:b 2:c 3:d 4:a=succeeded 5:e 6:b=failed 7:c=succeeded",
            "0:a 3:d!queue_full 4:b 6:c 7:e",
            id="several wait in order",
        ),
        pytest.param(
            BUFFER_TWO, "0:a 1:none 2:b 3:a=succeeded", "0:a 3:none 3:b", id="what makes nothing lets the next go"
        ),
    ],
)
def test_what_comes_of_matches(fields: dict[str, Any], script: str, outcome: str):
    assert play(fields, script) == outcome


HELD = {0: Pause("hold"), 10: Pause("hold", until_ms=10)}


@pytest.mark.parametrize(
    ("pauses", "fields", "script", "outcome"),
    [
        pytest.param({5: Pause("drop")}, {}, "0:a 5:b 9:c", "0:a 5:b!paused 9:c!paused", id="drop refuses"),
        pytest.param({0: Pause("drop", until_ms=5)}, {}, "4:a 5:b", "4:a!paused 5:b", id="it ends before its end"),
        pytest.param(HELD, {}, "1:a 2:b 9: 10:", "10:a 10:b", id="hold keeps all, in order"),
        pytest.param(HELD, {}, "1:a 2:b 11:c", "11:a 11:b 11:c", id="what was held goes before what comes"),
        pytest.param(
            {0: Pause("hold_latest", until_ms=10)}, {}, "1:a 2:b 10:", "2:a!paused 10:b", id="hold_latest keeps one"
        ),
        pytest.param(
            {0: Pause("hold", 10, "none")}, {}, "1:a 2:b 10:", "10:a!paused 10:b!paused", id="catch up on nothing"
        ),
        pytest.param({0: Pause("hold", 10, "latest")}, {}, "1:a 2:b 10:", "10:b 10:a!paused", id="on the latest"),
        pytest.param({0: Pause("hold", 10, "all")}, {}, "1:a 2:b 10:", "10:a 10:b", id="on all"),
        pytest.param({0: Pause("hold"), 10: None}, {}, "1:a 10:", "10:a", id="no pause on record lets all go"),
        pytest.param(
            {2: Pause("hold", 20)}, DEBOUNCE, "0:a 5: 9: 20:", "20:a", id="other gates let nothing go meanwhile"
        ),
        pytest.param(HELD, THROTTLE, "1:a 2:b 10: 20:", "10:a 20:b", id="what was held keeps to the throttle"),
        pytest.param(
            {1: Pause("hold", 9)}, BUFFER_ONE, "0:a 1: 2:a=succeeded 3:b 9:", "0:a 9:b", id="reports count meanwhile"
        ),
        pytest.param(
            {1: Pause("hold", 30)},
            FAILURES,
            "0:x=failed 20:x=failed 30:a",
            "30:a",
            id="failures are judged by their instants meanwhile",
        ),
    ],
)
def test_what_comes_of_matches_when_the_trigger_is_paused(
    pauses: Any, fields: dict[str, Any], script: str, outcome: str
):
    assert play(fields, script, pauses) == outcome


@pytest.mark.parametrize(
    ("depth", "reasons"),
    [(0, []), (2, []), (3, ["too_deep"])],
)
def test_a_run_is_at_most_max_depth_deep(depth: int, reasons: list[str]):
    flowed = chain_of({"max_depth": 3}).on_matches({}, [a_match("a", depth=depth)], 0)
    assert [refused.reason for refused in flowed.refused] == reasons


def test_a_match_is_as_deep_as_its_deepest_occurrence():
    both = merged((a_match("a", depth=3), a_match("b", depth=0, order=1)))
    flowed = chain_of({"max_depth": 3}).on_matches({}, [both], 0)
    assert [refused.detail for refused in flowed.refused] == [
        "this run would be 4 deep in its chain of causes, max_depth is 3"
    ]


def test_a_chain_has_32_runs_unless_the_trigger_says_otherwise():
    matches = [a_match("a", depth=31), a_match("b", depth=32)]
    assert [name_of(match) for match in chain_of({}).on_matches({}, matches, 0).released] == ["a"]


BUDGET = {"root_budget": {"max": 2, "per": "10ms"}}


def test_a_root_has_its_budget_and_then_no_more():
    chain = chain_of(BUDGET)
    first = chain.on_matches({}, [a_match(name, root="r") for name in "ab"], 0)
    second = chain.on_matches(first.memories, [a_match("c", root="r"), a_match("d", root="s")], 9)
    assert [name_of(match) for match in second.released] == ["d"]
    assert [(refused.reason, refused.detail) for refused in second.refused] == [("over_budget", "root r had 2 in 10ms")]


def test_a_budget_starts_afresh_after_its_window():
    chain = chain_of(BUDGET)
    first = chain.on_matches({}, [a_match(name, root="r") for name in "ab"], 0)
    assert [name_of(match) for match in chain.on_matches(first.memories, [a_match("c", root="r")], 10).released] == [
        "c"
    ]


@pytest.mark.parametrize("root", [None, "a"])
def test_what_nothing_caused_has_no_budget(root: str | None):
    assert chain_of(BUDGET).on_matches({}, [a_match("a", root=root)] * 3, 0).memories == {}


def test_a_refused_match_counts_for_none_of_its_roots():
    chain = chain_of({"root_budget": {"max": 1, "per": "10ms"}})
    first = chain.on_matches({}, [a_match("a", root="z")], 0)
    both = merged((a_match("b", root="y"), a_match("c", root="z", order=1)))
    second = chain.on_matches(first.memories, [both, a_match("d", root="y")], 1)
    assert [name_of(match) for match in second.released] == ["d"]


def test_the_root_with_the_fewest_runs_is_forgotten_first():
    chain = chain_of(BUDGET)
    looping = [a_match("x", root="loop"), a_match("y", root="loop")]
    others = [a_match(f"m{index}", root=f"r{index}") for index in range(ROOTS_MAX + 5)]
    flowed = chain.on_matches({}, looping + others + [a_match("z", root="loop")], 0)
    assert [name_of(refused.match) for refused in flowed.refused if refused.match] == ["z"]


def test_as_many_roots_are_counted_as_may_be():
    matches = [a_match(f"m{index}", root=f"r{index}") for index in range(ROOTS_MAX + 5)]
    memory = chain_of(BUDGET).on_matches({}, matches, 0).memories["root_budget"]
    assert isinstance(memory, Roots)
    assert len(memory.windows) == 100


def test_a_root_is_forgotten_at_the_end_of_its_own_window():
    chain = chain_of(BUDGET)
    first = chain.on_matches({}, [a_match("a", root="r")], 0)
    second = chain.on_matches(first.memories, [a_match("b", root="s")], 4)
    third = chain.on_time(second.memories, 10)
    assert (second.wake_ms, third.wake_ms) == (10, 14)


@pytest.mark.parametrize(
    ("fields", "script", "detail"),
    [
        (RATE, "0:a 0:b 0:c", "there were 2 in 10ms"),
        (DEBOUNCE, "0:a 0:b", "a later match came"),
        (DEBOUNCE_FIRST, "0:a 0:b 0:c", "it is beyond the first 2"),
        (COOLDOWN, "0:a 0:b", "a run was less than 10ms ago"),
        (TRAILING, "0:a 0:b 0:c", "a later match came"),
        (TRAILING_FIRST, "0:a 0:b 0:c", "it is beyond the first 1"),
        (QUEUE_OF_ONE, "0:a 0:b 0:c", "throttle holds as much as it may, matches: 1"),
        (AGED, "0:a 0:b 5:", "it waited longer than max_age, 4ms"),
        (FIRES_FOR_EVER, "0:a 0:b", "fires reached 1 in 10ms: the circuit breaker opens until it is reset"),
        (FIRES, "0:a 0:b 0:c", "fires reached 2 in 10ms: the circuit breaker opens for 20ms"),
        (FAILURES, "0:x=failed 0:x=failed", "failures reached 2 in 10ms: the circuit breaker opens for 20ms"),
        (FAILURES, "0:x=failed 0:x=failed 0:a", "the circuit breaker is open for 20ms"),
        (SKIP, "0:a 0:b", "a run of this key goes on"),
        (BUFFER_ONE, "0:a 0:b 0:c", "a run of this key goes on, and one match waits for its end"),
    ],
)
def test_a_refusal_says_why(fields: dict[str, Any], script: str, detail: str):
    player = Player(chain_of(fields))
    steps = [player.step(word) for word in inputs(script)]
    assert [refused.detail for refused in steps[-1].refused] == [detail]


def test_debounce_that_collects_all_fires_when_it_can_hold_no_more():
    matches = [a_match(f"m{index}", order=index) for index in range(HELD_MAX + 1)]
    flowed = chain_of(DEBOUNCE_ALL).on_matches({}, matches, 0)
    assert [len(match.occurrences) for match in flowed.released] == [HELD_MAX]


def test_trailing_refuses_what_it_cannot_hold():
    matches = [a_match(f"m{index}", order=index) for index in range(HELD_MAX + 2)]
    flowed = chain_of(TRAILING_ALL).on_matches({}, matches, 0)
    assert [(name_of(refused.match), refused.reason) for refused in flowed.refused if refused.match] == [
        (f"m{HELD_MAX + 1}", "cooling_down")
    ]


@pytest.mark.parametrize("fields", [DELAY, {"throttle": {"max": 1, "per": "10ms"}}, {"overlap": "buffer_all"}])
def test_a_queue_refuses_what_it_cannot_hold(fields: dict[str, Any]):
    first = a_match("first")
    matches = [first, *(a_match(f"m{index}", order=index) for index in range(HELD_MAX + 1))]
    flowed = chain_of(fields).on_matches({}, matches[1:] if "delay" in fields else matches, 0)
    assert [(name_of(refused.match), refused.reason) for refused in flowed.refused if refused.match] == [
        (f"m{HELD_MAX}", "queue_full")
    ]


def test_a_pause_refuses_what_it_cannot_hold():
    matches = [a_match(f"m{index}", order=index) for index in range(HELD_MAX + 1)]
    flowed = chain_of({}).on_matches({}, matches, 0, Pause("hold"))
    assert [(name_of(refused.match), refused.reason) for refused in flowed.refused if refused.match] == [
        (f"m{HELD_MAX}", "queue_full")
    ]


def large(name: str, order: int) -> Match:
    """A match that takes a third of what a queue may have, and a little."""
    [occurrence] = a_match(name, order=order).occurrences
    return Match((replace(occurrence, document={"text": "x" * (QUEUED_BYTES_MAX // 3)}),), 0)


@pytest.mark.parametrize(("fields", "pause"), [(DELAY, None), ({}, Pause("hold"))], ids=["delay", "pause"])
def test_a_queue_is_bounded_by_its_bytes_and_takes_more_when_some_are_gone(fields: dict[str, Any], pause: Pause | None):
    chain, matches = chain_of(fields), [large(name, order) for order, name in enumerate("abcde")]
    flowed = chain.on_matches({}, matches[:3], 0, pause)
    assert [(name_of(each.match), each.reason) for each in flowed.refused if each.match] == [("c", "queue_full")]
    over = Pause("hold", 100) if pause else None
    flowed = chain.on_matches(written(flowed.memories), matches[3:4], 100, over)
    assert [name_of(match) for match in flowed.released][:2] == ["a", "b"]
    flowed = chain.on_matches(written(flowed.memories), matches[4:], 101, pause)
    assert flowed.refused == ()


def test_one_match_that_is_larger_than_a_queue_is_held_by_itself():
    [occurrence] = a_match("a").occurrences
    huge = Match((replace(occurrence, document={"text": "x" * QUEUED_BYTES_MAX}),), 0)
    flowed = chain_of({}).on_matches({}, [huge, a_match("b", order=1)], 0, Pause("hold"))
    assert [(name_of(each.match), each.reason) for each in flowed.refused if each.match] == [("b", "queue_full")]


def wide(name: str, order: int) -> Match:
    """A match with half as many occurrences as a gate may hold."""
    many = range(OCCURRENCES_HELD_MAX // 2)
    return merged(tuple(a_match(f"{name}{index}", order=order + index) for index in many))


def test_what_a_gate_holds_is_bounded_by_occurrences_too():
    matches = [wide(name, order) for order, name in enumerate("abc")]
    flowed = chain_of(DELAY).on_matches({}, matches, 0)
    assert [refused.reason for refused in flowed.refused] == ["queue_full"]


def test_a_batch_fires_early_when_it_has_as_many_occurrences_as_may_be_held():
    flowed = chain_of(BATCH).on_matches({}, [wide(name, order) for order, name in enumerate("ab")], 0)
    assert [len(match.occurrences) for match in flowed.released] == [OCCURRENCES_HELD_MAX]


def test_a_run_of_several_matches_has_every_occurrence_once_and_in_order():
    early, late = a_match("a", 1), a_match("b", 2, order=1)
    shared = Match((early.occurrences[0], late.occurrences[0]), 2, nominal_ms=7)
    assert merged((late, shared)) == Match((early.occurrences[0], late.occurrences[0]), 2, nominal_ms=7)


def test_a_run_of_several_matches_has_the_latest_of_their_instants():
    first, second = a_match("a", 5)._replace(nominal_ms=8), a_match("b", 3, order=1)._replace(nominal_ms=9)
    assert merged((first, second))[1:] == (5, 9)


@pytest.mark.parametrize(
    ("fields", "script", "wakes"),
    [
        pytest.param(RATE, "3:a", 13, id="rate_limit forgets at the end of its window"),
        pytest.param(DEBOUNCE, "0:a 3:b", 8, id="debounce fires"),
        pytest.param(CEILING, "0:a 4:b", 8, id="debounce fires at its ceiling"),
        pytest.param(BATCH, "2:a 5:b", 12, id="batch fires"),
        pytest.param(DELAY, "2:a 5:b", 9, id="the first of a queue is due"),
        pytest.param(COOLDOWN, "2:a 5:b", 12, id="cooldown ends"),
        pytest.param(THROTTLE, "2:a", 12, id="the bucket is full"),
        pytest.param(THROTTLE, "2:a 5:b", 12, id="the next token"),
        pytest.param(BURST, "0:a 0:b", 10, id="two tokens are gained"),
        pytest.param(BURST, "0:a 0:b 0:c 0:d", 5, id="a half of per brings one"),
        pytest.param({"throttle": {"max": 3, "per": "10ms", "burst": 1}}, "0:a 0:b", 4, id="instants are rounded up"),
        pytest.param(AGED, "0:a 3:b", 8, id="a match is too old"),
        pytest.param(FIRES, "2:a", 12, id="the window of fires ends"),
        pytest.param(FIRES, "2:a 2:b 3:c", 23, id="the breaker closes"),
        pytest.param(FIRES_FOR_EVER, "2:a 3:b", None, id="the breaker never closes"),
        pytest.param(FAILURES, "2:x=failed", 12, id="a failure is forgotten"),
        pytest.param(FIRES_OR_FAILURES, "2:a 4:x=failed", 12, id="the first of what is counted is forgotten"),
        pytest.param(SKIP_TTL, "2:a 4:a=running", 14, id="news is overdue"),
        pytest.param({**DELAY, **RATE}, "2:a", 9, id="the least of several"),
        pytest.param({}, "2:a", None, id="nothing is remembered"),
    ],
)
def test_when_flow_control_wants_to_be_woken(fields: dict[str, Any], script: str, wakes: int | None):
    player = Player(chain_of(fields))
    player.play(script)
    assert player.wake_ms == wakes


@pytest.mark.parametrize(
    ("pause", "wakes"),
    [(Pause("hold", 50), 50), (Pause("hold"), None)],
)
def test_a_pause_is_woken_at_its_end_only(pause: Pause, wakes: int | None):
    player = Player(chain_of(DEBOUNCE), {2: pause})
    player.play("0:a 2:b")
    assert player.wake_ms == wakes


def test_a_pause_lets_nothing_go_before_its_end():
    held = Queue((Waiting(a_match("a"), 0),))
    assert [PauseGate(pause).on_time(held, 9).memory for pause in (Pause(), Pause(until_ms=10))] == [held, held]


def test_a_breaker_that_counts_something_else_now_is_looked_at_at_once():
    memory = {"circuit_breaker": Load(failures=(5,))}
    assert CircuitBreakerGate(CircuitBreaker(fires=Rate(1, 10))).wake_ms(memory["circuit_breaker"]) == 0
    assert chain_of(FIRES).on_time(memory, 6).memories == {}


@pytest.mark.parametrize(
    "fields",
    [RATE, DEBOUNCE, BATCH, DELAY, COOLDOWN, TRAILING, THROTTLE, BURST, FIRES, FAILURES, SKIP_TTL, BUDGET],
)
def test_nothing_is_remembered_when_nothing_counts_any_more(fields: dict[str, Any]):
    player = Player(chain_of(fields))
    player.play("0:a 0:b 1:x=failed 100: 200:")
    assert player.memories == {}


@pytest.mark.parametrize(
    ("expires_ms", "now_ms", "has"), [(60_000, 60_004, False), (60_000, 60_005, True), (None, 10**15, False)]
)
def test_a_match_has_expired_from_that_instant_on(expires_ms, now_ms, has):
    assert has_expired(Match(occurrences=(), time_ms=5), expires_ms, now_ms) is has
