"""The soak: faults for as long as it is asked for, in rounds, each on an application of its own and judged at its end.

    python -m tests.faults --minutes 10

Rounds take turns: a ``storm`` of workers that end and start again, with the broker killed in the middle; a ``rotation``
of ends, pauses and zombies; a ``wire`` that delays, withholds and breaks what passes between workers and the broker. It
goes on until the time is over and the faults are reached. The last line says what was counted; the exit status is 1
when anything was lost, doubled, wrong or out of order, and the round's seed makes its choices again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_triggers import broker
from stream_triggers.broker import Broker
from tests.faults.forker import Forker
from tests.faults.proxy import TROUBLES, Proxy
from tests.faults.scene import Scene, scene
from tests.faults.storm import ACTS, Storm, rotation

SLOTS = ("0", "1", "2")
FAULTS_PER_MINUTE = 200
STORM_FAULTS = 400
WIRE_FAULTS = 60
TELL_EVERY_S = 5.0


class Soak:
    """Runs rounds and keeps count."""

    def __init__(self, running: Broker, forker: Forker, folder: Path, seed: int) -> None:
        self.faults = 0
        self.invocations = 0
        self.rounds = 0
        self._broker = running
        self._forker = forker
        self._folder = folder
        self._seed = seed
        self._began_s = time.monotonic()
        self._told_s = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def round(self) -> None:
        """The next round; raises what is wrong, with what its workers had to say."""
        kinds: tuple[Callable[[int], None], ...] = (self._storm, self._rotation, self._storm, self._wire)
        kind = kinds[self.rounds % len(kinds)]
        self.rounds += 1
        self._seed += 1
        self._tell(f"{kind.__name__.strip('_')}, seed {self._seed}", always=True)
        kind(self._seed)

    def _storm(self, seed: int) -> None:
        with self._scene(seed) as on:
            storm = Storm(on, SLOTS, seed, self._tell)
            on.feeder.start()
            storm.run(STORM_FAULTS // 2)
            self._broker.kill()
            self._broker.restart()
            storm.run(STORM_FAULTS)
            on.feeder.stop()
            on.heal(SLOTS)
            self._settle(on)
            self.faults += on.crew.account.total + 1

    def _rotation(self, seed: int) -> None:
        with self._scene(seed, session_timeout_ms=2000, transaction_timeout_ms=8000) as on:
            on.feeder.start()
            rotation(on, SLOTS, len(ACTS), self._tell)
            on.feeder.stop()
            self._settle(on)
            self.faults += on.crew.account.total

    def _wire(self, seed: int) -> None:
        choose = random.Random(seed)
        with (
            Proxy(self._broker.port) as proxy,
            self._scene(
                seed, through=proxy.bootstrap_servers, session_timeout_ms=4000, transaction_timeout_ms=2000
            ) as on,
        ):
            on.feeder.start()
            for slot in SLOTS[:2]:
                on.crew.start(slot)
            for _ in range(WIRE_FAULTS):
                call = choose.choice(list(TROUBLES))
                proxy.prepare(call, choose.choice(TROUBLES[call]))()
                self._tell(f"{proxy.troubles_met} troubles, {on.feeder.sent} messages")
            on.feeder.stop()
            self._settle(on)
            self.faults += proxy.troubles_met

    def _settle(self, on: Scene) -> None:
        report = on.settle()
        self.invocations += report.invocations
        self._tell(str(report.counts()), always=True)

    @contextmanager
    def _scene(self, seed: int, **options: int | str) -> Iterator[Scene]:
        name = f"soak-{self.rounds}"
        with scene(self._broker.bootstrap_servers, name, self._forker, self._folder, seed=seed, **options) as on:
            try:
                yield on
            except BaseException as error:
                for life in on.crew.lives.values():
                    error.add_note(f"slot {life.slot}:\n{life.log_tail()}")
                raise

    def _tell(self, text: str, *, always: bool = False) -> None:
        if always or time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._told_s = time.monotonic()
            minutes, seconds = divmod(int(self.elapsed_s), 60)
            sys.stderr.write(f"{minutes:3d}:{seconds:02d}  round {self.rounds}: {text}\n")


def main() -> int:
    """Run rounds until time and faults are reached, or one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--faults", type=int, help=f"the least number of faults, {FAULTS_PER_MINUTE} a minute by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faults = int(given.minutes * FAULTS_PER_MINUTE) if given.faults is None else given.faults
    with broker.temporary() as running, tempfile.TemporaryDirectory() as folder, Forker() as forker:
        soak = Soak(running, forker, Path(folder), given.seed)
        try:
            while soak.elapsed_s < given.minutes * 60 or soak.faults < faults:
                soak.round()
            verdict = "clean"
        except AssertionError:
            traceback.print_exc()
            verdict = "FAILED"
    counted = f"rounds={soak.rounds} faults={soak.faults} invocations={soak.invocations} seconds={soak.elapsed_s:.0f}"
    sys.stdout.write(f"soak {verdict}: {counted}\n")
    return 0 if verdict == "clean" else 1


if __name__ == "__main__":
    sys.exit(main())
