"""Two ways to hurt workers under load, for as long as it takes.

``storm``: every worker ends again and again, at a point of its protocol or wherever it is, sometimes with its state
lost, and the next one starts at once. ``rotation``: one worker after the other meets each of the ends and pauses a
process can meet, and is waited for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from stream_triggers.runtime.lag import committed_offsets, partitions_of
from tests.faults.crew import BOUND_S, Life, until
from tests.faults.life import POINTS, Fault
from tests.faults.scene import Scene

KILL_CHANCE = 0.15
FORGET_CHANCE = 0.05
LONGEST_LIFE_S = 4.0
"""After this a life is killed: its point may never come."""

Progress = Callable[[str], None]


class Storm:
    """Ends workers until a number of faults is reached; all of them at once, each followed by the next at once."""

    def __init__(self, scene: Scene, slots: Sequence[str], seed: int, progress: Progress = lambda _: None) -> None:
        self._crew = scene.crew
        self._scene = scene
        self._slots = set(slots)
        self._random = random.Random(seed)
        self._progress = progress
        self._kill_at_s: dict[Life, float] = {}

    def run(self, faults: int, until_s: float = 0.0) -> None:
        """Go on until ``faults`` were counted and the monotonic clock shows ``until_s``; whoever lives then goes on."""
        for slot in sorted(self._slots):
            life = self._crew.lives.get(slot)
            if life is None or life.is_over:
                self._begin(slot)
        account = self._crew.account
        while account.total < faults or time.monotonic() < until_s:
            self._kill_those_due()
            for slot in self._crew.over(self._slots, self._wait_s()):
                self._follow(slot)
            self._progress(f"{account.total} faults, {account.lives} lives, {self._scene.feeder.sent} messages")

    def _begin(self, slot: str) -> None:
        r = self._random
        is_killed = r.random() < KILL_CHANCE
        point = r.choice(POINTS)
        fault = None if is_killed else Fault(point, occurrence=1 if point == "restored" else r.choice((1, 1, 2, 3)))
        life = self._crew.start(slot, fault)
        self._kill_at_s[life] = time.monotonic() + (r.random() if is_killed else LONGEST_LIFE_S)

    def _follow(self, slot: str) -> None:
        self._crew.check()
        self._kill_at_s.pop(self._crew.lives[slot], None)
        if self._random.random() < FORGET_CHANCE:
            self._crew.forget(slot)
        self._begin(slot)

    def _kill_those_due(self) -> None:
        for life, at_s in self._kill_at_s.items():
            if time.monotonic() >= at_s:
                life.kill()

    def _wait_s(self) -> float:
        """Until the next one is due; one that is being killed takes a moment to end."""
        return max(0.02, min(self._kill_at_s.values()) - time.monotonic())


def rotation(scene: Scene, slots: Sequence[str], cycles: int, progress: Progress = lambda _: None) -> None:
    """Put each worker in turn through one of the acts below; ends when the last is over and all work."""
    for slot in slots:
        scene.crew.start(slot)
    for slot in slots:
        scene.crew.lives[slot].until("applied")
    for cycle in range(cycles):
        slot, act = slots[cycle % len(slots)], ACTS[cycle % len(ACTS)]
        progress(f"cycle {cycle}: {act.__name__.strip('_')} {slot}")
        act(scene, slot)
        assert scene.crew.lives[slot].until("applied"), scene.crew.lives[slot].log_tail()
        scene.crew.check()


def _killed(scene: Scene, slot: str) -> None:
    scene.crew.lives[slot].kill()
    scene.crew.lives[slot].until("ended")
    scene.crew.start(slot)


def _asked_to_stop(scene: Scene, slot: str) -> None:
    scene.crew.lives[slot].ask_to_stop()
    scene.crew.lives[slot].until("ended")
    scene.crew.start(slot)


def _ended_at_a_point(scene: Scene, slot: str) -> None:
    _renewed(scene, slot, Fault("produced", occurrence=2)).until("ended")
    scene.crew.start(slot)


def _frozen_anywhere(scene: Scene, slot: str) -> None:
    life = scene.crew.lives[slot]
    life.freeze()
    scene.crew.account.faults["frozen"] += 1
    _until_others_took_over(scene)
    life.thaw()


def _frozen_shortly(scene: Scene, slot: str) -> None:
    """Frozen for less than its session: nobody else has done its work, and it goes on."""
    life = scene.crew.lives[slot]
    life.freeze()
    scene.crew.account.faults["frozen"] += 1
    after = scene.feeder.sent + 100
    until(lambda: scene.feeder.sent >= after, "messages meanwhile")
    life.thaw()


def _frozen_before_positions(scene: Scene, slot: str) -> None:
    """The others need not wait for its transaction to time out: it can still be committed when the zombie wakes up."""
    _frozen_at(scene, slot, Fault("processed", occurrence=3, action="stop"))


def _frozen_before_commit(scene: Scene, slot: str) -> None:
    _frozen_at(scene, slot, Fault("positioned", occurrence=3, action="stop"))


def _frozen_before_apply(scene: Scene, slot: str) -> None:
    _frozen_at(scene, slot, Fault("committed", occurrence=3, action="stop"))


def _frozen_and_replaced(scene: Scene, slot: str) -> None:
    """A second worker of the slot starts while the first is frozen in a transaction; the first ends as fenced."""
    older = _renewed(scene, slot, Fault("produced", occurrence=3, action="stop"))
    assert older.until("stopping"), older.log_tail()
    scene.crew.account.faults["frozen"] += 1
    scene.crew.start(slot)
    _until_others_took_over(scene, besides=2)
    older.thaw()
    older.until("ended")


def _renewed(scene: Scene, slot: str, fault: Fault) -> Life:
    scene.crew.lives[slot].ask_to_stop()
    scene.crew.lives[slot].until("ended")
    return scene.crew.start(slot, fault)


def _frozen_at(scene: Scene, slot: str, fault: Fault) -> None:
    make_a_zombie(scene, _renewed(scene, slot, fault))


def make_a_zombie(scene: Scene, life: Life) -> None:
    """Wait until ``life`` has stopped in an open transaction and others have its partitions, then let it go on."""
    assert life.until("stopping"), life.log_tail()
    scene.crew.account.faults["frozen"] += 1
    _until_others_took_over(scene)
    life.thaw()


def _until_others_took_over(scene: Scene, besides: int = 0) -> None:
    """Wait until all partitions of the events, but ``besides`` of them, have gone on by more than a batch."""
    partitions = partitions_of(scene.judge.log, [scene.judge.topics.events])
    before = committed_offsets(scene.judge.log, partitions)

    def gone_on() -> bool:
        now = committed_offsets(scene.judge.log, partitions)
        return sum(now[each] > before[each] for each in partitions) >= len(partitions) - besides

    until(gone_on, "others took over", BOUND_S)


ACTS: tuple[Callable[[Scene, str], None], ...] = (
    _killed,
    _frozen_before_positions,
    _asked_to_stop,
    _frozen_anywhere,
    _ended_at_a_point,
    _frozen_before_commit,
    _frozen_and_replaced,
    _frozen_before_apply,
    _frozen_shortly,
)
"""What a worker goes through, in an order in which neighbours of three slots differ."""
