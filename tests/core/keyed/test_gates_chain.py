"""All gates behind each other: their order, what a version change and a restart leave, what is held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_triggers.core.flow import FLOW_FIELDS, parse_flow
from stream_triggers.core.keyed.gates import GATE_TYPES, compile_flow, held_in
from stream_triggers.core.keyed.state import KeyState, Wake, decode_state, encode_state
from stream_triggers.core.record import Pause
from stream_triggers.errors import Corrupt
from tests.core.keyed.gates_bundle import Player, a_match, chain_of, ids_of, name_of, written

EVERY_GATE: dict[str, Any] = {
    "max_depth": 8,
    "root_budget": {"max": 100, "per": "1h"},
    "rate_limit": {"max": 5, "per": "1m"},
    "debounce": {"wait": "10s"},
    "batch": {"max_size": 2, "max_wait": "30s"},
    "delay": "15m",
    "cooldown": {"for": "1d"},
    "throttle": {"max": 10, "per": "1s"},
    "circuit_breaker": {"fires": {"max": 1000, "per": "1m"}},
    "overlap": "skip",
}


def test_gates_stand_in_one_order_whatever_the_order_of_their_words():
    shuffled = dict(sorted(EVERY_GATE.items()))
    assert [gate.name for gate in compile_flow(parse_flow(shuffled, ""), ids_of)] == list(EVERY_GATE)


def test_every_word_of_a_gate_has_its_gate():
    not_gates = {"for_each", "for_each_key", "expires"}
    assert [kind.name for kind in GATE_TYPES] == ["pause", *(word for word in FLOW_FIELDS if word not in not_gates)]


@pytest.mark.parametrize(
    ("fields", "script", "outcome"),
    [
        pytest.param(
            {"rate_limit": {"max": 2, "per": "100ms"}, "debounce": {"wait": "5ms", "collect": "all"}},
            "0:a 1:b 2:c 7:",
            "2:c!rate_limited 7:a+b",
            id="what the rate refuses does not put debounce off",
        ),
        pytest.param(
            {"debounce": {"wait": "5ms", "collect": "all"}, "batch": {"max_size": 2, "max_wait": "100ms"}},
            "0:a 1:b 6: 10:c 15:",
            "15:a+b+c",
            id="a batch counts what debounce makes as one",
        ),
        pytest.param(
            {"debounce": {"wait": "5ms"}, "delay": "5ms"},
            "0:a 5: 9: 10:",
            "10:a",
            id="the delay begins when debounce lets go",
        ),
        pytest.param(
            {"delay": "5ms", "cooldown": {"for": "10ms"}},
            "0:a 3:b 5: 8: 20:c 25:",
            "5:a 8:b!cooling_down 25:c",
            id="a cooldown sees what the delay lets go",
        ),
        pytest.param(
            {"delay": "5ms", "throttle": {"max": 1, "per": "10ms"}},
            "0:a 1:b 2:c 30: 40: 50:",
            "30:a 40:b 50:c",
            id="a throttle spreads what is let go late",
        ),
        pytest.param(
            {"throttle": {"max": 1, "per": "10ms"}, "circuit_breaker": {"fires": {"max": 1, "per": "50ms"}}},
            "0:a 1:b 10:",
            "0:a 10:b!tripped",
            id="a breaker counts what the throttle lets go",
        ),
        pytest.param(
            {"throttle": {"max": 1, "per": "10ms"}, "overlap": "buffer_all"},
            "0:a 1:b 2:c 25:a=succeeded 35:b=succeeded",
            "0:a 25:b 35:c",
            id="what came further is ahead",
        ),
        pytest.param(
            {"circuit_breaker": {"failures": {"max": 1, "per": "10ms"}}, "overlap": "skip"},
            "0:a 1:a=failed 2:b",
            "0:a 1:!tripped 2:b!tripped",
            id="one report serves breaker and overlap",
        ),
    ],
)
def test_gates_behind_each_other(fields: dict[str, Any], script: str, outcome: str):
    assert Player(chain_of(fields)).play(script) == outcome


@pytest.mark.parametrize(
    ("before", "after", "script", "outcome"),
    [
        pytest.param({"delay": "50ms"}, {}, "2:", "2:a 2:b", id="a gate that is gone lets go"),
        pytest.param(
            {"delay": "50ms"}, {"rate_limit": {"max": 1, "per": "9ms"}}, "2:", "2:a 2:b", id="not to those before"
        ),
        pytest.param(
            {"delay": "50ms"},
            {"throttle": {"max": 1, "per": "9ms"}},
            "2: 11:",
            "2:a 11:b",
            id="what it lets go passes those behind",
        ),
        pytest.param({"delay": "50ms"}, {"delay": "3ms"}, "3: 4:", "3:a 4:b", id="a new number holds for what is held"),
        pytest.param(
            {"debounce": {"wait": "9ms", "collect": "all"}},
            {"debounce": {"wait": "4ms"}},
            "5:",
            "5:a+b",
            id="what has gathered stays together",
        ),
        pytest.param(
            {"batch": {"max_size": 9, "max_wait": "90ms"}},
            {"batch": {"max_size": 2, "max_wait": "90ms"}},
            "2:",
            "2:a+b",
            id="a batch that is full by its new size fires",
        ),
    ],
)
def test_a_new_version_keeps_what_is_held(before: dict[str, Any], after: dict[str, Any], script: str, outcome: str):
    player = Player(chain_of(before))
    player.play("0:a 1:b")
    player.chain = chain_of(after)
    assert player.play(script) == outcome


def test_a_gate_that_is_gone_wants_nothing_after_it_let_go():
    player = Player(chain_of({"rate_limit": {"max": 1, "per": "1h"}}))
    player.play("0:a")
    player.chain = chain_of({})
    player.play("1:")
    assert (player.memories, player.wake_ms) == ({}, None)


def test_what_is_held_is_told_by_gate():
    chain = chain_of({"debounce": {"wait": "5ms"}, "delay": "50ms"})
    first = chain.on_matches({}, [a_match("a")], 0)
    second = chain.on_matches(first.memories, [a_match("b", order=1)], 5)
    held = held_in(written(second.memories))
    assert {name: [name_of(match) for match in matches] for name, matches in held.items()} == {
        "debounce": ["b"],
        "delay": ["a"],
    }


def test_memories_are_read_back_from_a_written_state():
    chain = chain_of(EVERY_GATE)
    flowed = chain.on_matches({}, [a_match("a", root="r")], 0)
    state, _ = decode_state(encode_state(KeyState("v", gates=dict(flowed.memories)), Wake()))
    assert chain.on_time(state.gates, 0).memories == flowed.memories


def test_a_memory_that_cannot_be_read_is_corrupt():
    with pytest.raises(Corrupt):
        chain_of({"delay": "1s"}).on_time({"delay": ["what"]}, 0)


def test_a_step_leaves_the_memories_it_was_given_alone():
    chain = chain_of({"delay": "5ms"})
    memories = chain.on_matches({}, [a_match("a")], 0).memories
    before = msgspec.json.encode(memories)
    chain.on_matches(memories, [a_match("b")], 9, Pause())
    assert msgspec.json.encode(memories) == before
