"""Exactly once, whatever happens: seeded schedules of crashes, pauses, rebalances and faults over the whole engine.

Ten thousand schedules by default, ``SEEDS=100000`` for more; ``--seed N`` (or ``SEED=N``) runs one, with its
traceback. ``python -m tests.simulation`` goes on for as long as it is given.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation.soak import Crew
from tests.simulation.strand import Strand
from tests.simulation.world import World, digest, simulate

SEEDS = int(os.environ.get("SEEDS", "10000"))
CHUNKS = 10

CASES: tuple[tuple[int, str], ...] = (
    (8, "a producer that could not abort was kept"),
    (6, "the store was opened a second time when the brokers had not answered"),
    (3, "a repeat in the batch of its first was judged by its arguments"),
    (39, "the store noted the end of a changelog that another worker had written to"),
    (228, "definitions were read once for a transaction"),
    (3638, "a changelog key was that of the same claims, which had been forgotten in between"),
    (19541, "verify did not see decisions that a version of a keyed trigger cannot be used"),
)
"""Seeds that have shown an error, and which. They draw another schedule when ``chance`` or ``world``
change; each error has a test of its own."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The seed that is asked for, and no other; else all of them."""
    asked: int | None = metafunc.config.getoption("--seed", default=None)
    if asked is None and "SEED" in os.environ:
        asked = int(os.environ["SEED"])
    if "chunk" in metafunc.fixturenames:
        metafunc.parametrize("chunk", range(CHUNKS) if asked is None else ())
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize(("seed", "shown"), CASES if asked is None else [(asked, "asked for")])


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.close()


@pytest.mark.timeout(600)
def test_every_schedule_ends_with_everything_done_once(chunk: int, crew: Crew) -> None:
    seeds = range(SEEDS * chunk // CHUNKS, SEEDS * (chunk + 1) // CHUNKS)
    failures = [failure for _, failed in crew.run(seeds) for failure in failed]
    assert failures == [], "\n".join(map(str, failures))


def test_a_schedule_that_has_shown_an_error(seed: int, shown: str) -> None:
    simulate(seed)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_is_the_same_schedule_everywhere(hash_seed: str) -> None:
    """Also where a set of names has another order."""
    program = "from tests.simulation.world import digest; print(*map(digest, range(20)))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [digest(seed) for seed in range(20)]


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
