"""A reset by hand: what a key forgets, what it is told as, and what goes on."""

from __future__ import annotations

from stream_triggers.core.keyed.manual import reset_fact
from tests.core.keyed.machine import START_MS, Machine, play, told

AND = "when: {all: [{event: a}, {event: b}], within: 10s}\n"


def reset(machine: Machine, at: float, reason: str = "ada: why not", key: str = "") -> None:
    fact = reset_fact("t", machine.plan.version, key, "r", ("facts", 0), START_MS + round(at * 1000), reason)
    machine.at += 1
    machine._take(key, machine.plan.on_fact(machine.state(key), key, fact, machine.at, machine.clocks))


def test_what_is_kept_is_forgotten_and_it_is_said_who_wanted_it():
    machine = play(AND, "a@0 a@50")
    reset(machine, 2)
    machine.send("b", 3)
    assert told(machine) == ("", "reset:r reset:a0 reset:a50")
    assert [refusal.detail for refusal in machine.refusals] == ["ada: why not", *["the trigger was reset"] * 2]


def test_what_comes_later_from_before_it_is_refused():
    machine = Machine(AND)
    reset(machine, 2)
    for code, at in (("a", 2), ("a", 3), ("b", 1), ("b", 4)):
        machine.send(code, at)
    assert told(machine) == ("4:a3+b4", "reset:r reset:a2 reset:b1")


def test_an_earlier_one_that_comes_later_takes_nothing_back():
    machine = Machine(AND)
    reset(machine, 5)
    reset(machine, 2)
    machine.send("a", 4)
    assert told(machine) == ("", "reset:r reset:r reset:a4")


def test_other_keys_go_on():
    machine = play(AND + "key: '${event.payload.k}'", "a@0{k:1} a@1{k:2}")
    reset(machine, 2, key="1")
    machine.send("b", 3, k=1)
    machine.send("b", 4, k=2)
    assert told(machine) == ("4:a1+b4", "reset:r reset:a0")


def test_what_a_value_was_is_forgotten():
    machine = play("when: {changed: payload.s, of: {event: a}}", "a@0{s:1}")
    reset(machine, 1)
    machine.send("a", 2, s=2)
    machine.send("a", 3, s=3)
    assert told(machine).runs == "3:a3"


def test_what_flow_control_holds_is_told_with_the_run_that_is_not_made():
    machine = play("when: {event: a}\ndebounce: {wait: 10s}", "a@0 a@1")
    reset(machine, 2)
    machine.tick(30)
    assert told(machine) == ("", "debounced:a0 reset:r reset:a1")
    assert [(each.detail, each.run_id is None) for each in machine.refusals[1:]] == [
        ("ada: why not", True),
        ("debounce held it", False),
    ]


def test_a_breaker_that_has_tripped_starts_afresh():
    machine = play("when: {event: a}\ncircuit_breaker: {fires: {max: 1, per: 1h}, for: 1d}", "a@0 a@1")
    reset(machine, 2)
    machine.send("a", 3)
    assert told(machine) == ("0:a0 3:a3", "tripped:a1 reset:r")


def test_schedules_go_on():
    machine = play("when: {cron: '* * * * *'}", "=40")
    reset(machine, 41)
    machine.tick(100)
    assert [at for at, _ in machine.ran] == [40, 100]


def test_nothing_stays_of_it_when_nothing_can_come_late_any_more():
    machine = Machine(AND)
    reset(machine, 2)
    machine.tick(8 * 86_400)
    assert machine.states == {}
