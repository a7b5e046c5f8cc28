"""Exactly once, whatever happens: seeded schedules of crashes, pauses, rebalances and faults over the whole engine.

Ten thousand schedules by default, ``SEEDS=100000`` for more; ``--seed N`` (or ``SEED=N``) runs one, with its
traceback. ``python -m tests.simulation`` goes on for as long as it is given.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation.soak import Crew
from tests.simulation.strand import Strand
from tests.simulation.world import World, simulate

SEEDS = int(os.environ.get("SEEDS", "10000"))
CHUNKS = 10

CASES: tuple[tuple[int, str], ...] = ()
"""Seeds that have shown an error of the engine, and which; they draw the same schedule until ``chance`` changes."""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.close()


@pytest.fixture
def one_seed(request: pytest.FixtureRequest) -> int | None:
    given: int | None = request.config.getoption("--seed", default=None)
    return int(os.environ["SEED"]) if given is None and "SEED" in os.environ else given


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_schedule_ends_with_everything_done_once(chunk: int, crew: Crew, one_seed: int | None) -> None:
    if one_seed is not None:
        pytest.skip("one schedule is asked for")
    seeds = range(SEEDS * chunk // CHUNKS, SEEDS * (chunk + 1) // CHUNKS)
    failures = [failure for _, failed in crew.run(seeds) for failure in failed]
    assert failures == [], "\n".join(map(str, failures))


def test_the_schedule_that_is_asked_for(one_seed: int | None) -> None:
    if one_seed is None:
        pytest.skip("no seed is asked for")
    simulate(one_seed)


@pytest.mark.parametrize(("seed", "error"), CASES)
def test_a_schedule_that_has_failed_once(seed: int, error: str) -> None:
    simulate(seed)


def test_the_same_seed_is_the_same_schedule() -> None:
    first, second = World(7), World(7)
    first.run()
    second.run()
    everything = [[repr(entry) for entry in world.cluster.entries("trigger-runs")] for world in (first, second)]
    assert everything[0] == everything[1]
    assert first.now_ms() == second.now_ms()


def test_schedules_are_eventful() -> None:
    seen: Counter[str] = Counter()
    for seed in range(100):
        world = World(seed)
        world.run()
        seen += world.seen
    least = {"crashed": 300, "stopped": 100, "fenced": 20, "transactions": 200, "aborts": 50, "fired": 700}
    assert {name: seen[name] for name, number in least.items() if seen[name] < number} == {}


def test_a_strand_is_left_and_taken_up_again() -> None:
    steps: list[str] = []

    def body() -> None:
        steps.append("begins")
        strand.pause()
        steps.append("goes on")
        raise ValueError("ends")

    strand = Strand(body)
    strand.resume()
    steps.append("paused")
    with pytest.raises(ValueError, match="ends"):
        strand.resume()
    assert steps == ["begins", "paused", "goes on"]
    assert strand.ended
