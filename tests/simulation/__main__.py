"""``python -m tests.simulation --seeds 100000 --minutes 10``: a long run with progress; status 1 if a seed failed."""

from __future__ import annotations

import argparse
import sys

from stream_triggers.runtime.clock import SystemClock
from tests.simulation.soak import Crew, Failure

PROGRESS_EVERY_S = 10.0


def say(line: str) -> None:
    """Write one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run schedules until all seeds are done or the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="where to begin (0)")
    parser.add_argument("--seeds", type=int, default=100_000, metavar="N", help="how many schedules at most (100000)")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="how long at most (10)")
    options = parser.parse_args()
    clock, crew = SystemClock(), Crew()
    began_s = told_s = clock.monotonic_s()
    done, failures = 0, list[Failure]()
    try:
        for ran, failed in crew.run(range(options.first, options.first + options.seeds)):
            done += ran
            failures += failed
            for failure in failed:
                say(str(failure))
            now_s = clock.monotonic_s()
            if now_s - told_s >= PROGRESS_EVERY_S:
                told_s = now_s
                say(f"{done} schedules, {done / (now_s - began_s):.0f} a second, {len(failures)} failed")
            if now_s - began_s >= options.minutes * 60:
                break
    finally:
        crew.close()
    rate = done / (clock.monotonic_s() - began_s)
    say(f"{done} schedules from seed {options.first}, {rate:.0f} a second, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
