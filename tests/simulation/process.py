"""One simulated worker process: the real ``Worker.run``, on a strand, until it stops, fails or is killed."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from stream_triggers.config import Config
from stream_triggers.errors import Fenced, Unavailable
from stream_triggers.runtime.memory_log import Crashed, MemoryLog
from stream_triggers.runtime.store import Changes
from stream_triggers.runtime.worker import Worker
from tests.simulation.clients import SimulatedLog
from tests.simulation.disk import Disk, OpenStore
from tests.simulation.material import FUNCTIONS
from tests.simulation.strand import Strand

End: TypeAlias = Literal["running", "stopped", "fenced", "crashed", "bug"]

FaultPoint: TypeAlias = Literal["processed", "produced", "committed", "applied"]


class ProgrammerError(Exception):
    """An error that nobody expects, raised in the middle of a worker."""


class Surroundings(Protocol):
    """What a process meets, as the world decides."""

    def now_ms(self) -> int: ...

    def interrupts(self) -> bool:
        """Whether others go on first, here."""
        ...

    def leaves_unanswered(self) -> bool:
        """Whether a question about topics gets no answer."""
        ...

    def fails_at(self, point: FaultPoint) -> BaseException | None:
        """What goes wrong at a fault point of the worker."""
        ...

    def watch(self, process: Process, changes: Changes) -> None:
        """See a change before it is made to the store."""
        ...


class Process:
    """A worker process under a slot, with the disk of its machine."""

    def __init__(
        self, number: int, inner: MemoryLog, disk: Disk, config: Config, around: Surroundings, read_max: int
    ) -> None:
        self.number = number
        self.slot = inner.slot
        self.disk = disk
        self.end: End = "running"
        self.away_until_ms = 0
        """Stopped by the system: it does nothing, not even in the background."""
        self.sleeps_until_ms = 0
        """Waits by its own will; goes on in the background."""
        self.had_company = False
        """Whether another process ran under its slot at any time."""
        self._around = around
        self._inner = inner
        self._log = SimulatedLog(inner, self, read_max)
        self._strand = Strand(self._live)
        self._asked_to_stop = False
        self._store: OpenStore | None = None
        self.worker = Worker(self._log, self._open_store, inner.cluster.clock, config, FUNCTIONS, fault=self._at_fault)

    def __repr__(self) -> str:
        return f"{self.slot}#{self.number}"

    @property
    def is_running(self) -> bool:
        return self.end == "running"

    @property
    def is_in_transaction(self) -> bool:
        return self.worker._transaction.begun

    @property
    def runs_again_ms(self) -> int:
        """When it would do something if it were its turn."""
        return max(self.away_until_ms, self.sleeps_until_ms)

    def can_run(self, now_ms: int) -> bool:
        """Whether it would do something now."""
        return self.is_running and self.runs_again_ms <= now_ms

    def go_on(self) -> None:
        """Run to the next interruption or the end."""
        self._strand.resume()

    def ask_to_stop(self) -> None:
        """As SIGTERM does."""
        self._asked_to_stop, self.sleeps_until_ms = True, 0

    def kill(self) -> None:
        """As SIGKILL does, wherever it is."""
        self._inner.crash()
        self._strand.resume()
        assert not self.is_running, "a killed process goes on"

    def heartbeat(self) -> None:
        """What its member does in the background while nothing else happens."""
        if self.is_running:
            for member in self._log.members:
                member.heartbeat()

    # What ``Worker.run`` needs of the event that asks it to stop

    def is_set(self) -> bool:
        return self._asked_to_stop

    def wait(self, timeout_s: float | None = None) -> bool:
        """Let others go on, at least for ``timeout_s``."""
        self.sleeps_until_ms = self._around.now_ms() + int((timeout_s or 0) * 1000)
        self._let_others_go_on()
        return self._asked_to_stop

    # What the clients need

    def now_ms(self) -> int:
        return self._around.now_ms()

    def breathe(self) -> None:
        if self._around.interrupts():
            self._let_others_go_on()

    def idle(self) -> None:
        self._let_others_go_on()

    def ask(self) -> None:
        self.breathe()
        if self._around.leaves_unanswered():
            raise Unavailable("no answer")

    def _let_others_go_on(self) -> None:
        if not self._inner.crashed:
            self._strand.pause()
        if self._inner.crashed:
            raise Crashed(f"{self} was killed")

    def _open_store(self) -> OpenStore:
        self._store = self.disk.open(lambda changes: self._around.watch(self, changes))
        return self._store

    def _at_fault(self, point: str) -> None:
        self.breathe()
        error = self._around.fails_at(point)  # type: ignore[arg-type]
        if isinstance(error, Crashed):
            self._inner.crash()
        if error is not None:
            raise error

    def _live(self) -> None:
        try:
            self.worker.run(self)  # type: ignore[arg-type]
            self.end = "stopped"
        except Fenced:
            self.end = "fenced"
        except ProgrammerError:
            self.end = "bug"
        except Crashed:
            self.end = "crashed"
        finally:
            # The system closes what a dead process had open; what a living one leaves open is seen as a leak.
            if self.end == "crashed" and self._store is not None:
                self._store.close()
