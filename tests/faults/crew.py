"""The workers of one application as processes that the test starts, hurts and starts again; and the account of it.

Rules:
1. A life may end as it was made to: killed when it was killed, with 0 when it was asked to stop, at its fault point, as
   fenced when a successor was started beside it. Any other end fails the test, with the end of the slot's log.
2. Every end or stop that was forced on a life counts as one fault.
3. Waiting is for a condition and has a bound, generous because the machine may be busy.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from stream_triggers.config import Config
from tests.faults.forker import Forker, Happened, What
from tests.faults.life import ENDED_AT_POINT, Fault, Order, Sabotage
from tests.faults.next_release import Release

BOUND_S = 90.0
"""Far beyond what a healthy run takes on a busy machine."""

POLL_S = 0.02
LOG_LINES = 60
FENCED = 4
KILLED = -signal.SIGKILL


class Settings(dict[str, int | str]):
    """Settings of workers in fault tests: short timeouts, so that what rests on them happens soon."""

    def __init__(self, **others: int | str) -> None:
        super().__init__({"session_timeout_ms": 3000, "transaction_timeout_ms": 5000} | others)


def until(reached: Callable[[], bool], what: str, bound_s: float = BOUND_S) -> None:
    """Wait for a condition; fails the test when it is not reached within the bound."""
    deadline_s = time.monotonic() + bound_s
    while not reached():
        assert time.monotonic() < deadline_s, f"{what}: not within {bound_s:g} s"
        time.sleep(POLL_S)


class Life:
    """One process of a worker, from its start to its end."""

    def __init__(self, forker: Forker, order: Order, on_end: Callable[[Life], None]) -> None:
        self.order = order
        self.pid: int | None = None
        self.status: int | None = None
        self.told: set[What] = set()
        self._may_end_with = {ENDED_AT_POINT} if order.fault is not None else set()
        self._changed = threading.Condition()
        self._on_end = on_end
        self._forker = forker
        self._number = forker.start(order, self._hear)

    @property
    def slot(self) -> str:
        return self.order.slot

    @property
    def is_over(self) -> bool:
        return self.status is not None

    @property
    def ended_as_meant(self) -> bool:
        return self.status in self._may_end_with

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self._send(signal.SIGKILL, KILLED)

    def ask_to_stop(self) -> None:
        """SIGTERM: commit and leave."""
        self._send(signal.SIGTERM, 0)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing from here on, and knows nothing of it."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT; it is waited for anew until it is ``applied`` again."""
        self.told.discard("applied")
        self._send(signal.SIGCONT)

    def may_be_fenced(self) -> None:
        """A successor of the same slot is about to start."""
        self._may_end_with.add(FENCED)

    def until(self, what: What, bound_s: float = BOUND_S) -> bool:
        """Wait until it has done ``what``; False when it has ended without."""
        with self._changed:
            reached = self._changed.wait_for(lambda: what in self.told or self.is_over, bound_s)
        assert reached, f"slot {self.slot}: not {what} within {bound_s:g} s\n{self.log_tail()}"
        return what in self.told

    def log_tail(self) -> str:
        """The last lines that the lives of this slot have written."""
        try:
            return "\n".join(Path(self.order.log).read_text(errors="replace").splitlines()[-LOG_LINES:])
        except FileNotFoundError:
            return "no log"

    def _send(self, number: int, *ends_with: int) -> None:
        self._may_end_with.update(ends_with)
        self._forker.send(self._number, number)

    def _hear(self, happened: Happened) -> None:
        with self._changed:
            self.told.add(happened.what)
            self.pid = happened.pid or self.pid
            self.status = happened.status
            self._changed.notify_all()
        if self.is_over:
            self._on_end(self)


@dataclass
class Account:
    """What was done to the workers of a run."""

    faults: Counter[str] = field(default_factory=Counter)
    lives: int = 0

    @property
    def total(self) -> int:
        """All faults together."""
        return self.faults.total()


class Crew:
    """The workers of one application."""

    def __init__(
        self, forker: Forker, config: Config, settings: Settings, folder: Path, bootstrap_servers: str
    ) -> None:
        self.account = Account()
        self.lives: dict[str, Life] = {}
        """The newest life of each slot."""
        self._all: list[Life] = []
        self._forker = forker
        self._config = config
        self._settings = settings
        self._folder = folder
        self._bootstrap_servers = bootstrap_servers
        self._ended = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no process behind."""
        for life in self._all:
            if not life.is_over:
                life.kill()
        for life in self._all:
            life.until("ended")

    def start(self, slot: str, fault: Fault | None = None, sabotage: Sabotage = "", release: Release = "this") -> Life:
        """Start the next life of ``slot``; one that still runs may find itself fenced."""
        before = self.lives.get(slot)
        if before is not None and not before.is_over:
            before.may_be_fenced()
        order = msgspec.structs.replace(self.order(slot), fault=fault, sabotage=sabotage, release=release)
        life = self.lives[slot] = Life(self._forker, order, self._hear)
        self._all.append(life)
        self.account.lives += 1
        return life

    def order(self, slot: str) -> Order:
        """What a life of ``slot`` that nothing happens to is asked for."""
        return Order(
            bootstrap_servers=self._bootstrap_servers,
            application=self._config.application,
            slot=slot,
            state_dir=str(self.state_dir),
            log=str(self._folder / f"{self._config.application}-{slot}.log"),
            settings={"topic_prefix": self._config.topic_prefix, **self._settings},
        )

    @property
    def state_dir(self) -> Path:
        """Where all slots keep their state."""
        return self._folder / "state"

    def forget(self, slot: str) -> None:
        """Delete the local state of a slot whose life is over."""
        shutil.rmtree(self.state_dir / self._config.application / slot)

    def over(self, slots: set[str], wait_s: float) -> list[str]:
        """Those of ``slots`` whose newest life is over; waits for the first, if need be."""

        def found() -> list[str]:
            return [slot for slot in sorted(slots) if self.lives[slot].is_over]

        with self._ended:
            self._ended.wait_for(found, wait_s)
        return found()

    def check(self) -> None:
        """Every life that is over has ended as it was meant to."""
        for life in self._all:
            assert not life.is_over or life.ended_as_meant, (
                f"slot {life.slot} ended with status {life.status}, {life.order.fault}\n{life.log_tail()}"
            )
        self._all = [life for life in self._all if not life.is_over]

    def stop(self) -> None:
        """Ask all to stop, wait for them, and check every end there was."""
        for life in self._all:
            if not life.is_over:
                life.ask_to_stop()
        for life in self._all:
            life.until("ended")
        self.check()

    def _hear(self, life: Life) -> None:
        if life.status == ENDED_AT_POINT and life.order.fault is not None:
            self.account.faults[life.order.fault.point] += 1
        elif life.status == KILLED:
            self.account.faults["killed"] += 1
        with self._ended:
            self._ended.notify_all()
