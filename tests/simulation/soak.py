"""Many schedules at once: on as many processes as there are processors, in chunks, with what failed and how."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Any, NamedTuple

from tests.simulation.world import simulate

CHUNK = 100


class Failure(NamedTuple):
    """A schedule that showed something wrong."""

    seed: int
    problem: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.problem}\n  again: pytest tests/simulation --seed {self.seed}"


class Crew:
    """Processes that run schedules."""

    def __init__(self) -> None:
        number = multiprocessing.get_context("spawn").Value("i", 0)
        self._processes = os.cpu_count() or 1
        self._pool = ProcessPoolExecutor(
            self._processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(number,)
        )

    def run(self, seeds: Sequence[int]) -> Iterator[tuple[int, list[Failure]]]:
        """Run the schedules of ``seeds``; gives, chunk by chunk as they come, how many were run and what failed."""
        chunks = iter([seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)])
        running = {self._submit(chunk) for chunk in islice(chunks, self._processes)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                running |= {self._submit(chunk) for chunk in islice(chunks, 1)}
                yield future.result()

    def close(self) -> None:
        """Stop; schedules that run are finished first."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, chunk: Sequence[int]) -> Future[tuple[int, list[Failure]]]:
        return self._pool.submit(run_chunk, chunk)


def run_chunk(seeds: Sequence[int]) -> tuple[int, list[Failure]]:
    """How many schedules were run, and what failed."""
    failures = []
    for seed in seeds:
        try:
            simulate(seed)
        except Exception as error:  # noqa: BLE001 - an error of any kind is a finding
            failures.append(Failure(seed, f"{type(error).__name__}: {error}"))
    return len(seeds), failures


def _begin(number: Any) -> None:
    """Be quiet, and stay on one processor: strands hand over to each other faster there."""
    logging.getLogger("stream_triggers").setLevel(logging.CRITICAL)
    if hasattr(os, "sched_setaffinity"):
        with number.get_lock():
            number.value += 1
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[number.value % len(allowed)]})
